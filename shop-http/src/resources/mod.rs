//! The handlers, one file for each resource.

pub(crate) mod batch;
pub(crate) mod buy;
pub(crate) mod dead_letters;
#[cfg(feature = "docs")]
pub(crate) mod docs;
pub(crate) mod events;
pub(crate) mod import;
pub(crate) mod index;
pub(crate) mod listing_body;
pub(crate) mod openapi;
pub(crate) mod page;
pub(crate) mod problems;
pub(crate) mod refund;
mod script;
pub(crate) mod v1_purchases;
pub(crate) mod whoami;
