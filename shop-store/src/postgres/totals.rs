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
    if let Some(slots) = Totals::slots(request) {
        for row in connection.query(sums(selector, request.range, slots)).await? {
            let time = row.try_get::<_, SystemTime>(2).ok().and_then(|time| Timestamp::try_from(time).ok());
            let (time, sum) = time.zip(read(&row)).ok_or_else(not_exact)?;
            totals.add_summary(time, sum)?;
        }
    } else {
        let rows = connection.query(sum(selector, request.range)).await?;
        totals.add_summary(Timestamp::MIN, rows.first().and_then(read).ok_or_else(not_exact)?)?;
    }
    Ok(totals.into_buckets())
}

fn read(row: &Row) -> Option<Summary> {
    let count = u64::try_from(row.try_get::<_, i64>(0).ok()?).ok()?;
    let total: Total = row.try_get::<_, &str>(1).ok()?.parse().ok()?;
    Some(Summary::new(count, total))
}

fn not_exact() -> shop_core::Error {
    postgres_error(ErrorKind::Corrupt, "the prices cannot be summed exactly")
}

/// Count and sum. As text, because the conversion of a longer number would round it.
const SUMS: &str = "count(*), trim_scale(coalesce(sum(price), 0))::text";

/// The query of count and sum.
pub(super) fn sum(selector: &Selector, range: TimeRange) -> Statement {
    let (statement, condition) = select::selection(selector, range.from(), range.to());
    Statement { sql: format!("select {SUMS} from purchases where {condition}").into(), ..statement }
}

/// The query of count, sum and first time in each of the slots, see [`Totals::slots`]. One slot too many is enough to
/// reject the request. `date_bin` computes with integers, an expression of `extract` with numeric values for each row.
pub(super) fn sums(selector: &Selector, range: TimeRange, (shift, length): (i64, i64)) -> Statement {
    let (statement, condition) = select::selection(selector, range.from(), range.to());
    let limit = Totals::MAX_SLOTS + 1;
    let sql = format!(
        r#"select {SUMS}, min("timestamp") from purchases where {condition}
           group by date_bin('{length} ms', "timestamp", timestamptz 'epoch' - interval '1 ms' * {shift}) limit {limit}"#
    );
    Statement { sql: sql.into(), ..statement }
}
