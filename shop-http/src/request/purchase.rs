//! Reads purchases and refunds under `/v1`, and idempotency keys.
//!
//! `/v1` is strict: it refuses unknown members, values of other JSON types, and texts with
//! invisible characters. A price and a quantity may also be the text of a number. All errors of a
//! body are reported at once, in the order in which its members are read.
//!
//! | body | function |
//! |---|---|
//! | a purchase | [`read_purchase`] |
//! | a purchase or a refund in a batch | [`read_line`] |
//! | the refund of one purchase | [`read_refund`] |
//!
//! The purchases of short paths are read in `short_paths/reading.rs`.

use axum::http::HeaderMap;
use shop_core::domain::RefundReason;
use shop_core::json::RawScalar;
use shop_core::retention::AcceptedTimes;
use shop_core::{
    Details, IdempotencyKey, Invalid, InvalidKind, NewPurchase, Price, PurchaseId, Timestamp,
    UserId, UserName,
};

use crate::header_names::IDEMPOTENCY_KEY;
use crate::request::fields::Body;
use crate::request::strict;
use crate::response::{HttpResult, Location, MemberError, ValidationErrorKind};
use crate::service::{PurchaseService, ServiceKind};

/// The members of a purchase, in the order of error reports.
const MEMBERS: [&str; 4 + Details::MEMBERS.len()] =
    Details::columns_after(["username", "userid", "price", "timestamp"]);

/// The members of a purchase or a refund in a batch: the members of an export, and `key`.
const LINE_MEMBERS: [&str; 6 + Details::COLUMNS.len() + 1] =
    Details::columns_after(["key", "id", "username", "userid", "price", "timestamp"]);

/// The maximum number of unknown members of one line that are reported, because a batch may contain
/// millions.
const MAX_UNKNOWN_IN_LINE: usize = 8;

/// The prices under `/v1` are exact: a price with more decimals than are stored is refused, and not
/// rounded.
const IS_EXACT: bool = true;

/// The error of a value that is not an idempotency key.
const INVALID_KEY: &str = "must be one key of 1 to 255 visible ASCII characters";

/// The members of a request to refund a purchase.
pub(crate) struct RefundRequest {
    /// The amount to pay back, or `None` for the whole price.
    pub(crate) amount: Option<Price>,
    pub(crate) reason: Option<RefundReason>,
}

/// Reads the purchase in `body`, without a key.
///
/// # Errors
/// - 400 if `body` is not a JSON object, or repeats a known member
/// - 422 for unknown, missing or invalid members, with an error for each
pub(crate) fn read_purchase(body: &[u8], purchases: &PurchaseService) -> HttpResult<NewPurchase> {
    read_members(Body::parse(body, MEMBERS)?, purchases)
}

/// Reads a purchase or a refund in a batch, with the key that is a member of its `line`.
///
/// A line contains a `key`, an `id`, both if they are equal, or neither. Management stores the
/// purchase with the `id`. Facing uses an `id` as the key, and derives the id of the purchase from
/// the key. So on facing, the `id` must be a UUID from which the same id follows.
///
/// # Errors
/// 400 or 422, like [`read_purchase`]. The errors of missing members do not repeat the line.
pub(crate) fn read_line(line: &[u8], purchases: &PurchaseService) -> HttpResult<NewPurchase> {
    let mut body = Body::parse(line, LINE_MEMBERS)?;
    body.members.unknown.truncate(MAX_UNKNOWN_IN_LINE);
    // The error of a missing member would repeat this text, and the results of a batch would grow.
    body.text = b"";

    let key = body.read_nullable("key", read_key);
    let id = body.read_nullable("id", read_key);
    // `check_line_id` refuses a text that is no id where the service needs an id.
    let purchase_id: Option<PurchaseId> = id.as_ref().and_then(|id| id.as_str().parse().ok());
    if key.is_some() && id.is_some() && key != id {
        body.refuse("id", "and key must not differ: give one of them");
    }
    if id.is_some() {
        check_line_id(&mut body, purchase_id.as_ref(), purchases.kind);
    }
    if body.value("of").is_some() && !purchases.options.refunds {
        body.refuse("of", "is not accepted: refunds are off by SHOP_REFUNDS");
    }
    if purchases.kind == ServiceKind::Facing && body.value("more").is_some() {
        body.refuse(
            "more",
            "is not accepted: management keeps the members of an export",
        );
    }

    let mut purchase = read_members(body, purchases)?;
    purchase.key = key.or(id);
    purchase.id = purchase_id;
    Ok(purchase)
}

