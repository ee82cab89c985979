//! A count and an exact sum of prices, stored in the columns `count`, `high`, `low` and `residue`.
//!
//! | column | content |
//! |---|---|
//! | `count` | the number of purchases, without refunds |
//! | `high`, `low` | the sum of prices in the units of [`Total`]: `high` * 10^15 + `low` |
//! | `residue` | a check digit of the other columns, by which a change by the disk is recognized |
//!
//! A unit of [`Total`] is a millionth of a cent. So 3 purchases for 65.00 in total, and a sum of
//! -20.00 without a counted purchase, are stored as follows. In `days` and `quarters`, the residue
//! also contains a part for the key.
//!
//! ```text
//! count  high  low              residue
//!     3     0  6500000000       57549062
//!     0    -1  999998000000000  147483647
//! ```

use rusqlite::Row;
use shop_core::ports::Summary;
use shop_core::{Price, Total};

use crate::embedded::engine::checksum::changed_row_error;

/// The divisor that splits a sum into the columns `high`, the quotient, and `low`, the remainder.
///
/// SQLite supports 64-bit integers but no exact decimals, so one column cannot hold every sum.
/// [`ADD_ASSIGNMENTS`] repeats the number. `high` suffices for 9 * 10^10 purchases at the maximum
/// price, and proportionally more at lower ones.
const LIMB: i128 = 1_000_000_000_000_000;

/// The modulus of the column `residue`, a prime. [`ADD_ASSIGNMENTS`] repeats the number.
///
/// The residue is the count plus the sum of prices, modulo this number. An update adds the residue
/// of the change, and does not read the other columns. So a row that the disk changed still differs
/// from its residue after an update, whereas a checksum would be computed again from the changed
/// values.
const RESIDUE_MODULUS: i128 = 2_147_483_647;

/// The SQL assignments that add sums, as their [columns](Sums::to_columns) `?1` to `?4`, to the
/// sums of a row.
pub(super) const ADD_ASSIGNMENTS: &str =
    "count = count + ?1, high = high + ?2 + (low + ?3) / 1000000000000000,
    low = (low + ?3) % 1000000000000000, residue = (residue + ?4) % 2147483647";

/// The number of purchases and the exact sum of their prices.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sums {
    /// The number of purchases. It is negative in a change that subtracts.
    count: i64,
    /// The sum of the prices, in the smallest units of [`Total`].
    units: i128,
}

impl Sums {
    /// Creates the sums of one purchase or refund. A refund, whose price is negative, is not
    /// counted as a purchase.
    pub(super) fn from_price(price: Price) -> Self {
        Self {
            count: i64::from(!price.is_negative()),
            units: Total::from(price).units(),
        }
    }

    /// Adds `other` to these sums.
    pub(super) const fn add_sums(&mut self, other: Self) {
        self.count += other.count;
        self.units += other.units;
    }

    /// Returns the negative of these sums: adding it subtracts them.
    pub(super) const fn negated(self) -> Self {
        Self {
            count: -self.count,
            units: -self.units,
        }
    }

    /// Reads the sums of a buyer from the columns `count`, `high`, `low` and `residue`, the first
    /// of which is `column`.
    ///
    /// # Errors
    /// Fails if the residue does not match, because the disk changed the row.
    pub(crate) fn read(row: &Row<'_>, column: usize) -> rusqlite::Result<Self> {
        // The residue of a buyer covers no key. The residue of the key 0, 0 is 0.
        Self::read_with_key(row, column, 0, 0)
    }

    /// Reads the sums of a day or a quarter from the columns `count`, `high`, `low` and `residue`,
    /// the first of which is `column`.
    ///
    /// The residue covers the key of the row too, so that sums under a changed key are not taken
    /// for another period or buyer.
    ///
    /// # Errors
    /// Fails if the residue does not match, because the disk changed the row.
    pub(crate) fn read_with_key(
        row: &Row<'_>,
        column: usize,
        period: i64,
        buyer: i64,
    ) -> rusqlite::Result<Self> {
        let read_integer = |column| row.get::<_, i64>(column).map(i128::from);
        let sums = Self {
            count: row.get(column)?,
            units: read_integer(column + 1)? * LIMB + read_integer(column + 2)?,
        };

        let residue_of_key = i128::from(key_residue(period, buyer));
        let expected_residue = (sums.residue() + residue_of_key) % RESIDUE_MODULUS;
        if read_integer(column + 3)? != expected_residue {
            return Err(changed_row_error(column + 3));
        }
        Ok(sums)
    }

    /// Returns the residue of the count and the sum, without the part for the key of a row.
    fn residue(self) -> i128 {
        (i128::from(self.count) + self.units).rem_euclid(RESIDUE_MODULUS)
    }

    /// Returns the values of the columns `count`, `high`, `low` and `residue`.
    ///
    /// # Errors
    /// Fails if the sum exceeds the range of the columns.
    pub(super) fn to_columns(self) -> rusqlite::Result<[i64; 4]> {
        let to_column = |value: i128| {
            i64::try_from(value)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
        };
        let high = self.units.div_euclid(LIMB);
        let low = self.units.rem_euclid(LIMB);

        Ok([
            self.count,
            to_column(high)?,
            to_column(low)?,
            to_column(self.residue())?,
        ])
    }

    /// Converts these sums to the summary that queries return.
    pub(super) const fn to_summary(self) -> Summary {
        Summary::new(self.count.unsigned_abs(), Total::from_units(self.units))
    }
}

/// Returns the part of a residue that covers the key of a row of `days` or `quarters`. It is 0 for
/// the key 0, 0, by which [`Sums::read`] reads rows whose residue covers no key.
pub(super) const fn key_residue(period: i64, buyer: i64) -> i64 {
    const MODULUS: i64 = 2_147_483_647;
    // Both products need at most 47 bits, so their sum does not overflow.
    (period.rem_euclid(MODULUS) * 48_271 + buyer.rem_euclid(MODULUS) * 16_807) % MODULUS
}
