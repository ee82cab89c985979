//! The request to buy, validated as its dialect defines.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName, StatusCode};
use serde::de::IgnoredAny;
use shop_core::json::{Members, RawScalar};
use shop_core::record;
use shop_core::retention::AcceptedTimes;
use shop_core::{
    ErrorKind, IdempotencyKey, InvalidPrice, InvalidTimestamp, NewPurchase, Price, PurchaseId,
    RequestContext, Timestamp, UserId, UserName,
};

use crate::dialect::{Dialect, LowestPrice, MissingFields, Timestamps};
use crate::header_names::{IDEMPOTENCY_KEY, REQUEST_ID, TRACEPARENT};
use crate::response::HttpError;
use crate::response::validation_error::{Kind, Location, ValidationError, unknown};
use crate::service::Purchases;
use crate::service::ServiceKind;
use crate::service::batch::InBatch;

/// JSON that counts as empty: the falsy values of the replaced systems' languages, the first four of them falsy in
/// JavaScript too, and an empty object.
const EMPTY_VALUES: [&str; 6] = ["null", "false", "0", "\"\"", "[]", "{}"];

/// The members of a purchase, in the order of error reports.
const MEMBERS: [&str; 4] = ["username", "userid", "price", "timestamp"];

/// The maximum of unknown members of one purchase of a batch that are reported: a batch has room for millions.
const MAX_UNKNOWN_IN_LINE: usize = 8;

/// The members of a purchase of a batch.
const LINE_MEMBERS: [&str; 6] = ["key", "id", "username", "userid", "price", "timestamp"];

/// The error of a key.
const INVALID_KEY: &str = "must be one key of 1 to 255 visible ASCII characters";

/// The times that a client may give.
pub(crate) fn accepted_times(purchases: &Purchases) -> AcceptedTimes {
    AcceptedTimes::new(purchases.clock.now(), purchases.options.purchase_retention)
}

/// Reads the purchase in `body`. `timestamps` says how the client's timestamp is treated; it must be in `times`.
pub(crate) fn read(
    body: &[u8],
    dialect: &Dialect,
    timestamps: Timestamps,
    key: Option<IdempotencyKey>,
    times: &AcceptedTimes,
) -> Result<NewPurchase, HttpError> {
    let says_nothing = || EMPTY_VALUES.iter().any(|empty| body.trim_ascii() == empty.as_bytes());
    if dialect.distinguishes_empty_bodies && says_nothing() {
        return Err(empty_body());
    }
    let (errors, rules) = (FieldErrors::new(body), Rules { dialect, timestamps, times });
    let no_object = |error| no_object(body, &error);
    let mut purchase = if dialect.is_strict {
        let members = Members::parse(body, MEMBERS).map_err(no_object)?;
        validated(&members, members.get("userid"), errors, &rules)?
    } else {
        let members = Members::parse(body, record::MEMBERS).map_err(no_object)?;
        let user_id = members.get_alias(&record::USER_ID).map_err(no_object)?;
        if dialect.distinguishes_empty_bodies && members.is_empty() {
            return Err(empty_body());
        }
        validated(&members, user_id, errors, &rules)?
    };
    purchase.key = key;
    Ok(purchase)
}

/// Reads one purchase of a batch: its key is a member. Management keeps its `id`; elsewhere that is a key, which must be
/// an id for every user.
pub(crate) fn read_line(
    line: &[u8],
    dialect: &Dialect,
    times: &AcceptedTimes,
    kind: ServiceKind,
) -> Result<InBatch, HttpError> {
    let mut members = Members::parse(line, LINE_MEMBERS).map_err(|error| no_object(line, &error))?;
    members.unknown.truncate(MAX_UNKNOWN_IN_LINE);
    // Results of batches do not repeat the line.
    let mut errors = FieldErrors::new(b"");
    let [key, id] = ["key", "id"].map(|member| {
        let value = members.get(member).filter(|value| !value.is_null())?;
        errors.read_member(member, Some(value), |value| {
            let text = value.text().ok_or_else(|| (Kind::NoText, "must be text".to_owned()))?;
            text.parse::<IdempotencyKey>().map_err(|_invalid| (Kind::Value, INVALID_KEY.to_owned()))
        })
    });
    let mut refuse_id = |text: &str| errors.note("id", Kind::Value, text.to_owned(), String::new());
    if let (Some(key), Some(id)) = (&key, &id)
        && key != id
    {
        refuse_id("id and key must not differ: give one of them");
    }
    let parsed: Option<PurchaseId> = id.as_ref().and_then(|id| id.as_str().parse().ok());
    match kind {
        ServiceKind::Facing if id.is_some() && parsed.and_then(|id| id.as_key()).is_none() => {
            refuse_id("id must be a UUID of version 4 or 7: management keeps other ids");
        }
        ServiceKind::Management if id.is_some() && parsed.is_none() => {
            refuse_id("id must be a UUID or 24 hex digits");
        }
        _ => {}
    }
    let rules = Rules { dialect, timestamps: dialect.timestamps, times };
    let mut purchase = validated(&members, members.get("userid"), errors, &rules)?;
    purchase.key = key.or(id);
    Ok((purchase, parsed))
}

