//! Maintains the sums per buyer, per UTC day and buyer, and per quarter of an hour: a summary costs the same for any number
//! of purchases, and totals no more than the periods that they consist of.
//!
//! An insert appends to `unfolded`. Folding those rows into the sums later, in the order of the tables, writes each page
//! of sums once for thousands of purchases. Readers add what is not folded: a process remembers it ([`UnfoldedSums`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use rusqlite::Error::FromSqlConversionFailure;
use rusqlite::types::ValueRef::{Integer, Text};
use rusqlite::{Connection, Row};
use shop_core::Purchase;
use shop_core::ports::{Selector, Summary};

use super::buyers::{self, ALL};
use super::insert::NewRow;
use super::rows::{self, COLUMNS, amount};
use super::sums::{ADD, Sums, key_residue};
use crate::embedded::bulk::BulkInsert;
use crate::embedded::checksum::{ascending, check, checksum};

/// The number of purchases that are folded together. More are slower to read after a start.
const FOLD_AFTER: i64 = if cfg!(test) { 64 } else { 8_192 };

pub(super) const DAY_MILLIS: i64 = 86_400_000;

/// The UTC day of a time in milliseconds, counted from 1970.
pub(super) const fn day(millis: i64) -> i64 {
    millis.div_euclid(DAY_MILLIS)
}

/// The milliseconds at which a day begins.
pub(super) const fn day_start(day: i64) -> i64 {
    day.saturating_mul(DAY_MILLIS)
}

/// A quarter of an hour: each offset of a time zone in use is a multiple of it.
pub(super) const QUARTER_MILLIS: i64 = 900_000;

/// The quarter of an hour of a time in milliseconds, counted from 1970.
pub(super) const fn quarter(millis: i64) -> i64 {
    millis.div_euclid(QUARTER_MILLIS)
}

static UNFOLDED: LazyLock<BulkInsert> =
    LazyLock::new(|| BulkInsert::new("unfolded (buyer, timestamp, added, checksum)"));

