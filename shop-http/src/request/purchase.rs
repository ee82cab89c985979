//! The request to buy, validated as its dialect defines.

use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, StatusCode};
use shop_core::domain::{Currency, RefundReason};
use shop_core::json::RawScalar;
use shop_core::record;
use shop_core::retention::AcceptedTimes;
use shop_core::{
    Details, ErrorKind, IdempotencyKey, Invalid, InvalidKind, NewPurchase, Price, PurchaseId,
    RequestContext, Timestamp, UserId, UserName,
};

use crate::compat::{Dialect, Timestamps, V1};
use crate::header_names::{IDEMPOTENCY_KEY, REQUEST_ID, TRACEPARENT};
use crate::request::fields::{Body, no_object};
use crate::request::strict;
use crate::response::validation_error::{Kind, Location};
use crate::response::{HttpError, HttpResult};
use crate::service::purchases::InBatch;
use crate::service::{Purchases, ServiceKind};

/// JSON that counts as empty: the falsy values of the replaced systems' languages, the first four of them falsy in
/// JavaScript too, and an empty object.
const EMPTY_VALUES: [&str; 6] = ["null", "false", "0", "\"\"", "[]", "{}"];

/// The members of a purchase, in the order of error reports.
const MEMBERS: [&str; 4 + Details::MEMBERS.len()] =
    Details::after(["username", "userid", "price", "timestamp"]);

/// The maximum of unknown members of one purchase of a batch that are reported: a batch has room for millions.
const MAX_UNKNOWN_IN_LINE: usize = 8;

/// The members of a purchase or a refund of a batch: those of an export, and `key`.
const LINE_MEMBERS: [&str; 6 + Details::COLUMNS.len() + 1] =
    Details::after(["key", "id", "username", "userid", "price", "timestamp"]);

/// The error of a key.
const INVALID_KEY: &str = "must be one key of 1 to 255 visible ASCII characters";

/// What a client may give.
pub(crate) struct Accepted<'a> {
    times: AcceptedTimes,
    /// The one that purchases have.
    currency: Option<&'a Currency>,
    /// Whether refunds are on.
    refunds: bool,
}

pub(crate) fn accepted(purchases: &Purchases) -> Accepted<'_> {
    let options = &purchases.options;
    let times = AcceptedTimes::new(purchases.clock.now(), options.purchase_retention);
    Accepted {
        times,
        currency: options.currency.as_ref(),
        refunds: options.refunds,
    }
}

/// Reads the purchase in `body`.
pub(crate) fn read(
    body: &[u8],
    dialect: &Dialect,
    key: Option<IdempotencyKey>,
    purchases: &Purchases,
) -> HttpResult<NewPurchase> {
    let says_nothing = || {
        EMPTY_VALUES
            .iter()
            .any(|empty| body.trim_ascii() == empty.as_bytes())
    };
    if dialect.distinguishes_empty_bodies && says_nothing() {
        return Err(empty_body());
    }
    // Past the log, the client's timestamp counts in every dialect of a replaced system.
    let timestamps = match purchases.kind {
        ServiceKind::Management if !dialect.is_strict => Timestamps::Lenient,
        _ => dialect.timestamps,
    };
    let accepted = &accepted(purchases);
    let mut purchase = if dialect.is_strict {
        let body = Body::parse(body, MEMBERS)?;
        let user_id = body.members.get("userid");
        validated(body, user_id, dialect, timestamps, accepted)?
    } else {
        let mut body = Body::parse(body, record::MEMBERS)?;
        let user_id = body.members.get_alias(&record::USER_ID);
        let user_id = user_id.map_err(|error| no_object(body.text, &error))?;
        if dialect.distinguishes_empty_bodies && body.members.is_empty() {
            return Err(empty_body());
        }
        body.members.unknown.clear();
        validated(body, user_id, dialect, timestamps, accepted)?
    };
    purchase.key = key;
    Ok(purchase)
}

