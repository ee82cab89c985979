//! What a dialect consists of, and what its parts can be.

use axum::http::StatusCode;
use shop_core::ports::ListOrder;

/// How one group of clients is answered: statuses, envelopes and texts.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Its name in settings.
    pub(super) name: &'static str,
    /// How a buy is answered.
    pub(crate) bought: PurchaseResponse,
    /// What a purchase looks like.
    pub(crate) item: ItemForm,
    /// What an error's body looks like.
    pub(crate) errors: Errors,
    /// The status of a request whose content is wrong.
    pub(crate) invalid: StatusCode,
    /// The status of a request that is no JSON object.
    pub(crate) no_object: StatusCode,
    /// The status of a request that is said to be something else than JSON.
    pub(crate) no_json: StatusCode,
    /// How missing members are reported.
    pub(crate) missing: MissingFields,
    /// Whether an empty body is reported otherwise than one with missing members.
    pub(crate) distinguishes_empty_bodies: bool,
    /// What a purchase must cost at least.
    pub(crate) lowest_price: LowestPrice,
    /// What is said when something behind the service fails.
    pub(crate) outages: Outages,
    /// Whether members of a body that are not known are refused, and prices in other forms than JSON's.
    pub(crate) is_strict: bool,
    /// Whether integers count as text where text is asked for.
    pub(crate) integers_are_text: bool,
    /// What becomes of the timestamp that comes with a purchase.
    pub(crate) timestamps: Timestamps,
    /// How a listing is answered.
    pub(crate) listing: ListingForm,
    /// How `/health` is answered.
    pub(crate) health: HealthForm,
}

impl Dialect {
    /// Its name in settings.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// How `/health` is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HealthForm {
    /// The status of a service that is well.
    pub(crate) well: &'static str,
    /// Whether management reports its store, with another status while it is unavailable.
    pub(crate) reports_store: bool,
}

/// How a listing is answered that does not ask for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListingForm {
    /// What stands around the purchases.
    pub(crate) view: View,
    pub(crate) order: ListOrder,
    /// What the text in the path is taken for.
    pub(crate) path_match: PathMatch,
    /// The status when nothing is found.
    pub(crate) nothing: StatusCode,
    /// Where a listing stops that names no limit; nowhere without a value.
    pub(crate) cap: Option<u16>,
}

/// What stands around the purchases of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// Both ways to name a user, the count, the sum, and what was matched.
    Everything,
    /// What was asked for, the count and the sum.
    Summary,
    /// What was asked for.
    Owner,
    /// `"status": "Ok!"`.
    Status,
    /// Nothing: an array.
    List,
}

impl View {
    /// Whether it has the count and the sum.
    pub(crate) const fn counts(self) -> bool {
        matches!(self, Self::Everything | Self::Summary)
    }
}

/// What the text in the path of a listing is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathMatch {
    UserId,
    UserName,
    /// A user's id, or if no user has it, a name.
    Either,
}

/// Whether a listing looks for a user id or for a user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    UserId,
    UserName,
}

impl By {
    /// The member that it is about.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::UserId => "userid",
            Self::UserName => "username",
        }
    }
}

impl From<By> for PathMatch {
    fn from(by: By) -> Self {
        match by {
            By::UserId => Self::UserId,
            By::UserName => Self::UserName,
        }
    }
}

/// How a buy is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PurchaseResponse {
    /// With texts, and with the purchase in as many members as there are names.
    Says {
        code: StatusCode,
        status: Option<&'static str>,
        message: &'static str,
        purchase_as: &'static [&'static str],
    },
    /// 201 with the purchase and its receipt.
    PurchaseAndReceipt,
}

/// What a purchase looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ItemForm {
    pub(crate) price: PriceForm,
    pub(crate) timestamp: TimestampForm,
    /// What stands in a listing besides the four members that everybody knows.
    pub(crate) extras: Extras,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PriceForm {
    Number,
    /// Text with the scale that the price was given with.
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimestampForm {
    /// ISO 8601 in UTC with milliseconds and `Z`.
    Iso,
    /// ISO 8601 in UTC with microseconds and without a zone. A fraction of zero is left out.
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

/// What an error's body looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errors {
    /// `{"error": text}`.
    Text,
    /// `{"status": "Error", "message": text}`.
    StatusAndMessage,
    /// `{"detail": text}`, and for what is wrong with a request a list of what is.
    Detail,
    /// RFC 9457 problem details.
    Problem,
}

/// How missing members are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingFields {
    /// Those that lack are listed.
    Listed,
    /// The text names all that are required. An id or a name that counts as false in JavaScript lacks too.
    AllRequired,
}

/// What a purchase must cost at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LowestPrice {
    Zero,
    AboveZero,
}

/// What becomes of the timestamp that comes with a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timestamps {
    /// It must be RFC 3339 text.
    Strict,
    /// RFC 3339 text, or a number of seconds or of milliseconds.
    Lenient,
    /// The same, and where it cannot be read the time of receipt counts.
    LenientOrReceipt,
    /// It is left out.
    Ignored,
}

/// What is said when something behind the service fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outages {
    /// Facing cannot bring a purchase into the log.
    pub(crate) publish: Outage,
    /// Management cannot write a purchase into its store.
    pub(crate) write: Outage,
    /// Facing gets no listing. Without a value the error's kind decides.
    pub(crate) query: Option<Outage>,
    /// Management cannot read its store.
    pub(crate) read: Option<Outage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) status: StatusCode,
    pub(crate) text: &'static str,
}
