//! Compares the recorded sums with the purchases, as part of the integrity check of a file.
//!
//! The residue of a row of sums reveals that the disk changed the row. It does not reveal a row of
//! sums that is missing, or a purchase that was lost together with its index entries. So the
//! purchases are added up and compared:
//!
//! ```text
//! the folded sums + the unfolded purchases = the sums of all rows of `purchases`
//! ```
//!
//! The left side is the *recorded* sums, and the right side the *expected* ones. The module `fold`
//! explains the tables.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use super::buyers::ALL;
use super::fold::{GroupedSums, day_at, quarter_at};
use super::rows::parse_signed_price;
use super::sums::Sums;
use super::unfolded::for_each_unfolded;

/// Sums by UTC day, or by quarter of an hour.
type SumsByPeriod = BTreeMap<i64, Sums>;

// The columns of the query of purchases in `compare_sums`.
const BUYER: usize = 0;
const TIMESTAMP: usize = 1;
const PRICE: usize = 2;

/// Compares the recorded sums with the purchases, and returns at most `limit` lines that name the
/// differing sums, such as `sums of buyer 7 on day 20454: differ from the purchases`.
///
/// Compares the sums of each buyer and of each of its days with the purchases of the buyer. Then
/// compares the sums of all buyers, and of their days and quarters, with all purchases.
///
/// Reads all purchases once in the order of the table, which is sorted by buyer, so the sums of
/// only one buyer are kept in memory besides the sums of all. All rows are read in one transaction,
/// so services may write meanwhile.
///
/// Returns no line at all if the price of a purchase cannot be read, because then no sum can be
/// compared. The scan of the purchases names the damaged row.
///
/// # Errors
/// The error of SQLite, or `FromSqlConversionFailure` if the disk changed a row of sums, as its
/// residue (a check digit of the sum) shows, or a row of the table `unfolded`, as its checksum shows.
pub(crate) fn compare_sums(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<String>> {
    let snapshot = connection.unchecked_transaction()?;
    let mut comparison = SumComparison::begin(&snapshot, limit)?;
    let mut days_of_all = SumsByPeriod::new();
    let mut quarters_of_all = SumsByPeriod::new();
    let mut days_of_buyer = SumsByPeriod::new();
    let mut current_buyer: Option<i64> = None;

    let mut statement =
        snapshot.prepare("SELECT buyer, timestamp, price FROM purchases ORDER BY buyer")?;
    let mut purchases = statement.query([])?;
    while let Some(row) = purchases.next()? {
        let buyer: i64 = row.get(BUYER)?;
        // The rows are sorted by buyer, so the first row of a buyer completes the previous buyer.
        if let Some(previous_buyer) = current_buyer
            && previous_buyer != buyer
        {
            comparison.compare_buyer(previous_buyer, &days_of_buyer)?;
            days_of_buyer.clear();
        }
        current_buyer = Some(buyer);

        let Ok(price) = parse_signed_price(row.get_ref(PRICE)?, PRICE) else {
            return Ok(Vec::new());
        };
        let timestamp = row.get(TIMESTAMP)?;
        let sums = Sums::from_price(price);

        for days in [&mut days_of_buyer, &mut days_of_all] {
            days.entry(day_at(timestamp)).or_default().add_sums(sums);
        }
        quarters_of_all
            .entry(quarter_at(timestamp))
            .or_default()
            .add_sums(sums);
    }
    if let Some(last_buyer) = current_buyer {
        comparison.compare_buyer(last_buyer, &days_of_buyer)?;
    }

    // The sums of all buyers are stored like those of one buyer, under the number `ALL`.
    comparison.compare_buyer(ALL, &days_of_all)?;
    comparison.compare_quarters(quarters_of_all)?;
    comparison.report_uncompared_days()?;
    Ok(comparison.lines)
}

/// A comparison of the recorded sums with the expected ones, which collects a line for each
/// difference.
struct SumComparison<'a> {
    connection: &'a Connection,
    /// The sums of the unfolded purchases. The recorded sums are these sums plus the folded ones,
    /// which are read from the file when they are compared.
    unfolded: GroupedSums,
    /// The number of rows of `days` that were compared. Further rows belong to no purchase.
    compared_days: i64,
    /// The lines that name the differing sums, at most `limit`.
    lines: Vec<String>,
    /// The maximum number of lines.
    limit: usize,
}

