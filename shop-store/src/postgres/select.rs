//! Queries purchases: listings by page, counts and sums, single purchases, and scans of the whole
//! table.
//!
//! - A page continues on an index after the last purchase of the previous page (keyset pagination).
//! - Counts and sums are exact, and the server adds them up.
//! - A scan reads all rows in the order of the primary key, in slices.

use std::time::SystemTime;

use async_trait::async_trait;
use shop_core::ports::{
    Bucket, Cursor, ListOrder, Lookup, Page, PageRequest, PurchaseQuery, ScanBatch, Selector,
    Summary, TimeRange, Totals, TotalsRequest, UnreadableEntry, UserNames,
};
use shop_core::{ErrorKind, PurchaseId, Result, Timestamp};
use tokio::time::Instant;
use tokio_postgres::Row;

use super::PostgresStore;
use super::connection::{MAX_READ_BYTES, Statement, confirmed_rows};
use super::error::postgres_error;
use super::rows::{self, COLUMNS};
use super::sums::group_by_slot;
use crate::limits::row_limit;
use crate::refunds::PurchaseRows as _;

/// The bounds of a page, as values of the query of its rows.
///
/// See [`PageBounds`](shop_core::ports::PageBounds).
#[derive(Default)]
pub(super) struct PageStart {
    /// The time and the id of the last row before the page, or `None` for the first page.
    pub(super) after: Option<(SystemTime, String)>,
    /// The time of the earliest purchase.
    pub(super) from: Option<Timestamp>,
    /// The time before which all purchases are.
    pub(super) to: Option<Timestamp>,
}

/// The number of rows in a slice of a scan.
const SLICE_ROWS: usize = 1_000;

#[async_trait]
impl PurchaseQuery for PostgresStore {
    /// Returns one page of a listing.
    ///
    /// Usually sends one query. Rows that are not purchases are skipped. If the page is not full then,
    /// sends further queries. All queries share one timeout.
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        let connection = &self.connection;
        let limit = request.limit.get();
        let deadline = Instant::now() + connection.options.query_timeout;
        let mut start = page_start(selector, request)?;
        // The purchases of the page, and one more if there is a next page.
        let mut purchases = Vec::with_capacity(limit + 1);

        loop {
            let wanted_rows = limit + 1 - purchases.len();
            let query = page_query(selector, request.order, &start, wanted_rows);
            let rows = connection.run(query, deadline).await?;
            purchases.extend(
                rows.iter()
                    .filter_map(|row| connection.read_purchase_or_skip(row)),
            );

            let is_full = Page::full_length(&purchases, request.limit) < purchases.len();
            let is_end = rows.len() != wanted_rows && !is_cut_off(&rows);
            let Some(last_row) = rows.last().filter(|_| !is_full && !is_end) else {
                return Ok(Page::from_overfetch(purchases, selector, request));
            };

            // Some rows were skipped or cut off, and there may be further rows. The next query
            // continues after the last row of this query.
            let time = last_row.try_get("timestamp").map_err(|error| {
                postgres_error(ErrorKind::Corrupt, "a row has no valid time").with_source(error)
            })?;
            start.after = Some((time, rows::raw_id(last_row)));
        }
    }

    /// Returns the count and the sum of the selected purchases.
    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        let buckets = self.totals(selector, &TotalsRequest::default()).await?;
        Ok(buckets
            .first()
            .map(|bucket| bucket.summary)
            .unwrap_or_default())
    }

    /// Returns the counts and sums of the selected purchases for each period of the request.
    ///
    /// The server adds up slots of an hour or a day, and [`Totals`] combines them to the periods.
    /// It reads the sums that it keeps, see [`sums`](super::sums), or the purchases.
    async fn totals(&self, selector: &Selector, request: &TotalsRequest) -> Result<Vec<Bucket>> {
        let deadline = Instant::now() + self.connection.options.query_timeout;
        let kept_slots = self.read_kept_slots(selector, request, deadline).await?;
        let are_purchases_read = kept_slots.is_none();
        let slots = match kept_slots {
            Some(slots) => slots,
            None => {
                let scan = sums_query(selector, request.range, Totals::slots(request));
                self.connection.run(scan, deadline).await?
            }
        };

        let (totals, count) = add_slots(&slots, request)?;
        if are_purchases_read && let Selector::User(user) = selector {
            self.keep_sums_of_large_user(user, count);
        }
        Ok(totals.into_buckets())
    }

    /// Looks up a purchase, a mark or a waiting refund by its id, and waits until it is on the
    /// synchronous standby too.
    ///
    /// The query runs as a write, because it writes a message to the write-ahead log if it finds a
    /// row that may not be durable yet, see `confirmed`. With a synchronous standby, the look-up of
    /// a stored purchase always writes a message, and fails while the server takes no writes.
    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        let mut select = row_by_id_query(id);
        select.sql = confirmed_rows(&select.sql).into();

        let deadline = Instant::now() + self.connection.options.query_timeout;
        let rows = self.connection.write_by(select, deadline).await?;
        let lookup = self.read_lookup(rows.first(), id).await?;

        if let Lookup::Waiting(refund) = &lookup
            && let Some(purchase_id) = refund.details.of
        {
            // `look_up_waiting` does not wait for the standby. This query of the same waiting
            // refund does.
            self.find_waiting_refunds(&[purchase_id]).await?;
        }
        Ok(lookup)
    }

    /// Reads the slice of rows after the position `after`, or the first slice.
    ///
    /// A position in a scan is the id of the last row that was read.
    async fn scan_batch(&self, after: Option<&Cursor>) -> Result<ScanBatch> {
        let rows = self.connection.query(slice_query(after)).await?;
        let next_position = match rows.last() {
            Some(last) if rows.len() == SLICE_ROWS || is_cut_off(&rows) => {
                Some(Cursor::from_text(rows::raw_id(last)))
            }
            _ => None,
        };

        let mut purchases = Vec::with_capacity(rows.len());
        let mut unreadable = Vec::new();
        // The marks of erased purchases are skipped here and not by the query, so every query reads
        // a bounded number of rows.
        for row in rows.iter().filter(|row| !rows::is_mark(row)) {
            match rows::read_purchase(row) {
                Ok(purchase) => purchases.push(purchase),
                Err(error) => {
                    let id = format!("{:?}", rows::raw_id(row));
                    unreadable.push(UnreadableEntry::new(id, error));
                }
            }
        }
        Ok(ScanBatch::new(purchases, next_position).with_unreadable(unreadable))
    }

    async fn check_reads(&self) -> Result<()> {
        self.connection.check_reads().await
    }
}

