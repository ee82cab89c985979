//! The parts of a dialect, their variants, and the dialects: the default one, the native API, and
//! one for each replaced system.

use axum::http::StatusCode;
use shop_core::ports::ListOrder;

/// The response format for one group of clients: statuses, envelopes and texts.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The name in settings.
    pub(super) name: &'static str,
    /// The response to a buy, except of the native API.
    pub(crate) bought: PurchaseResponse,
    /// The form of a purchase.
    pub(crate) item: ItemForm,
    /// The body of an error, except of the native API.
    pub(crate) errors: Errors,
    /// Whether values that are falsy in JavaScript are refused: such an id or name counts as
    /// missing, and a price must not be zero. The text about missing members then names all
    /// required ones, instead of those that are missing.
    pub(crate) refuses_falsy: bool,
    /// Whether an empty body is reported differently from one with missing members.
    pub(crate) distinguishes_empty_bodies: bool,
    /// The responses to failures of the log or the store.
    pub(crate) outages: Outages,
    /// Whether it is the native API: errors are problems (RFC 9457), the response to a buy contains
    /// a receipt, and a purchase is read by `request/purchase.rs`, whatever the fields about
    /// reading say.
    pub(crate) is_strict: bool,
    /// Whether integers are accepted as text.
    pub(crate) integers_are_text: bool,
    /// How facing treats the timestamp that a client gives. Management is always lenient.
    pub(crate) timestamps: Timestamps,
    /// The response to a listing.
    pub(crate) listing: ListingForm,
    /// The response of `/health`.
    pub(crate) health: HealthForm,
    /// Whether pages of all origins may call facing by default, and management lists all users'
    /// purchases at `/purchases`, as not all replaced systems did.
    pub is_open: bool,
    /// Whether the log has a line per purchase, at the level `INFO`, as the replaced system
    /// documents: `Published purchase` when facing has published it. The process that runs ingest
    /// is to log `Received purchase`.
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
    /// The meaning of the text in the path. If `None`, a user id, or a user name if no user has
    /// that id.
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

/// The response to a buy: texts, and the purchase under each of these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PurchaseResponse {
    pub(crate) code: StatusCode,
    pub(crate) status: Option<&'static str>,
    pub(crate) message: &'static str,
    pub(crate) purchase_as: &'static [&'static str],
}

/// The form of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ItemForm {
    /// Whether the price is text, with its original scale, instead of a number.
    pub(crate) price_is_text: bool,
    pub(crate) timestamp: TimestampForm,
    /// The members in a listing besides the four that every system has.
    pub(crate) extras: Extras,
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
}

/// The treatment of a purchase's timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timestamps {
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

const fn failed(text: &'static str) -> Outage {
    Outage {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        text,
    }
}

const fn unavailable(text: &'static str) -> Outage {
    Outage {
        status: StatusCode::SERVICE_UNAVAILABLE,
        text,
    }
}

/// The base of all dialects.
const BASE: Dialect = Dialect {
    name: "default",
    bought: PurchaseResponse {
        code: StatusCode::CREATED,
        status: Some("success"),
        message: "Purchase recorded",
        purchase_as: &["data", "purchase"],
    },
    item: ItemForm {
        price_is_text: false,
        timestamp: TimestampForm::Iso,
        extras: Extras::Id,
    },
    errors: Errors::Text,
    refuses_falsy: false,
    distinguishes_empty_bodies: true,
    outages: Outages {
        publish: unavailable("Failed to record purchase - messaging system unavailable"),
        write: unavailable("Failed to write purchase"),
        query: None,
        read: None,
    },
    is_strict: false,
    integers_are_text: true,
    timestamps: Timestamps::Lenient,
    listing: ListingForm {
        view: View::Everything,
        order: ListOrder::NewestFirst,
        by: None,
        nothing: StatusCode::OK,
        cap: None,
    },
    health: HealthForm {
        healthy: "healthy",
        counts_parts: true,
        reports_store: true,
        has_details: true,
    },
    is_open: true,
    logs_purchases: false,
    has_flask_durations: false,
    document: None,
};

/// What the systems written with FastAPI have in common.
const FASTAPI: Dialect = Dialect {
    errors: Errors::Detail,
    distinguishes_empty_bodies: false,
    outages: Outages {
        publish: unavailable("Service Unavailable"),
        write: unavailable("Service Unavailable"),
        ..BASE.outages
    },
    integers_are_text: false,
    ..BASE
};