/// Adds an error to `body` if a service of this kind cannot store the line with its `id`.
/// `purchase_id` is the parsed `id`, or `None` if its text is not the id of a purchase.
fn check_line_id<const N: usize>(
    body: &mut Body<'_, N>,
    purchase_id: Option<&PurchaseId>,
    kind: ServiceKind,
) {
    let is_refund = body.value("of").is_some();
    match kind {
        // The id of a refund is derived from the id of its purchase, so a refund may give any id.
        ServiceKind::Facing if is_refund => {}
        ServiceKind::Facing => {
            if purchase_id.and_then(PurchaseId::as_key).is_none() {
                body.refuse(
                    "id",
                    "must be a UUID of version 4 or 7: management keeps other ids",
                );
            }
        }
        ServiceKind::Management => {
            if purchase_id.is_none() {
                body.refuse("id", "must be a UUID or 24 hex digits");
            }
        }
    }
}

/// Reads the amount and the reason of a refund. An empty body contains neither.
///
/// # Errors
/// 400 or 422, like [`read_purchase`].
pub(crate) fn read_refund(body: &[u8]) -> HttpResult<RefundRequest> {
    if body.trim_ascii().is_empty() {
        return Ok(RefundRequest {
            amount: None,
            reason: None,
        });
    }

    let mut body = Body::parse(body, ["amount", "reason"])?;
    let amount = body.read_nullable("amount", |value| match value.price(IS_EXACT) {
        // The text of `price_error` about a negative value is about a price, and not an amount.
        Err(invalid) if invalid.kind() == InvalidKind::Negative => Err(invalid.into()),
        result => result.map_err(price_error),
    });
    let reason = body.read_nullable("reason", strict::line);
    body.finish(Some(RefundRequest { amount, reason }))
}

/// Reads the members of a purchase or a refund from `body`, to which errors may have been added
/// already.
///
/// # Errors
/// 422 with all errors of the body.
fn read_members<const N: usize>(
    mut body: Body<'_, N>,
    purchases: &PurchaseService,
) -> HttpResult<NewPurchase> {
    // An id or a name that is null counts as missing.
    let user_name = body.read_value("username", body.value("username"), strict::line);
    let user_id = body.read_value("userid", body.value("userid"), strict::line);

    let is_refund = body.value("of").is_some();
    let price = body.read("price", |value| {
        if is_refund {
            read_refund_price(value)
        } else {
            value.price(IS_EXACT).map_err(price_error)
        }
    });

    let timestamp = body.read_nullable("timestamp", |value| {
        let time = Timestamp::from_rfc3339(&value.text().unwrap_or_default())?;
        Ok(check_time(time, purchases)?)
    });
    let details = read_details(&mut body, purchases);

    let mut purchase = body.finish(new_purchase(user_id, user_name, price))?;
    purchase.timestamp = timestamp;
    Ok(purchase.with_details(details))
}

