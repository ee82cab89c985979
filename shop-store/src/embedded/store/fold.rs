//! Maintains the sums of prices: a summary costs the same for any number of purchases, and totals
//! cost no more than the periods that they consist of.
//!
//! | table | one row of sums for |
//! |---|---|
//! | `buyers` | each buyer; buyer 0 ([`ALL`]) stands for all buyers together |
//! | `days` | each UTC day and buyer, and each day and [`ALL`] |
//! | `quarters` | each quarter of an hour, of all buyers |
//! | `unfolded` | nothing: it lists the purchases that the sums above do not contain yet |
//!
//! An insert appends its purchases to `unfolded` only. After some thousand purchases, [`fold`] adds
//! them to the *folded* sums in the order of the tables, so that each page of sums is written once
//! for thousands of purchases. The first row of `unfolded` is the *watermark*: all purchases up to
//! its sequence are folded. Readers add the unfolded purchases to the folded sums, and each process
//! remembers the unfolded ones that it has read ([`UnfoldedSums`]).

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

/// The number of inserted purchases after which the unfolded ones are folded together.
///
/// A larger number makes the first summary after a start slower, because it reads all unfolded
/// purchases.
const FOLD_AFTER: i64 = if cfg!(test) { 64 } else { 8_192 };

/// The length of a UTC day in milliseconds.
pub(super) const DAY_MILLIS: i64 = 86_400_000;

/// Returns the UTC day of a time in milliseconds since 1970, as the number of days since 1970.
pub(super) const fn day(millis: i64) -> i64 {
    millis.div_euclid(DAY_MILLIS)
}

/// Returns the time at which a UTC day begins, in milliseconds since 1970.
pub(super) const fn day_start(day: i64) -> i64 {
    day.saturating_mul(DAY_MILLIS)
}

/// The length of a quarter of an hour in milliseconds.
///
/// The UTC offset of each time zone in use is a multiple of a quarter, so the days and hours of
/// each zone consist of whole quarters.
pub(super) const QUARTER_MILLIS: i64 = 900_000;

/// Returns the quarter of an hour of a time in milliseconds since 1970, as the number of quarters
/// since 1970.
pub(super) const fn quarter(millis: i64) -> i64 {
    millis.div_euclid(QUARTER_MILLIS)
}

/// The statements that insert rows of `unfolded`.
static UNFOLDED: LazyLock<BulkInsert> =
    LazyLock::new(|| BulkInsert::new("unfolded (buyer, timestamp, added, checksum)"));

/// Appends inserted purchases to `unfolded`, and folds all unfolded purchases if [`FOLD_AFTER`]
/// have come together.
///
/// Runs in the transaction that inserts the purchases.
///
/// # Errors
/// Returns the errors of SQLite. Damage in `unfolded` is logged and is no error, so that purchases
/// can still be inserted.
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
    // A fold is due when one of the new sequences, the last of which is `newest`, is a multiple of
    // `FOLD_AFTER`.
    let newest = connection.last_insert_rowid();
    let is_due = newest % FOLD_AFTER < rows.len() as i64;
    if !is_due {
        return Ok(());
    }
    match fold(connection) {
        // The disk has changed a row of `unfolded`, so its amount is unknown. Nothing was folded.
        // Purchases are accepted all the same, but summaries and totals fail until the file is
        // restored.
        Err(error @ FromSqlConversionFailure(..)) => {
            tracing::error!(%error, "the sums of purchases cannot be maintained");
            Ok(())
        }
        folded => folded,
    }
}

/// Adds the unfolded purchases to the sums, and replaces them by a new watermark.
///
/// [`add`] calls this after every [`FOLD_AFTER`] purchases. A deletion calls it first, because
/// purchases are subtracted from sums that contain them.
///
/// # Errors
/// Fails before it changes a sum if the disk has changed a row of `unfolded`.
pub(in crate::embedded) fn fold(connection: &Connection) -> rusqlite::Result<()> {
    let mut deltas = SumDeltas::default();
    let newest = each_unfolded(connection, i64::MIN, |buyer, timestamp, price| {
        deltas.add(buyer, timestamp, price);
    })?;
    deltas.write(connection)?;
    connection
        .prepare_cached("DELETE FROM unfolded")?
        .execute([])?;
    // The watermark takes the sequence of the newest folded purchase. SQLite numbers a new row
    // after the greatest sequence in the table, so no sequence is used twice, and readers can tell
    // folded purchases from new ones.
    let sql = "INSERT INTO unfolded (sequence, buyer, timestamp, added, checksum) VALUES (?1, 0, 0, '', ?2)";
    let watermark_checksum = checksum(0, [Integer(newest), Integer(ALL), Integer(0), Text(b"")]);
    connection
        .prepare_cached(sql)?
        .execute([newest, watermark_checksum.into()])
        .map(drop)
}

