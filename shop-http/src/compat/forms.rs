//! The parts of a dialect, and their variants.

use axum::http::StatusCode;
use shop_core::ports::ListOrder;

/// The response format for one group of clients: statuses, envelopes and texts.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The name in settings.
    pub(super) name: &'static str,
    /// The response to a buy.
    pub(crate) bought: PurchaseResponse,
    /// The form of a purchase.
    pub(crate) item: ItemForm,
    /// The body of an error.
    pub(crate) errors: Errors,
    /// The report of missing members.
    pub(crate) missing: MissingFields,
    /// Whether an empty body is reported differently from one with missing members.
    pub(crate) distinguishes_empty_bodies: bool,
    /// Whether a price may be zero.
    pub(crate) may_be_free: bool,
    /// The responses to failures of the log or the store.
    pub(crate) outages: Outages,
    /// Whether unknown members of a body are rejected, and prices that are not JSON numbers or the text of one.
    pub(crate) is_strict: bool,
    /// Whether integers are accepted as text.
    pub(crate) integers_are_text: bool,
    /// The treatment of a purchase's timestamp.
    pub(crate) timestamps: Timestamps,
    /// The response to a listing.
    pub(crate) listing: ListingForm,
    /// The response of `/health`.
    pub(crate) health: HealthForm,
    /// Whether pages of all origins may call facing by default, and management lists all users' purchases at
    /// `/purchases`, as not all replaced systems did.
    pub is_open: bool,
    /// Whether the log has a line per purchase, at the level `INFO`, as the replaced system documents: `Published
    /// purchase` when facing has published it. The process that runs ingest is to log `Received purchase`.
    pub logs_purchases: bool,
    /// Whether the durations of requests are also exported as Flask's exporter does.
    pub(crate) has_flask_durations: bool,
    /// The OpenAPI document of the routes of the replaced system, if it had one at `/openapi.json`.
    pub(crate) document: Option<&'static str>,
}

impl Dialect {
    /// The name in settings.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// The response of `/health`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HealthForm {
    /// The status word of a healthy service.
    pub(crate) healthy: &'static str,
    /// Whether the status word says that a part is unavailable. In one system only the members do.
    pub(crate) counts_parts: bool,
    /// Whether management reports its store, with another HTTP status while it is unavailable.
    pub(crate) reports_store: bool,
    /// Whether there are more members than the status and the store without `?details=true`.
    pub(crate) has_details: bool,
}

/// The response to a listing without query parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListingForm {
    /// The members around the purchases.
    pub(crate) view: View,
    pub(crate) order: ListOrder,
    /// The meaning of the text in the path. If `None`, a user id, or a user name if no user has that id.
    pub(crate) by: Option<By>,
    /// The status of an empty listing.
    pub(crate) nothing: StatusCode,
    /// The maximum number of purchases without `limit`; unlimited if `None`.
    pub(crate) cap: Option<u16>,
}

/// The members around the purchases of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// User id and user name, the count, the sum, and which of the two was matched.
    Everything,
    /// The requested user, the count and the sum.
    Summary,
    /// The requested user.
    Owner,
    /// `"status": "Ok!"`.
    Status,
    /// Nothing: the listing is an array.
    List,
}

impl View {
    /// Whether it has the count and the sum.
    pub(crate) const fn counts(self) -> bool {
        matches!(self, Self::Everything | Self::Summary)
    }
}

/// Whether a listing is by user id or by user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    UserId,
    UserName,
}

impl By {
    /// The name of the member.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::UserId => "userid",
            Self::UserName => "username",
        }
    }
}

/// The response to a buy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PurchaseResponse {
    /// Texts, and the purchase under each of these names.
    Says {
        code: StatusCode,
        status: Option<&'static str>,
        message: &'static str,
        purchase_as: &'static [&'static str],
    },
    /// 201 with the purchase and its receipt.
    PurchaseAndReceipt,
}

/// The form of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ItemForm {
    pub(crate) price: PriceForm,
    pub(crate) timestamp: TimestampForm,
    /// The members in a listing besides the four that every system has.
    pub(crate) extras: Extras,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PriceForm {
    Number,
    /// Text with the original scale.
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimestampForm {
    /// ISO 8601 in UTC with milliseconds and `Z`.
    Iso,
    /// ISO 8601 in UTC with microseconds and without a zone. A zero fraction is left out.
    IsoWithoutZone,
    /// Seconds since 1970.
    Seconds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extras {
    None,
    /// `_id`.
    Id,
    /// `_id`, and `__v`, which is always 0.
    IdAndVersion,
}

/// The body of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errors {
    /// `{"error": text}`.
    Text,
    /// `{"status": "Error", "message": text}`.
    StatusAndMessage,
    /// `{"detail": text}`, or a list of entries when the request is invalid.
    Detail,
    /// RFC 9457 problem details.
    Problem,
}

/// The report of missing members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingFields {
    /// The missing members are listed.
    Listed,
    /// The text names all required members. An id or a name that is falsy in JavaScript counts as missing.
    AllRequired,
}

/// The treatment of a purchase's timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timestamps {
    /// RFC 3339 text only.
    Strict,
    /// RFC 3339 text, or a number of seconds or of milliseconds.
    Lenient,
    /// As `Lenient`; an unreadable timestamp is replaced by the time of receipt.
    LenientOrReceipt,
    /// Ignored.
    Ignored,
}

/// The responses to failures of the log or the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outages {
    /// Facing cannot publish a purchase to the log.
    pub(crate) publish: Outage,
    /// Management cannot write a purchase into its store.
    pub(crate) write: Outage,
    /// Facing cannot read a listing. If `None`, the kind of the error decides.
    pub(crate) query: Option<Outage>,
    /// Management cannot read its store.
    pub(crate) read: Option<Outage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) status: StatusCode,
    pub(crate) text: &'static str,
}