fn empty_body() -> HttpError {
    HttpError::of(StatusCode::UNPROCESSABLE_ENTITY, ErrorKind::Invalid, "Request body must be JSON")
}

/// How members are validated.
struct Rules<'a> {
    dialect: &'a Dialect,
    timestamps: Timestamps,
    times: &'a AcceptedTimes,
}

/// The purchase of `members`, without a key, unless there are `errors` already.
fn validated<const N: usize>(
    members: &Members<'_, N>,
    user_id: Option<RawScalar<'_>>,
    mut errors: FieldErrors<'_>,
    &Rules { dialect, timestamps, times }: &Rules<'_>,
) -> Result<NewPurchase, HttpError> {
    let is_given = |value: &RawScalar<'_>| counts_as_given(*value, dialect);
    let given = members.get("username").filter(is_given);
    let user_name: Option<UserName> =
        errors.read_member("username", given, |value| text(value, dialect.integers_are_text));
    let given = user_id.filter(is_given);
    let user_id: Option<UserId> =
        errors.read_member("userid", given, |value| text(value, dialect.integers_are_text));
    let price = errors.read_member("price", members.get("price"), |value| price(value, dialect));
    let time = members.get("timestamp").filter(|value| !value.is_null());
    let time = time.map(|value| {
        errors.read_member("timestamp", Some(value), |value| timestamp(value, timestamps, times))
    });
    if dialect.is_strict {
        errors.unknown(members);
    }
    let ((user_id, user_name), price) = errors.finish(user_id.zip(user_name).zip(price))?;
    let mut purchase = NewPurchase::new(user_id, user_name, price);
    purchase.timestamp = time.flatten().flatten();
    Ok(purchase)
}

/// The errors of the members of a body.
pub(super) struct FieldErrors<'a> {
    body: &'a [u8],
    errors: Vec<ValidationError>,
}

impl<'a> FieldErrors<'a> {
    pub(super) const fn new(body: &'a [u8]) -> Self {
        Self { body, errors: Vec::new() }
    }

    /// Reads a member's value; an error is noted.
    pub(super) fn read_member<'v, T>(
        &mut self,
        member: &'static str,
        value: Option<RawScalar<'v>>,
        read: impl FnOnce(RawScalar<'v>) -> Result<T, (Kind, String)>,
    ) -> Option<T> {
        let Some(value) = value else {
            let input = String::from_utf8_lossy(self.body).into_owned();
            self.note(member, Kind::Missing, String::new(), input);
            return None;
        };
        let read = read(value).map_err(|(kind, text)| {
            // The texts of a price name the member themselves, and pydantic's name none.
            let is_sentence = member == "price" || matches!(kind, Kind::Pydantic(..));
            let text = if is_sentence { text } else { format!("{member} {text}") };
            self.note(member, kind, text, value.as_json().to_owned());
        });
        read.ok()
    }

    fn note(&mut self, member: impl Into<Cow<'static, str>>, kind: Kind, text: String, input: String) {
        self.errors.push(ValidationError { location: Location::Member(member.into()), kind, text, input });
    }

    /// Returns `read` if there are no errors.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, HttpError> {
        read.filter(|_| self.errors.is_empty()).ok_or_else(|| HttpError::invalid(self.errors))
    }

    /// Notes each unknown member, once.
    pub(super) fn unknown<const N: usize>(&mut self, members: &Members<'_, N>) {
        for (position, name) in members.unknown.iter().enumerate() {
            if !members.unknown[..position].contains(name) {
                self.note(name.clone(), Kind::Unknown, unknown(name, &members.names), String::new());
            }
        }
    }
}