/// Subtracts deleted purchases from the sums, and removes the rows of sums that no purchase is left
/// for.
///
/// `deleted` yields each purchase with its buyer. The caller has called [`fold`] before, so the
/// sums contain them.
pub(super) fn subtract<'a>(
    connection: &Connection,
    deleted: impl IntoIterator<Item = (i64, &'a Purchase)>,
) -> rusqlite::Result<()> {
    let mut deltas = SumDeltas::default();
    for (buyer, purchase) in deleted {
        let price = Sums::from_price(purchase.price).negated();
        deltas.add(buyer, purchase.timestamp.as_millis(), price);
    }
    deltas.write(connection)?;
    deltas.remove_unused(connection)
}

/// Corrects the sums of `buyer` after the deletion of a damaged row, whose amount is unknown and
/// cannot be subtracted.
///
/// Adds up the remaining purchases of the buyer again. The difference to the recorded sums is
/// applied to the sums of the buyer and to the sums of all buyers. The caller has called [`fold`]
/// before, so the recorded sums are complete.
///
/// Reads the whole table `days`, which is ordered by day and not by buyer. That takes long in a
/// large shop, but the disk rarely changes a row.
pub(super) fn add_up_again(connection: &Connection, buyer: i64) -> rusqlite::Result<()> {
    // The correction of a day is the sum of its remaining purchases, minus the recorded sum of that
    // day.
    let mut corrections: BTreeMap<i64, Sums> = BTreeMap::new();
    let sql =
        format!("SELECT {COLUMNS} FROM buyers CROSS JOIN purchases USING (buyer) WHERE buyer = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut remaining_purchases = statement.query([buyer])?;
    while let Some(row) = remaining_purchases.next()? {
        // The amount of another damaged row is unknown too, so the corrected sums leave it out.
        let Ok((millis, price)) = rows::read_price(row) else {
            continue;
        };
        let correction = corrections.entry(day(millis)).or_default();
        correction.add_sums(Sums::from_price(price));
    }

    let sql = "SELECT day, count, high, low, residue FROM days WHERE buyer = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut recorded_days = statement.query([buyer])?;
    while let Some(row) = recorded_days.next()? {
        let day = row.get(0)?;
        let recorded_sums = Sums::read_with_key(row, 1, day, buyer)?;
        let correction = corrections.entry(day).or_default();
        correction.add_sums(recorded_sums.negated());
    }

    corrections.retain(|_day, correction| *correction != Sums::default());
    let mut deltas = SumDeltas::default();
    for (day, correction) in &corrections {
        deltas.add(buyer, day_start(*day), *correction);
    }
    deltas.write(connection)?;
    deltas.remove_unused(connection)?;

    // The lines above have put the whole correction of a day into its first quarter, because the
    // deleted row does not tell in which quarter it was. So all quarters of the day are added up
    // again.
    for day in corrections.into_keys() {
        fill_quarters(connection, day_start(day), day_start(day + 1))?;
    }
    Ok(())
}

/// Fills the table `quarters` of a file that a version without quarters has written.
///
/// Runs in the transaction of the file's migration. Folds first: a later fold would add purchases
/// to the quarters that their rows were counted for already.
pub(in crate::embedded) fn refill_quarters(connection: &Connection) -> rusqlite::Result<()> {
    fold(connection)?;
    fill_quarters(connection, i64::MIN, i64::MAX)
}

/// Replaces the sums of the quarters from `from` to before `to`, both in milliseconds since 1970,
/// by the sums of their purchases.
///
/// The caller has called [`fold`] before. Otherwise a later fold would add the unfolded purchases a
/// second time.
fn fill_quarters(connection: &Connection, from: i64, to: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM quarters WHERE quarter >= ?1 AND quarter < ?2")?
        .execute([quarter(from), quarter(to)])?;

    let sql = "SELECT timestamp, price FROM purchases INDEXED BY by_time
               WHERE timestamp >= ?1 AND timestamp < ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut purchases = statement.query([from, to])?;
    let mut deltas = SumDeltas::default();
    while let Some(row) = purchases.next()? {
        // The sums leave out a row whose amount the disk has made unreadable.
        if let Ok(price) = amount(row.get_ref(1)?, 1) {
            deltas.add_to_quarter(row.get(0)?, Sums::from_price(price));
        }
    }
    deltas.write(connection)
}

/// Changes of the sums that are collected in memory and then written together.
///
/// The maps are sorted like the tables, so that each page of a table is visited once.
#[derive(Default)]
struct SumDeltas {
    /// The changes of the sums by buyer. [`ALL`] stands for all buyers.
    buyers: BTreeMap<i64, Sums>,
    /// The changes of the sums by UTC day and buyer.
    days: BTreeMap<(i64, i64), Sums>,
    /// The changes of the sums of all buyers by quarter of an hour.
    quarters: BTreeMap<i64, Sums>,
}

impl SumDeltas {
    /// Adds `sums` to each change that a purchase of `buyer` at `timestamp` belongs to: of the
    /// buyer, of all buyers, of the day and of the quarter.
    fn add(&mut self, buyer: i64, timestamp: i64, sums: Sums) {
        self.add_to_quarter(timestamp, sums);
        for buyer in [buyer, ALL] {
            let day_sums = self.days.entry((day(timestamp), buyer)).or_default();
            day_sums.add_sums(sums);
            self.buyers.entry(buyer).or_default().add_sums(sums);
        }
    }

    /// Adds `sums` to the change of the quarter that contains `timestamp`, and to no other sum.
    fn add_to_quarter(&mut self, timestamp: i64, sums: Sums) {
        let quarter_sums = self.quarters.entry(quarter(timestamp)).or_default();
        quarter_sums.add_sums(sums);
    }

    /// Adds the changes to the rows of sums. Creates the rows of days and quarters that are
    /// missing.
    ///
    /// The residue of a row, see [`Sums`], is a check digit of the sums and, for a day or a
    /// quarter, of the row's key. An insert therefore adds the residue of the key. An update does
    /// not, because the row contains it already.
    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        // The row of a buyer exists since its first purchase, and the row of `ALL` since the file
        // was created.
        let sql = format!("UPDATE buyers SET {ADD} WHERE buyer = ?5");
        let mut update_buyer = connection.prepare_cached(&sql)?;
        for (buyer, sums) in &self.buyers {
            let [count, high, low, residue] = sums.columns()?;
            update_buyer.execute([count, high, low, residue, *buyer])?;
        }

        let sql = format!(
            "INSERT INTO days (count, high, low, residue, day, buyer)
             VALUES (?1, ?2, ?3, (?4 + ?7) % 2147483647, ?5, ?6)
             ON CONFLICT (day, buyer) DO UPDATE SET {ADD}"
        );
        let mut upsert_day = connection.prepare_cached(&sql)?;
        for ((day, buyer), sums) in &self.days {
            let [count, high, low, residue] = sums.columns()?;
            let residue_of_key = key_residue(*day, *buyer);
            upsert_day.execute([count, high, low, residue, *day, *buyer, residue_of_key])?;
        }

        let sql = format!(
            "INSERT INTO quarters (count, high, low, residue, quarter)
             VALUES (?1, ?2, ?3, (?4 + ?6) % 2147483647, ?5)
             ON CONFLICT (quarter) DO UPDATE SET {ADD}"
        );
        let mut upsert_quarter = connection.prepare_cached(&sql)?;
        for (quarter, sums) in &self.quarters {
            let [count, high, low, residue] = sums.columns()?;
            let residue_of_key = key_residue(*quarter, ALL);
            upsert_quarter.execute([count, high, low, residue, *quarter, residue_of_key])?;
        }
        Ok(())
    }

    /// Removes the rows of the days, quarters and buyers in these changes that no purchase is left
    /// for.
    fn remove_unused(&self, connection: &Connection) -> rusqlite::Result<()> {
        // A refund is not counted, so a period with refunds alone has the count 0 and is not empty.
        let is_unused = "count = 0 AND high = 0 AND low = 0";
        let sql = format!("DELETE FROM days WHERE day = ?1 AND buyer = ?2 AND {is_unused}");
        let mut delete_day = connection.prepare_cached(&sql)?;
        for (day, buyer) in self.days.keys() {
            delete_day.execute([day, buyer])?;
        }

        let sql = format!("DELETE FROM quarters WHERE quarter = ?1 AND {is_unused}");
        let mut delete_quarter = connection.prepare_cached(&sql)?;
        for quarter in self.quarters.keys() {
            delete_quarter.execute([quarter])?;
        }

        for buyer in self.buyers.keys() {
            buyers::remove_unused(connection, *buyer)?;
        }
        Ok(())
    }
}