impl<'a> SumComparison<'a> {
    /// Begins a comparison: reads the unfolded purchases.
    fn begin(connection: &'a Connection, limit: usize) -> rusqlite::Result<Self> {
        let mut unfolded = GroupedSums::default();
        for_each_unfolded(connection, i64::MIN, |purchase| {
            unfolded.add(purchase.buyer, purchase.timestamp, purchase.sums);
        })?;

        Ok(Self {
            connection,
            unfolded,
            compared_days: 0,
            lines: Vec::new(),
            limit,
        })
    }

    /// Compares the recorded sums of `buyer` with its purchases: in total, and for each day of
    /// `expected_days`, the sums of the buyer's purchases by day.
    fn compare_buyer(&mut self, buyer: i64, expected_days: &SumsByPeriod) -> rusqlite::Result<()> {
        let mut expected_total = Sums::default();
        for (day, expected) in expected_days {
            expected_total.add_sums(*expected);

            let mut recorded = self.read_folded_day(*day, buyer)?.unwrap_or_default();
            let unfolded = self.unfolded.days.get(&(*day, buyer));
            recorded.add_sums(unfolded.copied().unwrap_or_default());
            if recorded != *expected {
                self.add_line(&format!("sums of buyer {buyer} on day {day}"));
            }
        }

        let sql = "SELECT count, high, low, residue FROM buyers WHERE buyer = ?1";
        let mut recorded_total = self
            .connection
            .prepare_cached(sql)?
            .query_row([buyer], |row| Sums::read(row, 0))
            .optional()?
            .unwrap_or_default();
        let unfolded_total = self.unfolded.buyers.get(&buyer);
        recorded_total.add_sums(unfolded_total.copied().unwrap_or_default());
        if recorded_total != expected_total {
            self.add_line(&format!("sums of buyer {buyer}"));
        }
        Ok(())
    }

    /// Reads the folded sums of `buyer` on `day`, and counts the row as compared. Returns `None` if
    /// there is no such row, because all purchases of the day are unfolded.
    fn read_folded_day(&mut self, day: i64, buyer: i64) -> rusqlite::Result<Option<Sums>> {
        let sql = "SELECT count, high, low, residue FROM days WHERE day = ?1 AND buyer = ?2";
        let folded = self
            .connection
            .prepare_cached(sql)?
            .query_row([day, buyer], |row| Sums::read_with_key(row, 0, day, buyer))
            .optional()?;
        self.compared_days += i64::from(folded.is_some());
        Ok(folded)
    }

    /// Compares the recorded sums of each quarter with `expected`, the sums of all purchases in the
    /// quarter.
    ///
    /// Subtracts the recorded sums from the expected ones, and reports each quarter whose
    /// difference is not zero.
    fn compare_quarters(&mut self, expected: SumsByPeriod) -> rusqlite::Result<()> {
        let mut differences = expected;
        for (quarter, unfolded) in &self.unfolded.quarters {
            let difference = differences.entry(*quarter).or_default();
            difference.add_sums(unfolded.negated());
        }

        let sql = "SELECT quarter, count, high, low, residue FROM quarters";
        let mut statement = self.connection.prepare(sql)?;
        let mut folded_quarters = statement.query([])?;
        while let Some(row) = folded_quarters.next()? {
            let quarter = row.get(0)?;
            let difference = differences.entry(quarter).or_default();
            difference.add_sums(Sums::read_with_key(row, 1, quarter, ALL)?.negated());
        }

        for (quarter, difference) in differences {
            if difference != Sums::default() {
                self.add_line(&format!("sums of quarter {quarter}"));
            }
        }
        Ok(())
    }

    /// Reports the number of rows of `days` that were not compared, because the buyer of such a row
    /// has no purchase on that day.
    fn report_uncompared_days(&mut self) -> rusqlite::Result<()> {
        let sql = "SELECT count(*) FROM days";
        let days: i64 = self.connection.query_row(sql, [], |row| row.get(0))?;
        let uncompared_days = days - self.compared_days;
        if uncompared_days > 0 {
            self.add_line(&format!("{uncompared_days} more sums of days"));
        }
        Ok(())
    }

    /// Adds a line that names the differing sums, unless the limit is reached.
    fn add_line(&mut self, differing_sums: &str) {
        if self.lines.len() < self.limit {
            self.lines
                .push(format!("{differing_sums}: differ from the purchases"));
        }
    }
}
