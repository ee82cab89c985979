//! What is around every route.

pub(crate) mod access_log;
pub(crate) mod admission;
pub(crate) mod browsers;
pub(crate) mod client;
pub(crate) mod gate;
pub(crate) mod observe;
#[cfg(feature = "otel")]
pub(crate) mod traces;
