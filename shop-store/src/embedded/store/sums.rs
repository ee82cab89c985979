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

    /// Returns what subtracts these, when it is added.
    pub(super) const fn negated(self) -> Self {
        Self {
            count: -self.count,
            units: -self.units,
        }
    }

    /// Reads the columns `count`, `high`, `low` and `residue`, the first of which is `column`.
    pub(in crate::embedded) fn read(row: &Row<'_>, column: usize) -> rusqlite::Result<Self> {
        Self::read_and_check(row, column, 0)
    }

    /// Reads the sums of a day or a quarter from the columns `count`, `high`, `low` and `residue`, the first of which is
    /// `column`. The residue covers the key of the row too, so that a changed key is not taken for another period or buyer.
    pub(in crate::embedded) fn read_with_key(
        row: &Row<'_>,
        column: usize,
        period: i64,
        buyer: i64,
    ) -> rusqlite::Result<Self> {
        Self::read_and_check(row, column, key_residue(period, buyer))
    }

    fn read_and_check(row: &Row<'_>, column: usize, key_residue: i64) -> rusqlite::Result<Self> {
        let limb = |column| row.get::<_, i64>(column).map(i128::from);
        let sums = Self {
            count: row.get(column)?,
            units: limb(column + 1)? * LIMB + limb(column + 2)?,
        };
        let expected = (sums.residue() + i128::from(key_residue)) % RESIDUES;
        if limb(column + 3)? != expected {
            return Err(changed(column + 3));
        }
        Ok(sums)
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
        let high = self.units.div_euclid(LIMB);
        let low = self.units.rem_euclid(LIMB);
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

/// Returns the part of the residue of a row of `days` or `quarters` that covers its key. The migration that introduced it
/// repeats the formula in SQL: see `KEY_RESIDUE_SQL`.
pub(super) const fn key_residue(period: i64, buyer: i64) -> i64 {
    const MODULUS: i64 = 2_147_483_647;
    // Both products have less than 47 bits.
    (period.rem_euclid(MODULUS) * 48_271 + buyer.rem_euclid(MODULUS) * 16_807) % MODULUS
}

/// [`key_residue`] of the columns `day` and `buyer` in SQL, whose `%` has the sign of the dividend.
#[cfg(test)]
const KEY_RESIDUE_SQL: &str = "(((day % 2147483647 + 2147483647) % 2147483647) * 48271
    + ((buyer % 2147483647 + 2147483647) % 2147483647) * 16807) % 2147483647";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_residue_of_a_key_is_the_same_in_sql() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let days = [-99_000_000_i64, -20_000, -1, 0, 1, 20_454, 99_000_000];
        for (day, buyer) in days.map(|day| (day, day.abs() * 1_000_003 + 7)) {
            let sql =
                format!("SELECT {KEY_RESIDUE_SQL} FROM (SELECT {day} AS day, {buyer} AS buyer)");
            let residue: i64 = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
            assert_eq!(residue, key_residue(day, buyer), "{day} {buyer}");
        }
        assert!(crate::embedded::schema::REFUNDS.contains(KEY_RESIDUE_SQL));
    }

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
