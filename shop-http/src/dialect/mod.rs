//! How one group of clients is answered: statuses, envelopes and texts, as a value.
//!
//! Routes are written once; where they differ by client they ask the dialect of the request. It is chosen by
//! the path where the path names one, and by [`HttpOptions::dialect`](crate::HttpOptions::dialect) elsewhere.

mod choice;
mod ecommerce;
mod forms;
mod native;
mod purchase_tracking;
mod scalable_shop;
mod shopping_system;
mod user_buy_list;

pub use choice::UnknownDialect;
pub(crate) use choice::{INGRESS_PREFIXES, RequestDialect};
pub use forms::Dialect;
pub(crate) use forms::{
    By, Errors, Extras, ItemForm, ListingForm, LowestPrice, MissingFields, Outage, PathMatch, PriceForm,
    PurchaseResponse, TimestampForm, Timestamps, View,
};
