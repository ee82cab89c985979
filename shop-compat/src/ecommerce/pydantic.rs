//! Reads values as pydantic 2 does in its non-strict mode, and reports its errors.
//!
//! The replaced system for users and orders was built on pydantic. Its paths accept the same values
//! as before, such as numbers in text, and refuse others with the same types of errors and the same
//! messages.

use std::borrow::Cow;
use std::str::FromStr;

use serde_json::Value;
use shop_accounts::orders::TotalPrice;
use shop_accounts::users::Email;
use shop_core::json::RawScalar;
use shop_core::{Invalid, InvalidKind};
use shop_http::toolkit::{MemberError, ValidationErrorKind};

/// The maximum length of a text that Python parses as an integer.
const MAX_INTEGER_DIGITS: usize = 4_300;
/// The smallest float that exceeds a 64-bit integer.
const INTEGER_LIMIT: f64 = 9_223_372_036_854_775_808.0;
/// The maximum number of digits of a price before the decimal point.
const MAX_WHOLE_DIGITS: i64 = 8;

/// Creates an error with a type of pydantic's list, and a message without a parameter.
fn error(error_type: &'static str, message: &str) -> MemberError {
    let no_parameter = None;
    MemberError::new(
        ValidationErrorKind::Custom(error_type, no_parameter),
        message,
    )
}

/// Creates an error whose message contains the `value` of a parameter, such as a maximum length.
/// The error also contains the parameter by its `name`.
fn error_with_parameter(
    error_type: &'static str,
    message: String,
    name: &'static str,
    value: impl Into<Value>,
) -> MemberError {
    let parameter = Box::new((name, value.into()));
    MemberError::new(
        ValidationErrorKind::Custom(error_type, Some(parameter)),
        message,
    )
}

/// Creates the error of a text that is not an integer.
fn no_integer_text() -> MemberError {
    error(
        "int_parsing",
        "Input should be a valid integer, unable to parse string as an integer",
    )
}

/// Creates the error of an integer with too many digits.
fn too_many_digits() -> MemberError {
    error(
        "int_parsing_size",
        "Unable to parse input string as an integer, exceeded maximum size",
    )
}

/// Creates the error of a number that is an infinity or NaN.
fn not_finite() -> MemberError {
    error("finite_number", "Input should be a finite number")
}

/// Creates the error of a text that is not a decimal number.
fn no_decimal_text() -> MemberError {
    error("decimal_parsing", "Input should be a valid decimal")
}

/// Returns whether the JSON of `value` is a string, even if its escapes are not valid Unicode.
fn is_string(value: RawScalar<'_>) -> bool {
    value.as_json().starts_with('"')
}

