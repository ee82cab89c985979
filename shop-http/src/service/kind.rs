//! The kind of a service: facing or management.
//!
//! The kind decides who may write, which routes and ids there are, and what errors and metrics are
//! called. It is defined in a separate module, because errors and metrics need it without the
//! service.

/// One of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// Accepts purchases, by default into a log, and lists them.
    Facing,
    /// Owns the store, and lists purchases.
    Management,
}

impl ServiceKind {
    /// Returns the name of the service: `facing` or `management`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Facing => "facing",
            Self::Management => "management",
        }
    }

    /// Returns the part of `/health` to which the service writes purchases: facing to the log,
    /// management to its store.
    pub(crate) const fn sink_part(self) -> &'static str {
        match self {
            Self::Facing => "log",
            Self::Management => "store",
        }
    }
}
