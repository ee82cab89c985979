//! The request to buy, validated as its dialect defines.

use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, StatusCode};
use shop_core::domain::{Currency, RefundReason};
use shop_core::json::RawScalar;
use shop_core::retention::AcceptedTimes;
use shop_core::{
    Details, ErrorKind, IdempotencyKey, Invalid, InvalidKind, NewPurchase, Price, PurchaseId,
    RequestContext, Timestamp, UserId, UserName, record,
};

use crate::compat::{Dialect, Timestamps, V1};
use crate::header_names::{IDEMPOTENCY_KEY, REQUEST_ID, TRACEPARENT};
use crate::request::fields::{Body, no_object};
use crate::request::strict;
use crate::response::validation_error::{Location, MemberError, ValidationErrorKind};
use crate::response::{HttpError, HttpResult};
use crate::service::purchases::InBatch;
use crate::service::{PurchaseService, ServiceKind};

/// JSON that counts as empty: the falsy values of the replaced systems' languages, the first four of them falsy in
/// JavaScript too, and an empty object.
const EMPTY_VALUES: [&str; 6] = ["null", "false", "0", "\"\"", "[]", "{}"];

/// The members of a purchase, in the order of error reports.
const MEMBERS: [&str; 4 + Details::MEMBERS.len()] =
    Details::columns_after(["username", "userid", "price", "timestamp"]);

/// The maximum of unknown members of one purchase of a batch that are reported: a batch has room for millions.
const MAX_UNKNOWN_IN_LINE: usize = 8;

/// The members of a purchase or a refund of a batch: those of an export, and `key`.
const LINE_MEMBERS: [&str; 6 + Details::COLUMNS.len() + 1] =
    Details::columns_after(["key", "id", "username", "userid", "price", "timestamp"]);

/// The error of a key.
const INVALID_KEY: &str = "must be one key of 1 to 255 visible ASCII characters";

/// What a client may give.
pub(crate) struct PurchaseRules<'a> {
    times: AcceptedTimes,
    /// The one that purchases have.
    currency: Option<&'a Currency>,
    /// Whether refunds are on.
    refunds: bool,
}

pub(crate) fn accepted(purchases: &PurchaseService) -> PurchaseRules<'_> {
    let options = &purchases.options;
    PurchaseRules {
        times: AcceptedTimes::new(purchases.clock.now(), options.purchase_retention),
        currency: options.currency.as_ref(),
        refunds: options.refunds,
    }
}

/// Reads the purchase in `body`.
pub(crate) fn read(
    body: &[u8],
    dialect: &Dialect,
    key: Option<IdempotencyKey>,
    purchases: &PurchaseService,
) -> HttpResult<NewPurchase> {
    if dialect.distinguishes_empty_bodies
        && EMPTY_VALUES
            .iter()
            .any(|empty| body.trim_ascii() == empty.as_bytes())
    {
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
        let user_id = body
            .members
            .get_alias(&record::USER_ID)
            .map_err(|error| no_object(body.text, &error))?;
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
    accepted: &PurchaseRules<'_>,
    kind: ServiceKind,
) -> HttpResult<InBatch> {
    let mut body = Body::parse(line, LINE_MEMBERS)?;
    body.members.unknown.truncate(MAX_UNKNOWN_IN_LINE);
    // Results of batches do not repeat the line.
    body.text = b"";
    let [key, id] = ["key", "id"].map(|member| {
        body.read_nullable(member, |value| {
            value
                .text()
                .ok_or_else(MemberError::no_text)?
                .parse::<IdempotencyKey>()
                .map_err(|_invalid| MemberError::value(INVALID_KEY))
        })
    });
    // The id of a refund is derived from that of its purchase, whatever it has.
    let is_refund = body.value("of").is_some();
    if let (Some(key), Some(id)) = (&key, &id)
        && key != id
    {
        body.refuse("id", "and key must not differ: give one of them");
    }
    let parsed: Option<PurchaseId> = id.as_ref().and_then(|id| id.as_str().parse().ok());
    match kind {
        ServiceKind::Facing
            if id.is_some() && !is_refund && parsed.and_then(|id| id.as_key()).is_none() =>
        {
            body.refuse(
                "id",
                "must be a UUID of version 4 or 7: management keeps other ids",
            );
        }
        ServiceKind::Management if id.is_some() && parsed.is_none() => {
            body.refuse("id", "must be a UUID or 24 hex digits");
        }
        _ => {}
    }
    if is_refund && !accepted.refunds {
        body.refuse("of", "is not accepted: refunds are off by SHOP_REFUNDS");
    }
    if kind == ServiceKind::Facing && body.value("more").is_some() {
        body.refuse(
            "more",
            "is not accepted: management keeps the members of an export",
        );
    }
    let user_id = body.members.get("userid");
    let mut purchase = validated(body, user_id, &V1, V1.timestamps, accepted)?;
    purchase.key = key.or(id);
    Ok((purchase, parsed))
}

/// Reads the amount and the reason of a refund, both of them optional. An empty body has neither.
pub(crate) fn read_refund(body: &[u8]) -> HttpResult<(Option<Price>, Option<RefundReason>)> {
    if body.trim_ascii().is_empty() {
        return Ok((None, None));
    }
    let mut body = Body::parse(body, ["amount", "reason"])?;
    let amount = body.read_nullable("amount", |value| match value.price(true) {
        Err(invalid) if invalid.kind() == InvalidKind::NotANumber => Err(MemberError::new(
            ValidationErrorKind::NoNumber,
            "must be a valid number",
        )),
        amount => Ok(amount?),
    });
    let reason = body.read_nullable("reason", strict::line);
    body.finish(Some((amount, reason)))
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
    accepted: &PurchaseRules<'_>,
) -> HttpResult<NewPurchase> {
    let user_name = if_given(body.members.get("username"), dialect);
    let user_name = body.read_value("username", user_name, |value| {
        word::<UserName>(value, dialect)
    });
    let user_id = if_given(user_id, dialect);
    let user_id = body.read_value("userid", user_id, |value| word::<UserId>(value, dialect));
    let is_refund = body.value("of").is_some();
    let price = body.read("price", |value| {
        if is_refund {
            amount(value)
        } else {
            price(value, dialect)
        }
    });
    let time = body.read_nullable("timestamp", |value| {
        timestamp(value, timestamps, &accepted.times)
    });
    let details = details(&mut body, accepted.currency);
    let ((user_id, user_name), price) = body.finish(user_id.zip(user_name).zip(price))?;
    let mut purchase = NewPurchase::new(user_id, user_name, price);
    purchase.timestamp = time.flatten();
    Ok(purchase.with_details(details))
}

/// The negative price of a refund.
fn amount(value: RawScalar<'_>) -> Result<Price, MemberError> {
    Price::parse_signed(&value.text().unwrap_or(value.as_json().into()))
        .ok()
        .filter(Price::is_negative)
        .ok_or_else(|| MemberError::value("Price of a refund must be a negative number"))
}

/// The details. Bodies of replaced systems have none.
fn details<const N: usize>(body: &mut Body<'_, N>, currency: Option<&Currency>) -> Details {
    let mut details = Details::default();
    for member in Details::COLUMNS {
        body.read_nullable(member, |value| {
            let text = Details::text_of(member, &value).ok_or_else(MemberError::no_text)?;
            strict::check_visible(&text)?;
            Ok(details.set(member, &text)?)
        });
    }
    // Only the lines of a batch have it.
    body.read_nullable("more", |value| {
        Ok(details.set_unknown_members(value.as_json())?)
    });
    if let Err(problem) = details.adopt_currency(currency) {
        body.refuse("currency", &problem);
    }
    if details.reason.is_some() && details.of.is_none() {
        body.refuse("reason", "is for a refund, which has of");
    }
    details
}

/// An id or a name.
fn word<T: FromStr<Err = Invalid>>(
    value: RawScalar<'_>,
    dialect: &Dialect,
) -> Result<T, MemberError> {
    if dialect.is_strict {
        return strict::line(value);
    }
    let text = if dialect.integers_are_text {
        value.text_or_integer()
    } else {
        value.text()
    };
    Ok(text.ok_or_else(MemberError::no_text)?.parse()?)
}

/// An id or a name, if it counts as given.
fn if_given<'a>(value: Option<RawScalar<'a>>, dialect: &Dialect) -> Option<RawScalar<'a>> {
    value.filter(|value| {
        if dialect.names_all_required {
            !EMPTY_VALUES[..4].contains(&value.as_json())
        } else {
            !value.is_null()
        }
    })
}

