//! Values of users and orders under `/v1`: JSON's own types only.

use shop_core::json::{RawScalar, is_json_number};
use shop_core::orders::TotalPrice;
use shop_core::users::Email;
use shop_core::{Decimal, Invalid};

use crate::response::validation_error::{MemberError, ValidationErrorKind};

/// The error of a value in a path or a body that is not an integer.
pub(super) const INTEGER: &str = "must be an integer";

/// An email address, with nothing around it.
pub(super) fn email(value: RawScalar<'_>) -> Result<Email, MemberError> {
    value
        .text()
        .ok_or_else(MemberError::no_text)?
        .parse()
        .map_err(|why: Invalid| MemberError::value(format!("is not valid: {}", why.reason())))
}

/// An integer within its bounds, without a fraction or an exponent.
pub(super) fn integer<T: TryFrom<i64>>(value: RawScalar<'_>) -> Result<T, MemberError> {
    let bits = 8 * size_of::<T>();
    parsed_integer(value.as_json())
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| {
            MemberError::new(
                ValidationErrorKind::NoNumber,
                format!("{INTEGER} of {bits} bits"),
            )
        })
}

/// The quantity of an order.
pub(super) fn quantity(value: RawScalar<'_>) -> Result<i32, MemberError> {
    let quantity = integer(value)?;
    if quantity > 0 {
        Ok(quantity)
    } else {
        Err(MemberError::value("must be at least 1"))
    }
}

/// The integer in a text that is a valid JSON integer.
pub(super) fn parsed_integer(text: &str) -> Option<i64> {
    text.parse()
        .ok()
        .filter(|number: &i64| number.to_string() == text)
}

/// A price, from a number or its text. It is not negative, and not rounded.
pub(super) fn total_price(value: RawScalar<'_>) -> Result<TotalPrice, MemberError> {
    let digits = value.text_or_json_number();
    let Some(digits) = digits.filter(|digits| is_json_number(digits)) else {
        return Err(MemberError::new(
            ValidationErrorKind::NoNumber,
            "must be a decimal number",
        ));
    };
    let price: TotalPrice = digits.parse()?;
    if price.cents() < 0 {
        return Err(MemberError::value("must not be negative"));
    }
    let exact = Decimal::from_str_exact(&digits).or_else(|_| Decimal::from_scientific(&digits));
    if exact.is_ok_and(|exact| exact == Decimal::new(price.cents(), 2)) {
        Ok(price)
    } else {
        Err(MemberError::value("must not have more than 2 decimals"))
    }
}

#[cfg(test)]
mod tests {
    use shop_core::orders::Product;

    use super::*;
    use crate::request::strict::line;

    fn scalar(json: &str) -> RawScalar<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn integers_are_decimal_and_within_bounds() {
        assert_eq!(integer::<i32>(scalar("-7")).unwrap(), -7);
        assert_eq!(
            integer::<i64>(scalar("9223372036854775807")).unwrap(),
            i64::MAX
        );
        for json in ["2147483648", "1.0", "1e3", "\"1\"", "true", "null", "-0"] {
            assert!(integer::<i32>(scalar(json)).is_err(), "{json}");
        }
        for text in ["+1", "01", " 1", "", "9223372036854775808"] {
            assert_eq!(parsed_integer(text), None, "{text}");
        }
    }

    #[test]
    fn a_product_is_a_line() {
        assert!(line::<Product>(scalar(r#""tea""#)).is_ok());
        for json in [r#""""#, r#"" ""#, r#""a\u200b""#, "7"] {
            assert!(line::<Product>(scalar(json)).is_err(), "{json}");
        }
    }

    #[test]
    fn prices_are_exact() {
        for (json, cents) in [
            ("50", 5_000),
            ("\"0.50\"", 50),
            ("1e2", 10_000),
            ("1.500", 150),
            ("99999999.99", 9_999_999_999),
        ] {
            assert_eq!(total_price(scalar(json)).unwrap().cents(), cents, "{json}");
        }
        for json in [
            "-0.01",
            "0.005",
            "1e-3",
            "100000000",
            "\" 5 \"",
            "\"NaN\"",
            "\"+5\"",
            "true",
            "null",
            "[]",
        ] {
            assert!(total_price(scalar(json)).is_err(), "{json}");
        }
    }
}