#[async_trait]
impl UserNames for PostgresStore {
    async fn next_name(&self, from: &str) -> Result<Option<String>> {
        let rows = self.connection.query(next_name_query(from)).await?;
        Ok(rows.first().and_then(|row| row.try_get("username").ok()))
    }
}

impl PostgresStore {
    /// Returns the purchase or the mark in `row`, whose id is `id`. Without a row, looks up `id`
    /// among the waiting refunds.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the row is not a purchase.
    async fn read_lookup(&self, row: Option<&Row>, id: &PurchaseId) -> Result<Lookup> {
        let Some(row) = row else {
            return self.look_up_waiting(id).await;
        };
        rows::read_stored_row(row).into_lookup(|| {
            postgres_error(ErrorKind::Corrupt, "the row with this id is not a purchase")
                .with_context("id", id)
        })
    }
}

/// Returns whether the query of `rows` may have left out further rows, because `rows` have reached the
/// maximum size.
fn is_cut_off(rows: &[Row]) -> bool {
    rows.iter().map(Row::raw_size_bytes).sum::<usize>() >= MAX_READ_BYTES
}

/// Returns the bounds of the requested page.
///
/// # Errors
/// The error of `PageRequest::bounds`, such as for a cursor of another listing.
pub(super) fn page_start(selector: &Selector, request: &PageRequest) -> Result<PageStart> {
    let bounds = request.bounds(selector)?;
    Ok(PageStart {
        after: bounds
            .after
            .map(|last| (last.timestamp.into(), last.id.to_string())),
        from: bounds.from,
        to: bounds.to,
    })
}

