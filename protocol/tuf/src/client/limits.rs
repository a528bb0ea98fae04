//! How much a client reads.

/// How much of a repository a client reads. Every limit holds before memory is taken and before a
/// signature is checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Longest root read.
    pub root_bytes_max: usize,
    /// New roots followed in one refresh.
    pub roots_max: usize,
    /// Longest timestamp read.
    pub timestamp_bytes_max: usize,
    /// Longest snapshot read.
    pub snapshot_bytes_max: usize,
    /// Longest targets role read.
    pub targets_bytes_max: usize,
    /// Delegated roles visited in search of one target.
    pub roles_max: usize,
}

impl Limits {
    /// For a server, a tool or a gateway: what python-tuf allows.
    pub const HOST: Self = Self {
        root_bytes_max: 512_000,
        roots_max: 256,
        timestamp_bytes_max: 16_384,
        snapshot_bytes_max: 2_000_000,
        targets_bytes_max: 5_000_000,
        roles_max: 32,
    };

    /// For the Image repository of a microcontroller: fits a heap budget of 24 KiB. The author of the
    /// metadata keeps to the same 16 KiB per file.
    pub const DEVICE_IMAGE: Self = Self {
        root_bytes_max: 16_384,
        roots_max: 8,
        timestamp_bytes_max: 2_048,
        snapshot_bytes_max: 16_384,
        targets_bytes_max: 16_384,
        roles_max: 8,
    };

    /// For the Director of a microcontroller: its files name one device and at most four targets.
    pub const DEVICE_DIRECTOR: Self = Self {
        snapshot_bytes_max: 4_096,
        targets_bytes_max: 4_096,
        roles_max: 0,
        ..Self::DEVICE_IMAGE
    };
}
