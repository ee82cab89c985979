//! Reads the values of users and orders under `/v1`.
//!
//! A value must have its own JSON type, and is neither trimmed nor rounded. Only a price may also be
//! sent as text.

use shop_core::json::{RawScalar, is_json_number};
use shop_core::{Decimal, Invalid};
use shop_http::toolkit::{MemberError, ValidationErrorKind};

use crate::orders::TotalPrice;
use crate::users::Email;

/// The text of the error of a value in a path or a body that is not an integer.
pub(super) const INTEGER: &str = "must be an integer";

/// Reads an email address, without a name or white space around it.
///
/// # Errors
/// - The value is not text
/// - The text is not an email address
pub(super) fn email(value: RawScalar<'_>) -> Result<Email, MemberError> {
    let text = value.text().ok_or_else(MemberError::no_text)?;
    text.parse().map_err(|invalid: Invalid| {
        MemberError::value(format!("is not valid: {}", invalid.reason()))
    })
}

/// Reads an integer without a fraction or an exponent.
///
/// # Errors
/// The value is not such an integer, or exceeds the bounds of `T`.
pub(super) fn integer<T: TryFrom<i64>>(value: RawScalar<'_>) -> Result<T, MemberError> {
    let integer = parse_integer(value.as_json()).and_then(|integer| T::try_from(integer).ok());
    integer.ok_or_else(|| {
        let bits = 8 * size_of::<T>();
        let text = format!("{INTEGER} of {bits} bits");
        MemberError::new(ValidationErrorKind::NoNumber, text)
    })
}

/// Reads the quantity of an order.
///
/// # Errors
/// - The quantity is less than 1
/// - The errors of [`integer`]
pub(super) fn quantity(value: RawScalar<'_>) -> Result<i32, MemberError> {
    let quantity = integer(value)?;
    if quantity < 1 {
        return Err(MemberError::value("must be at least 1"));
    }
    Ok(quantity)
}

/// Parses `text` as an integer. Returns `None` if the text is not a JSON integer of 64 bits.
pub(super) fn parse_integer(text: &str) -> Option<i64> {
    // Rust also parses `+1`, `01` and `-0`, which are not the usual text of their integer.
    text.parse()
        .ok()
        .filter(|integer: &i64| integer.to_string() == text)
}

/// Reads a price from a number or from the text of a number, exactly.
///
/// # Errors
/// - The value is not a decimal number
/// - The price is too large
/// - The price is negative
/// - The price contains more than two decimals other than zeros
pub(super) fn total_price(value: RawScalar<'_>) -> Result<TotalPrice, MemberError> {
    let text = value.text_or_json_number();
    let Some(digits) = text.filter(|text| is_json_number(text)) else {
        return Err(MemberError::new(
            ValidationErrorKind::NoNumber,
            "must be a decimal number",
        ));
    };

    let price: TotalPrice = digits.parse()?;
    if price.cents() < 0 {
        return Err(MemberError::value("must not be negative"));
    }

    // Parsing a price rounds it, so the price is compared with the unrounded number.
    let unrounded = Decimal::from_str_exact(&digits).or_else(|_| Decimal::from_scientific(&digits));
    if unrounded != Ok(Decimal::new(price.cents(), 2)) {
        return Err(MemberError::value("must not have more than 2 decimals"));
    }
    Ok(price)
}
