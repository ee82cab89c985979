//! The form of the short paths: what differs between programs whose clients use these paths.

use axum::http::StatusCode;
use shop_core::ports::ListOrder;

/// The form of the requests and the responses of the short paths. The default is
/// [`ShortPathForm::DEFAULT`].
///
/// A form for other clients names what differs from the default:
///
/// ```
/// use shop_http::toolkit::{BuyResponse, ShortPathForm};
///
/// static FORM: ShortPathForm = ShortPathForm {
///     buy_response: BuyResponse {
///         message: "Thank you",
///         ..ShortPathForm::DEFAULT.buy_response
///     },
///     ..ShortPathForm::DEFAULT
/// };
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ShortPathForm {
    /// The rules for reading a purchase.
    pub reading: ReadingRules,
    /// The response to a buy.
    pub buy_response: BuyResponse,
    /// The form of a purchase in a response.
    pub purchase: PurchaseForm,
    /// The response to a listing of one user.
    pub listing: ListingForm,
    /// Whether management lists all users' purchases at `/purchases` (default `true`). Otherwise
    /// `GET /purchases` is 404.
    pub lists_all_users: bool,
    /// Whether facing logs a line for each purchase that it published, at the level `INFO` (default
    /// `false`). The process that runs ingest does not log because of this.
    pub logs_purchases: bool,
}

impl ShortPathForm {
    /// The default form.
    pub const DEFAULT: Self = Self {
        reading: ReadingRules {
            refuses_falsy: false,
            distinguishes_empty_bodies: true,
            integers_are_text: true,
            timestamps: TimestampUse::Lenient,
        },
        buy_response: BuyResponse {
            status_code: StatusCode::CREATED,
            status: Some("success"),
            message: "Purchase recorded",
            purchase_members: &["data", "purchase"],
        },
        purchase: PurchaseForm {
            price_is_text: false,
            timestamp: TimestampForm::Iso,
            extras: ExtraMembers::Id,
        },
        listing: ListingForm {
            view: View::Everything,
            order: ListOrder::NewestFirst,
            key: None,
            empty_status: StatusCode::OK,
            default_limit: None,
        },
        lists_all_users: true,
        logs_purchases: false,
    };
}

/// The rules for reading a purchase on a short path.
#[derive(Debug, Clone, Copy)]
pub struct ReadingRules {
    /// Whether values that are falsy in JavaScript are refused (default `false`): such an id or name
    /// counts as missing, and a price must not be zero.
    pub refuses_falsy: bool,
    /// Whether an empty body is reported differently from one with missing members (default `true`).
    pub distinguishes_empty_bodies: bool,
    /// Whether an integer is accepted as an id or a name (default `true`).
    pub integers_are_text: bool,
    /// The use of the timestamp that a client sends to facing (default
    /// [`Lenient`](TimestampUse::Lenient)). On management it is always lenient.
    pub timestamps: TimestampUse,
}

/// The use of the timestamp that a client sends with a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampUse {
    /// RFC 3339 text, or a number of seconds or of milliseconds.
    Lenient,
    /// Like `Lenient`; an unreadable timestamp is replaced by the time of receipt.
    LenientOrReceipt,
    /// The timestamp is ignored.
    Ignored,
}

/// The response to a buy: a status word, a message, and the purchase as each of several members.
#[derive(Debug, Clone, Copy)]
pub struct BuyResponse {
    /// The HTTP status (default 201).
    pub status_code: StatusCode,
    /// The member `status` (default `success`), which `None` leaves out.
    pub status: Option<&'static str>,
    /// The member `message`.
    pub message: &'static str,
    /// The names of the members that contain the purchase (default `data` and `purchase`).
    pub purchase_members: &'static [&'static str],
}

/// The form of a purchase in a response.
#[derive(Debug, Clone, Copy)]
pub struct PurchaseForm {
    /// Whether the price is text, with its original scale, instead of a number (default `false`).
    pub price_is_text: bool,
    /// The form of the time (default [`Iso`](TimestampForm::Iso)).
    pub timestamp: TimestampForm,
    /// The members in a listing besides user, price and time (default [`Id`](ExtraMembers::Id)).
    pub extras: ExtraMembers,
}

/// The form of a timestamp in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampForm {
    /// ISO 8601 in UTC with milliseconds and `Z`.
    Iso,
    /// ISO 8601 in UTC with microseconds and without a zone. A zero fraction is left out.
    IsoWithoutZone,
    /// Seconds since 1970.
    Seconds,
}

/// The members of a purchase in a listing besides user, price and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtraMembers {
    /// No further members.
    None,
    /// `_id`.
    Id,
    /// `_id`, and `__v`, which is always 0.
    IdAndVersion,
}

/// The response to a listing without query parameters.
#[derive(Debug, Clone, Copy)]
pub struct ListingForm {
    /// The members around the purchases (default [`Everything`](View::Everything)).
    pub view: View,
    /// The order of the purchases (default the newest first).
    pub order: ListOrder,
    /// The meaning of the text in the path. If `None`, which is the default, the text is a user id,
    /// or a user name if no user with that id exists.
    pub key: Option<UserKey>,
    /// The status of an empty listing (default 200).
    pub empty_status: StatusCode,
    /// The maximum number of purchases without `limit`; unlimited if `None`, which is the default.
    pub default_limit: Option<u16>,
}

/// The members around the purchases of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// User id and user name, the count, the sum, and which of the two was matched.
    Everything,
    /// The requested user, the count and the sum.
    Summary,
    /// The requested user.
    Owner,
    /// The member `status` with this word, which must not need escapes in JSON.
    Status(&'static str),
    /// No members: the listing is an array.
    List,
}

impl View {
    /// Returns whether the view includes the count and the sum.
    pub(super) const fn has_summary(self) -> bool {
        matches!(self, Self::Everything | Self::Summary)
    }
}

/// The part of a user by which purchases are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserKey {
    /// The user id.
    UserId,
    /// The user name.
    UserName,
}

impl UserKey {
    /// Returns the name of the member, and of the parameter `by`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::UserId => "userid",
            Self::UserName => "username",
        }
    }
}
