//! The statements on the table `purchases_waiting`: the refunds that wait for their purchase, or are
//! refused and become dead letters.
//!
//! While refunds wait, each insert of purchases reads this table, and so does each look-up of an id
//! that is not stored. Neither may take longer the more refunds wait for other purchases. So no
//! statement but [`summary_query`] reads rows that it does not return, change or delete.

use std::time::SystemTime;

use shop_core::log::Reason;
use shop_core::ports::{WaitingColumns, WaitingRefund};
use shop_core::{ErrorKind, Purchase, PurchaseId, Result, Timestamp, UserId};
use tokio_postgres::Row;

use super::connection::{Statement, confirmed_rows};
use super::error::postgres_error;
use super::insert::column_values;
use super::rows;
use crate::limits::row_limit;
use crate::refunds::id_texts;
use crate::waiting::SweepEntry;

/// The columns that [`read_waiting`] reads.
const COLUMNS: &str = "sequence, id, value, origin, refusal";

/// Returns the statement that adds `refunds` in their order, which their sequence numbers keep.
///
/// # Errors
/// The error of [`WaitingColumns::new`].
pub(super) fn insert_statement(refunds: &[&Purchase]) -> Result<Statement> {
    let mut values = Vec::new();
    let mut origins = Vec::new();
    for refund in refunds {
        let columns = WaitingColumns::new(refund)?;
        values.push(columns.value);
        origins.push(columns.origin);
    }

    let sql = r#"
        insert into purchases_waiting (id, purchase, userid, "timestamp", value, origin)
        select id, purchase, userid, "timestamp", value, origin
        from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[])
            with ordinality as input (id, purchase, userid, "timestamp", value, origin, number)
        order by number"#;
    Ok(Statement::new(sql)
        .bind(column_values(refunds, |refund| refund.id.to_string()))
        .bind(purchases_of(refunds))
        .bind(column_values(refunds, |refund| refund.user_id.to_string()))
        .bind(column_values(refunds, |refund| {
            SystemTime::from(refund.timestamp)
        }))
        .bind(values)
        .bind(origins))
}

/// Returns the id of the purchase of each refund, or `None` for a purchase.
pub(super) fn purchases_of(refunds: &[&Purchase]) -> Vec<Option<String>> {
    column_values(refunds, |refund| refund.details.of.map(|id| id.to_string()))
}

/// Returns the query of the refunds of `purchases` in the order of their arrival, which waits until
/// they are on the standby.
///
/// `offset 0` makes the server look up each purchase in the index. Without it, the server would read
/// the whole table for many purchases.
pub(super) fn of_purchases_query(purchases: &[PurchaseId]) -> Statement {
    let refunds_sql = format!(
        "select refund.* from (select distinct unnest($1::text[]) as id) as input cross join lateral (
            select {COLUMNS} from purchases_waiting where purchase = input.id offset 0
        ) as refund"
    );
    let sql = format!("{} order by found.sequence", confirmed_rows(&refunds_sql));
    Statement::new(sql).bind(id_texts(purchases))
}

/// Returns the query of the refunds with this `id`, in any order.
///
/// With `order by sequence`, the server would read the whole table in that order rather than sort,
/// because sessions set `enable_sort=off`. The refunds are of one purchase, so they are few.
pub(super) fn with_id_query(id: &PurchaseId) -> Statement {
    let sql = format!("select {COLUMNS} from purchases_waiting where id = $1");
    Statement::new(sql).bind(id.to_string())
}

/// Returns the query of the first `limit` refunds behind the sequence number `position`, for
/// [`read_sweep_entry`].
pub(super) fn behind_query(position: u64, limit: usize) -> Statement {
    let sql = "select sequence, case when refusal is null then purchase end as purchase
               from purchases_waiting where sequence > $1 order by sequence limit $2";
    Statement::new(sql)
        .bind(position.cast_signed())
        .bind(row_limit(limit))
}

/// Returns the query of the first `limit` refused refunds in the order of their arrival.
pub(super) fn refused_query(limit: usize) -> Statement {
    let sql = format!(
        "select {COLUMNS} from purchases_waiting
         where refusal is not null order by sequence limit $1"
    );
    Statement::new(sql).bind(row_limit(limit))
}

/// Returns the query of the number of refunds that are not refused, and of the time of the oldest of
/// them.
pub(super) fn summary_query() -> Statement {
    let sql = r#"
        select (select count(*) from purchases_waiting where refusal is null) as count,
               (select min("timestamp") from purchases_waiting where refusal is null) as "timestamp""#;
    Statement::new(sql)
}