/// Calls `add` with the buyer, the timestamp in milliseconds and the sums of each unfolded purchase
/// after `sequence`.
///
/// Returns the sequence of the newest row, or `sequence` if there is no later row.
///
/// # Errors
/// Fails if a checksum shows that the disk has changed one of the rows.
pub(super) fn each_unfolded(
    connection: &Connection,
    sequence: i64,
    mut add: impl FnMut(i64, i64, Sums),
) -> rusqlite::Result<i64> {
    let sql =
        "SELECT sequence, buyer, timestamp, added, checksum FROM unfolded WHERE sequence > ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut unfolded_rows = statement.query([sequence])?;

    let mut newest = sequence;
    while let Some(row) = unfolded_rows.next()? {
        let row_sequence: i64 = row.get(0)?;
        ascending(&row_sequence, Some(&newest))?;
        newest = row_sequence;

        if let Some((buyer, timestamp, price)) = unfolded(row)? {
            add(buyer, timestamp, price);
        }
    }
    Ok(newest)
}

/// Reads the buyer, the timestamp in milliseconds and the sums of a purchase from a row of
/// `unfolded`.
///
/// The columns of `row` are sequence, buyer, timestamp, added and checksum. Returns `None` for the
/// watermark, which stands for no purchase.
///
/// # Errors
/// Fails if a checksum shows that the disk has changed the row.
pub(in crate::embedded) fn unfolded(row: &Row<'_>) -> rusqlite::Result<Option<(i64, i64, Sums)>> {
    let buyer = row.get(1)?;
    let timestamp = row.get(2)?;
    // The buyer `ALL` marks the watermark, whose checksum covers the sequence too, from column 0. The
    // checksum of a purchase begins at column 1, because SQLite assigns the sequence after the
    // checksum was computed.
    check(row, 0, usize::from(buyer != ALL)..4)?;
    if buyer == ALL {
        return Ok(None);
    }
    Ok(Some((
        buyer,
        timestamp,
        Sums::from_price(amount(row.get_ref(3)?, 3)?),
    )))
}

