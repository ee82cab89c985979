//! The response format for one group of clients: statuses, envelopes and texts, as a value.
//!
//! Routes are written once; the dialect of the request supplies the differences. It is selected by
//! the path's prefix, and is [`HttpOptions::dialect`](crate::HttpOptions::dialect) elsewhere.

mod choice;
mod dialects;
mod errors;
pub(crate) mod members;
pub(crate) mod purchase;

pub(crate) use choice::INGRESS_PREFIXES;
pub use choice::UnknownDialect;
pub use dialects::Dialect;
pub(crate) use dialects::{
    By, Errors, Extras, ItemForm, ListingForm, Outage, PurchaseResponse, TimestampForm, View,
};

/// The dialect of a request.
pub(crate) struct RequestDialect(pub(crate) &'static Dialect);