/// Reads one purchase of a batch: its key is a member. Management keeps its `id`; elsewhere that is a key, which must be
/// an id for every user.
pub(crate) fn read_line(
    line: &[u8],
    accepted: &Accepted<'_>,
    kind: ServiceKind,
) -> HttpResult<InBatch> {
    let mut body = Body::parse(line, LINE_MEMBERS)?;
    body.members.unknown.truncate(MAX_UNKNOWN_IN_LINE);
    // Results of batches do not repeat the line.
    body.text = b"";
    let [key, id] = ["key", "id"].map(|member| {
        let value = body.members.get(member).filter(|value| !value.is_null())?;
        body.read_value(member, Some(value), |value| {
            let text = value
                .text()
                .ok_or_else(|| (Kind::NoText, "must be text".to_owned()))?;
            text.parse::<IdempotencyKey>()
                .map_err(|_invalid| (Kind::Value, INVALID_KEY.to_owned()))
        })
    });
    // The id of a refund is derived from that of its purchase, whatever it has.
    let is_refund = has_value(&body, "of");
    let mut refuse_id = |text: &str| body.note("id", Kind::Value, text.to_owned(), String::new());
    if let (Some(key), Some(id)) = (&key, &id)
        && key != id
    {
        refuse_id("id and key must not differ: give one of them");
    }
    let parsed: Option<PurchaseId> = id.as_ref().and_then(|id| id.as_str().parse().ok());
    match kind {
        ServiceKind::Facing
            if id.is_some() && !is_refund && parsed.and_then(|id| id.as_key()).is_none() =>
        {
            refuse_id("id must be a UUID of version 4 or 7: management keeps other ids");
        }
        ServiceKind::Management if id.is_some() && parsed.is_none() => {
            refuse_id("id must be a UUID or 24 hex digits");
        }
        _ => {}
    }
    if is_refund && !accepted.refunds {
        let text = "of is not accepted: refunds are off by SHOP_REFUNDS";
        body.note("of", Kind::Value, text.to_owned(), String::new());
    }
    if kind == ServiceKind::Facing && has_value(&body, "more") {
        let text = "more is not accepted: management keeps the members of an export";
        body.note("more", Kind::Value, text.to_owned(), String::new());
    }
    let user_id = body.members.get("userid");
    let mut purchase = validated(body, user_id, &V1, V1.timestamps, accepted)?;
    purchase.key = key.or(id);
    Ok((purchase, parsed))
}

/// Returns whether `body` has a value for `member`.
fn has_value<const N: usize>(body: &Body<'_, N>, member: &str) -> bool {
    body.members
        .get(member)
        .is_some_and(|value| !value.is_null())
}

/// Reads the amount and the reason of a refund, both of them optional. An empty body has neither.
pub(crate) fn read_refund(body: &[u8]) -> HttpResult<(Option<Price>, Option<RefundReason>)> {
    if body.trim_ascii().is_empty() {
        return Ok((None, None));
    }
    let mut body = Body::parse(body, ["amount", "reason"])?;
    let [amount, reason] = ["amount", "reason"]
        .map(|member| body.members.get(member).filter(|value| !value.is_null()));
    let amount = amount.map(|value| {
        body.read_value("amount", Some(value), |value| match value.price(true) {
            Err(invalid) if invalid.kind() == InvalidKind::NotANumber => {
                Err((Kind::NoNumber, "must be a valid number".to_owned()))
            }
            amount => amount.map_err(|invalid| (Kind::Value, invalid.reason().to_owned())),
        })
    });
    let reason = reason.map(|value| body.read_value("reason", Some(value), strict::line));
    body.finish(Some((amount.flatten(), reason.flatten())))
}

fn empty_body() -> HttpError {
    HttpError::of(
        StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Invalid,
        "Request body must be JSON",
    )
}

