//! Reads totals per period, such as the purchases of each day, week or month in a time zone.
//!
//! Where the periods consist of whole UTC days or whole quarters of an hour, their totals are added
//! up from the sums of these *parts*, which the module `fold` maintains. The rows of purchases are
//! read only for the ends of the range that cut through a part, for buyers with few purchases, and
//! for periods without kept sums.
//!
//! ```text
//! from                                              to
//!  |  rows  |  sums of a part  |  sums of a part  | rows |
//! ```
//!
//! For example, the totals per UTC day from 1 January 12:00 to 4 January 06:00 consist of the rows
//! of the afternoon of 1 January, the sums of 2 and 3 January, and the rows of the morning of 4
//! January. The purchases of 2 and 3 January that are not folded yet are added from the table
//! `unfolded`.

use rusqlite::{Connection, params};
use shop_core::ports::{Bucket, Period, Selector, Totals, TotalsRequest, UtcOffset};
use shop_core::{Result, Timestamp};

use super::buyers::{self, ALL};
use super::fold::{DAY_MILLIS, QUARTER_MILLIS};
use super::rows::{COLUMNS, read_time_and_price};
use super::sums::Sums;
use super::unfolded::for_each_unfolded;
use crate::embedded::engine::error::unreadable;

/// The number of purchases up to which a buyer's totals are added up from the rows.
///
/// For so few purchases, reading the rows costs less than looking up the sums of each day.
const FEW_PURCHASES: u64 = if cfg!(test) { 20 } else { 1_000 };

/// Reads the totals of the purchases of `selector` for each period of `request`.
///
/// Adds up the rows of each buyer with few purchases, and the sums of parts for the other buyers
/// and for all buyers together. If no sums of suitable parts are kept, adds up the rows in every
/// case.
///
/// The outer result contains the errors of SQLite and of damaged rows. The inner one contains the
/// errors of the totals, such as too many periods.
pub(super) fn read_totals(
    connection: &Connection,
    selector: &Selector,
    request: &TotalsRequest,
) -> rusqlite::Result<Result<Vec<Bucket>>> {
    // One transaction reads rows, sums and unfolded purchases, so that all belong to the same
    // moment.
    let snapshot = connection.unchecked_transaction()?;
    let mut periods = PeriodTotals {
        connection: &snapshot,
        totals: Totals::new(*request),
        first_error: None,
    };

    let from = request.range.from().unwrap_or(Timestamp::MIN).as_millis();
    // A range without an end includes the last instant, so its exclusive end is one later.
    let to = request
        .range
        .to()
        .map_or(Timestamp::MAX.as_millis() + 1, Timestamp::as_millis);

    // The buyers whose totals are added up from sums: all buyers together, and each buyer with many
    // purchases, if sums of suitable parts are kept. The totals of the other buyers are added up
    // from their rows at once.
    let mut buyers_by_sums = Vec::new();
    let granularity = Granularity::longest_for(request, selector);
    for (buyer, folded_sums) in buyers::find_folded_sums(&snapshot, selector)? {
        let is_cheaper_by_sums = buyer == ALL || folded_sums.to_summary().count > FEW_PURCHASES;
        if granularity.is_some() && is_cheaper_by_sums {
            buyers_by_sums.push(buyer);
        } else {
            periods.add_rows(buyer, from, to)?;
        }
    }
    if let Some(granularity) = granularity {
        periods.add_buyers_by_sums(&buyers_by_sums, &granularity, from, to)?;
    }

    if let Some(error) = periods.first_error {
        return Ok(Err(error));
    }
    Ok(Ok(periods.totals.into_buckets()))
}

/// A length of the parts of time whose sums are kept in a table, with the query of these sums.
struct Granularity {
    /// The length of a part in milliseconds.
    part_millis: i64,
    /// The SQL query of the folded sums of buyer `?3` in the parts from number `?1` to before
    /// number `?2`.
    ///
    /// Each row is the number of a part, followed by the four columns of [`Sums`].
    folded_sums_sql: &'static str,
}

impl Granularity {
    /// UTC days, whose sums are kept for each buyer and for all buyers together.
    // The primary key of `days` begins with the day, not with the buyer, so a plain condition would
    // read the rows of all buyers in the range. Instead, the recursive `every` steps from each day
    // with purchases of anyone to the next such day, and `one` is the row of the buyer on that day.
    const DAYS: Self = Self {
        part_millis: DAY_MILLIS,
        folded_sums_sql: "WITH RECURSIVE every (day) AS (
                SELECT min(day) FROM days WHERE day >= ?1
                UNION ALL SELECT (SELECT min(day) FROM days WHERE day > every.day) FROM every WHERE every.day < ?2)
            SELECT one.day, one.count, one.high, one.low, one.residue FROM every CROSS JOIN days AS one
            ON one.day = every.day AND one.buyer = ?3 WHERE every.day < ?2",
    };

    /// Quarters of an hour, whose sums are kept for all buyers together only. The query returns
    /// nothing for another buyer.
    const QUARTERS: Self = Self {
        part_millis: QUARTER_MILLIS,
        folded_sums_sql: "SELECT quarter, count, high, low, residue FROM quarters
            WHERE quarter >= ?1 AND quarter < ?2 AND ?3 = 0",
    };

    /// Returns the longest parts that each period of `request` consists of, or `None` if no sums of
    /// such parts are kept.
    ///
    /// The kept days are UTC days. Days, weeks and months of another zone do not consist of whole
    /// UTC days, and neither does an hour. All zones but a few historical ones differ from UTC by
    /// whole quarters of an hour, but the quarters are kept for all buyers together only.
    fn longest_for(request: &TotalsRequest, selector: &Selector) -> Option<Self> {
        let consist_of_days = match request.period {
            Period::Whole => true,
            Period::Hour => false,
            Period::Day | Period::Month => request.zone == UtcOffset::UTC,
        };
        let consist_of_quarters = request.zone.minutes() % 15 == 0;

        if consist_of_days {
            Some(Self::DAYS)
        } else if consist_of_quarters && matches!(selector, Selector::All) {
            Some(Self::QUARTERS)
        } else {
            None
        }
    }
}

