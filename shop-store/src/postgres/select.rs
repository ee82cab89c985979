//! Keyset pagination: each page continues on an index after the last purchase of the previous page. A scan reads all
//! rows in the order of the primary key. Counts and sums are exact, and added up by the server.

use std::time::SystemTime;

use async_trait::async_trait;
use shop_core::ports::{
    Bucket, Cursor, ListOrder, Lookup, Page, PageRequest, PurchaseQuery, ScanBatch, Selector,
    Summary, TimeRange, Totals, TotalsRequest, UnreadableEntry,
};
use shop_core::{ErrorKind, Purchase, PurchaseId, Result, Timestamp, Total};
use tokio::time::Instant;
use tokio_postgres::Row;

use super::PostgresStore;
use super::connection::{Statement, confirmed_rows};
use super::error::postgres_error;
use super::rows::{self, COLUMNS};
use crate::limits::row_limit;
use crate::refunds::PurchaseRows as _;

/// The bounds of a page, see [`PageBounds`](shop_core::ports::PageBounds).
#[derive(Debug, Default)]
pub(super) struct PageStart {
    /// The time and the id of the row before the first one.
    pub(super) after: Option<(SystemTime, String)>,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
}

/// Number of rows in a slice.
const SLICE: usize = 1_000;

#[async_trait]
impl PurchaseQuery for PostgresStore {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        let connection = &self.connection;
        let limit = request.limit.get();
        let deadline = Instant::now() + connection.options.query_timeout;
        let mut start = start(selector, request)?;
        let mut found = Vec::with_capacity(limit + 1);
        loop {
            let wanted = limit + 1 - found.len();
            let rows = connection
                .run(listing(selector, request.order, &start, wanted), deadline)
                .await?;
            found.extend(rows.iter().filter_map(|row| connection.readable(row)));
            // Rows that are not purchases are replaced by the next ones.
            let Some(last) = rows
                .last()
                .filter(|_| rows.len() == wanted && found.len() <= limit)
            else {
                return Ok(Page::from_overfetch(found, selector, request));
            };
            let time = last.try_get("timestamp").map_err(|error| {
                postgres_error(ErrorKind::Corrupt, "a row has no valid time").with_source(error)
            })?;
            start.after = Some((time, rows::raw_id(last)));
        }
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        let buckets = self.totals(selector, &TotalsRequest::default()).await?;
        Ok(buckets
            .first()
            .map(|bucket| bucket.summary)
            .unwrap_or_default())
    }

    async fn totals(&self, selector: &Selector, request: &TotalsRequest) -> Result<Vec<Bucket>> {
        let statement = sums(selector, request.range, Totals::slots(request));
        let mut totals = Totals::new(*request);
        for row in self.connection.query(statement).await? {
            let (time, sum) = read_sum(&row).ok_or_else(|| {
                postgres_error(ErrorKind::Corrupt, "the prices cannot be summed exactly")
            })?;
            totals.add_summary(time, sum)?;
        }
        Ok(totals.into_buckets())
    }

    async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        Ok(self.look_up(id).await?.stored())
    }

    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        let rows = self.connection.query(row_by_id(id)).await?;
        self.lookup_of(rows.first(), id).await
    }

    async fn look_up_durable(&self, id: &PurchaseId) -> Result<Lookup> {
        let mut found = row_by_id(id);
        found.sql = confirmed_rows(&found.sql).into();
        let deadline = Instant::now() + self.connection.options.query_timeout;
        let rows = self.connection.write_by(found, deadline).await?;
        let lookup = self.lookup_of(rows.first(), id).await?;
        if let Lookup::Waiting(refund) = &lookup
            && let Some(purchase) = refund.details.of
        {
            // Reading the waiting refunds makes the transaction wait for the standby.
            self.waiting_of(&[purchase]).await?;
        }
        Ok(lookup)
    }

    fn takeovers(&self) -> u64 {
        self.connection.servers.timeline().into()
    }

    async fn next_name(&self, from: &str) -> Result<Option<String>> {
        let rows = self.connection.query(next_name(from)).await?;
        Ok(rows.first().and_then(|row| row.try_get(0).ok()))
    }

    /// A position is the id of the last row.
    async fn scan_batch(&self, after: Option<&Cursor>) -> Result<ScanBatch> {
        let rows = self.connection.query(slice(after)).await?;
        let next = rows
            .last()
            .filter(|_| rows.len() == SLICE)
            .map(|last| Cursor::from_text(rows::raw_id(last)));
        let mut purchases = Vec::with_capacity(rows.len());
        let mut unreadable = Vec::new();
        // The marks of erased purchases are skipped here, so every call costs the same.
        for row in rows.iter().filter(|row| !rows::is_mark(row)) {
            match rows::purchase(row) {
                Ok(purchase) => purchases.push(purchase),
                Err(error) => {
                    unreadable.push(UnreadableEntry::new(
                        format!("{:?}", rows::raw_id(row)),
                        error,
                    ));
                }
            }
        }
        Ok(ScanBatch::new(purchases, next).with_unreadable(unreadable))
    }

    async fn check_reads(&self) -> Result<()> {
        self.connection.check_reads().await
    }
}

