//! Totals per period: from the sums per UTC day where the periods consist of such days, else from the rows.

use rusqlite::{Connection, params};
use shop_core::ports::{Bucket, Period, Selector, Totals, TotalsRequest, UtcOffset};
use shop_core::{Result, Timestamp};

use super::buyers;
use super::fold::{self, day, day_start};
use super::rows::{COLUMNS, price};
use super::sums::Sums;
use crate::embedded::error::unreadable;

/// Reads the totals of the selected purchases.
pub(super) fn read(
    connection: &Connection,
    selector: &Selector,
    request: &TotalsRequest,
) -> rusqlite::Result<Result<Vec<Bucket>>> {
    // The rows are of one moment.
    let moment = connection.unchecked_transaction()?;
    let keys = buyers::with_sums(&moment, selector)?
        .into_iter()
        .map(|(buyer, _)| buyer)
        .collect();
    let mut periods = Periods {
        buyers: keys,
        totals: Totals::new(*request),
        failed: None,
    };
    let from = request.range.from().unwrap_or(Timestamp::MIN).as_millis();
    // The last instant is part of a range without an end.
    let to = request
        .range
        .to()
        .map_or(Timestamp::MAX.as_millis() + 1, Timestamp::as_millis);
    let (first, end) = (day(from - 1) + 1, day(to));
    if request.per == Period::Hour || request.zone != UtcOffset::UTC || first >= end {
        periods.add_rows(&moment, from, to)?;
    } else {
        periods.add_rows(&moment, from, day_start(first))?;
        periods.add_days(&moment, first, end)?;
        periods.add_rows(&moment, day_start(end), to)?;
    }
    Ok(periods
        .failed
        .map_or_else(|| Ok(periods.totals.into_buckets()), Err))
}

struct Periods {
    buyers: Vec<i64>,
    totals: Totals,
    /// The first error of `totals`.
    failed: Option<shop_core::Error>,
}

impl Periods {
    /// Adds the sums of the UTC days from `first` to before `end`.
    fn add_days(&mut self, connection: &Connection, first: i64, end: i64) -> rusqlite::Result<()> {
        // A day with purchases has a row for all buyers.
        let sql = "SELECT one.day, one.count, one.high, one.low, one.residue FROM days AS every CROSS JOIN days AS one
                   ON one.day = every.day AND one.buyer = ?3
                   WHERE every.buyer = 0 AND every.day >= ?1 AND every.day < ?2";
        let mut statement = connection.prepare_cached(sql)?;
        for buyer in self.buyers.clone() {
            let mut found = statement.query(params![first, end, buyer])?;
            while let Some(row) = found.next()? {
                let day = row.get(0)?;
                let sums = Sums::read_of_day(row, 1, day, buyer)?;
                self.add(day_start(day), sums)?;
            }
        }
        let mut failed = Ok(());
        fold::each_unfolded(connection, i64::MIN, |buyer, timestamp, price| {
            let is_selected = self.buyers.contains(&buyer) || self.buyers == [buyers::ALL];
            if is_selected && (first..end).contains(&day(timestamp)) && failed.is_ok() {
                failed = self.add(timestamp, price);
            }
        })?;
        failed
    }

    /// Adds the rows from `from` to before `to`.
    fn add_rows(&mut self, connection: &Connection, from: i64, to: i64) -> rusqlite::Result<()> {
        if from >= to {
            return Ok(());
        }
        let rows = match self.buyers[..] {
            [buyers::ALL] => {
                "purchases INDEXED BY by_time CROSS JOIN buyers USING (buyer) WHERE ?3 = 0"
            }
            _ => "buyers CROSS JOIN purchases USING (buyer) WHERE buyer = ?3",
        };
        let sql = format!("SELECT {COLUMNS} FROM {rows} AND timestamp >= ?1 AND timestamp < ?2");
        let mut statement = connection.prepare_cached(&sql)?;
        for buyer in self.buyers.clone() {
            let mut found = statement.query(params![from, to, buyer])?;
            while let Some(row) = found.next()? {
                let (millis, price) = price(row)?;
                self.add(millis, Sums::of(price))?;
            }
        }
        Ok(())
    }

    /// Adds the sums of a slot that contains this time.
    fn add(&mut self, millis: i64, sums: Sums) -> rusqlite::Result<()> {
        let time = Timestamp::from_millis(millis).map_err(unreadable(0))?;
        let added = self.totals.add_summary(time, sums.summary());
        self.failed = self.failed.take().or(added.err());
        Ok(())
    }
}
