//! The replaced systems: routes that translate the requests, the responses and the errors of each
//! system, and call the same functions as the native API.
//!
//! | path | system |
//! |---|---|
//! | `/v1`, also below the prefix of an ingress | none: the native API, whose errors are problems |
//! | `/api/v1` | `shopping-system` |
//! | `/api` | `user-buy-list` |
//! | `/buyList`, other paths below the prefix of an ingress | `scalable-shop` |
//! | the paths of a role | FastAPI, if the [role](crate::Role) says so, such as `ecommerce` |
//! | other paths | the one of [`HttpOptions::dialect`](crate::HttpOptions::dialect) |
//!
//! Each system is a file, which says what the system answers: [`default_paths`],
//! [`purchase_tracking`], [`scalable_shop`], [`shopping_system`] and [`user_buy_list`]. The handlers
//! in [`buying`] and [`listing`] are written once, over the forms of a [`SystemForms`], which say
//! what differs, and [`routes`] contains the paths.

mod buying;
mod default_paths;
pub(crate) mod dialect;
mod envelope;
mod errors;
mod listing;
mod purchase;
mod purchase_tracking;
mod reading;
pub(crate) mod routes;
mod scalable_shop;
mod shopping_system;
mod user_buy_list;

use std::sync::Arc;

use axum::http::StatusCode;
use shop_core::ports::ListOrder;

use self::default_paths::DEFAULT_PATHS;
use self::errors::write_error_as_fastapi;
use self::purchase_tracking::PURCHASE_TRACKING;
use self::scalable_shop::SCALABLE_SHOP;
use self::shopping_system::SHOPPING_SYSTEM;
use self::user_buy_list::USER_BUY_LIST;
use crate::compat::dialect::Dialect;
use crate::operations::health::HealthForm;
use crate::response::{ErrorWriter, HttpError};
use crate::service::{PurchaseService, Service};

/// The forms of the requests and the responses of one replaced system.
pub(crate) struct SystemForms {
    /// The rules for reading a purchase.
    reading: ReadingRules,
    /// The response to a buy.
    buy_response: BuyResponse,
    /// The form of a purchase in a response.
    purchase: PurchaseForm,
    /// The response to a listing of one user.
    listing: ListingForm,
    /// Writes the response with an error.
    write_error: ErrorWriter,
    /// The response of `/health`.
    pub(crate) health: HealthForm,
}

/// A replaced system in front of the purchases of a service: the state of its handlers.
#[derive(Clone)]
struct LegacyShop {
    /// The settings that do not concern the form.
    dialect: &'static Dialect,
    system: &'static SystemForms,
    purchases: Arc<PurchaseService>,
}

/// The rules for reading a purchase.
#[derive(Clone, Copy)]
struct ReadingRules {
    /// Whether values that are falsy in JavaScript are refused: such an id or name counts as
    /// missing, and a price must not be zero.
    refuses_falsy: bool,
    /// Whether an empty body is reported differently from one with missing members.
    distinguishes_empty_bodies: bool,
    /// Whether an integer is accepted as an id or a name.
    integers_are_text: bool,
    /// The use of the timestamp that a client sends to facing. On management it is always lenient.
    timestamps: Timestamps,
}

/// The use of the timestamp that a client sends with a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timestamps {
    /// RFC 3339 text, or a number of seconds or of milliseconds.
    Lenient,
    /// Like `Lenient`; an unreadable timestamp is replaced by the time of receipt.
    LenientOrReceipt,
    /// The timestamp is ignored.
    Ignored,
}

/// The response to a buy: a status word, a message, and the purchase as each of these members.
#[derive(Clone, Copy)]
struct BuyResponse {
    status_code: StatusCode,
    status: Option<&'static str>,
    message: &'static str,
    purchase_members: &'static [&'static str],
}

/// The form of a purchase in a response.
#[derive(Clone, Copy)]
struct PurchaseForm {
    /// Whether the price is text, with its original scale, instead of a number.
    price_is_text: bool,
    timestamp: TimestampForm,
    /// The members in a listing besides the four of every system.
    extras: ExtraMembers,
}

