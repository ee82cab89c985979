//! The record types of topics, and their codecs.

mod codec;
#[cfg(test)]
mod formats_test;
pub(crate) mod typed;

pub use codec::DecodeError;
pub(crate) use codec::decode_refund;
#[doc(hidden)]
pub use codec::{MEMBERS, USER_ID, decode, encode};
pub use typed::{Event, JsonEvent, Record};

crate::macros::named_enum! {
    /// A replaced system.
    pub enum ReplacedSystem {
        /// scalable-shop. In its documents prices and times are text.
        ScalableShop = "000",
        /// user-buy-list. In its documents prices are doubles.
        UserBuyList = "001",
        /// ecommerce. It has users and orders, whose rows stay as they are.
        Ecommerce = "002",
        /// The purchase tracking system. In its documents prices are doubles, times are text without a zone.
        PurchaseTracking = "003",
        /// shopping-system-k8s. In its documents prices are doubles, times are doubles in seconds.
        ShoppingSystem = "004",
    }
    invalid: "the replaced system", "must be 000, 001, 002, 003 or 004"
}

/// Names of the headers that we write. Everything except the four members that consumers of the replaced systems read
/// is in headers, so those consumers can still read the value.
#[doc(hidden)]
pub mod header {
    use crate::RequestContext;
    use crate::log::HeadersBuilder;

    /// The purchase's id.
    pub const PURCHASE_ID: &str = "purchase-id";
    /// The version of the record's format.
    pub const SCHEMA: &str = "schema";
    /// What the record is, if it is not a purchase.
    pub const TYPE: &str = "type";
    /// The W3C trace context of the request.
    pub const TRACEPARENT: &str = "traceparent";
    /// The id of the request.
    pub const REQUEST_ID: &str = "request-id";

    /// `headers`, plus those of the request.
    pub(crate) fn from_request(
        mut headers: HeadersBuilder,
        context: Option<&RequestContext>,
    ) -> HeadersBuilder {
        let Some(context) = context else {
            return headers;
        };
        for (name, value) in [
            (TRACEPARENT, &context.traceparent),
            (REQUEST_ID, &context.request_id),
        ] {
            if let Some(value) = value {
                headers = headers.with(name, Some(value.as_bytes()));
            }
        }
        headers
    }
}

/// The version of the record format.
#[doc(hidden)]
pub const SCHEMA_VERSION: &str = "1";
/// That of a purchase with details. A program that does not know it keeps the record as a dead letter: it would drop them.
const DETAILED_SCHEMA: &str = "2";
/// The type of a refund.
const REFUND: &str = "refund";
