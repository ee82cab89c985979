//! Counts and sums per user and name, maintained on insert: a summary costs the same for any number of purchases.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};
use rust_decimal::Decimal;
use shop_core::ports::{Selector, Summary};
use shop_core::{Error, ErrorKind, Price, Purchase, Result, Total};

/// The decimals of a unit, the maximum of a price.
const DECIMALS: u32 = Price::MAX_DECIMALS;
/// SQLite has 64-bit integers and no exact decimals, so a sum of units is stored in two integers: `low` is the
/// remainder modulo this number, `high` the quotient. The statement in [`Totals::write`] repeats the number. `high`
/// has room for 9 * 10^10 purchases at the maximum price, and proportionally more at lower ones.
const LIMB: i128 = 1_000_000_000_000_000;

/// The key of a row: a kind, and the user's id or name.
type Key<'a> = (i64, &'a str);

const fn for_user(id: &str) -> Key<'_> {
    (1, id)
}

const fn for_name(name: &str) -> Key<'_> {
    (2, name)
}

const ALL_PURCHASES: Key<'static> = (3, "");

/// The sums that a batch adds.
#[derive(Default)]
pub(super) struct Totals<'a> {
    sums: HashMap<Key<'a>, Sums>,
}

/// A count and a sum of units.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Sums {
    count: i64,
    units: i128,
}

impl<'a> Totals<'a> {
    pub(super) fn add(&mut self, purchase: &'a Purchase) {
        let units = units(purchase.price);
        for key in [for_user(purchase.user_id.as_str()), for_name(purchase.user_name.as_str()), ALL_PURCHASES]
        {
            let sums = self.sums.entry(key).or_default();
            sums.count += 1;
            sums.units += units;
        }
    }

    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "INSERT INTO totals (kind, text, count, high, low) VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT (kind, text) DO UPDATE SET
                       count = count + excluded.count,
                       high = high + excluded.high + (low + excluded.low) / 1000000000000000,
                       low = (low + excluded.low) % 1000000000000000";
        let mut statement = connection.prepare_cached(sql)?;
        for ((kind, text), sums) in &self.sums {
            let limb = |units: i128| {
                i64::try_from(units).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
            };
            statement.execute(params![
                kind,
                text,
                sums.count,
                limb(sums.units / LIMB)?,
                limb(sums.units % LIMB)?
            ])?;
        }
        Ok(())
    }
}

impl Totals<'_> {
    /// Subtracts the sums of deleted purchases. A row without purchases is deleted: it has the user's id or name.
    pub(super) fn subtract(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut delete = connection.prepare_cached("DELETE FROM totals WHERE kind = ?1 AND text = ?2")?;
        for (key, sums) in &self.sums {
            let before = read_key(connection, *key)?;
            delete.execute(params![key.0, key.1])?;
            let (count, units) = (before.count - sums.count, before.units - sums.units);
            if count > 0 {
                Self { sums: HashMap::from([(*key, Sums { count, units })]) }.write(connection)?;
            }
        }
        Ok(())
    }
}

/// Reads the sums of the selected purchases.
pub(super) fn read(connection: &Connection, selector: &Selector) -> rusqlite::Result<Sums> {
    let key = match selector {
        Selector::User(id) => for_user(id.as_str()),
        Selector::Name(name) => for_name(name.as_str()),
        _ => ALL_PURCHASES,
    };
    read_key(connection, key)
}

fn read_key(connection: &Connection, (kind, text): Key<'_>) -> rusqlite::Result<Sums> {
    let sql = "SELECT count, high, low FROM totals WHERE kind = ?1 AND text = ?2";
    let sums = connection.prepare_cached(sql)?.query_row(params![kind, text], |row| {
        let units = i128::from(row.get::<_, i64>(1)?) * LIMB + i128::from(row.get::<_, i64>(2)?);
        Ok(Sums { count: row.get(0)?, units })
    });
    Ok(sums.optional()?.unwrap_or_default())
}

impl Sums {
    /// The sums of one purchase.
    pub(super) fn of(price: Price) -> Self {
        Self { count: 1, units: units(price) }
    }

    pub(super) fn add(&mut self, price: Price) {
        self.count += 1;
        self.units += units(price);
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
