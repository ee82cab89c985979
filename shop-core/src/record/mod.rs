//! The types of records in the topics of a log, and their codecs.
//!
//! - `codec` encodes and decodes purchases.
//! - `typed` defines the traits [`Record`], [`Event`] and [`JsonEvent`], for records of any type.

mod codec;
#[cfg(test)]
mod formats_test;
pub(crate) mod typed;

pub use codec::DecodeError;
pub(crate) use codec::decode_refund;
pub use codec::{MEMBERS, USER_ID, decode, encode};
pub use typed::{Event, JsonEvent, Record};
pub use typed::{decode_event, encode_event};

crate::macros::named_enum! {
    /// A system that this program replaces, and whose documents and records it can read.
    pub enum ReplacedSystem {
        /// The system scalable-shop. The prices and times in its documents are text.
        ScalableShop = "000",
        /// The system user-buy-list. The prices in its documents are doubles.
        UserBuyList = "001",
        /// The system ecommerce. The rows of its users and orders stay unchanged.
        Ecommerce = "002",
        /// The purchase tracking system. The prices in its documents are doubles, and the times are
        /// text without a zone.
        PurchaseTracking = "003",
        /// The system shopping-system-k8s. The prices in its documents are doubles, and the times
        /// are doubles in seconds.
        ShoppingSystem = "004",
    }
    invalid: "the replaced system", "must be 000, 001, 002, 003 or 004"
}

/// The names of the headers of records that this program writes.
///
/// The consumers of the replaced systems read four members of a record's value. Everything else is
/// in headers, so those consumers can still read the value.
pub mod header {
    use crate::RequestContext;
    use crate::log::HeadersBuilder;

    /// The header with the id of the purchase.
    pub const PURCHASE_ID: &str = "purchase-id";
    /// The header with the version of the record's format.
    pub const SCHEMA: &str = "schema";
    /// The header with the type of a record that is not a purchase, such as a refund.
    pub const TYPE: &str = "type";
    /// The header with the W3C trace context of the request that caused the record.
    pub const TRACEPARENT: &str = "traceparent";
    /// The header with the id of the request that caused the record.
    pub const REQUEST_ID: &str = "request-id";

    /// Adds the trace context and the id of the request to `headers`, as far as `context` contains
    /// them.
    #[must_use]
    pub fn from_request(
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

/// The version of the format of events, and of purchases without details.
pub(crate) const SCHEMA_VERSION: &str = "1";
/// The version of the format of purchases with details, including all refunds.
///
/// An older program that does not know this version keeps the record as a dead letter. If the
/// version did not change, that program would silently drop the details.
const DETAILED_SCHEMA: &str = "2";
/// The value of the header [`TYPE`](header::TYPE) in the record of a refund.
const REFUND: &str = "refund";
