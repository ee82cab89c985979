//! Bodies of responses, and how a request fails.

pub(crate) mod failure;
pub(crate) mod failure_log;
pub(crate) mod json;
pub(crate) mod legacy_purchase;
pub(crate) mod listing;
