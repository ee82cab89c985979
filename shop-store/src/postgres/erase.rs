//! Erases the purchases of a user, and deletes old purchases.
//!
//! | operation | a stored purchase or refund | a refund that waits for its purchase |
//! |---|---|---|
//! | erase | becomes a mark, a row with nothing but its id | is deleted, and its id is marked |
//! | delete | is deleted | is deleted |
//!
//! A log may deliver an erased purchase again. The mark then keeps the purchase from being
//! inserted, by the primary key and in the statement of the insert itself. A separate table of
//! marks would not be safe: an insert reads that table in its snapshot, which lacks a mark that is
//! written at the same time.

use std::collections::BTreeSet;
use std::time::SystemTime;

use async_trait::async_trait;
use shop_core::ports::{Deletion, PurchaseErase, Removed};
use shop_core::{ErrorKind, PurchaseId, Result, Timestamp, UserId};

use super::connection::{Statement, confirmed};
use super::error::postgres_error;
use super::rows::{answer_column, read_time};
use super::{PostgresStore, waiting};
use crate::limits::row_limit;
use crate::refunds::id_texts;

/// The maximum number of rows that a statement erases, marks or deletes.
const MAX_ROWS: usize = 10_000;

/// Erases or deletes at most 10,000 rows per call.
#[async_trait]
impl PurchaseErase for PostgresStore {
    /// Erases the stored purchases and refunds of `user`, and then the user's waiting refunds. The
    /// last call also removes the kept sums of the user.
    ///
    /// Returns the number of erased rows, at most `limit`. A caller erases all rows by repeated
    /// calls.
    async fn erase(&self, user: &UserId, limit: usize) -> Result<Removed> {
        let limit = limit.min(MAX_ROWS);
        let erased = self.run_count(erase_statement(user, limit)).await?;

        let remaining = limit.saturating_sub(usize::try_from(erased).unwrap_or(usize::MAX));
        let erased_waiting = self
            .run_count(waiting::erase_statement(user, remaining))
            .await?;
        if remaining > 0 {
            self.fold_after_erasure().await;
        }
        Ok(Removed::from(erased + erased_waiting))
    }

    /// Marks the `ids` that are not stored as erased, and removes waiting refunds with one of these
    /// ids or of these purchases, unless their purchase is stored.
    ///
    /// Returns the number of new marks.
    async fn mark_erased(&self, ids: &[PurchaseId]) -> Result<u64> {
        let mut ids = ids.to_vec();
        // Inserts write in the order of the ids too. With the same order here, there is no deadlock
        // with an insert.
        ids.sort_unstable();

        let mut marked = 0;
        for chunk in ids.chunks(MAX_ROWS) {
            marked += match self.run_count(mark_statement(chunk)).await {
                Ok(marked) => marked,
                // Another transaction may have stored a purchase while the statement ran. The
                // statement does not see this purchase, does not mark it, and counts it as skipped,
                // which is an error. A second statement sees the purchase. Any error of the second
                // statement is returned.
                Err(_skipped) => self.run_count(mark_statement(chunk)).await?,
            };
        }

        // The waiting refunds are deleted after the marks are written. A refund that begins to wait
        // from now on finds the mark of its purchase, and is not kept.
        for chunk in ids.chunks(MAX_ROWS) {
            let delete = waiting::delete_of_ids_statement(chunk);
            self.connection.write(delete).await?;
        }
        Ok(marked)
    }

    /// Deletes the purchases and refunds before `time`, the oldest first, and then the waiting
    /// refunds before `time`.
    ///
    /// Reads at most `limit` old rows, and deletes these rows and their refunds. Returns the number
    /// of deleted rows.
    async fn delete_before(
        &self,
        time: Timestamp,
        limit: usize,
        deletion: Deletion,
    ) -> Result<Removed> {
        if deletion == Deletion::DryRun {
            let counted = self.run_count(count_old_query(time, limit)).await?;
            return Ok(Removed::from(counted));
        }
        let limit = limit.min(MAX_ROWS);
        let oldest_rows = self
            .connection
            .query(oldest_rows_query(time, limit))
            .await?;

        let mut deleted = 0;
        if !oldest_rows.is_empty() {
            let ids = ids_with_refunds(&oldest_rows);
            // This lock conflicts with the lock that the insert of a refund takes on its purchase.
            // So no refund of these purchases is inserted before the purchases are deleted, and the
            // deletion sees all refunds that were inserted earlier.
            let lock_sql = "select from purchases where id = any ($1) order by id for update";
            let lock = Statement::new(lock_sql).bind(ids.clone());
            let delete = delete_old_statement(time, ids).after(lock);
            deleted = self.run_count(delete).await?;
        }

        let remaining = limit.saturating_sub(usize::try_from(deleted).unwrap_or(usize::MAX));
        let delete_waiting = waiting::delete_before_statement(time, remaining);
        Ok(Removed::from(
            deleted + self.run_count(delete_waiting).await?,
        ))
    }