/// Reads the optional members of a purchase or a refund.
///
/// Adds an error to `body` for each member that is not valid, and then leaves this member out of the
/// result.
fn read_details<const N: usize>(body: &mut Body<'_, N>, purchases: &PurchaseService) -> Details {
    let mut details = Details::default();
    for member in Details::COLUMNS {
        body.read_nullable(member, |value| {
            let text = Details::text_of(member, &value).ok_or_else(MemberError::no_text)?;
            strict::check_visible(&text)?;
            Ok(details.set(member, &text)?)
        });
    }
    // The member `more` of an export contains the members that this version does not know. Only the
    // lines of a batch have this member: it is unknown in other bodies, which are refused for it.
    if let Some(value) = body.value("more")
        && let Err(invalid) = details.set_unknown_members(value.as_json())
    {
        body.refuse_members("more", invalid);
    }

    if details.currency.is_some() {
        check_currency(body, &mut details, purchases);
    }
    // Only a refund has `of`, which is the id of the purchase that the refund pays back.
    let is_refund = details.of.is_some();
    if details.reason.is_some() && !is_refund {
        body.refuse("reason", "is for a refund, which has of");
    }
    details
}

/// Adds an error to `body` if the currency in `details` is not the currency of the shop.
///
/// While the currency of the shop is not known, nothing is checked here: the sink then refuses the
/// purchase.
fn check_currency<const N: usize>(
    body: &mut Body<'_, N>,
    details: &mut Details,
    purchases: &PurchaseService,
) {
    let Ok(shop_currency) = purchases.shop.shop_currency().known() else {
        return;
    };
    if let Err(problem) = details.adopt_currency(shop_currency.as_ref()) {
        body.refuse("currency", &problem);
    }
}

/// Returns a purchase with these members, or `None` if a member is missing or was refused.
pub(crate) fn new_purchase(
    user_id: Option<UserId>,
    user_name: Option<UserName>,
    price: Option<Price>,
) -> Option<NewPurchase> {
    Some(NewPurchase::new(user_id?, user_name?, price?))
}

/// Checks the time of a purchase that a client sent, and returns this time.
///
/// # Errors
/// [`Invalid`] if `time` is more than 5 minutes in the future, or older than the retention of
/// purchases.
pub(crate) fn check_time(
    time: Timestamp,
    purchases: &PurchaseService,
) -> Result<Timestamp, Invalid> {
    let now = purchases.clock.now();
    AcceptedTimes::new(now, purchases.options.purchase_retention).check(time)
}

/// Returns the error of a member that is not a valid price.
pub(crate) fn price_error(invalid: Invalid) -> MemberError {
    match invalid.kind() {
        InvalidKind::NotANumber => {
            MemberError::new(ValidationErrorKind::NoNumber, "must be a valid number")
        }
        InvalidKind::Negative => MemberError::value("cannot be negative"),
        _ => invalid.into(),
    }
}

/// Reads the price of a refund in a batch, which must be negative as in an export.
///
/// # Errors
/// The error of any other value.
fn read_refund_price(value: RawScalar<'_>) -> Result<Price, MemberError> {
    // A value of another type becomes an empty text, which is no price either.
    let text = value.text_or_json_number().unwrap_or_default();
    match Price::parse_signed(&text) {
        Ok(price) if price.is_negative() => Ok(price),
        _ => Err(MemberError::value("of a refund must be a negative number")),
    }
}

/// Reads an idempotency key that is a member of a line.
fn read_key(value: RawScalar<'_>) -> Result<IdempotencyKey, MemberError> {
    value
        .text()
        .ok_or_else(MemberError::no_text)?
        .parse()
        .map_err(|_invalid| MemberError::value(INVALID_KEY))
}

/// Returns the idempotency key of a request, or `None` without the header.
///
/// # Errors
/// 422 if the header is repeated, or its value is not a key.
pub fn idempotency_key(headers: &HeaderMap) -> HttpResult<Option<IdempotencyKey>> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_none()
        && let Ok(text) = value.to_str()
        && let Ok(key) = text.parse()
    {
        return Ok(Some(key));
    }
    Err(Location::Header("Idempotency-Key")
        .invalid(INVALID_KEY)
        .into())
}
