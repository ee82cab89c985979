//! A count and an exact sum of prices, in three columns.

use rusqlite::Row;
use shop_core::ports::Summary;
use shop_core::{Price, Total};

use crate::embedded::checksum::changed;

/// SQLite has 64-bit integers and no exact decimals, so a sum of units is stored in two integers: `low` is the
/// remainder modulo this number, `high` the quotient. [`ADD`] repeats the number. `high` has room for 9 * 10^10
/// purchases at the maximum price, and proportionally more at lower ones.
const LIMB: i128 = 1_000_000_000_000_000;

/// The modulus of the residue of a count and a sum, a prime. Unlike a checksum, it is added to without the row's values:
/// what the disk has changed keeps differing. [`ADD`] repeats the number.
const RESIDUES: i128 = 2_147_483_647;

/// Adds the [columns](Sums::columns) `?1` to `?4` to those of a row.
pub(super) const ADD: &str = "count = count + ?1, high = high + ?2 + (low + ?3) / 1000000000000000,
    low = (low + ?3) % 1000000000000000, residue = (residue + ?4) % 2147483647";

/// A count and a sum of units.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) struct Sums {
    count: i64,
    units: i128,
}

impl Sums {
    /// Those of one purchase. A refund is no further one.
    pub(super) fn of(price: Price) -> Self {
        Self {
            count: i64::from(!price.is_negative()),
            units: Total::from(price).units(),
        }
    }

    pub(super) const fn add_all(&mut self, other: Self) {
        self.count += other.count;
        self.units += other.units;
    }

    pub(super) const fn subtract(&mut self, other: Self) {
        self.count -= other.count;
        self.units -= other.units;
    }

    /// Reads the columns `count`, `high`, `low` and `residue`, the first of which is `column`.
    pub(in crate::embedded) fn read(row: &Row<'_>, column: usize) -> rusqlite::Result<Self> {
        let limb = |column| row.get::<_, i64>(column).map(i128::from);
        let sums = Self {
            count: row.get(column)?,
            units: limb(column + 1)? * LIMB + limb(column + 2)?,
        };
        if limb(column + 3)? == sums.residue() {
            Ok(sums)
        } else {
            Err(changed(column + 3))
        }
    }

    fn residue(self) -> i128 {
        (i128::from(self.count) + self.units).rem_euclid(RESIDUES)
    }

    /// The values of the columns `count`, `high`, `low` and `residue`.
    pub(super) fn columns(self) -> rusqlite::Result<[i64; 4]> {
        let integer = |units: i128| {
            i64::try_from(units)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
        };
        let (high, low) = (self.units.div_euclid(LIMB), self.units.rem_euclid(LIMB));
        Ok([
            self.count,
            integer(high)?,
            integer(low)?,
            integer(self.residue())?,
        ])
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
        let sums = Sums {
            count: 10_000_001,
            units: 10_i128.pow(15 + 7 + 8) + 1_000_000,
        };
        assert_eq!(
            sums.summary().total_spent.to_string(),
            "10000000000000000000000.01"
        );
        assert_eq!(Sums::default().summary(), Summary::default());
    }
}