/// Returns the query of at most `limit` rows of a listing, in the order of time and id.
pub(super) fn page_query(
    selector: &Selector,
    order: ListOrder,
    start: &PageStart,
    limit: usize,
) -> Statement {
    let (direction, operator) = match order {
        ListOrder::OldestFirst => ("asc", ">"),
        ListOrder::NewestFirst => ("desc", "<"),
    };

    let (mut statement, mut condition) =
        add_selection(Statement::new(""), selector, start.from, start.to);
    if let Some((time, id)) = &start.after {
        statement = statement.bind(*time).bind(id.clone());
        let id_parameter = statement.parameters.len();
        let time_parameter = id_parameter - 1;
        condition +=
            &format!(r#" and ("timestamp", id) {operator} (${time_parameter}, ${id_parameter})"#);
    }

    statement = statement.bind(row_limit(limit));
    let limit_parameter = statement.parameters.len();
    let sql = format!(
        r#"select {COLUMNS} from purchases where {condition}
           order by "timestamp" {direction}, id {direction} limit ${limit_parameter}"#
    );
    statement.sql = sql.into();
    statement.limited()
}

/// Binds the parameters of a selection to `statement`, and returns the statement with the SQL
/// condition for the selected purchases from `from` to before `to`.
///
/// The condition excludes the marks of erased purchases, whose time is null.
pub(super) fn add_selection(
    mut statement: Statement,
    selector: &Selector,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> (Statement, String) {
    let column_values = match selector {
        Selector::User(id) => vec![("userid", id.to_string())],
        Selector::Name(name) => vec![("username", name.to_string())],
        Selector::Reference(reference, user) => {
            let mut values = vec![("details ->> 'reference'", reference.to_string())];
            values.extend(user.iter().map(|user| ("userid", user.to_string())));
            values
        }
        Selector::All => vec![],
    };

    let mut condition = String::new();
    for (column, value) in column_values {
        statement = statement.bind(value);
        condition += &format!("{column} = ${} and ", statement.parameters.len());
    }

    condition += r#""timestamp" is not null"#;
    for (time, operator) in [(from, ">="), (to, "<")] {
        if let Some(time) = time {
            statement = statement.bind(SystemTime::from(time));
            condition += &format!(
                r#" and "timestamp" {operator} ${}"#,
                statement.parameters.len()
            );
        }
    }
    (statement, condition)
}

/// Returns the query of the row with this id.
pub(super) fn row_by_id_query(id: &PurchaseId) -> Statement {
    let sql = format!("select {COLUMNS} from purchases where id = $1");
    Statement::new(sql).bind(id.to_string())
}

/// Returns the query of the first user name, in the order of bytes, that is `from` or greater.
pub(super) fn next_name_query(from: &str) -> Statement {
    let sql = "select username from purchases where username >= $1 order by username limit 1";
    Statement::new(sql).bind(from.to_owned())
}

/// Returns the query of the slice of a scan after the position `after`, or of the first slice.
pub(super) fn slice_query(after: Option<&Cursor>) -> Statement {
    let condition = if after.is_some() { "where id > $1" } else { "" };
    let select = Statement::new(format!(
        "select {COLUMNS} from purchases {condition} order by id limit {SLICE_ROWS}"
    ))
    .limited();
    match after {
        Some(after) => select.bind(after.as_str().to_owned()),
        None => select,
    }
}

/// Adds up the slots in rows of [`sums_query`]. Returns their totals, and the number of purchases.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if a sum cannot be represented exactly, and the errors of
/// [`Totals::add_summary`].
pub(super) fn add_slots(slots: &[Row], request: &TotalsRequest) -> Result<(Totals, u64)> {
    let mut totals = Totals::new(*request);
    let mut count = 0;
    for row in slots {
        let (first_time, summary) = read_slot(row).ok_or_else(|| {
            postgres_error(ErrorKind::Corrupt, "the prices cannot be summed exactly")
        })?;
        count += summary.count;
        totals.add_summary(first_time, summary)?;
    }
    Ok((totals, count))
}

/// Reads the first time, the count and the sum of a slot from a row of [`sums_query`].
///
/// A query without slots returns no time, so [`Timestamp::MIN`] takes its place. Returns `None` if a
/// column is not valid.
fn read_slot(row: &Row) -> Option<(Timestamp, Summary)> {
    let count: i64 = row.try_get("count").ok()?;
    let total: &str = row.try_get("total").ok()?;
    let summary = Summary::new(count.try_into().ok()?, total.parse().ok()?);

    let first_time = match row.try_get::<_, Option<SystemTime>>("first_time").ok()? {
        Some(time) => Timestamp::try_from(time).ok()?,
        None => Timestamp::MIN,
    };
    Some((first_time, summary))
}

/// The columns of the count and of the sum of the prices.
///
/// A refund reduces the sum by its negative price, but is not counted as a purchase. The sum is
/// sent as text, because the conversion to the driver's decimal type would round a long number.
const SUMS: &str = "count(*) filter (where price >= 0) as count,
    trim_scale(coalesce(sum(price), 0))::text as total";

/// Returns the query of the count, the sum and the first time of each slot of time, or of all
/// selected purchases if `slots` is `None`.
///
/// `slots` are the shift and the length of the slots in milliseconds, see [`Totals::slots`].
pub(super) fn sums_query(
    selector: &Selector,
    range: TimeRange,
    slots: Option<(i64, i64)>,
) -> Statement {
    let (mut statement, condition) =
        add_selection(Statement::new(""), selector, range.from(), range.to());
    let (first_time, group_by) = match slots {
        None => ("null::timestamptz", String::new()),
        Some((shift, length)) => (
            r#"min("timestamp")"#,
            group_by_slot(r#""timestamp""#, shift, length),
        ),
    };
    let sql = format!(
        "select {SUMS}, {first_time} as first_time from purchases where {condition} {group_by}"
    );
    statement.sql = sql.into();
    statement
}