/// The purchase in `body`, without a key, unless it has errors already. `timestamps` says how the client's timestamp is
/// treated.
fn validated<const N: usize>(
    mut body: Body<'_, N>,
    user_id: Option<RawScalar<'_>>,
    dialect: &Dialect,
    timestamps: Timestamps,
    accepted: &Accepted<'_>,
) -> HttpResult<NewPurchase> {
    let is_given = |value: &RawScalar<'_>| counts_as_given(*value, dialect);
    let user_name = body.members.get("username").filter(is_given);
    let user_name = body.read_value("username", user_name, |value| {
        word::<UserName>(value, dialect)
    });
    let user_id = user_id.filter(is_given);
    let user_id = body.read_value("userid", user_id, |value| word::<UserId>(value, dialect));
    let is_refund = has_value(&body, "of");
    let price = body.read("price", |value| {
        if is_refund {
            amount(value)
        } else {
            price(value, dialect)
        }
    });
    let time = body
        .members
        .get("timestamp")
        .filter(|value| !value.is_null());
    let time = time.map(|value| {
        body.read_value("timestamp", Some(value), |value| {
            timestamp(value, timestamps, &accepted.times)
        })
    });
    let details = details(&mut body, accepted.currency);
    let ((user_id, user_name), price) = body.finish(user_id.zip(user_name).zip(price))?;
    let mut purchase = NewPurchase::new(user_id, user_name, price);
    purchase.timestamp = time.flatten().flatten();
    Ok(purchase.with_details(details))
}

/// The negative price of a refund.
fn amount(value: RawScalar<'_>) -> Result<Price, (Kind, String)> {
    let text = value.text().unwrap_or(value.as_json().into());
    let amount = Price::signed(&text).ok().filter(Price::is_negative);
    amount.ok_or_else(|| {
        (
            Kind::Value,
            "Price of a refund must be a negative number".to_owned(),
        )
    })
}

/// The details. Bodies of replaced systems have none.
fn details<const N: usize>(body: &mut Body<'_, N>, currency: Option<&Currency>) -> Details {
    let mut details = Details::default();
    for member in Details::COLUMNS {
        let Some(value) = body.members.get(member).filter(|value| !value.is_null()) else {
            continue;
        };
        body.read_value(member, Some(value), |value| {
            let text = Details::text_of(member, &value);
            let text = text.ok_or_else(|| (Kind::NoText, "must be text".to_owned()))?;
            strict::check_visible(&text)?;
            details
                .set(member, &text)
                .map_err(|invalid| (Kind::Value, invalid.reason().to_owned()))
        });
    }
    // Only the lines of a batch have it.
    if let Some(more) = body.members.get("more").filter(|value| !value.is_null()) {
        body.read_value("more", Some(more), |value| {
            details
                .set_more(value.as_json())
                .map_err(|invalid| (Kind::Value, invalid.reason().to_owned()))
        });
    }
    if let Err(reason) = details.adopt_currency(currency) {
        body.note(
            "currency",
            Kind::Value,
            format!("currency {reason}"),
            String::new(),
        );
    }
    if details.reason.is_some() && details.of.is_none() {
        body.note(
            "reason",
            Kind::Value,
            "reason is for a refund, which has of".to_owned(),
            String::new(),
        );
    }
    details
}

/// An id or a name.
fn word<T: FromStr<Err: Into<Invalid>>>(
    value: RawScalar<'_>,
    dialect: &Dialect,
) -> Result<T, (Kind, String)> {
    if dialect.is_strict {
        strict::line(value)
    } else {
        text(value, dialect.integers_are_text)
    }
}

pub(crate) fn text<T: FromStr<Err: Into<Invalid>>>(
    value: RawScalar<'_>,
    integers: bool,
) -> Result<T, (Kind, String)> {
    let text = if integers {
        value.text_or_integer()
    } else {
        value.text()
    };
    let text = text.ok_or_else(|| (Kind::NoText, "must be text".to_owned()))?;
    text.parse()
        .map_err(|problem: T::Err| (Kind::Value, problem.into().reason().to_owned()))
}

