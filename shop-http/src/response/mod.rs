//! Response bodies, and failures of requests.

pub(crate) mod failure;
pub(crate) mod failure_log;
pub(crate) mod json;
pub(crate) mod legacy_purchase;
mod line;
pub(crate) mod listing;
pub(crate) mod purchase_answer;
mod text;
pub(crate) mod validation_error;

pub(crate) use failure::{Failure, Subject};
pub(crate) use failure_log::FailureLog;
pub(crate) use json::Json;
pub(crate) use legacy_purchase::LegacyPurchase;
pub(crate) use validation_error::InvalidField;
