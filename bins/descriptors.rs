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

/// Raises the limit of open files for `wanted_connections` of clients, as far as this process may.
///
/// Returns the number of connections that fit into the limit, at most `wanted_connections`. Logs a
/// warning if not all of them fit.
pub(crate) fn raise_limit_for_connections(wanted_connections: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let needed_handles = (wanted_connections as u64).saturating_add(RESERVED);
    // `None` means that there is no limit.
    let current_limit = limit.current.unwrap_or(u64::MAX);
    let maximum_limit = limit.maximum.unwrap_or(u64::MAX);
    let raised_limit = needed_handles.min(maximum_limit).max(current_limit);

    limit.current = Some(raised_limit);
    let available_handles = if setrlimit(Resource::Nofile, limit).is_ok() {
        raised_limit
    } else {
        current_limit
    };

    let connections = fitting_connections(wanted_connections, available_handles);
    if connections < wanted_connections {
        tracing::warn!(
            limit = available_handles,
            connections,
            "the limit of open files (ulimit -n) allows fewer connections: set it to {needed_handles}"
        );
    }
    connections
}

/// Returns how many of `wanted_connections` fit into a limit of `available_handles` file handles,
/// at least one.
///
/// [`RESERVED`] handles are for other uses, or half of a small limit.
fn fitting_connections(wanted_connections: usize, available_handles: u64) -> usize {
    let reserved_handles = RESERVED.min(available_handles / 2).max(MIN_RESERVED);
    let remaining_handles = available_handles.saturating_sub(reserved_handles).max(1);
    usize::try_from(remaining_handles)
        .unwrap_or(wanted_connections)
        .min(wanted_connections)
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