impl PostgresStore {
    /// Reads what is stored in the row with this id, or looks among the waiting refunds if there is no row.
    async fn lookup_of(&self, row: Option<&Row>, id: &PurchaseId) -> Result<Lookup> {
        let Some(row) = row else {
            return self.look_up_waiting(id).await;
        };
        rows::stored_row(row).into_lookup(|| {
            postgres_error(ErrorKind::Corrupt, "the row with this id is not a purchase")
                .with_context("id", id)
        })
    }
}

/// Returns the start of a page.
pub(super) fn start(selector: &Selector, request: &PageRequest) -> Result<PageStart> {
    let bounds = request.bounds(selector)?;
    let after = bounds
        .after
        .map(|last| (last.timestamp.into(), last.id.to_string()));
    Ok(PageStart {
        after,
        from: bounds.from,
        to: bounds.to,
    })
}

/// The query of at most `limit` rows of a listing.
pub(super) fn listing(
    selector: &Selector,
    order: ListOrder,
    start: &PageStart,
    limit: usize,
) -> Statement {
    let (direction, operator) = match order {
        ListOrder::OldestFirst => ("asc", ">"),
        _ => ("desc", "<"),
    };
    let (mut statement, mut condition) = selection(selector, start.from, start.to);
    if let Some((time, id)) = &start.after {
        statement = statement.bind(*time).bind(id.clone());
        let last = statement.parameters.len();
        condition += &format!(
            r#" and ("timestamp", id) {operator} (${}, ${last})"#,
            last - 1
        );
    }
    statement = statement.bind(row_limit(limit));
    let limit = statement.parameters.len();
    let sql = format!(
        r#"select {COLUMNS} from purchases where {condition}
           order by "timestamp" {direction}, id {direction} limit ${limit}"#
    );
    statement.sql = sql.into();
    statement
}

/// The condition of the selected rows from one time to before another, and a statement without text that has its
/// parameters. The marks of erased purchases have no values.
pub(super) fn selection(
    selector: &Selector,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> (Statement, String) {
    let mut statement = Statement::new("");
    let mut condition = String::new();
    let texts = match selector {
        Selector::User(id) => vec![("userid", id.to_string())],
        Selector::Name(name) => vec![("username", name.to_string())],
        Selector::Reference(reference, user) => {
            let mut texts = vec![("details ->> 'reference'", reference.to_string())];
            texts.extend(user.iter().map(|user| ("userid", user.to_string())));
            texts
        }
        Selector::All => vec![],
        // None, as long as this store does not know it.
        _ => vec![("false::text", String::new())],
    };
    for (column, text) in texts {
        statement = statement.bind(text);
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

/// The query of the row with this id.
pub(super) fn row_by_id(id: &PurchaseId) -> Statement {
    let sql = format!("select {COLUMNS} from purchases where id = $1");
    Statement::new(sql).bind(id.to_string())
}

/// The query of the least name that is `from` or greater.
pub(super) fn next_name(from: &str) -> Statement {
    let sql = "select username from purchases where username >= $1 order by username limit 1";
    Statement::new(sql).bind(from.to_owned())
}

/// The query of the slice after a position.
pub(super) fn slice(after: Option<&Cursor>) -> Statement {
    let condition = after.map_or("", |_| "where id > $1");
    let slice = Statement::new(format!(
        "select {COLUMNS} from purchases {condition} order by id limit {SLICE}"
    ));
    match after {
        Some(after) => slice.bind(after.as_str().to_owned()),
        None => slice,
    }
}

/// Reads a sum, and a time in its slot.
fn read_sum(row: &Row) -> Option<(Timestamp, Summary)> {
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
    let (mut statement, condition) = selection(selector, range.from(), range.to());
    let limit = Totals::MAX_SLOTS + 1;
    let sql = match slots {
        None => format!("select {SUMS}, null::timestamptz from purchases where {condition}"),
        Some((shift, length)) => format!(
            r#"select {SUMS}, min("timestamp") from purchases where {condition}
           group by date_bin('{length} ms', "timestamp", timestamptz 'epoch' - interval '1 ms' * {shift}) limit {limit}"#
        ),
    };
    statement.sql = sql.into();
    statement
}
