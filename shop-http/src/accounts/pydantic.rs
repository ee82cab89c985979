//! Values as pydantic 2 reads them in its non-strict mode, and its errors, as in the replaced
//! system.

use std::borrow::Cow;
use std::str::FromStr;

use serde_json::Value;
use shop_core::json::RawScalar;
use shop_core::orders::TotalPrice;
use shop_core::users::Email;
use shop_core::{Invalid, InvalidKind};

use crate::response::validation_error::{MemberError, ValidationErrorKind};

fn error((kind, text): (&'static str, &str)) -> MemberError {
    MemberError::new(ValidationErrorKind::Pydantic(kind, None), text)
}

/// An error with the parameter `name` of its message.
fn error_with(
    kind: &'static str,
    text: String,
    name: &'static str,
    value: impl Into<Value>,
) -> MemberError {
    MemberError::new(
        ValidationErrorKind::Pydantic(kind, Some(Box::new((name, value.into())))),
        text,
    )
}

const NO_INTEGER_TEXT: (&str, &str) = (
    "int_parsing",
    "Input should be a valid integer, unable to parse string as an integer",
);
const TOO_MANY_DIGITS: (&str, &str) = (
    "int_parsing_size",
    "Unable to parse input string as an integer, exceeded maximum size",
);
const NOT_FINITE: (&str, &str) = ("finite_number", "Input should be a finite number");
const NO_DECIMAL_TEXT: (&str, &str) = ("decimal_parsing", "Input should be a valid decimal");

/// Python rejects longer integer texts.
const MAX_INTEGER_DIGITS: usize = 4_300;
/// The smallest float that exceeds a 64-bit integer.
const INTEGER_LIMIT: f64 = 9_223_372_036_854_775_808.0;
/// The maximum number of digits of a price before the decimal point.
const WHOLE_DIGITS: i64 = 8;

/// A text.
pub(crate) fn text(value: RawScalar<'_>) -> Result<Cow<'_, str>, MemberError> {
    value.text().ok_or_else(|| {
        if value.as_json().starts_with('"') {
            let text =
                "Input should be a valid string, unable to parse raw data as a unicode string";
            return error(("string_unicode", text));
        }
        error(("string_type", "Input should be a valid string"))
    })
}

/// A text of at most `most` characters.
pub(crate) fn short_text<T: FromStr>(value: RawScalar<'_>, most: usize) -> Result<T, MemberError> {
    text(value)?.parse().map_err(|_too_long| {
        let text = format!("String should have at most {most} characters");
        error_with("string_too_long", text, "max_length", most)
    })
}

/// An email address. A name before it is dropped: `Ada <ada@example.com>`.
pub(crate) fn email(value: RawScalar<'_>) -> Result<Email, MemberError> {
    let text = text(value)?;
    let trimmed = text.trim_matches([' ', '\t']);
    let in_brackets = trimmed
        .strip_suffix('>')
        .and_then(|rest| rest.split_once('<'));
    let address = in_brackets
        .filter(|(name, _)| !name.contains('@'))
        .map_or(trimmed, |(_, address)| address);
    address.parse().map_err(|why: Invalid| {
        let why = why.reason();
        let text = format!("value is not a valid email address: {why}");
        error_with("value_error", text, "reason", why)
    })
}

/// An integer, from a number without a fraction, from text, or from a boolean. One that exceeds 64
/// bits becomes the nearest that does not.
pub(crate) fn integer(value: RawScalar<'_>) -> Result<i64, MemberError> {
    match value.as_json() {
        "true" => Ok(1),
        "false" => Ok(0),
        json if value.is_number() && json.contains(['.', 'e', 'E']) => integer_of_float(value),
        json if value.is_number() => integer_of_text(json),
        json => match value.text() {
            Some(text) => integer_of_text(&text),
            None if json.starts_with('"') => Err(error(NO_INTEGER_TEXT)),
            None => Err(error(("int_type", "Input should be a valid integer"))),
        },
    }
}

/// An integer of 32 bits.
pub(crate) fn small_integer(value: RawScalar<'_>) -> Result<i32, MemberError> {
    let integer = integer(value)?;
    i32::try_from(integer).map_err(|_beyond| {
        let (kind, name, words, limit) = if integer > 0 {
            ("less_than_equal", "le", "less", i32::MAX)
        } else {
            ("greater_than_equal", "ge", "greater", i32::MIN)
        };
        let text = format!("Input should be {words} than or equal to {limit}");
        error_with(kind, text, name, limit)
    })
}

/// The same as [`integer`], from text.
pub(crate) fn integer_of_text(text: &str) -> Result<i64, MemberError> {
    let text = text.trim();
    if text.len() > MAX_INTEGER_DIGITS {
        return Err(error(TOO_MANY_DIGITS));
    }
    let behind_minus = text.strip_prefix('-');
    let number = behind_minus
        .or_else(|| text.strip_prefix('+'))
        .unwrap_or(text);
    let digits = match number.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|digit| digit == b'0') => {
            whole
        }
        Some(_) => return Err(error(NO_INTEGER_TEXT)),
        None => number,
    };
    let is_number =
        |group: &str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
    if !digits.split('_').all(is_number) {
        return Err(error(NO_INTEGER_TEXT));
    }
    let magnitude = digits
        .bytes()
        .filter(u8::is_ascii_digit)
        .fold(0_i64, |so_far, digit| {
            so_far
                .saturating_mul(10)
                .saturating_add(i64::from(digit - b'0'))
        });
    Ok(if behind_minus.is_some() {
        -magnitude
    } else {
        magnitude
    })
}

fn integer_of_float(value: RawScalar<'_>) -> Result<i64, MemberError> {
    let float = value
        .float()
        .filter(|float| float.is_finite())
        .ok_or_else(|| error(NOT_FINITE))?;
    if float.fract() != 0.0 {
        let text = "Input should be a valid integer, got a number with a fractional part";
        return Err(error(("int_from_float", text)));
    }
    if float.abs() >= INTEGER_LIMIT {
        return Err(error(TOO_MANY_DIGITS));
    }
    format!("{float:.0}")
        .parse()
        .map_err(|_no_integer| error(NO_INTEGER_TEXT))
}

/// A price, from a number or from numeric text, digit by digit: without floats.
pub(crate) fn total_price(value: RawScalar<'_>) -> Result<TotalPrice, MemberError> {
    let json = value.as_json();
    let text = match value.text() {
        Some(text) => text,
        None if value.is_number() => Cow::Borrowed(json),
        None if json.starts_with('"') => return Err(error(NO_DECIMAL_TEXT)),
        None => {
            let text = "Decimal input should be an integer, float, string or Decimal object";
            return Err(error(("decimal_type", text)));
        }
    };
    text.trim()
        .replace('_', "")
        .parse()
        .map_err(|why: Invalid| match why.kind() {
            InvalidKind::TooLarge => {
                let text =
                    "Decimal input should have no more than 8 digits before the decimal point";
                error_with(
                    "decimal_whole_digits",
                    text.to_owned(),
                    "whole_digits",
                    WHOLE_DIGITS,
                )
            }
            InvalidKind::NotFinite => error(NOT_FINITE),
            _ => error(NO_DECIMAL_TEXT),
        })
}
