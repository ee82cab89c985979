//! What an order costs altogether.

use std::fmt;
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};

/// What an order costs altogether: exact, with two decimals, less than 10^8 either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TotalPrice(Decimal);

/// Why a text is no [`TotalPrice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTotalPrice {
    /// It is no decimal number.
    #[error("must be a decimal number")]
    NotANumber,
    /// It has more than 8 digits before the point.
    #[error("must have no more than 8 digits before the decimal point")]
    TooLarge,
}

impl TotalPrice {
    /// The digits before the point are fewer than this has.
    const LIMIT: Decimal = Decimal::from_parts(100_000_000, 0, 0, false, 0);

    /// From an exact decimal; what is beyond two decimals is rounded, half away from zero, as PostgreSQL does it.
    ///
    /// # Errors
    /// [`InvalidTotalPrice::TooLarge`].
    pub fn new(decimal: Decimal) -> Result<Self, InvalidTotalPrice> {
        let mut rounded = decimal.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
        if rounded.abs() >= Self::LIMIT {
            return Err(InvalidTotalPrice::TooLarge);
        }
        rounded.rescale(2);
        Ok(Self(if rounded.is_zero() { Decimal::new(0, 2) } else { rounded }))
    }

    /// In hundredths.
    #[must_use]
    pub fn cents(self) -> i64 {
        // Less than 10^10.
        i64::try_from(self.0.mantissa()).unwrap_or_default()
    }

    /// From hundredths.
    ///
    /// # Errors
    /// [`InvalidTotalPrice::TooLarge`].
    pub fn from_cents(cents: i64) -> Result<Self, InvalidTotalPrice> {
        Self::new(Decimal::new(cents, 2))
    }
}

impl FromStr for TotalPrice {
    type Err = InvalidTotalPrice;

    fn from_str(text: &str) -> Result<Self, InvalidTotalPrice> {
        let plain = Decimal::from_str(text).or_else(|_no_plain_number| Decimal::from_scientific(text));
        let decimal = plain.map_err(|error| match error {
            rust_decimal::Error::ExceedsMaximumPossibleValue => InvalidTotalPrice::TooLarge,
            _ => InvalidTotalPrice::NotANumber,
        })?;
        Self::new(decimal)
    }
}

impl fmt::Display for TotalPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
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
        ] {
            let price: TotalPrice = text.parse().unwrap();
            assert_eq!(price.to_string(), shown);
            assert_eq!(TotalPrice::from_cents(price.cents()), Ok(price));
        }
        for (text, why) in [
            ("100000000", InvalidTotalPrice::TooLarge),
            ("99999999.995", InvalidTotalPrice::TooLarge),
            ("-100000000", InvalidTotalPrice::TooLarge),
            ("1e20", InvalidTotalPrice::TooLarge),
            ("NaN", InvalidTotalPrice::NotANumber),
            ("", InvalidTotalPrice::NotANumber),
            ("five", InvalidTotalPrice::NotANumber),
        ] {
            assert_eq!(text.parse::<TotalPrice>(), Err(why), "{text}");
        }
    }
}
