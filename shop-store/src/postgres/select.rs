//! Keyset pagination: each page continues on an index after the last purchase of the previous page.

use std::time::SystemTime;

use shop_core::ports::{ListOrder, Page, PageRequest, Selector};
use shop_core::{ErrorKind, Purchase, PurchaseId, Result};
use tokio::time::Instant;
use tokio_postgres::types::Type;

use super::connection::{Connection, Statement};
use super::error::postgres_error;
use super::rows::{self, COLUMNS};

/// A position in a listing: after the row with this time and id.
pub(super) type Position = (SystemTime, String);

pub(super) async fn page(
    connection: &Connection,
    selector: &Selector,
    request: &PageRequest,
) -> Result<Page> {
    let (order, limit) = (request.order, request.limit.get());
    let deadline = Instant::now() + connection.options.query_timeout;
    let mut after = start(selector, request)?;
    let mut found = Vec::with_capacity(limit + 1);
    loop {
        let wanted = limit + 1 - found.len();
        let rows = connection.query_by(listing(selector, order, after, wanted), deadline).await?;
        found.extend(rows.iter().filter_map(|row| connection.readable(row)));
        // Rows that are not purchases are replaced by the next ones.
        let Some(last) = rows.last().filter(|_| rows.len() == wanted && found.len() <= limit) else {
            return Ok(Page::from_overfetch(found, selector, request));
        };
        let time = last.try_get("timestamp").map_err(|error| {
            postgres_error(ErrorKind::Corrupt, "a row has no valid time").with_source(error)
        })?;
        after = Some((time, rows::raw_id(last)));
    }
}

/// Returns the start of a page.
pub(super) fn start(selector: &Selector, request: &PageRequest) -> Result<Option<Position>> {
    let decode = |cursor: &shop_core::ports::Cursor| cursor.decode(selector, request.order);
    let last = request.cursor.as_ref().map(decode).transpose()?;
    Ok(last.map(|last| (last.timestamp.into(), last.id.to_string())))
}

/// The query of at most `limit` rows of a listing.
pub(super) fn listing(
    selector: &Selector,
    order: ListOrder,
    after: Option<Position>,
    limit: usize,
) -> Statement {
    let (direction, operator) = match order {
        ListOrder::OldestFirst => ("asc", ">"),
        _ => ("desc", "<"),
    };
    let (condition, text) = condition(selector);
    let first = usize::from(text.is_some()) + 2;
    let keyset = match after {
        Some(_) => format!(r#"and ("timestamp", id) {operator} (${first}, ${})"#, first + 1),
        None => String::new(),
    };
    let limit_position = first - 1;
    let sql = format!(
        r#"select {COLUMNS} from purchases where {condition} {keyset}
           order by "timestamp" {direction}, id {direction} limit ${limit_position}"#
    );
    let mut statement = Statement::new(sql);
    if let Some(text) = text {
        statement = statement.bind(text, Type::TEXT);
    }
    statement = statement.bind(i64::try_from(limit).unwrap_or(i64::MAX), Type::INT8);
    match after {
        Some((time, id)) => statement.bind(time, Type::TIMESTAMPTZ).bind(id, Type::TEXT),
        None => statement,
    }
}

/// The condition of the selected rows, and the value of its parameter. The marks of erased purchases have no values.
pub(super) fn condition(selector: &Selector) -> (&'static str, Option<String>) {
    match selector {
        Selector::User(id) => ("userid = $1", Some(id.to_string())),
        Selector::Name(name) => ("username = $1", Some(name.to_string())),
        _ => (r#""timestamp" is not null"#, None),
    }
}

/// The query of the row with this id, unless it is a mark.
pub(super) fn row_by_id(id: &PurchaseId) -> Statement {
    let sql = format!("select {COLUMNS} from purchases where id = $1 and userid is not null");
    Statement::new(sql).bind(id.to_string(), Type::TEXT)
}

/// Returns the purchase with this id.
pub(super) async fn by_id(connection: &Connection, id: &PurchaseId) -> Result<Option<Purchase>> {
    let rows = connection.query(row_by_id(id)).await?;
    rows.first().map(rows::purchase).transpose().map_err(|error| {
        postgres_error(ErrorKind::Corrupt, "the row with this id is not a purchase")
            .with_context("id", id)
            .with_source(error)
    })
}
