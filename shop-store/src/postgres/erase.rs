//! Erases the purchases of a user, and deletes old ones.
//!
//! An erased row keeps its id, and nothing else: the primary key then rejects the purchase when a log delivers it again,
//! in the same statement. A table of marks would be read in another snapshot than a concurrent insert writes in.

use std::collections::BTreeSet;
use std::time::SystemTime;

use async_trait::async_trait;
use shop_core::ports::PurchaseErase;
use shop_core::{ErrorKind, PurchaseId, Result, Timestamp, UserId};

use super::PostgresStore;
use super::connection::{PostgresConnection, Statement, confirmed};
use super::error::postgres_error;
use super::rows::{cell, time};
use crate::limits::row_limit;
use crate::refunds::id_texts;

/// Maximum number of rows in a statement.
const MAX_ROWS: usize = 10_000;

/// At most 10,000 rows per call.
#[async_trait]
impl PurchaseErase for PostgresStore {
    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        let limit = limit.min(MAX_ROWS);
        let erased = count(&self.connection, erasure(user, limit)).await?;
        let left = limit.saturating_sub(usize::try_from(erased).unwrap_or(usize::MAX));
        let waiting = count(&self.connection, erasure_of_waiting(user, left)).await?;
        Ok(erased + waiting)
    }

    async fn mark_erased(&self, ids: &[PurchaseId]) -> Result<u64> {
        let confirmed = confirmed("ids");
        let sql = format!(
            "with ids as materialized (select id from unnest($1::text[]) as ids (id)), marked as (
                insert into purchases (id) select id from ids on conflict (id) do nothing returning id
            ), {confirmed}
            select count(*), (
                select count(*) from ids
                where id not in (select id from marked)
                    and not exists (select from purchases as stored where stored.id = ids.id)
            ), (select count(*) from confirmed) from marked"
        );
        let mut ids = ids.to_vec();
        // In the order of inserts, which may wait for these rows.
        ids.sort_unstable();
        let mut marked = 0;
        for ids in ids.chunks(MAX_ROWS) {
            let mark = || {
                let mark = Statement::new(sql.clone()).bind(id_texts(ids));
                count(&self.connection, mark)
            };
            // A purchase that was stored meanwhile is not seen by the statement that it has kept from marking it.
            marked += match mark().await {
                Err(_skipped) => mark().await?,
                Ok(marked) => marked,
            };
        }
        // After the marks: a refund that begins to wait from now on finds the mark of its purchase.
        for ids in ids.chunks(MAX_ROWS) {
            let sql = "delete from purchases_waiting where (purchase = any ($1) or id = any ($1))
                       and not exists (
                           select from purchases where id = purchases_waiting.purchase and userid is not null
                       )";
            let delete = Statement::new(sql).bind(id_texts(ids));
            self.connection.write(delete).await?;
        }
        Ok(marked)
    }

    async fn delete_before(&self, time: Timestamp, limit: usize) -> Result<u64> {
        let limit = limit.min(MAX_ROWS);
        let oldest = self.connection.query(oldest(time, limit)).await?;
        let mut deleted = 0;
        if !oldest.is_empty() {
            let ids = with_refunds(&oldest);
            // No refund of these rows is inserted meanwhile.
            let lock = "select from purchases where id = any ($1) order by id for update";
            let lock = Statement::new(lock).bind(ids.clone());
            let deletion = deletion(time, ids).after(lock);
            deleted = count(&self.connection, deletion).await?;
        }

        let left = limit.saturating_sub(usize::try_from(deleted).unwrap_or(usize::MAX));
        let waiting = Statement::new(
            r#"with deleted as (
                delete from purchases_waiting where sequence in (
                    select sequence from purchases_waiting where "timestamp" < $1 limit $2
                ) returning 1
            ) select count(*), 0::bigint from deleted"#,
        )
        .bind(SystemTime::from(time))
        .bind(row_limit(left));
        Ok(deleted + count(&self.connection, waiting).await?)
    }

    async fn count_before(&self, time: Timestamp, limit: usize) -> Result<u64> {
        count(&self.connection, old(time, limit)).await
    }

    async fn last_seen(&self) -> Result<Option<Timestamp>> {
        let seen = Statement::new(r#"select seen as "timestamp" from purchases_clock"#);
        Ok(self
            .connection
            .query(seen)
            .await?
            .first()
            .and_then(|row| time(row).ok()))
    }

    async fn store_last_seen(&self, time: Timestamp) -> Result<()> {
        let sql = "insert into purchases_clock (seen) values ($1)
                   on conflict (single) do update set seen = excluded.seen";
        let store = Statement::new(sql).bind(SystemTime::from(time));
        self.connection.write(store).await.map(drop)
    }
}