fn price(value: RawScalar<'_>, dialect: &Dialect) -> Result<Price, MemberError> {
    // Texts of the replaced systems.
    let (no_number, too_low) = if dialect.may_be_free {
        ("Price must be a valid number", "Price cannot be negative")
    } else {
        let text = "Price must be a positive number";
        (text, text)
    };
    match value.price(dialect.is_strict) {
        Ok(price) if price == Price::ZERO && !dialect.may_be_free => {
            Err(MemberError::value(too_low))
        }
        Ok(price) => Ok(price),
        Err(problem) => Err(match problem.kind() {
            InvalidKind::NotANumber => MemberError::new(ValidationErrorKind::NoNumber, no_number),
            InvalidKind::Negative => MemberError::value(too_low),
            _ => MemberError::value(format!("Price {}", problem.reason())),
        }),
    }
}

fn timestamp(
    value: RawScalar<'_>,
    timestamps: Timestamps,
    times: &AcceptedTimes,
) -> Result<Option<Timestamp>, MemberError> {
    let read = match timestamps {
        Timestamps::Ignored => return Ok(None),
        Timestamps::Strict => Timestamp::from_rfc3339(&value.text().unwrap_or_default()),
        Timestamps::Lenient | Timestamps::LenientOrReceipt => value.timestamp(),
    };
    if read.is_err() && timestamps == Timestamps::LenientOrReceipt {
        return Ok(None);
    }
    Ok(Some(times.check(read?)?))
}

/// The idempotency key of the request.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> HttpResult<Option<IdempotencyKey>> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = given.next() else {
        return Ok(None);
    };
    if given.next().is_none()
        && let Ok(key) = key.to_str()
        && let Ok(key) = unquoted(key).parse()
    {
        return Ok(Some(key));
    }
    Err(Location::Header("Idempotency-Key")
        .invalid(INVALID_KEY)
        .into())
}

/// The content of `key` if that is a string of RFC 9651, as the draft of the header has it: it is the same key.
fn unquoted(key: &str) -> &str {
    key.strip_prefix('"')
        .and_then(|key| key.strip_suffix('"'))
        .filter(|key| !key.is_empty() && !key.contains(['"', '\\']))
        .unwrap_or(key)
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
    groups.iter().map(|group| group.len()).eq([2, 32, 16, 2])
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
        && !text.starts_with("ff")
        && !groups[1..3]
            .iter()
            .any(|group| group.bytes().all(|digit| digit == b'0'))
}