/// Reads a text.
///
/// # Errors
/// - `string_unicode` if the value is a string whose escapes are not valid Unicode
/// - `string_type` if the value is not a string
fn text(value: RawScalar<'_>) -> Result<Cow<'_, str>, MemberError> {
    if let Some(text) = value.text() {
        return Ok(text);
    }
    if is_string(value) {
        return Err(error(
            "string_unicode",
            "Input should be a valid string, unable to parse raw data as a unicode string",
        ));
    }
    Err(error("string_type", "Input should be a valid string"))
}

/// Reads a text and parses it as `T`, whose maximum length is `max_chars` characters.
///
/// # Errors
/// - `string_too_long` if the text is longer
/// - The errors of [`text`]
pub(super) fn short_text<T: FromStr>(
    value: RawScalar<'_>,
    max_chars: usize,
) -> Result<T, MemberError> {
    text(value)?.parse().map_err(|_too_long| {
        let message = format!("String should have at most {max_chars} characters");
        error_with_parameter("string_too_long", message, "max_length", max_chars)
    })
}

/// Reads an email address.
///
/// A name before the address is dropped, as in `Ada <ada@example.com>`.
///
/// # Errors
/// - `value_error` if the address is not valid
/// - The errors of [`text`]
pub(super) fn email(value: RawScalar<'_>) -> Result<Email, MemberError> {
    let mailbox = text(value)?;

    let mut address = mailbox.trim_matches([' ', '\t']);
    if let Some(without_bracket) = address.strip_suffix('>')
        && let Some((name, bracketed_address)) = without_bracket.split_once('<')
        && !name.contains('@')
    {
        address = bracketed_address;
    }

    address.parse().map_err(|invalid: Invalid| {
        let reason = invalid.reason();
        let message = format!("value is not a valid email address: {reason}");
        error_with_parameter("value_error", message, "reason", reason)
    })
}

/// Reads an integer from a number without a fraction, from text, or from a boolean.
///
/// An integer that exceeds 64 bits is clamped, unless the number contains a fraction or an
/// exponent.
///
/// # Errors
/// - `int_type` if the value is of another type
/// - `finite_number`, `int_from_float` or `int_parsing_size` if a number with a fraction or an
///   exponent is not finite, is not whole, or exceeds 64 bits
/// - The errors of [`integer_of_text`]
pub(super) fn integer(value: RawScalar<'_>) -> Result<i64, MemberError> {
    let json = value.as_json();
    if value.is_number() {
        if json.contains(['.', 'e', 'E']) {
            return integer_of_float(value);
        }
        return integer_of_text(json);
    }
    if let Some(text) = value.text() {
        return integer_of_text(&text);
    }

    match json {
        "true" => Ok(1),
        "false" => Ok(0),
        _ if is_string(value) => Err(no_integer_text()),
        _ => Err(error("int_type", "Input should be a valid integer")),
    }
}

/// Reads an integer of 32 bits.
///
/// # Errors
/// - `less_than_equal` or `greater_than_equal` if the integer exceeds 32 bits
/// - The errors of [`integer`]
pub(super) fn small_integer(value: RawScalar<'_>) -> Result<i32, MemberError> {
    let integer = integer(value)?;
    i32::try_from(integer).map_err(|_out_of_range| {
        if integer > 0 {
            let message = format!("Input should be less than or equal to {}", i32::MAX);
            error_with_parameter("less_than_equal", message, "le", i32::MAX)
        } else {
            let message = format!("Input should be greater than or equal to {}", i32::MIN);
            error_with_parameter("greater_than_equal", message, "ge", i32::MIN)
        }
    })
}

/// Reads an integer from text: with an optional sign, with underscores between digits, and with
/// zeros as decimals, as in `+1_000.00`.
///
/// An integer that exceeds 64 bits is clamped.
///
/// # Errors
/// - `int_parsing_size` if the text is too long
/// - `int_parsing` if the text is not an integer
pub(super) fn integer_of_text(text: &str) -> Result<i64, MemberError> {
    let text = text.trim();
    if text.len() > MAX_INTEGER_DIGITS {
        return Err(too_many_digits());
    }

    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let has_zero_decimals = !decimals.is_empty() && decimals.bytes().all(|digit| digit == b'0');
    if !has_zero_decimals || !whole.split('_').all(is_digit_group) {
        return Err(no_integer_text());
    }

    // The text is digits only here, so the only error is that the integer exceeds 64 bits.
    let digits = whole.replace('_', "");
    let magnitude: i64 = digits.parse().unwrap_or(i64::MAX);
    Ok(if text.starts_with('-') {
        -magnitude
    } else {
        magnitude
    })
}

/// Returns whether `group` consists of one or more digits.
fn is_digit_group(group: &str) -> bool {
    !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads an integer from a number with a fraction or an exponent, which Python reads as a float.
///
/// # Errors
/// - `finite_number` if the number is not finite
/// - `int_from_float` if the number is not whole
/// - `int_parsing_size` if the number exceeds 64 bits
fn integer_of_float(value: RawScalar<'_>) -> Result<i64, MemberError> {
    let float = value
        .float()
        .filter(|float| float.is_finite())
        .ok_or_else(not_finite)?;
    if float.fract() != 0.0 {
        return Err(error(
            "int_from_float",
            "Input should be a valid integer, got a number with a fractional part",
        ));
    }
    if float.abs() >= INTEGER_LIMIT {
        return Err(too_many_digits());
    }

    // The text of a whole float below the limit is an exact integer. A cast could truncate.
    format!("{float:.0}")
        .parse()
        .map_err(|_no_integer| no_integer_text())
}

/// Reads a price from a number or from numeric text.
///
/// The price is parsed from its digits, because a float would round it.
///
/// # Errors
/// - `decimal_type` if the value is neither a number nor a string
/// - `decimal_parsing` if the text is not a decimal number
/// - `finite_number` if the text is an infinity or NaN
/// - `decimal_whole_digits` if the price contains too many digits before the decimal point
pub(super) fn total_price(value: RawScalar<'_>) -> Result<TotalPrice, MemberError> {
    let Some(text) = value.text_or_json_number() else {
        if is_string(value) {
            return Err(no_decimal_text());
        }
        return Err(error(
            "decimal_type",
            "Decimal input should be an integer, float, string or Decimal object",
        ));
    };

    let digits = text.trim().replace('_', "");
    digits
        .parse()
        .map_err(|invalid: Invalid| match invalid.kind() {
            InvalidKind::TooLarge => error_with_parameter(
                "decimal_whole_digits",
                format!(
                    "Decimal input should have no more than {MAX_WHOLE_DIGITS} digits before the \
                     decimal point"
                ),
                "whole_digits",
                MAX_WHOLE_DIGITS,
            ),
            InvalidKind::NotFinite => not_finite(),
            _ => no_decimal_text(),
        })
}
