//! The limit of open files, which connections count towards.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The files and connections beside those of clients: of the log, the store, other services, and of the admin listener.
const RESERVED: u64 = 1_536;
/// What an embedded service has open under load.
const MIN_RESERVED: u64 = 64;

/// Raises the limit of open files for `wanted` connections of clients, as far as this process may. Returns the
/// connections that fit: without a file handle left, neither a probe nor a file of the log could be opened.
pub(crate) fn for_connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let needed = (wanted as u64).saturating_add(RESERVED);
    let current = limit.current.unwrap_or(u64::MAX);
    let raised = needed.min(limit.maximum.unwrap_or(u64::MAX)).max(current);
    let available = match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(raised),
            ..limit
        },
    ) {
        Ok(()) => raised,
        Err(_errno) => current,
    };
    let connections = fitting(wanted, available);
    if connections < wanted {
        tracing::warn!(
            limit = available,
            connections,
            "the limit of open files (ulimit -n) allows fewer connections: set it to {needed}"
        );
    }
    connections
}

/// The connections that fit into a limit, at least one. Half of a small one is reserved.
fn fitting(wanted: usize, available: u64) -> usize {
    let left = available
        .saturating_sub(RESERVED.min(available / 2).max(MIN_RESERVED))
        .max(1);
    usize::try_from(left).map_or(wanted, |left| wanted.min(left))
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
            assert_eq!(fitting(4_096, available), connections);
        }
        assert_eq!(fitting(4_096, 0), 1);
    }
}