    /// Returns the time in the only row of `purchases_clock`, after `stored` has replaced it.
    async fn last_seen(&self, stored: Option<Timestamp>) -> Result<Option<Timestamp>> {
        if let Some(time) = stored {
            let sql = "insert into purchases_clock (seen) values ($1)
                       on conflict (single) do update set seen = excluded.seen";
            let store = Statement::new(sql).bind(SystemTime::from(time));
            self.connection.write(store).await?;
            return Ok(Some(time));
        }
        let select = Statement::new(r#"select seen as "timestamp" from purchases_clock"#);
        let rows = self.connection.query(select).await?;
        Ok(rows.first().and_then(|row| read_time(row).ok()))
    }
}

impl PostgresStore {
    /// Runs a statement that counts rows, and returns the column `count` of its answer.
    ///
    /// `count` is the number of rows that were written, or that [`count_old_query`] counted. The
    /// column `skipped` is the number of rows that should have been written and were not, because a
    /// trigger skipped them.
    ///
    /// # Errors
    /// - [`ErrorKind::Unavailable`] if `skipped` is not 0
    /// - an error of [`PostgresConnection::write`](super::connection::PostgresConnection::write)
    async fn run_count(&self, statement: Statement) -> Result<u64> {
        let rows = self.connection.write(statement).await?;
        let skipped: i64 = answer_column(&rows, "skipped")?;
        if skipped != 0 {
            let message =
                "PostgreSQL has not erased or deleted all rows: a trigger has skipped some";
            let error = postgres_error(ErrorKind::Unavailable, message);
            return Err(error.with_context("skipped", skipped));
        }
        let count: i64 = answer_column(&rows, "count")?;
        Ok(count.unsigned_abs())
    }
}

/// Returns the statement that erases at most `limit` purchases of `user`, the oldest first.
///
/// The answer is for [`PostgresStore::run_count`].
pub(super) fn erase_statement(user: &UserId, limit: usize) -> Statement {
    let sql = r#"
        with chosen as (select id from purchases where userid = $1 order by "timestamp", id limit $2 for update),
        erased as (
            update purchases set userid = null, username = null, price = null, "timestamp" = null, details = null
            where id = any (array(select id from chosen)) returning 1
        )
        select count(*) as count, (select count(*) from chosen) - count(*) as skipped from erased"#;
    Statement::new(sql)
        .bind(user.to_string())
        .bind(row_limit(limit))
}

/// Returns the statement that marks as erased the `ids` that are not stored, and waits until the
/// marks and the rows of all `ids` are on the standby.
///
/// The answer is for [`PostgresStore::run_count`].
fn mark_statement(ids: &[PurchaseId]) -> Statement {
    let confirmed = confirmed("ids");
    let sql = format!(
        "with ids as materialized (select id from unnest($1::text[]) as ids (id)), marked as (
            insert into purchases (id) select id from ids on conflict (id) do nothing returning id
        ), {confirmed}
        select count(*) as count, (
            select count(*) from ids
            where id not in (select id from marked)
                and not exists (select from purchases as stored where stored.id = ids.id)
        ) as skipped, (select count(*) from confirmed) as confirmed from marked"
    );
    Statement::new(sql).bind(id_texts(ids))
}

/// Returns the query of at most `limit` purchases and refunds before `time`, the oldest first.
///
/// Its columns are the id of the row, and the id of the refunded purchase, which is null for a
/// purchase.
pub(super) fn oldest_rows_query(time: Timestamp, limit: usize) -> Statement {
    let sql = r#"
        select id, details ->> 'of' as purchase from purchases
        where "timestamp" < $1 order by "timestamp", id limit $2"#;
    Statement::new(sql)
        .bind(SystemTime::from(time))
        .bind(row_limit(limit))
}

/// Reads the ids in the rows of [`oldest_rows_query`], and adds the id of the refund of each
/// purchase, and of the purchase of each refund.
///
/// A row is a refund if its column `purchase`, the id of the refunded purchase, is set. The returned
/// ids are sorted, because rows are locked in the order of their ids.
fn ids_with_refunds(oldest_rows: &[tokio_postgres::Row]) -> Vec<String> {
    let mut id_texts = BTreeSet::new();
    for row in oldest_rows {
        // Both columns are texts in the tables of this store. A row in which they are not is not
        // deleted.
        let Ok(id_text) = row.try_get::<_, String>("id") else {
            continue;
        };
        let purchase_text: Option<String> = row.try_get("purchase").unwrap_or_default();
        let counterpart_text = purchase_text.or_else(|| {
            let purchase_id = PurchaseId::from_stored(&id_text).ok()?;
            Some(purchase_id.refund_id().to_string())
        });
        id_texts.extend(counterpart_text);
        id_texts.insert(id_text);
    }
    id_texts.into_iter().collect()
}

/// Returns the statement that deletes old rows among `ids`.
///
/// It deletes a purchase or a refund from before `time`, and a refund whose purchase is from before
/// `time` or is not stored. Marks of erased purchases stay. The answer is for
/// [`PostgresStore::run_count`].
fn delete_old_statement(time: Timestamp, ids: Vec<String>) -> Statement {
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
        select count(*) as count, (select count(*) from chosen) - count(*) as skipped from deleted"#;
    Statement::new(sql).bind(ids).bind(SystemTime::from(time))
}

/// Returns the query of the number of purchases, refunds and waiting refunds before `time`. It
/// counts up to `limit`.
///
/// The answer is for [`PostgresStore::run_count`].
pub(super) fn count_old_query(time: Timestamp, limit: usize) -> Statement {
    let sql = r#"
        select least($2, (select count(*) from (select from purchases where "timestamp" < $1 limit $2) as stored)
            + (select count(*) from (select from purchases_waiting where "timestamp" < $1 limit $2) as waiting))
            as count, 0::bigint as skipped"#;
    Statement::new(sql)
        .bind(SystemTime::from(time))
        .bind(row_limit(limit))
}
