//! Which service a process is.

/// Which of the two services this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServiceKind {
    /// Takes purchases into the log.
    Facing,
    /// Owns the store.
    Management,
}