/// Whether an id or a name counts as given.
fn counts_as_given(value: RawScalar<'_>, dialect: &Dialect) -> bool {
    if dialect.names_all_required {
        !EMPTY_VALUES[..4].contains(&value.as_json())
    } else {
        !value.is_null()
    }
}

fn price(value: RawScalar<'_>, dialect: &Dialect) -> Result<Price, (Kind, String)> {
    // Texts of the replaced systems.
    let (no_number, too_low) = match dialect.may_be_free {
        true => ("Price must be a valid number", "Price cannot be negative"),
        false => (
            "Price must be a positive number",
            "Price must be a positive number",
        ),
    };
    match value.price(dialect.is_strict) {
        Ok(price) if price.as_decimal().is_zero() && !dialect.may_be_free => {
            Err((Kind::Value, too_low.to_owned()))
        }
        Ok(price) => Ok(price),
        Err(problem) => Err(match problem.kind() {
            InvalidKind::NotANumber => (Kind::NoNumber, no_number.to_owned()),
            InvalidKind::Negative => (Kind::Value, too_low.to_owned()),
            _ => (Kind::Value, format!("Price {}", problem.reason())),
        }),
    }
}

fn timestamp(
    value: RawScalar<'_>,
    timestamps: Timestamps,
    times: &AcceptedTimes,
) -> Result<Option<Timestamp>, (Kind, String)> {
    let read = match timestamps {
        Timestamps::Ignored => return Ok(None),
        Timestamps::Strict => Timestamp::from_rfc3339(&value.text().unwrap_or_default()),
        Timestamps::Lenient | Timestamps::LenientOrReceipt => value.timestamp(),
    };
    if read.is_err() && timestamps == Timestamps::LenientOrReceipt {
        return Ok(None);
    }
    let accepted = read.and_then(|time| times.check(time));
    accepted
        .map(Some)
        .map_err(|error| (Kind::Value, error.reason().to_owned()))
}

/// The idempotency key of the request.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> HttpResult<Option<IdempotencyKey>> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (first, second) = (given.next(), given.next());
    let Some(key) = first else { return Ok(None) };
    // A string of RFC 9651, as the draft of the header has it, is the same key as its content.
    let content = |key: &'_ str| -> Option<IdempotencyKey> {
        let quoted = key.strip_prefix('"').and_then(|key| key.strip_suffix('"'));
        quoted
            .filter(|key| !key.is_empty() && !key.contains(['"', '\\']))
            .unwrap_or(key)
            .parse()
            .ok()
    };
    let key = key
        .to_str()
        .ok()
        .filter(|_| second.is_none())
        .and_then(content);
    key.map(Some).ok_or_else(|| {
        Location::Header("Idempotency-Key")
            .invalid(INVALID_KEY)
            .into()
    })
}

/// The context of the request that is stored with the purchase.
pub(crate) fn context(headers: &HeaderMap) -> Option<Box<RequestContext>> {
    let text = |name: &HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let traceparent = text(&TRACEPARENT).filter(|text| is_traceparent(text));
    let context = RequestContext::new(text(&REQUEST_ID), traceparent);
    (context != RequestContext::default()).then(|| Box::new(context))
}

/// By <https://www.w3.org/TR/trace-context/#traceparent-header>: four groups of lower-case hex digits, of which the ids are
/// not zero, and the version is not ff.
fn is_traceparent(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let is_known = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    let is_zero = |group: &&str| group.bytes().all(|digit| digit == b'0');
    let has_form =
        groups.iter().map(|group| group.len()).eq([2, 32, 16, 2]) && text.bytes().all(is_known);
    has_form && !text.starts_with("ff") && !groups[1..3].iter().any(is_zero)
}