/// A cache of the sums of the unfolded purchases by buyer, so that a process reads each row of
/// `unfolded` once.
///
/// The reader threads of a process share one cache. A fold by any process makes it obsolete.
#[derive(Debug, Default)]
pub(super) struct UnfoldedSums {
    /// The sequence of the watermark after which the cache has read rows.
    watermark: i64,
    /// The sequence of the newest row that the cache has read.
    newest: i64,
    /// The sums of the rows after `watermark` up to `newest`. [`ALL`] stands for all buyers.
    sums: HashMap<i64, Sums>,
}

impl UnfoldedSums {
    /// Returns the number and the total price of the purchases of `selector`: the folded sums plus
    /// the unfolded ones.
    ///
    /// Reads the rows of `unfolded` that the cache has not read, and keeps their sums in the cache.
    ///
    /// # Errors
    /// Fails if a checksum shows that the disk has changed a row that the summary depends on.
    pub(super) fn summary(
        &mut self,
        connection: &Connection,
        selector: &Selector,
    ) -> rusqlite::Result<Summary> {
        // One transaction reads folded and unfolded sums, so that a fold in between cannot count
        // purchases twice.
        let snapshot = connection.unchecked_transaction()?;

        // The first row is the watermark. Parsing it verifies its checksum.
        let sql = "SELECT sequence, buyer, timestamp, added, checksum, (SELECT max(sequence) FROM unfolded)
                   FROM unfolded ORDER BY sequence LIMIT 1";
        let (watermark, newest): (i64, i64) =
            snapshot.prepare_cached(sql)?.query_row([], |row| {
                unfolded(row)?;
                Ok((row.get(0)?, row.get(5)?))
            })?;

        let mut empty = Self {
            watermark,
            newest: watermark,
            sums: HashMap::new(),
        };
        let unfolded_sums = if watermark > self.watermark {
            // A fold has added the cached purchases to the folded sums, so the cache starts again.
            *self = empty;
            self
        } else if watermark == self.watermark && self.newest <= newest {
            self
        } else {
            // The cache is ahead of the snapshot that this transaction sees. The cache stays, and
            // this summary reads all unfolded rows of its own snapshot.
            &mut empty
        };
        let newest_read = each_unfolded(
            &snapshot,
            unfolded_sums.newest,
            |buyer, _timestamp, price| {
                for buyer in [buyer, ALL] {
                    unfolded_sums.sums.entry(buyer).or_default().add_sums(price);
                }
            },
        );
        if newest_read.is_err() {
            // The rows before the error are in the sums already. The next summary would add them
            // again, so the cache starts again.
            *unfolded_sums = Self::default();
        }
        unfolded_sums.newest = newest_read?;

        let mut total = Sums::default();
        for (buyer, folded) in buyers::with_sums(&snapshot, selector)? {
            total.add_sums(folded);
            total.add_sums(unfolded_sums.sums.get(&buyer).copied().unwrap_or_default());
        }
        Ok(total.summary())
    }
}