/// Adds inserted purchases to the sums.
pub(super) fn add(connection: &Connection, rows: &[NewRow<'_>]) -> rusqlite::Result<()> {
    UNFOLDED.insert(connection, rows, |row| {
        let values = [
            Integer(row.buyer),
            Integer(row.timestamp),
            Text(row.price.as_bytes()),
        ];
        let [buyer, timestamp, price] = values;
        [buyer, timestamp, price, Integer(checksum(0, values).into())]
    })?;
    let newest = connection.last_insert_rowid();
    let is_due = newest % FOLD_AFTER < rows.len() as i64;
    if !is_due {
        return Ok(());
    }
    match fold(connection) {
        // Purchases go on. Totals fail until the file is restored.
        Err(error @ FromSqlConversionFailure(..)) => {
            tracing::error!(%error, "the sums of purchases cannot be maintained");
            Ok(())
        }
        folded => folded,
    }
}

/// Adds what is not folded yet to the sums. The newest row stays, as the watermark.
pub(in crate::embedded) fn fold(connection: &Connection) -> rusqlite::Result<()> {
    let mut deltas = SumDeltas::default();
    let newest = each_unfolded(connection, i64::MIN, |buyer, timestamp, price| {
        deltas.add(buyer, timestamp, price);
    })?;
    deltas.write(connection)?;
    connection
        .prepare_cached("DELETE FROM unfolded")?
        .execute([])?;
    let sql = "INSERT INTO unfolded (sequence, buyer, timestamp, added, checksum) VALUES (?1, 0, 0, '', ?2)";
    let checksum = checksum(0, [Integer(newest), Integer(ALL), Integer(0), Text(b"")]);
    connection
        .prepare_cached(sql)?
        .execute([newest, checksum.into()])
        .map(drop)
}

/// Subtracts deleted purchases, with their buyers, from the sums. All purchases must be folded.
pub(super) fn subtract<'a>(
    connection: &Connection,
    deleted: impl IntoIterator<Item = (i64, &'a Purchase)>,
) -> rusqlite::Result<()> {
    let mut deltas = SumDeltas::default();
    for (buyer, purchase) in deleted {
        let price = Sums::of(purchase.price).negated();
        deltas.add(buyer, purchase.timestamp.as_millis(), price);
    }
    deltas.write(connection)?;
    deltas.remove_unused(connection)
}

/// Adds up the purchases of `buyer` again, after a row was deleted whose amount is not known. The difference to the sums as
/// they were is applied to those of all buyers too. All purchases must be folded.
///
/// Reads the sums of all days, which takes long in a large shop: the disk rarely changes a row.
pub(super) fn add_up_again(connection: &Connection, buyer: i64) -> rusqlite::Result<()> {
    let mut corrections: BTreeMap<i64, Sums> = BTreeMap::new();
    let rows =
        format!("SELECT {COLUMNS} FROM buyers CROSS JOIN purchases USING (buyer) WHERE buyer = ?1");
    let mut rows = connection.prepare_cached(&rows)?;
    let mut found = rows.query([buyer])?;
    while let Some(row) = found.next()? {
        // Another damaged row is in no sum any more.
        let Ok((millis, price)) = rows::price(row) else {
            continue;
        };
        let of_day = corrections.entry(day(millis)).or_default();
        of_day.add_all(Sums::of(price));
    }

    let days = "SELECT day, count, high, low, residue FROM days WHERE buyer = ?1";
    let mut days = connection.prepare_cached(days)?;
    let mut found = days.query([buyer])?;
    while let Some(row) = found.next()? {
        let day = row.get(0)?;
        let recorded = Sums::read_with_key(row, 1, day, buyer)?;
        let of_day = corrections.entry(day).or_default();
        of_day.add_all(recorded.negated());
    }

    corrections.retain(|_day, correction| *correction != Sums::default());
    let mut deltas = SumDeltas::default();
    for (day, correction) in &corrections {
        deltas.add(buyer, day_start(*day), *correction);
    }
    deltas.write(connection)?;
    deltas.remove_unused(connection)?;
    // In which quarter of its day the deleted row was is not known.
    for day in corrections.into_keys() {
        fill_quarters(connection, day_start(day), day_start(day + 1))?;
    }
    Ok(())
}

/// Adds up the quarters of a file that had none before its migration.
pub(in crate::embedded) fn refill_quarters(connection: &Connection) -> rusqlite::Result<()> {
    fold(connection)?;
    fill_quarters(connection, i64::MIN, i64::MAX)
}

/// Adds up the quarters from `from` to before `to`, both in milliseconds, from their purchases. All must be folded.
fn fill_quarters(connection: &Connection, from: i64, to: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM quarters WHERE quarter >= ?1 AND quarter < ?2")?
        .execute([quarter(from), quarter(to)])?;
    let sql = "SELECT timestamp, price FROM purchases INDEXED BY by_time
               WHERE timestamp >= ?1 AND timestamp < ?2";
    let mut rows = connection.prepare_cached(sql)?;
    let mut found = rows.query([from, to])?;
    let mut deltas = SumDeltas::default();
    while let Some(row) = found.next()? {
        // A damaged row is in no sum.
        if let Ok(price) = amount(row.get_ref(1)?, 1) {
            deltas.add_to_quarter(row.get(0)?, Sums::of(price));
        }
    }
    deltas.write(connection)
}

/// What is to be added to the sums, in the order of the tables.
#[derive(Default)]
struct SumDeltas {
    buyers: BTreeMap<i64, Sums>,
    days: BTreeMap<(i64, i64), Sums>,
    quarters: BTreeMap<i64, Sums>,
}

impl SumDeltas {
    fn add(&mut self, buyer: i64, timestamp: i64, sums: Sums) {
        self.add_to_quarter(timestamp, sums);
        for buyer in [buyer, ALL] {
            let of_day = self.days.entry((day(timestamp), buyer)).or_default();
            of_day.add_all(sums);
            self.buyers.entry(buyer).or_default().add_all(sums);
        }
    }

    fn add_to_quarter(&mut self, timestamp: i64, sums: Sums) {
        let of_quarter = self.quarters.entry(quarter(timestamp)).or_default();
        of_quarter.add_all(sums);
    }

    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = format!("UPDATE buyers SET {ADD} WHERE buyer = ?5");
        let mut update = connection.prepare_cached(&sql)?;
        for (buyer, sums) in &self.buyers {
            let [count, high, low, residue] = sums.columns()?;
            update.execute([count, high, low, residue, *buyer])?;
        }
        let sql = format!(
            "INSERT INTO days (count, high, low, residue, day, buyer)
             VALUES (?1, ?2, ?3, (?4 + ?7) % 2147483647, ?5, ?6)
             ON CONFLICT (day, buyer) DO UPDATE SET {ADD}"
        );
        let mut upsert = connection.prepare_cached(&sql)?;
        for ((day, buyer), sums) in &self.days {
            let [count, high, low, residue] = sums.columns()?;
            let of_key = key_residue(*day, *buyer);
            upsert.execute([count, high, low, residue, *day, *buyer, of_key])?;
        }
        let sql = format!(
            "INSERT INTO quarters (count, high, low, residue, quarter)
             VALUES (?1, ?2, ?3, (?4 + ?6) % 2147483647, ?5)
             ON CONFLICT (quarter) DO UPDATE SET {ADD}"
        );
        let mut upsert = connection.prepare_cached(&sql)?;
        for (quarter, sums) in &self.quarters {
            let [count, high, low, residue] = sums.columns()?;
            let of_key = key_residue(*quarter, ALL);
            upsert.execute([count, high, low, residue, *quarter, of_key])?;
        }
        Ok(())
    }

    /// Removes the quarters, the days and the buyers of these changes that have no purchases any more.
    fn remove_unused(&self, connection: &Connection) -> rusqlite::Result<()> {
        // A period may have refunds alone.
        let is_unused = "count = 0 AND high = 0 AND low = 0";
        let sql = format!("DELETE FROM days WHERE day = ?1 AND buyer = ?2 AND {is_unused}");
        let mut remove = connection.prepare_cached(&sql)?;
        for (day, buyer) in self.days.keys() {
            remove.execute([day, buyer])?;
        }
        let sql = format!("DELETE FROM quarters WHERE quarter = ?1 AND {is_unused}");
        let mut remove = connection.prepare_cached(&sql)?;
        for quarter in self.quarters.keys() {
            remove.execute([quarter])?;
        }
        for buyer in self.buyers.keys() {
            buyers::remove_unused(connection, *buyer)?;
        }
        Ok(())
    }
}

