//! The total price of an order.

use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};
use shop_core::{Invalid, InvalidKind, format_as};

/// The maximum number of digits before the decimal point.
const MAX_WHOLE_DIGITS: i64 = 8;

/// The total price of an order: an exact decimal with two digits after the point, and an absolute
/// value below 10^8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TotalPrice(Decimal);

format_as!(TotalPrice: |this| Display = Display(this.0));

/// Returns the error of a value that is not a [`TotalPrice`].
const fn invalid(kind: InvalidKind) -> Invalid {
    let reason = match kind {
        InvalidKind::NotFinite => "must be finite",
        InvalidKind::TooLarge => "must have no more than 8 digits before the decimal point",
        _ => "must be a decimal number",
    };
    Invalid::new(kind, "the total price", reason)
}

impl TotalPrice {
    /// The exclusive bound of the absolute value.
    const LIMIT: Decimal = Decimal::from_parts(100_000_000, 0, 0, false, 0);

    /// Converts an exact decimal. Digits after the second decimal are rounded half away from zero,
    /// as in PostgreSQL.
    ///
    /// # Errors
    /// [`Invalid`] for more than 8 digits before the decimal point.
    pub fn new(decimal: Decimal) -> Result<Self, Invalid> {
        let mut rounded = decimal.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
        if rounded.abs() >= Self::LIMIT {
            return Err(invalid(InvalidKind::TooLarge));
        }
        rounded.rescale(2);
        if rounded.is_zero() {
            // A zero without a sign, because `-0.00` would be another text of the same price.
            rounded = Decimal::new(0, 2);
        }
        Ok(Self(rounded))
    }

    /// Returns the value in hundredths.
    #[must_use]
    pub fn cents(self) -> i64 {
        // The value always fits, because it is less than 10^10.
        i64::try_from(self.0.mantissa()).unwrap_or_default()
    }

    /// Creates a total price from its value in hundredths.
    ///
    /// # Errors
    /// [`Invalid`] for more than 8 digits before the decimal point.
    pub(crate) fn from_cents(cents: i64) -> Result<Self, Invalid> {
        Self::new(Decimal::new(cents, 2))
    }
}

shop_core::try_from_text!(TotalPrice);

impl FromStr for TotalPrice {
    type Err = Invalid;

    /// Parses a decimal number, with or without an exponent. Digits after the second decimal are
    /// rounded as by [`new`](Self::new).
    ///
    /// The number is rounded once, from its text. A [`Decimal`] would be rounded to its precision
    /// first, and rounding twice may lead to another result.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let number = text.strip_prefix(['-', '+']).unwrap_or(text);
        if is_infinity_or_nan(number) {
            return Err(invalid(InvalidKind::NotFinite));
        }
        let cents = parse_hundredths(number)?;
        Self::from_cents(if text.starts_with('-') { -cents } else { cents })
    }
}

/// Parses an unsigned decimal number, with or without an exponent, and returns it in hundredths,
/// rounded half up.
fn parse_hundredths(text: &str) -> Result<i64, Invalid> {
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent
        .parse()
        .map_err(|_no_integer| invalid(InvalidKind::NotANumber))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !are_digits(&digits) {
        return Err(invalid(InvalidKind::NotANumber));
    }

    let significant = digits.trim_start_matches('0');
    let leading_zeros = digits.len() - significant.len();
    let to_i64 = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    // The number of significant digits before the decimal point. A negative value is the number of
    // zeros between the point and the first significant digit. With more than two of these zeros,
    // the number rounds to zero.
    let whole_digits = (to_i64(whole.len()) - to_i64(leading_zeros)).saturating_add(exponent);
    if significant.is_empty() || whole_digits < -2 {
        return Ok(0);
    }
    if whole_digits > MAX_WHOLE_DIGITS {
        return Err(invalid(InvalidKind::TooLarge));
    }

    // `whole_digits` is at least -2 here.
    let cent_digits = usize::try_from(whole_digits + 2).unwrap_or_default();
    let padded = format!("{significant:0<cent_digits$}");
    let (cents, dropped_digits) = padded.split_at(cent_digits);
    let rounds_up = dropped_digits.starts_with(['5', '6', '7', '8', '9']);
    // `cents` is empty if the number is less than a cent.
    Ok(cents.parse().unwrap_or(0) + i64::from(rounds_up))
}

/// Returns whether `text` means an infinity or NaN, such as `inf`, `nan` or `snan`.
fn is_infinity_or_nan(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let after_nan = lower
        .strip_prefix('s')
        .unwrap_or(&lower)
        .strip_prefix("nan");
    matches!(&*lower, "inf" | "infinity") || after_nan.is_some_and(are_digits)
}

/// Returns whether `text` contains only ASCII digits, which is also the case for an empty text.
fn are_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn always_two_decimals() {
        for (text, shown) in [
            ("50", "50.00"),
            ("50.5", "50.50"),
            ("1.005", "1.01"),
            ("-1.005", "-1.01"),
            ("-0.001", "0.00"),
            ("5e1", "50.00"),
            ("99999999.99", "99999999.99"),
            ("0.1", "0.10"),
            ("+.5", "0.50"),
            ("1.004999999999999999999999999999999999", "1.00"),
            ("1e-9999999999", "0.00"),
        ] {
            let price: TotalPrice = text.parse().unwrap();
            assert_eq!(price.to_string(), shown);
            assert_eq!(TotalPrice::from_cents(price.cents()), Ok(price));
        }
        for (text, why) in [
            ("100000000", InvalidKind::TooLarge),
            ("99999999.995", InvalidKind::TooLarge),
            ("-100000000", InvalidKind::TooLarge),
            ("1e20", InvalidKind::TooLarge),
            ("1e999999999999", InvalidKind::TooLarge),
            ("NaN", InvalidKind::NotFinite),
            ("-Infinity", InvalidKind::NotFinite),
            ("1e99999999999999999999", InvalidKind::NotANumber),
            (".", InvalidKind::NotANumber),
            ("", InvalidKind::NotANumber),
            ("five", InvalidKind::NotANumber),
        ] {
            assert_eq!(text.parse::<TotalPrice>(), Err(invalid(why)), "{text}");
        }
    }
}
