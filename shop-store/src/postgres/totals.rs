//! Exact counts and sums, added up by the server.

use std::time::SystemTime;

use shop_core::ports::{Bucket, Selector, Summary, TimeRange, Totals, TotalsRequest};
use shop_core::{ErrorKind, Result, Timestamp, Total};
use tokio_postgres::Row;

use super::connection::{Connection, Statement};
use super::error::postgres_error;
use super::select;

/// Returns count and sum of the selected rows per period.
pub(super) async fn per_period(
    connection: &Connection,
    selector: &Selector,
    request: &TotalsRequest,
) -> Result<Vec<Bucket>> {
    let mut totals = Totals::new(*request);
    for row in connection
        .query(sums(selector, request.range, Totals::slots(request)))
        .await?
    {
        let (time, sum) = read(&row).ok_or_else(|| {
            postgres_error(ErrorKind::Corrupt, "the prices cannot be summed exactly")
        })?;
        totals.add_summary(time, sum)?;
    }
    Ok(totals.into_buckets())
}

/// Reads a sum, and a time in its slot.
fn read(row: &Row) -> Option<(Timestamp, Summary)> {
    let count = u64::try_from(row.try_get::<_, i64>(0).ok()?).ok()?;
    let total: Total = row.try_get::<_, &str>(1).ok()?.parse().ok()?;
    let first: Option<SystemTime> = row.try_get(2).ok()?;
    let first = first.map_or(Ok(Timestamp::MIN), Timestamp::try_from).ok()?;
    Some((first, Summary::new(count, total)))
}

/// Count and sum. A refund, whose price is negative, is no further purchase. As text, because the conversion of a longer number would round it.
const SUMS: &str = "count(*) filter (where price >= 0), trim_scale(coalesce(sum(price), 0))::text";

/// The query of count, sum and first time in each of the slots, see [`Totals::slots`]. One slot too many is enough to
/// reject the request. `date_bin` computes with integers, an expression of `extract` with numeric values for each row.
pub(super) fn sums(selector: &Selector, range: TimeRange, slots: Option<(i64, i64)>) -> Statement {
    let (statement, condition) = select::selection(selector, range.from(), range.to());
    let Some((shift, length)) = slots else {
        let sql = format!("select {SUMS}, null::timestamptz from purchases where {condition}");
        return Statement {
            sql: sql.into(),
            ..statement
        };
    };
    let limit = Totals::MAX_SLOTS + 1;
    let sql = format!(
        r#"select {SUMS}, min("timestamp") from purchases where {condition}
           group by date_bin('{length} ms', "timestamp", timestamptz 'epoch' - interval '1 ms' * {shift}) limit {limit}"#
    );
    Statement {
        sql: sql.into(),
        ..statement
    }
}