/// The form of a timestamp in a response.
#[derive(Clone, Copy)]
enum TimestampForm {
    /// ISO 8601 in UTC with milliseconds and `Z`.
    Iso,
    /// ISO 8601 in UTC with microseconds and without a zone. A zero fraction is left out.
    IsoWithoutZone,
    /// Seconds since 1970.
    Seconds,
}

/// The members of a purchase in a listing besides the four of every system.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ExtraMembers {
    None,
    /// `_id`.
    Id,
    /// `_id`, and `__v`, which is always 0.
    IdAndVersion,
}

/// The response to a listing without query parameters.
#[derive(Clone, Copy)]
struct ListingForm {
    view: View,
    order: ListOrder,
    /// The meaning of the text in the path. If `None`, the text is a user id, or a user name if no
    /// user with that id exists.
    key: Option<UserKey>,
    /// The status of an empty listing.
    empty_status: StatusCode,
    /// The maximum number of purchases without `limit`; unlimited if `None`.
    default_limit: Option<u16>,
}

/// The members around the purchases of a listing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    /// User id and user name, the count, the sum, and which of the two was matched.
    Everything,
    /// The requested user, the count and the sum.
    Summary,
    /// The requested user.
    Owner,
    /// `"status": "Ok!"`.
    Status,
    /// No members: the listing is an array.
    List,
}

impl View {
    /// Returns whether the view includes the count and the sum.
    const fn has_summary(self) -> bool {
        matches!(self, Self::Everything | Self::Summary)
    }
}

/// The part of a user by which purchases are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UserKey {
    UserId,
    UserName,
}

impl UserKey {
    /// Returns the name of the member, and of the parameter `by`.
    const fn name(self) -> &'static str {
        match self {
            Self::UserId => "userid",
            Self::UserName => "username",
        }
    }
}

/// Prefixes that an ingress removes.
const INGRESS_PREFIXES: [&str; 2] = ["/scalable-shop-cm-server", "/scalable-shop-cm-api"];

/// Returns the system in whose form the paths without a prefix answer.
///
/// Two of the replaced systems had routes under prefixes of their own only.
pub(crate) fn configured_system(dialect: &Dialect) -> &'static SystemForms {
    match dialect.name {
        "scalable-shop" => &SCALABLE_SHOP,
        "user-buy-list" => &USER_BUY_LIST,
        "purchase-tracking" => &PURCHASE_TRACKING,
        _ => &DEFAULT_PATHS,
    }
}

/// Returns the writer of the errors of requests for `path`.
///
/// The prefix of an ingress selects `scalable-shop`, whose ingresses used it. Behind that, the
/// first matching prefix counts, so `/api/v1` comes before `/api`. Errors for a path without a
/// prefix take the form of a role of `service`, or else of the configured system.
pub(crate) fn error_writer(mut path: &str, service: &Service) -> ErrorWriter {
    let mut system = configured_system(service.options.dialect);
    for prefix in INGRESS_PREFIXES {
        if let Some(rest) = strip_segments(path, prefix) {
            path = rest;
            system = &SCALABLE_SHOP;
            break;
        }
    }

    let prefixes: [(&str, ErrorWriter); 4] = [
        ("/v1", HttpError::problem),
        ("/api/v1", SHOPPING_SYSTEM.write_error),
        ("/api", USER_BUY_LIST.write_error),
        ("/buyList", SCALABLE_SHOP.write_error),
    ];
    for (prefix, write_error) in prefixes {
        if strip_segments(path, prefix).is_some() {
            return write_error;
        }
    }

    let mut fastapi_paths = service.roles.iter().flat_map(|role| role.fastapi_paths());
    if fastapi_paths.any(|prefix| strip_segments(path, prefix).is_some()) {
        return write_error_as_fastapi;
    }
    system.write_error
}

/// Returns the rest of `path` after `prefix`, if `prefix` is a sequence of its first segments.
fn strip_segments<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    let is_at_end = rest.is_empty() || rest.starts_with('/');
    is_at_end.then_some(rest)
}
