//! The response format for one group of clients: statuses, envelopes and texts, as a value.
//!
//! Routes are written once; the dialect of the request supplies the differences. It is selected by the path's prefix,
//! and is [`HttpOptions::dialect`](crate::HttpOptions::dialect) elsewhere.

mod choice;
mod errors;
mod forms;
pub(crate) mod purchase;
mod systems;

pub(crate) use choice::INGRESS_PREFIXES;
pub use choice::UnknownDialect;
pub use forms::Dialect;
pub(crate) use forms::{
    By, Errors, Extras, ItemForm, ListingForm, MissingFields, Outage, PriceForm, PurchaseResponse,
    TimestampForm, Timestamps, View,
};
pub(crate) use systems::V1;

/// The dialect of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestDialect(pub(crate) &'static Dialect);
