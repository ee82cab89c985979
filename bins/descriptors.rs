//! The limit of open files of this process.
//!
//! Each connection of a client takes one file handle. The service raises the soft limit of its
//! process as far as it may, and accepts only as many connections as then fit: without a file
//! handle left, the service could neither answer a probe nor open a file of its log.

use rustix::process::{Resource, getrlimit, setrlimit};

/// The number of file handles for everything but connections of clients: the log, the store, other
/// services, and the admin listener.
const RESERVED: u64 = 1_536;
/// The number of file handles that are reserved under any limit: an embedded service keeps this
/// many files open under load.
const MIN_RESERVED: u64 = 64;

/// Raises the limit of open files for `wanted` connections of clients, as far as this process may.
///
/// Returns the number of connections that fit into the limit, at most `wanted`. Logs a warning if
/// fewer than `wanted` do.
pub(crate) fn raise_limit_for_connections(wanted: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let needed = (wanted as u64).saturating_add(RESERVED);
    let current = limit.current.unwrap_or(u64::MAX);
    let maximum = limit.maximum.unwrap_or(u64::MAX);
    let raised = needed.min(maximum).max(current);

    limit.current = Some(raised);
    let available = if setrlimit(Resource::Nofile, limit).is_ok() {
        raised
    } else {
        current
    };

    let connections = fitting_connections(wanted, available);
    if connections < wanted {
        tracing::warn!(
            limit = available,
            connections,
            "the limit of open files (ulimit -n) allows fewer connections: set it to {needed}"
        );
    }
    connections
}

/// Returns how many of `wanted` connections fit into a limit of `available` file handles, at least
/// one.
///
/// Half of a small limit is reserved for other uses.
fn fitting_connections(wanted: usize, available: u64) -> usize {
    let reserved = RESERVED.min(available / 2).max(MIN_RESERVED);
    let remaining = available.saturating_sub(reserved).max(1);
    usize::try_from(remaining).unwrap_or(wanted).min(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_reserve_files_for_other_uses() {
        for (available, connections) in [
            (40, 1),
            (100, 36),
            (256, 128),
            (1_024, 512),
            (4_096, 2_560),
            (5_632, 4_096),
            (u64::MAX, 4_096),
        ] {
            assert_eq!(fitting_connections(4_096, available), connections);
        }
        assert_eq!(fitting_connections(4_096, 0), 1);
    }
}
