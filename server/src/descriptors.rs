//! File descriptors: as many as the system gives, and no more connections than they are enough for.
//!
//! A process without descriptors accepts nobody, on any listener, and cannot write its database. So
//! the limits of the listeners together leave a reserve. Not here: who gets the connections
//! ([`crate::listener`]).

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::Limits;

/// Kept free of connections with TLS: 9 connections to SQLite with 3 files each, 6 listeners, images
/// on their way in, what the runtime has, at most 64 connections to `crl`, and some dozens to `ops`,
/// which must answer when nothing else does.
const RESERVE_FILES: u64 = 192;

/// Descriptors per connection of the limit: one on each of the three TLS listeners but `mqtt`, and the
/// image that a connection on the device listener may be reading.
const FILES_PER_CONNECTION: usize = 4;

/// On a listener that had to be lowered, how many sources it takes at least to fill it.
const SOURCES_MIN: usize = 4;

/// Raises the process's limit to the most it may have, and returns it; `None` is no limit.
pub(crate) fn raise() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    let present = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.current,
        // Raising to the hard limit is always allowed, but the present one is enough to run.
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            present
        }
    }
}

/// Lowers what does not fit in `files`, all in the same proportion, and says so.
pub(crate) fn fit(limits: &mut Limits, files: Option<u64>) {
    let Some(files) = files else { return };
    let free = usize::try_from(files.saturating_sub(RESERVE_FILES)).unwrap_or(usize::MAX);
    let others = limits.connections.saturating_mul(FILES_PER_CONNECTION);
    let wanted = others.saturating_add(limits.mqtt_connections);
    if wanted <= free {
        return;
    }
    let lowered = |connections: usize| share(connections, free, wanted).max(1);
    let (connections, mqtt_connections) =
        (lowered(limits.connections), lowered(limits.mqtt_connections));
    tracing::warn!(
        configured = limits.connections,
        lowered_to = connections,
        mqtt_configured = limits.mqtt_connections,
        mqtt_lowered_to = mqtt_connections,
        open_files_max = files,
        "`limits.connections` and `limits.mqtt_connections` are lowered: raise the hard limit of open \
         files (RLIMIT_NOFILE)"
    );
    (limits.connections, limits.mqtt_connections) = (connections, mqtt_connections);
    limits.connections_per_source =
        limits.connections_per_source.min(connections.div_ceil(SOURCES_MIN));
}

/// Returns `part / whole` of a number.
fn share(number: usize, part: usize, whole: usize) -> usize {
    number.saturating_mul(part) / whole.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(connections: usize, files: Option<u64>) -> (usize, usize) {
        let mut limits = Limits { connections, mqtt_connections: connections, ..Limits::default() };
        fit(&mut limits, files);
        assert_eq!(limits.mqtt_connections, limits.connections);
        (limits.connections, limits.connections_per_source)
    }

    #[test]
    fn all_listeners_together_leave_a_reserve_of_files() {
        assert_eq!(fitted(20_000, Some(1024)), (166, 42));
        assert_eq!(fitted(20_000, Some(10)), (1, 1));
    }

    #[test]
    fn limits_that_fit_are_left_as_they_are() {
        assert_eq!(fitted(20_000, None), (20_000, 256));
        assert_eq!(fitted(20_000, Some(1 << 20)), (20_000, 256));
        assert_eq!(fitted(100, Some(1024)), (100, 256));
    }

    #[test]
    fn where_devices_stay_there_may_be_more_connections_than_elsewhere() {
        let mut limits = Limits { connections: 500, mqtt_connections: 12_000, ..Limits::default() };
        fit(&mut limits, Some(20_000));
        assert_eq!((limits.connections, limits.mqtt_connections), (500, 12_000));
        fit(&mut limits, Some(7_192));
        assert_eq!((limits.connections, limits.mqtt_connections), (250, 6_000));
    }
}
