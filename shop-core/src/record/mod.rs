//! The types of records in the topics of a log, and their codecs.
//!
//! - `codec` encodes and decodes purchases.
//! - `decoders` registers decoders of other programs' records.
//! - `typed` defines the traits [`Record`], [`Event`] and [`JsonEvent`], for records of any type.

mod codec;
mod decoders;
#[cfg(test)]
mod formats_test;
pub(crate) mod typed;

pub use codec::DecodeError;
pub(crate) use codec::decode_refund;
pub use codec::{MEMBERS, decode, encode, encode_headers, encode_value, purchase_id};
pub use decoders::{RecordDecoder, RecordDecoders};
pub use typed::{Event, JsonEvent, Record};
pub use typed::{decode_event, encode_event};

/// The names of the headers of records that this program writes.
///
/// Other consumers read the four members of a record's value. Everything else is in headers, so
/// those consumers can still read the value.
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
    pub fn add_request_context(
        headers: HeadersBuilder,
        context: Option<&RequestContext>,
    ) -> HeadersBuilder {
        add_request(headers, context, |headers, name, value| {
            headers.with(name, Some(value))
        })
    }

    /// Adds the trace context and the id of the request to `headers` of any type by calls of `add`,
    /// as far as `context` contains them.
    pub(super) fn add_request<H>(
        mut headers: H,
        context: Option<&RequestContext>,
        mut add: impl FnMut(H, &str, &[u8]) -> H,
    ) -> H {
        let Some(context) = context else {
            return headers;
        };
        for (name, value) in [
            (TRACEPARENT, &context.traceparent),
            (REQUEST_ID, &context.request_id),
        ] {
            if let Some(value) = value {
                headers = add(headers, name, value.as_bytes());
            }
        }
        headers
    }
}

/// The version of the format of events, and of purchases without details.
pub const SCHEMA_VERSION: &str = "1";
/// The version of the format of purchases with details, including all refunds.
///
/// An older program that does not know this version keeps the record as a dead letter. If the
/// version did not change, that program would silently drop the details.
const DETAILED_SCHEMA: &str = "2";
/// The value of the header [`TYPE`](header::TYPE) in the record of a refund.
const REFUND: &str = "refund";