/// Returns the statement that stores the `reason` why the refunds with these `sequences` can never
/// be applied.
pub(super) fn refuse_statement(sequences: &[u64], reason: &Reason) -> Statement {
    Statement::new("update purchases_waiting set refusal = $2 where sequence = any ($1)")
        .bind(signed(sequences))
        .bind(reason.to_string())
}

/// Returns the statement that deletes the refunds with these `sequences`.
pub(super) fn delete_statement(sequences: &[u64]) -> Statement {
    Statement::new("delete from purchases_waiting where sequence = any ($1)")
        .bind(signed(sequences))
}

/// Returns the statement that deletes at most `limit` refunds of `user`, and marks their ids as
/// erased.
///
/// Its answer is one row with the columns `count` and `skipped`.
pub(super) fn erase_statement(user: &UserId, limit: usize) -> Statement {
    let sql = "
        with erased as (
            delete from purchases_waiting where sequence = any (array(
                select sequence from purchases_waiting where userid = $1 limit $2
            )) returning id
        ), marked as (
            insert into purchases (id) select distinct id from erased on conflict (id) do nothing
        )
        select count(*) as count, 0::bigint as skipped from erased";
    Statement::new(sql)
        .bind(user.to_string())
        .bind(row_limit(limit))
}

/// Returns the statement that deletes the refunds with one of these `ids`, and the refunds of
/// purchases with one of these `ids`. It keeps the refunds whose purchase is stored.
pub(super) fn delete_of_ids_statement(ids: &[PurchaseId]) -> Statement {
    let sql = "delete from purchases_waiting where (purchase = any ($1) or id = any ($1))
               and not exists (
                   select from purchases where id = purchases_waiting.purchase and userid is not null
               )";
    Statement::new(sql).bind(id_texts(ids))
}

/// Returns the statement that deletes at most `limit` refunds before `time`.
///
/// Its answer is one row with the columns `count` and `skipped`.
pub(super) fn delete_before_statement(time: Timestamp, limit: usize) -> Statement {
    let sql = r#"with deleted as (
            delete from purchases_waiting where sequence = any (array(
                select sequence from purchases_waiting where "timestamp" < $1 limit $2
            )) returning 1
        ) select count(*) as count, 0::bigint as skipped from deleted"#;
    Statement::new(sql)
        .bind(SystemTime::from(time))
        .bind(row_limit(limit))
}

/// Returns sequence numbers as signed integers, because the server has no unsigned ones.
fn signed(sequences: &[u64]) -> Vec<i64> {
    sequences
        .iter()
        .map(|sequence| sequence.cast_signed())
        .collect()
}

/// Reads a waiting refund from a row of [`COLUMNS`].
///
/// # Errors
/// [`ErrorKind::Corrupt`] if a column is not valid.
pub(super) fn read_waiting(row: &Row) -> Result<WaitingRefund> {
    read_columns(row).map_err(|error| {
        let message = "a row of the table purchases_waiting is no refund";
        postgres_error(ErrorKind::Corrupt, message).with_context("problem", error)
    })
}

/// Reads the [`COLUMNS`] of a row. Returns the error of the first column that is not valid.
fn read_columns(row: &Row) -> Result<WaitingRefund, Box<dyn std::error::Error + Send + Sync>> {
    let sequence: i64 = row.try_get("sequence")?;
    let id = PurchaseId::from_stored(row.try_get("id")?)?;
    let columns = WaitingColumns {
        value: row.try_get("value")?,
        origin: row.try_get("origin")?,
    };
    let refusal: Option<&str> = row.try_get("refusal")?;
    Ok(columns.read(sequence.cast_unsigned(), id, refusal)?)
}

/// Reads a row of [`behind_query`].
///
/// # Errors
/// [`ErrorKind::Internal`] if the row has no sequence number.
pub(super) fn read_sweep_entry(row: &Row) -> Result<SweepEntry> {
    let sequence: i64 = row.try_get("sequence").map_err(|error| {
        postgres_error(ErrorKind::Internal, "a waiting refund has no number").with_source(error)
    })?;
    Ok(SweepEntry {
        sequence: sequence.cast_unsigned(),
        // The column is null for a refused refund, which waits for no purchase any more.
        purchase_id: rows::parse_column(row, "purchase").ok(),
    })
}
