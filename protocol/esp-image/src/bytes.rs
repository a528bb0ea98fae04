//! Fixed-size little-endian fields at constant offsets.
//!
//! The offsets are checked when the program is compiled, so reading needs no error path.

/// Returns the `N` bytes at `AT` of a structure of `LEN` bytes.
pub(crate) fn field<const AT: usize, const N: usize, const LEN: usize>(
    bytes: &[u8; LEN],
) -> [u8; N] {
    const { assert!(AT + N <= LEN, "field outside of its structure") };
    let mut field = [0; N];
    for (to, from) in field.iter_mut().zip(bytes.iter().skip(AT)) {
        *to = *from;
    }
    field
}

/// Overwrites the bytes at `AT` of a structure of `LEN` bytes.
pub(crate) fn set_field<const AT: usize, const N: usize, const LEN: usize>(
    bytes: &mut [u8; LEN],
    field: [u8; N],
) {
    const { assert!(AT + N <= LEN, "field outside of its structure") };
    for (to, from) in bytes.iter_mut().skip(AT).zip(field) {
        *to = from;
    }
}

/// Returns the `u8` at `AT`.
pub(crate) fn u8_at<const AT: usize, const LEN: usize>(bytes: &[u8; LEN]) -> u8 {
    u8::from_le_bytes(field::<AT, 1, LEN>(bytes))
}

/// Returns the little-endian `u16` at `AT`.
pub(crate) fn u16_at<const AT: usize, const LEN: usize>(bytes: &[u8; LEN]) -> u16 {
    u16::from_le_bytes(field::<AT, 2, LEN>(bytes))
}

/// Returns the little-endian `u32` at `AT`.
pub(crate) fn u32_at<const AT: usize, const LEN: usize>(bytes: &[u8; LEN]) -> u32 {
    u32::from_le_bytes(field::<AT, 4, LEN>(bytes))
}
