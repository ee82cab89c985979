//! Compares the recorded sums with the purchases, as part of the integrity check of a file.
//!
//! The residue of a row of sums reveals that the disk has changed the row. It does not reveal a row
//! of sums that is missing, or a purchase that was lost together with its index entries. So the
//! purchases are added up and compared:
//!
//! ```text
//! the folded sums + the unfolded purchases = the sums of all rows of `purchases`
//! ```

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use super::buyers::ALL;
use super::fold::{day, each_unfolded, quarter};
use super::rows::amount;
use super::sums::Sums;

/// The sums of one buyer by UTC day.
type DailySums = BTreeMap<i64, Sums>;

/// Compares the recorded sums with the purchases, and returns at most `limit` lines that name the
/// differing sums.
///
/// Compares the sums of each buyer and of each of its days with the purchases of the buyer. Then
/// compares the sums of all buyers, and of their days and quarters, with all purchases.
///
/// Reads all purchases once in the order of the table, which is sorted by buyer, so the sums of
/// only one buyer are kept in memory besides the sums of all. All rows are read in one transaction,
/// so services may write meanwhile.
///
/// # Errors
/// Fails if a residue or a checksum shows that the disk has changed a row of sums or of `unfolded`.
pub(in crate::embedded) fn compare_sums(
    connection: &Connection,
    limit: usize,
) -> rusqlite::Result<Vec<String>> {
    let moment = connection.unchecked_transaction()?;
    let mut recorded = RecordedSums::read(&moment, limit)?;
    let mut of_all = DailySums::new();
    let mut quarters = BTreeMap::new();
    let mut of_buyer = DailySums::new();
    let mut current: Option<i64> = None;

    let mut purchases =
        moment.prepare("SELECT buyer, timestamp, price FROM purchases ORDER BY buyer")?;
    let mut rows = purchases.query([])?;
    while let Some(row) = rows.next()? {
        let buyer: i64 = row.get(0)?;
        if current != Some(buyer)
            && let Some(complete) = current.replace(buyer)
        {
            recorded.compare(complete, &std::mem::take(&mut of_buyer))?;
        }
        // The amount of a damaged row is unknown, so no sum can be compared. The scan of the
        // purchases names the row.
        let Ok(price) = amount(row.get_ref(2)?, 2) else {
            return Ok(Vec::new());
        };
        let timestamp = row.get(1)?;
        let price = Sums::of(price);
        for days in [&mut of_buyer, &mut of_all] {
            days.entry(day(timestamp)).or_default().add_all(price);
        }
        let of_quarter: &mut Sums = quarters.entry(quarter(timestamp)).or_default();
        of_quarter.add_all(price);
    }
    if let Some(complete) = current {
        recorded.compare(complete, &of_buyer)?;
    }
    recorded.compare(ALL, &of_all)?;
    recorded.compare_quarters(quarters)?;
    recorded.compare_rest()
}

/// The recorded sums: the folded sums in the file, and the unfolded purchases, which are added to
/// them.
struct RecordedSums<'a> {
    connection: &'a Connection,
    /// The sums of the unfolded purchases by buyer and day. [`ALL`] stands for all buyers.
    unfolded: BTreeMap<i64, DailySums>,
    /// The sums of the unfolded purchases by quarter.
    unfolded_quarters: BTreeMap<i64, Sums>,
    /// The number of rows of `days` that were compared. Further rows belong to no purchase.
    compared_days: i64,
    /// The lines that name the differing sums, at most `limit`.
    lines: Vec<String>,
    limit: usize,
}