/// The reason why `body` is not an object, from `error`.
pub(crate) fn no_object(body: &[u8], error: &serde_json::Error) -> HttpError {
    let trimmed = body.trim_ascii();
    // Valid JSON of another type.
    let broken = serde_json::from_slice::<IgnoredAny>(body).err().filter(|_| error.is_data());
    let error = broken.as_ref().unwrap_or(error);
    let text = error.to_string();
    let of_body = |kind, text| ValidationError { location: Location::Body, kind, text, input: String::new() };
    HttpError::no_object(match (trimmed, error.is_data()) {
        (b"" | b"null", _) => of_body(Kind::Missing, text),
        // A member is repeated, or it is not UTF-8.
        ([b'{', ..], true) => of_body(Kind::Value, text),
        (_, true) => ValidationError::no_object(String::from_utf8_lossy(trimmed).into_owned(), text),
        // The body is truncated.
        (_, false) if error.is_eof() => ValidationError::no_json(body.len(), text),
        (_, false) => {
            let lines = body.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
            let byte = lines.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1);
            ValidationError::no_json(byte, text)
        }
    })
}

pub(super) fn text<T>(value: RawScalar<'_>, integers: bool) -> Result<T, (Kind, String)>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text = if integers { value.text_or_integer() } else { value.text() };
    let text = text.ok_or_else(|| (Kind::NoText, "must be text".to_owned()))?;
    text.parse().map_err(|problem: T::Err| (Kind::Value, problem.to_string()))
}

/// Whether an id or a name counts as given.
fn counts_as_given(value: RawScalar<'_>, dialect: &Dialect) -> bool {
    match dialect.missing {
        MissingFields::Listed => !value.is_null(),
        MissingFields::AllRequired => !EMPTY_VALUES[..4].contains(&value.as_json()),
    }
}

fn price(value: RawScalar<'_>, dialect: &Dialect) -> Result<Price, (Kind, String)> {
    // Texts of the replaced systems.
    let (no_number, too_low) = match dialect.lowest_price {
        LowestPrice::Zero => ("Price must be a valid number", "Price cannot be negative"),
        LowestPrice::AboveZero => ("Price must be a positive number", "Price must be a positive number"),
    };
    match value.price() {
        Ok(_) if dialect.is_strict && !is_json_number(value) => Err((Kind::NoNumber, no_number.to_owned())),
        Ok(price) if price.as_decimal().is_zero() && dialect.lowest_price == LowestPrice::AboveZero => {
            Err((Kind::Value, too_low.to_owned()))
        }
        Ok(price) => Ok(price),
        Err(InvalidPrice::NotANumber) => Err((Kind::NoNumber, no_number.to_owned())),
        Err(InvalidPrice::Negative) => Err((Kind::Value, too_low.to_owned())),
        Err(problem) => Err((Kind::Value, format!("Price {problem}"))),
    }
}

/// Whether it is a JSON number, or text that would be one: not `"+5"`, `" 5 "`, `".5"` or `"05"`.
pub(super) fn is_json_number(value: RawScalar<'_>) -> bool {
    value.is_number()
        || value.text().is_some_and(|text| {
            let number = serde_json::from_str::<RawScalar<'_>>(&text);
            number.is_ok_and(|number| number.is_number() && number.as_json() == text)
        })
}

fn timestamp(
    value: RawScalar<'_>,
    timestamps: Timestamps,
    times: &AcceptedTimes,
) -> Result<Option<Timestamp>, (Kind, String)> {
    let read = match timestamps {
        Timestamps::Ignored => return Ok(None),
        Timestamps::Strict => value.text().and_then(|text| text.parse().ok()),
        Timestamps::Lenient | Timestamps::LenientOrReceipt => value.timestamp(),
    };
    match read {
        Some(time) => times.check(time).map(Some).map_err(|error| (Kind::Value, error.to_string())),
        None if timestamps != Timestamps::LenientOrReceipt => {
            Err((Kind::Value, InvalidTimestamp.to_string()))
        }
        None => Ok(None),
    }
}

/// The idempotency key of the request.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, HttpError> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (first, second) = (given.next(), given.next());
    let Some(key) = first else { return Ok(None) };
    let key = key.to_str().ok().filter(|_| second.is_none()).and_then(|key| key.parse().ok());
    key.map(Some).ok_or_else(|| Location::Header("Idempotency-Key").invalid(INVALID_KEY).into())
}

/// The context of the request that is stored with the purchase.
pub(crate) fn context(headers: &HeaderMap) -> Option<Box<RequestContext>> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let traceparent = text(&TRACEPARENT).filter(|text| is_traceparent(text));
    let request_id = text(&REQUEST_ID);
    let context = RequestContext::new(request_id, traceparent);
    (context != RequestContext::default()).then(|| Box::new(context))
}

/// Version 00 of <https://www.w3.org/TR/trace-context/#traceparent-header>: four groups of lower-case hex digits.
fn is_traceparent(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    lengths == [2, 32, 16, 2] && groups.iter().all(|group| group.bytes().all(hex))
}
