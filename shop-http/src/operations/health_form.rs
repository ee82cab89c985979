//! What a program may choose about the response of `/health`.

/// The form of `/health`. The default is [`HealthForm::DEFAULT`].
#[derive(Debug, Clone, Copy)]
pub struct HealthForm {
    /// The status word of a healthy service (default `healthy`).
    pub healthy: &'static str,
    /// Whether the status word says that a part is unavailable (default `true`). Otherwise only the
    /// members do.
    pub counts_parts: bool,
    /// Whether management reports its store, with another HTTP status while the store is unavailable
    /// (default `true`).
    pub reports_store: bool,
    /// Whether there are more members than the status and the store without `?details=true`
    /// (default `true`).
    pub has_details: bool,
}

impl HealthForm {
    /// The default form.
    pub const DEFAULT: Self = Self {
        healthy: "healthy",
        counts_parts: true,
        reports_store: true,
        has_details: true,
    };
}