impl<'a> RecordedSums<'a> {
    /// Reads the unfolded purchases. The folded sums are read when they are compared.
    fn read(connection: &'a Connection, limit: usize) -> rusqlite::Result<Self> {
        let mut unfolded: BTreeMap<i64, DailySums> = BTreeMap::new();
        let mut unfolded_quarters: BTreeMap<i64, Sums> = BTreeMap::new();
        each_unfolded(connection, i64::MIN, |buyer, timestamp, price| {
            for buyer in [buyer, ALL] {
                let days = unfolded.entry(buyer).or_default();
                days.entry(day(timestamp)).or_default().add_all(price);
            }
            let of_quarter = unfolded_quarters.entry(quarter(timestamp)).or_default();
            of_quarter.add_all(price);
        })?;
        Ok(Self {
            connection,
            unfolded,
            unfolded_quarters,
            compared_days: 0,
            lines: Vec::new(),
            limit,
        })
    }

    /// Compares the recorded sums of `buyer`, and of each of its days, with `purchases`, the sums
    /// of its purchases by day.
    fn compare(&mut self, buyer: i64, purchases: &DailySums) -> rusqlite::Result<()> {
        let unfolded = self.unfolded.remove(&buyer).unwrap_or_default();
        let mut expected = Sums::default();
        for (day, sums) in purchases {
            expected.add_all(*sums);
            let mut found = self.of_day(*day, buyer)?.unwrap_or_default();
            found.add_all(unfolded.get(day).copied().unwrap_or_default());
            if found != *sums {
                self.name(&format!("sums of buyer {buyer} on day {day}"));
            }
        }
        let sql = "SELECT count, high, low, residue FROM buyers WHERE buyer = ?1";
        let mut found = self
            .connection
            .prepare_cached(sql)?
            .query_row([buyer], |row| Sums::read(row, 0))
            .optional()?
            .unwrap_or_default();
        for sums in unfolded.values() {
            found.add_all(*sums);
        }
        if found != expected {
            self.name(&format!("sums of buyer {buyer}"));
        }
        Ok(())
    }

    /// Reads the folded sums of `buyer` on `day`, and counts the row as compared.
    fn of_day(&mut self, day: i64, buyer: i64) -> rusqlite::Result<Option<Sums>> {
        let sql = "SELECT count, high, low, residue FROM days WHERE day = ?1 AND buyer = ?2";
        let found = self
            .connection
            .prepare_cached(sql)?
            .query_row([day, buyer], |row| Sums::read_with_key(row, 0, day, buyer))
            .optional()?;
        self.compared_days += i64::from(found.is_some());
        Ok(found)
    }

    /// Compares the recorded sums of each quarter with `expected`, the sums of all purchases in the
    /// quarter.
    ///
    /// Subtracts the recorded sums from the expected ones. A quarter whose difference is not zero
    /// differs.
    fn compare_quarters(&mut self, mut expected: BTreeMap<i64, Sums>) -> rusqlite::Result<()> {
        for (quarter, unfolded) in std::mem::take(&mut self.unfolded_quarters) {
            let of_quarter = expected.entry(quarter).or_default();
            of_quarter.add_all(unfolded.negated());
        }
        let sql = "SELECT quarter, count, high, low, residue FROM quarters";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let quarter = row.get(0)?;
            let of_quarter = expected.entry(quarter).or_default();
            of_quarter.add_all(Sums::read_with_key(row, 1, quarter, ALL)?.negated());
        }
        for (quarter, difference) in expected {
            if difference != Sums::default() {
                self.name(&format!("sums of quarter {quarter}"));
            }
        }
        Ok(())
    }

    /// Finds rows of `days` that were not compared, because their buyer has no purchase on that
    /// day. Returns all lines.
    fn compare_rest(mut self) -> rusqlite::Result<Vec<String>> {
        let sql = "SELECT count(*) FROM days";
        let days: i64 = self.connection.query_row(sql, [], |row| row.get(0))?;
        if days > self.compared_days {
            let more = days - self.compared_days;
            self.name(&format!("{more} more sums of days"));
        }
        Ok(self.lines)
    }

    /// Adds a line that names the differing sums, unless the limit is reached.
    fn name(&mut self, what: &str) {
        if self.lines.len() < self.limit {
            self.lines
                .push(format!("{what}: differ from the purchases"));
        }
    }
}