/// The totals per period while they are added up from the rows and sums of a snapshot.
struct PeriodTotals<'a> {
    connection: &'a Connection,
    totals: Totals,
    /// The first error that `totals` returned. It is kept here, because it is no error of SQLite.
    first_error: Option<shop_core::Error>,
}

impl PeriodTotals<'_> {
    /// Adds the purchases of `buyers` from `from` to before `to`, both in milliseconds since 1970,
    /// from the sums of the parts of `granularity`.
    ///
    /// The range may begin and end within a part. The purchases in these cut parts are read from
    /// their rows.
    fn add_buyers_by_sums(
        &mut self,
        buyers: &[i64],
        granularity: &Granularity,
        from: i64,
        to: i64,
    ) -> rusqlite::Result<()> {
        let part_millis = granularity.part_millis;

        // The parts from `first_part` to before `end_part` lie in the range as a whole. The rows
        // before and after them are read one by one.
        let first_part = (from - 1).div_euclid(part_millis) + 1;
        let end_part = to.div_euclid(part_millis).max(first_part);
        let parts_start = first_part * part_millis;
        let parts_end = end_part * part_millis;

        for buyer in buyers {
            self.add_rows(*buyer, from, to.min(parts_start))?;
            self.add_folded(*buyer, granularity, first_part, end_part)?;
            self.add_rows(*buyer, from.max(parts_end), to)?;
        }

        self.add_unfolded(buyers, parts_start, parts_end)
    }

    /// Adds the folded sums of `buyer` in the parts from `first_part` to before `end_part`. Parts are
    /// numbered from 1970 on.
    fn add_folded(
        &mut self,
        buyer: i64,
        granularity: &Granularity,
        first_part: i64,
        end_part: i64,
    ) -> rusqlite::Result<()> {
        let mut statement = self
            .connection
            .prepare_cached(granularity.folded_sums_sql)?;
        let mut folded_rows = statement.query(params![first_part, end_part, buyer])?;
        while let Some(row) = folded_rows.next()? {
            let part: i64 = row.get(0)?;
            let sums = Sums::read_with_key(row, 1, part, buyer)?;
            self.add_to_period(part * granularity.part_millis, sums)?;
        }
        Ok(())
    }

    /// Adds the purchases of `buyers` from `from` to before `to`, in milliseconds since 1970, that the
    /// folded sums do not contain yet.
    fn add_unfolded(&mut self, buyers: &[i64], from: i64, to: i64) -> rusqlite::Result<()> {
        if buyers.is_empty() || from >= to {
            return Ok(());
        }

        // The closure cannot return an error, so the first one is kept here.
        let mut add_result = Ok(());
        for_each_unfolded(self.connection, i64::MIN, |purchase| {
            let is_selected = buyers == [ALL] || buyers.contains(&purchase.buyer);
            let is_in_range = (from..to).contains(&purchase.timestamp);
            if is_selected && is_in_range && add_result.is_ok() {
                add_result = self.add_to_period(purchase.timestamp, purchase.sums);
            }
        })?;
        add_result
    }

    /// Adds the rows of `buyer`, or of all buyers for [`ALL`], from `from` to before `to`, in
    /// milliseconds since 1970.
    fn add_rows(&mut self, buyer: i64, from: i64, to: i64) -> rusqlite::Result<()> {
        if from >= to {
            return Ok(());
        }

        let tables = match buyer {
            ALL => "purchases INDEXED BY by_time CROSS JOIN buyers USING (buyer) WHERE ?3 = 0",
            _ => "buyers CROSS JOIN purchases USING (buyer) WHERE buyer = ?3",
        };
        let sql = format!("SELECT {COLUMNS} FROM {tables} AND timestamp >= ?1 AND timestamp < ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut purchases = statement.query(params![from, to, buyer])?;
        while let Some(row) = purchases.next()? {
            let (timestamp, price) = read_time_and_price(row)?;
            self.add_to_period(timestamp, Sums::from_price(price))?;
        }
        Ok(())
    }

    /// Adds `sums` to the period that contains `timestamp`, in milliseconds since 1970.
    fn add_to_period(&mut self, timestamp: i64, sums: Sums) -> rusqlite::Result<()> {
        let time = Timestamp::from_millis(timestamp).map_err(unreadable(0))?;
        if let Err(error) = self.totals.add_summary(time, sums.to_summary()) {
            self.first_error.get_or_insert(error);
        }
        Ok(())
    }
}
