//! A count and an exact sum of prices, in three columns.

use rusqlite::Row;
use shop_core::ports::Summary;
use shop_core::{Price, Total};

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
        self.units += Total::from(price).units();
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

    pub(super) const fn summary(self) -> Summary {
        Summary::new(self.count.unsigned_abs(), Total::from_units(self.units))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_of_the_largest_sum_is_exact() {
        // Ten million purchases at the maximum price, and one of a cent.
        let sums = Sums { count: 10_000_001, units: 10_i128.pow(15 + 7 + 8) + 1_000_000 };
        assert_eq!(sums.summary().total_spent.to_string(), "10000000000000000000000.01");
        assert_eq!(Sums::default().summary(), Summary::default());
    }
}
