//! The two services.

/// Which of the two services this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// Accepts purchases, by default into a log, and lists them.
    Facing,
    /// Owns the store, and lists purchases.
    Management,
}

impl ServiceKind {
    /// Its name: `facing` or `management`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Facing => "facing",
            Self::Management => "management",
        }
    }
}