/// The dialects that can be configured. Two of the replaced systems have routes under their own
/// prefixes only; elsewhere their dialect is the default one.
pub(super) static NAMED: [&Dialect; 6] = [
    &DEFAULT,
    &SCALABLE_SHOP,
    &USER_BUY_LIST,
    &Dialect {
        name: "ecommerce",
        document: Some(include_str!("../../openapi/ecommerce.json")),
        ..BASE
    },
    &PURCHASE_TRACKING,
    &Dialect {
        name: "shopping-system",
        is_open: false,
        document: Some(include_str!("../../openapi/shopping-system.json")),
        ..BASE
    },
];

pub(super) static DEFAULT: Dialect = BASE;

/// The native API.
pub(super) static V1: Dialect = Dialect {
    name: "v1",
    is_strict: true,
    ..BASE
};

pub(super) static SCALABLE_SHOP: Dialect = Dialect {
    name: "scalable-shop",
    bought: PurchaseResponse {
        code: StatusCode::OK,
        status: Some("Ok!"),
        message: "Message successfully sent to Kafka!",
        purchase_as: &[],
    },
    item: ItemForm {
        price_is_text: true,
        ..BASE.item
    },
    errors: Errors::StatusAndMessage,
    is_open: false,
    timestamps: Timestamps::LenientOrReceipt,
    listing: ListingForm {
        view: View::Owner,
        order: ListOrder::OldestFirst,
        by: Some(By::UserName),
        ..BASE.listing
    },
    ..BASE
};

pub(super) static USER_BUY_LIST: Dialect = Dialect {
    name: "user-buy-list",
    bought: PurchaseResponse {
        status: None,
        purchase_as: &["purchase"],
        ..BASE.bought
    },
    item: ItemForm {
        extras: Extras::IdAndVersion,
        ..BASE.item
    },
    refuses_falsy: true,
    distinguishes_empty_bodies: false,
    outages: Outages {
        publish: failed("Failed to process purchase"),
        write: failed("Failed to write purchase"),
        query: Some(failed("Failed to fetch purchases")),
        read: Some(failed("Failed to fetch purchases")),
    },
    timestamps: Timestamps::Ignored,
    listing: ListingForm {
        view: View::List,
        by: Some(By::UserId),
        ..BASE.listing
    },
    health: HealthForm {
        healthy: "ok",
        counts_parts: false,
        reports_store: false,
        has_details: true,
    },
    ..BASE
};

/// Of the paths `/users` and `/orders`.
pub(super) static ECOMMERCE: Dialect = Dialect {
    name: "ecommerce",
    ..FASTAPI
};

static PURCHASE_TRACKING: Dialect = Dialect {
    name: "purchase-tracking",
    bought: PurchaseResponse {
        purchase_as: &["data"],
        ..BASE.bought
    },
    item: ItemForm {
        timestamp: TimestampForm::IsoWithoutZone,
        extras: Extras::None,
        ..BASE.item
    },
    outages: Outages {
        publish: failed(BASE.outages.publish.text),
        read: Some(failed("Database error")),
        ..BASE.outages
    },
    timestamps: Timestamps::Ignored,
    listing: ListingForm {
        view: View::Summary,
        order: ListOrder::OldestFirst,
        by: Some(By::UserId),
        nothing: StatusCode::NOT_FOUND,
        ..BASE.listing
    },
    health: HealthForm {
        has_details: false,
        ..BASE.health
    },
    is_open: false,
    logs_purchases: true,
    has_flask_durations: true,
    ..BASE
};

/// Of the paths below `/api/v1`.
pub(super) static SHOPPING_SYSTEM: Dialect = Dialect {
    name: "shopping-system",
    bought: PurchaseResponse {
        code: StatusCode::ACCEPTED,
        purchase_as: &["data"],
        ..BASE.bought
    },
    item: ItemForm {
        timestamp: TimestampForm::Seconds,
        extras: Extras::None,
        ..BASE.item
    },
    outages: Outages {
        query: Some(failed("Proxy Error")),
        read: Some(failed("Internal Server Error")),
        ..FASTAPI.outages
    },
    timestamps: Timestamps::Ignored,
    listing: ListingForm {
        view: View::List,
        by: Some(By::UserId),
        cap: Some(100),
        ..BASE.listing
    },
    ..FASTAPI
};