/// Erases at most `limit` purchases of `user`.
pub(super) fn erasure(user: &UserId, limit: usize) -> Statement {
    let sql = r#"
        with chosen as (select id from purchases where userid = $1 order by "timestamp", id limit $2 for update),
        erased as (
            update purchases set userid = null, username = null, price = null, "timestamp" = null, details = null
            where id = any (array(select id from chosen)) returning 1
        )
        select count(*), (select count(*) from chosen) - count(*) from erased"#;
    Statement::new(sql)
        .bind(user.to_string())
        .bind(row_limit(limit))
}

/// Erases at most `limit` refunds that wait for purchases of `user`, and marks their ids.
pub(super) fn erasure_of_waiting(user: &UserId, limit: usize) -> Statement {
    let sql = "
        with erased as (
            delete from purchases_waiting where sequence = any (array(
                select sequence from purchases_waiting where userid = $1 limit $2
            )) returning id
        ), marked as (
            insert into purchases (id) select distinct id from erased on conflict (id) do nothing
        )
        select count(*), 0::bigint from erased";
    Statement::new(sql)
        .bind(user.to_string())
        .bind(row_limit(limit))
}

/// Selects the ids of at most `limit` purchases and refunds before `time`, the oldest first, and the purchases of these
/// refunds.
pub(super) fn oldest(time: Timestamp, limit: usize) -> Statement {
    let sql = r#"
        select id, details ->> 'of' as purchase from purchases
        where "timestamp" < $1 order by "timestamp", id limit $2"#;
    Statement::new(sql)
        .bind(SystemTime::from(time))
        .bind(row_limit(limit))
}

/// Returns the ids in these rows with those of the refunds of these purchases, and of the purchases of these refunds.
fn with_refunds(oldest: &[tokio_postgres::Row]) -> Vec<String> {
    let mut ids = BTreeSet::new();
    for row in oldest {
        let Ok(id) = row.try_get::<_, String>("id") else {
            continue;
        };
        let purchase: Option<String> = row.try_get("purchase").unwrap_or_default();
        let related = purchase.or_else(|| {
            let id: PurchaseId = id.parse().ok()?;
            Some(id.refund_id().to_string())
        });
        ids.extend(related);
        ids.insert(id);
    }
    ids.into_iter().collect()
}

/// Deletes those rows of `ids` that are before `time`, and refunds whose purchase is.
fn deletion(time: Timestamp, ids: Vec<String>) -> Statement {
    let sql = r#"
        with chosen as (
            select id from purchases where id = any ($1) and userid is not null and (
                "timestamp" < $2 or details ->> 'of' is not null and not exists (
                    select from purchases as bought
                    where bought.id = purchases.details ->> 'of' and bought."timestamp" >= $2
                )
            )
        ),
        deleted as (delete from purchases where id in (select id from chosen) returning 1)
        select count(*), (select count(*) from chosen) - count(*) from deleted"#;
    Statement::new(sql).bind(ids).bind(SystemTime::from(time))
}

/// Counts the purchases before `time`, up to `limit`.
pub(super) fn old(time: Timestamp, limit: usize) -> Statement {
    let sql = r#"
        select least($2, (select count(*) from (select from purchases where "timestamp" < $1 limit $2) as stored)
            + (select count(*) from (select from purchases_waiting where "timestamp" < $1 limit $2) as waiting)),
        0::bigint"#;
    Statement::new(sql)
        .bind(SystemTime::from(time))
        .bind(row_limit(limit))
}

/// Runs a write that returns the number of its rows, and the number of those that it should have written and has not.
async fn count(connection: &PostgresConnection, statement: Statement) -> Result<u64> {
    let rows = connection.write(statement).await?;
    match cell::<i64>(&rows, 1)? {
        0 => Ok(cell::<i64>(&rows, 0)?.unsigned_abs()),
        skipped => {
            let message =
                "PostgreSQL has not erased or deleted all rows: a trigger has skipped some";
            Err(postgres_error(ErrorKind::Unavailable, message).with_context("skipped", skipped))
        }
    }
}
