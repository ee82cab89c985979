//! Exact counts and sums, added up by the server.

use shop_core::ports::{Selector, Summary};
use shop_core::{ErrorKind, Result, Total};
use tokio_postgres::types::Type;

use super::connection::{Connection, Statement};
use super::error::postgres_error;
use super::select;

/// Returns count and sum of the selected rows.
pub(super) async fn summary(connection: &Connection, selector: &Selector) -> Result<Summary> {
    let rows = connection.query(sum(selector)).await?;
    let read = || {
        let row = rows.first()?;
        let count = u64::try_from(row.try_get::<_, i64>(0).ok()?).ok()?;
        let total: Total = row.try_get::<_, &str>(1).ok()?.parse().ok()?;
        Some(Summary::new(count, total))
    };
    read().ok_or_else(|| postgres_error(ErrorKind::Corrupt, "the prices cannot be summed exactly"))
}

/// The query of count and sum. As text, because the conversion of a longer number would round it.
pub(super) fn sum(selector: &Selector) -> Statement {
    let (condition, text) = select::condition(selector);
    let sum = Statement::new(format!(
        "select count(*), trim_scale(coalesce(sum(price), 0))::text from purchases where {condition}"
    ));
    match text {
        Some(text) => sum.bind(text, Type::TEXT),
        None => sum,
    }
}