/// Calls `add` with the buyer, the timestamp and the price of each purchase after `sequence` that is not folded. Returns
/// the newest sequence.
pub(super) fn each_unfolded(
    connection: &Connection,
    sequence: i64,
    mut add: impl FnMut(i64, i64, Sums),
) -> rusqlite::Result<i64> {
    let sql =
        "SELECT sequence, buyer, timestamp, added, checksum FROM unfolded WHERE sequence > ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query([sequence])?;
    let mut newest = sequence;
    while let Some(row) = found.next()? {
        let before = std::mem::replace(&mut newest, row.get(0)?);
        ascending(&newest, Some(&before))?;
        if let Some((buyer, timestamp, price)) = unfolded(row)? {
            add(buyer, timestamp, price);
        }
    }
    Ok(newest)
}

/// Reads the buyer, the timestamp and the price from a row of `unfolded`. The watermark has no purchase.
pub(in crate::embedded) fn unfolded(row: &Row<'_>) -> rusqlite::Result<Option<(i64, i64, Sums)>> {
    let buyer = row.get(1)?;
    let timestamp = row.get(2)?;
    // That of the watermark is known when it is written.
    check(row, 0, usize::from(buyer != ALL)..4)?;
    if buyer == ALL {
        return Ok(None);
    }
    Ok(Some((
        buyer,
        timestamp,
        Sums::of(amount(row.get_ref(3)?, 3)?),
    )))
}

/// The sums that are not folded yet, by buyer, as a process remembers them: each row is read once.
#[derive(Debug, Default)]
pub(super) struct UnfoldedSums {
    /// The sequence of the watermark.
    watermark: i64,
    newest: i64,
    sums: HashMap<i64, Sums>,
}

impl UnfoldedSums {
    /// The summary of the purchases of `selector`.
    pub(super) fn summary(
        &mut self,
        connection: &Connection,
        selector: &Selector,
    ) -> rusqlite::Result<Summary> {
        // The rows are of one moment.
        let moment = connection.unchecked_transaction()?;
        let sql = "SELECT sequence, buyer, timestamp, added, checksum, (SELECT max(sequence) FROM unfolded)
                   FROM unfolded ORDER BY sequence LIMIT 1";
        let read =
            |row: &Row<'_>| unfolded(row).and_then(|_watermark| Ok((row.get(0)?, row.get(5)?)));
        let (watermark, newest) = moment.prepare_cached(sql)?.query_row([], read)?;
        let mut fresh = Self {
            watermark,
            newest: watermark,
            sums: HashMap::new(),
        };
        let known = if watermark > self.watermark {
            *self = fresh;
            self
        } else if (watermark, self.newest) == (self.watermark, self.newest.min(newest)) {
            self
        } else {
            // Another reader has seen a later moment.
            &mut fresh
        };
        known.newest = each_unfolded(&moment, known.newest, |buyer, _timestamp, price| {
            for buyer in [buyer, ALL] {
                known.sums.entry(buyer).or_default().add_all(price);
            }
        })?;
        let mut total = Sums::default();
        for (buyer, sums) in buyers::with_sums(&moment, selector)? {
            total.add_all(sums);
            total.add_all(known.sums.get(&buyer).copied().unwrap_or_default());
        }
        Ok(total.summary())
    }
}
