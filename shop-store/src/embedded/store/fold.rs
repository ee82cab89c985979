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
//! An insert appends its purchases to `unfolded` only. After some thousand purchases, a *fold*
//! ([`fold_purchases`]) adds them to the *folded* sums in the order of the tables, so that each
//! page of sums is written once for thousands of purchases. The first row of `unfolded` is the
//! *watermark*: all purchases up to its sequence are folded. For example, three purchases are
//! folded here, and a purchase and a refund were inserted since:
//!
//! ```text
//! buyers    buyer  count  sum          unfolded  sequence  buyer   added
//!               0      3  60.00                         4      0          the watermark
//!               7      2  40.00                         5      7   25.00
//!               8      1  20.00                         6      8  -20.00
//! ```
//!
//! A reader adds the unfolded purchases to the folded sums: buyer 7 has 3 purchases of 65.00 in
//! total, and buyer 8 has 1 purchase of 0.00, because a refund is not counted. The next fold writes
//! these sums into `buyers`, and leaves only a watermark with the sequence 6 in `unfolded`. In a
//! new file, the sequence of the watermark is 1.
//!
//! This module writes the tables. [`unfolded`](super::unfolded) reads the rows of `unfolded`, and adds
//! them to the folded sums in summaries.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rusqlite::Connection;
use rusqlite::Error::FromSqlConversionFailure;
use rusqlite::types::ValueRef::{Integer, Text};
use shop_core::Purchase;

use super::buyers::{self, ALL};
use super::insert::NewRow;
use super::rows::{COLUMNS, parse_signed_price, read_time_and_price};
use super::sums::{ADD_ASSIGNMENTS, Sums, key_residue};
use super::unfolded::{CHECKSUM_SEED, WATERMARK_BUYER, for_each_unfolded};
use crate::embedded::engine::bulk::BulkInsert;
use crate::embedded::engine::checksum::checksum;

/// The number of inserted purchases after which the unfolded ones are folded together.
///
/// A larger number makes the first summary after a start slower, because it reads all unfolded
/// purchases.
const FOLD_AFTER: i64 = if cfg!(test) { 64 } else { 8_192 };

/// The length of a UTC day in milliseconds.
pub(super) const DAY_MILLIS: i64 = 86_400_000;

/// Returns the UTC day of a time in milliseconds since 1970, as the number of days since 1970.
pub(super) const fn day_at(millis: i64) -> i64 {
    millis.div_euclid(DAY_MILLIS)
}

/// Returns the time at which a UTC day begins, in milliseconds since 1970.
const fn day_start(day: i64) -> i64 {
    day.saturating_mul(DAY_MILLIS)
}

/// The length of a quarter of an hour in milliseconds.
///
/// The UTC offset of each time zone in use is a multiple of a quarter, so the days and hours of
/// each zone consist of whole quarters.
pub(super) const QUARTER_MILLIS: i64 = 900_000;

/// Returns the quarter of an hour of a time in milliseconds since 1970, as the number of quarters
/// since 1970.
pub(super) const fn quarter_at(millis: i64) -> i64 {
    millis.div_euclid(QUARTER_MILLIS)
}

/// The statements that insert rows of `unfolded`.
static INSERT_UNFOLDED: LazyLock<BulkInsert> =
    LazyLock::new(|| BulkInsert::new("unfolded (buyer, timestamp, price, checksum)"));

