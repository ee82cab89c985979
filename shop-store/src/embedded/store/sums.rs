//! A count and an exact sum of prices, in three columns.

use rusqlite::Row;
use rust_decimal::Decimal;
use shop_core::ports::Summary;
use shop_core::{Error, ErrorKind, Price, Result, Total};

/// The decimals of a unit, the maximum of a price.
const DECIMALS: u32 = Price::MAX_DECIMALS;
/// SQLite has 64-bit integers and no exact decimals, so a sum of units is stored in two integers: `low` is the
/// remainder modulo this number, `high` the quotient. [`ADD`] repeats the number. `high` has room for 9 * 10^10
/// purchases at the maximum price, and proportionally more at lower ones.
const LIMB: i128 = 1_000_000_000_000_000;

/// Adds the [columns](Sums::columns) `?1` to `?3` to those of a row.
pub(super) const ADD: &str = "count = count + ?1, high = high + ?2 + (low + ?3) / 1000000000000000,
    low = (low + ?3) % 1000000000000000";

/// A count and a sum of units.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums {
    count: i64,
    units: i128,
}

impl Sums {
    pub(super) fn add(&mut self, price: Price) {
        self.count += 1;
        self.units += units(price);
    }

    pub(super) const fn add_all(&mut self, other: Self) {
        self.count += other.count;
        self.units += other.units;
    }

    pub(super) const fn subtract(&mut self, other: Self) {
        self.count -= other.count;
        self.units -= other.units;
    }

    /// Reads the columns `count`, `high` and `low`, the first of which is `column`.
    pub(super) fn read(row: &Row<'_>, column: usize) -> rusqlite::Result<Self> {
        let limb = |column| row.get::<_, i64>(column).map(i128::from);
        Ok(Self { count: row.get(column)?, units: limb(column + 1)? * LIMB + limb(column + 2)? })
    }

    /// The values of the columns `count`, `high` and `low`.
    pub(super) fn columns(self) -> rusqlite::Result<[i64; 3]> {
        let limb = |units: i128| {
            i64::try_from(units).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
        };
        Ok([self.count, limb(self.units.div_euclid(LIMB))?, limb(self.units.rem_euclid(LIMB))?])
    }

    pub(super) fn summary(self) -> Result<Summary> {
        // Trailing zeros are removed, because the digits of a decimal are limited.
        let (mut units, mut decimals) = (self.units, DECIMALS);
        while decimals > 0 && units % 10 == 0 {
            (units, decimals) = (units / 10, decimals - 1);
        }
        let total = Decimal::try_from_i128_with_scale(units, decimals).map_err(|error| {
            Error::new(ErrorKind::Corrupt, "the sum has more digits than can be represented exactly")
                .with_origin("embedded store")
                .with_source(error)
        })?;
        Ok(Summary::new(self.count.unsigned_abs(), Total::from_decimal(total)))
    }
}

/// Converts a price to units. The maximum is 10^15 with 10^8 units each.
fn units(price: Price) -> i128 {
    let decimal = price.as_decimal();
    decimal.mantissa() * 10_i128.pow(DECIMALS - decimal.scale().min(DECIMALS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_of_the_largest_sum_is_exact() {
        // Ten million purchases at the maximum price, and one of a cent.
        let sums = Sums { count: 10_000_001, units: 10_i128.pow(15 + 7 + 8) + 1_000_000 };
        assert_eq!(sums.summary().unwrap().total_spent.to_string(), "10000000000000000000000.01");
        assert_eq!(Sums::default().summary().unwrap(), Summary::default());
    }
}