/// Appends inserted purchases to `unfolded`, and folds all unfolded purchases once every
/// [`FOLD_AFTER`] purchases.
///
/// Runs in the transaction that inserts the purchases.
///
/// # Errors
/// Returns the errors of SQLite. Damage in `unfolded` is logged and is no error, so that purchases
/// can still be inserted.
pub(super) fn add_to_sums(connection: &Connection, rows: &[NewRow<'_>]) -> rusqlite::Result<()> {
    INSERT_UNFOLDED.insert(connection, rows, |row| {
        let buyer = Integer(row.buyer);
        let timestamp = Integer(row.timestamp);
        let price = Text(row.price.as_bytes());
        let row_checksum = checksum(CHECKSUM_SEED, [buyer, timestamp, price]);
        [buyer, timestamp, price, Integer(row_checksum.into())]
    })?;

    // A fold is due when one of the new sequences is a multiple of `FOLD_AFTER`.
    let newest_sequence = connection.last_insert_rowid();
    let is_fold_due = newest_sequence % FOLD_AFTER < rows.len() as i64;
    if !is_fold_due {
        return Ok(());
    }

    match fold_purchases(connection) {
        // The disk changed a row of `unfolded`, so its amount is unknown, and nothing was folded.
        // Purchases are accepted all the same. Summaries and totals fail until the file is restored.
        Err(error @ FromSqlConversionFailure(..)) => {
            tracing::error!(%error, "the sums of purchases cannot be maintained");
            Ok(())
        }
        fold_result => fold_result,
    }
}

/// Adds the unfolded purchases to the sums, and replaces them by a new watermark.
///
/// [`add_to_sums`] calls this function after every [`FOLD_AFTER`] purchases. A deletion calls it
/// first, because purchases can only be subtracted from sums that contain them.
///
/// # Errors
/// Fails before it changes a sum if the disk changed a row of `unfolded`.
pub(super) fn fold_purchases(connection: &Connection) -> rusqlite::Result<()> {
    let mut deltas = GroupedSums::default();
    let newest_sequence = for_each_unfolded(connection, i64::MIN, |purchase| {
        deltas.add(purchase.buyer, purchase.timestamp, purchase.sums);
    })?;
    deltas.write(connection)?;
    connection
        .prepare_cached("DELETE FROM unfolded")?
        .execute([])?;
    // The watermark takes the sequence of the newest folded purchase. SQLite numbers a new row
    // after the greatest sequence in the table, so no sequence is used twice, and readers can tell
    // folded purchases from new ones.
    let sql = "INSERT INTO unfolded (sequence, buyer, timestamp, price, checksum) VALUES (?1, 0, 0, '', ?2)";
    let watermark_checksum = checksum(
        CHECKSUM_SEED,
        [
            Integer(newest_sequence),
            Integer(WATERMARK_BUYER),
            Integer(0),
            Text(b""),
        ],
    );
    connection
        .prepare_cached(sql)?
        .execute([newest_sequence, watermark_checksum.into()])
        .map(drop)
}

/// Subtracts deleted purchases from the sums, and removes the rows of sums without purchases.
///
/// `deleted_purchases` yields each purchase with its buyer. The caller must call [`fold_purchases`]
/// first, so that the sums contain these purchases.
pub(super) fn subtract<'a>(
    connection: &Connection,
    deleted_purchases: impl IntoIterator<Item = (i64, &'a Purchase)>,
) -> rusqlite::Result<()> {
    let mut deltas = GroupedSums::default();
    for (buyer, purchase) in deleted_purchases {
        let delta = Sums::from_price(purchase.price).negated();
        deltas.add(buyer, purchase.timestamp.as_millis(), delta);
    }

    deltas.write(connection)?;
    deltas.remove_unused(connection)
}

/// Corrects the sums of `buyer` after the deletion of a damaged row. The price in such a row is
/// unknown, so it cannot be subtracted.
///
/// Adds up the remaining purchases of the buyer again. The difference to the recorded sums is
/// applied to the sums of the buyer and to the sums of all buyers. The caller must call
/// [`fold_purchases`] first, so that the recorded sums are complete.
pub(super) fn recompute_sums(connection: &Connection, buyer: i64) -> rusqlite::Result<()> {
    let corrections = find_day_corrections(connection, buyer)?;

    let mut deltas = GroupedSums::default();
    for (day, correction) in &corrections {
        deltas.add(buyer, day_start(*day), *correction);
    }
    deltas.write(connection)?;
    deltas.remove_unused(connection)?;

    // The lines above put the whole correction of a day into its first quarter, because the deleted
    // row does not tell in which quarter it was. So all quarters of the day are added up again.
    for day in corrections.into_keys() {
        recompute_quarters(connection, day_start(day), day_start(day + 1))?;
    }
    Ok(())
}

/// Returns the correction of each day on which the recorded sums of `buyer` differ from the buyer's
/// purchases: the sums of the purchases minus the recorded sums.
///
/// Reads the whole table `days`, which is ordered by day and not by buyer. That takes long in a
/// large shop, but the disk rarely changes a row.
fn find_day_corrections(
    connection: &Connection,
    buyer: i64,
) -> rusqlite::Result<BTreeMap<i64, Sums>> {
    let mut corrections: BTreeMap<i64, Sums> = BTreeMap::new();
    let sql =
        format!("SELECT {COLUMNS} FROM buyers CROSS JOIN purchases USING (buyer) WHERE buyer = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut remaining_purchases = statement.query([buyer])?;
    while let Some(row) = remaining_purchases.next()? {
        // The price in another damaged row is unknown too, so the corrected sums leave that row out.
        let Ok((timestamp, price)) = read_time_and_price(row) else {
            continue;
        };
        corrections
            .entry(day_at(timestamp))
            .or_default()
            .add_sums(Sums::from_price(price));
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
    Ok(corrections)
}

/// Replaces the sums of the quarters from `from` to before `to`, both in milliseconds since 1970,
/// by the sums of their purchases.
///
/// The caller must call [`fold_purchases`] first. Without it, a later fold would add the unfolded
/// purchases a second time.
fn recompute_quarters(connection: &Connection, from: i64, to: i64) -> rusqlite::Result<()> {
    // The columns of the query below.
    const TIMESTAMP: usize = 0;
    const PRICE: usize = 1;

    connection
        .prepare_cached("DELETE FROM quarters WHERE quarter >= ?1 AND quarter < ?2")?
        .execute([quarter_at(from), quarter_at(to)])?;

    let sql = "SELECT timestamp, price FROM purchases INDEXED BY by_time
               WHERE timestamp >= ?1 AND timestamp < ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut purchases = statement.query([from, to])?;
    let mut deltas = GroupedSums::default();
    while let Some(row) = purchases.next()? {
        // The sums leave out a row whose price the disk made unreadable.
        if let Ok(price) = parse_signed_price(row.get_ref(PRICE)?, PRICE) {
            deltas.add_to_quarter(row.get(TIMESTAMP)?, Sums::from_price(price));
        }
    }
    deltas.write(connection)
}

/// Sums of purchases, grouped by the rows of sums that the purchases belong to.
///
/// A change of the recorded sums is collected here and then [written](Self::write) at once. The
/// maps are sorted like the tables, so that each page of a table is visited once.
#[derive(Default)]
pub(super) struct GroupedSums {
    /// The sums by buyer. [`ALL`] stands for all buyers.
    pub(super) buyers: BTreeMap<i64, Sums>,
    /// The sums by UTC day and buyer.
    pub(super) days: BTreeMap<(i64, i64), Sums>,
    /// The sums of all buyers by quarter of an hour.
    pub(super) quarters: BTreeMap<i64, Sums>,
}

impl GroupedSums {
    /// Adds `sums` to each group that a purchase of `buyer` at `timestamp` belongs to: of the
    /// buyer, of all buyers, of the day and of the quarter.
    pub(super) fn add(&mut self, buyer: i64, timestamp: i64, sums: Sums) {
        self.add_to_quarter(timestamp, sums);
        for buyer in [buyer, ALL] {
            self.days
                .entry((day_at(timestamp), buyer))
                .or_default()
                .add_sums(sums);
            self.buyers.entry(buyer).or_default().add_sums(sums);
        }
    }

    /// Adds `sums` to the group of the quarter that contains `timestamp`, and to no other group.
    fn add_to_quarter(&mut self, timestamp: i64, sums: Sums) {
        self.quarters
            .entry(quarter_at(timestamp))
            .or_default()
            .add_sums(sums);
    }

    /// Adds these sums to the recorded sums. Creates the rows of days and quarters that are
    /// missing.
    ///
    /// The residue of a row, see [`Sums`], is a check digit of the sums and, for a day or a
    /// quarter, of the row's key. An insert therefore adds the residue of the key. An update does
    /// not, because the row contains it already.
    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        // The row of a buyer exists since its first purchase, and the row of `ALL` since the file
        // was created.
        let sql = format!("UPDATE buyers SET {ADD_ASSIGNMENTS} WHERE buyer = ?5");
        let mut update_buyer = connection.prepare_cached(&sql)?;
        for (buyer, sums) in &self.buyers {
            let [count, high, low, residue] = sums.to_columns()?;
            update_buyer.execute([count, high, low, residue, *buyer])?;
        }

        let sql = format!(
            "INSERT INTO days (count, high, low, residue, day, buyer)
             VALUES (?1, ?2, ?3, (?4 + ?7) % 2147483647, ?5, ?6)
             ON CONFLICT (day, buyer) DO UPDATE SET {ADD_ASSIGNMENTS}"
        );
        let mut upsert_day = connection.prepare_cached(&sql)?;
        for ((day, buyer), sums) in &self.days {
            let [count, high, low, residue] = sums.to_columns()?;
            let residue_of_key = key_residue(*day, *buyer);
            upsert_day.execute([count, high, low, residue, *day, *buyer, residue_of_key])?;
        }

        let sql = format!(
            "INSERT INTO quarters (count, high, low, residue, quarter)
             VALUES (?1, ?2, ?3, (?4 + ?6) % 2147483647, ?5)
             ON CONFLICT (quarter) DO UPDATE SET {ADD_ASSIGNMENTS}"
        );
        let mut upsert_quarter = connection.prepare_cached(&sql)?;
        for (quarter, sums) in &self.quarters {
            let [count, high, low, residue] = sums.to_columns()?;
            let residue_of_key = key_residue(*quarter, ALL);
            upsert_quarter.execute([count, high, low, residue, *quarter, residue_of_key])?;
        }
        Ok(())
    }

    /// Removes the rows of the days, quarters and buyers in these groups that have no purchase any
    /// more.
    fn remove_unused(&self, connection: &Connection) -> rusqlite::Result<()> {
        // A refund is not counted, so the count of a period with only refunds is 0, although the
        // period is not empty.
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
