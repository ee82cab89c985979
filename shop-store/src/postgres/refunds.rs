//! The statements for refunds, for refunds that wait for their purchase, and for the currency, in
//! PostgreSQL.
//!
//! | table | content |
//! |---|---|
//! | `purchases` | purchases, and refunds of stored purchases |
//! | `purchases_waiting` | refunds that wait for their purchase, or are refused and become dead letters |
//! | `purchases_settings` | the currency of the store |
//!
//! [`crate::refunds`] decides what to do with a refund, and calls the statements here.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use async_trait::async_trait;
use shop_core::domain::Currency;
use shop_core::log::Reason;
use shop_core::ports::{
    CurrencyStore, InsertOutcome, Lookup, WaitingColumns, WaitingRefund, WaitingRefunds,
    WaitingSummary,
};
use shop_core::{ErrorKind, Purchase, PurchaseId, Result};
use tokio_postgres::Row;

use super::connection::{Statement, confirmed_rows};
use super::error::postgres_error;
use super::insert::{self, Insertable as _, PURCHASES, TargetTable, column_values};
use super::rows::{self, read_time};
use super::store::PostgresStore;
use crate::limits::row_limit;
use crate::refunds::{PurchaseRows, PurchaseState, StoredRow, id_texts, settle, update_none_waits};

/// The maximum number of purchases whose waiting refunds one call of `apply_waiting` settles.
const MAX_SETTLED: i64 = 1_000;

/// The columns that [`read_waiting`] reads.
const WAITING_COLUMNS: &str = "sequence, id, value, origin, refusal";

#[async_trait]
impl PurchaseRows for PostgresStore {
    fn state(&self) -> &PurchaseState {
        &self.state
    }

    async fn insert_purchases(&self, batch: &[Purchase]) -> Result<Vec<InsertOutcome>> {
        insert::insert(&self.connection, &PURCHASES, batch).await
    }

    /// Inserts refunds whose purchase is stored.
    ///
    /// The statement locks the purchase of each refund. So another transaction cannot erase or
    /// delete the purchase before this transaction ends. Afterwards it sees the refund, and erases
    /// or deletes the refund too.
    async fn insert_refunds(&self, refunds: &[Purchase]) -> Result<Vec<bool>> {
        let TargetTable {
            columns, arrays, ..
        } = PURCHASES;
        let sql = format!(
            "with input as materialized (
                select * from unnest({arrays}, $7::text[]) as input ({columns}, purchase)
            ), purchases_of_refunds as materialized (
                select id from purchases where id = any ($7) and userid is not null order by id for key share
            )
            insert into purchases ({columns}) select {columns} from input
            where purchase in (select id from purchases_of_refunds)
            on conflict (id) do nothing returning id"
        );
        let refund_rows: Vec<&Purchase> = refunds.iter().collect();
        let insert =
            Purchase::bind(Statement::new(sql), &refund_rows).bind(purchases_of(&refund_rows));
        let inserted_rows = self.connection.write(insert).await?;

        let mut inserted_ids: HashSet<PurchaseId> = inserted_rows
            .iter()
            .filter_map(|row| rows::parse_column(row, "id").ok())
            .collect();
        // If two refunds in the batch share an id, only the first one was inserted. So an id is
        // removed when it is found.
        Ok(refunds
            .iter()
            .map(|refund| inserted_ids.remove(&refund.id))
            .collect())
    }

    /// Deletes the refunds among `ids` whose purchase is not stored.
    ///
    /// The mark of an erased purchase counts as a stored purchase.
    async fn delete_orphans(&self, ids: &[PurchaseId]) -> Result<()> {
        let sql = "delete from purchases where id = any ($1) and details ->> 'of' is not null and not exists (
                       select from purchases as bought where bought.id = purchases.details ->> 'of'
                   )";
        let delete = Statement::new(sql).bind(id_texts(ids));
        self.connection.write(delete).await.map(drop)
    }

    /// Returns the rows with these ids.
    ///
    /// The query runs in the pool of writes, because it belongs to an insert. If there are rows, it
    /// waits until they are on the standby too, as the commit of an insert does.
    async fn find(&self, ids: &[PurchaseId]) -> Result<HashMap<PurchaseId, StoredRow>> {
        let found_rows = self.connection.write(rows::rows_by_id_query(ids)).await?;

        let stored_rows = found_rows.iter().filter_map(|row| {
            let id = rows::parse_column(row, "id").ok()?;
            Some((id, rows::read_stored_row(row)))
        });
        let mut stored_rows_by_id = HashMap::with_capacity(found_rows.len());
        stored_rows_by_id.extend(stored_rows);
        Ok(stored_rows_by_id)
    }

    /// Adds `refunds` to the table of waiting refunds, in their order, which their sequence numbers
    /// keep.
    async fn keep_waiting(&self, refunds: &[&Purchase]) -> Result<()> {
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
        let insert = Statement::new(sql)
            .bind(column_values(refunds, |refund| refund.id.to_string()))
            .bind(purchases_of(refunds))
            .bind(column_values(refunds, |refund| refund.user_id.to_string()))
            .bind(column_values(refunds, |row| {
                SystemTime::from(row.timestamp)
            }))
            .bind(values)
            .bind(origins);
        self.connection.write(insert).await.map(drop)
    }

    /// Returns the waiting refunds of these purchases in the order of their arrival, once they are
    /// on the standby too.
    async fn find_waiting_refunds(&self, purchases: &[PurchaseId]) -> Result<Vec<WaitingRefund>> {
        let waiting_sql =
            format!("select {WAITING_COLUMNS} from purchases_waiting where purchase = any ($1)");
        let sql = format!("{} order by found.sequence", confirmed_rows(&waiting_sql));
        let select = Statement::new(sql).bind(id_texts(purchases));
        let rows = self.connection.write(select).await?;
        rows.iter().map(read_waiting).collect()
    }

    /// Stores the `reason` why the waiting refund with this sequence number can never be applied.
    async fn refuse_waiting(&self, sequence: u64, reason: &Reason) -> Result<()> {
        let refuse =
            Statement::new("update purchases_waiting set refusal = $2 where sequence = $1")
                .bind(sequence.cast_signed())
                .bind(reason.to_string());
        self.connection.write(refuse).await.map(drop)
    }
}

/// Returns the id of the purchase of each refund, or `None` for a purchase.
fn purchases_of(refunds: &[&Purchase]) -> Vec<Option<String>> {
    column_values(refunds, |refund| refund.details.of.map(|id| id.to_string()))
}

impl PostgresStore {
    /// Looks up a refund with this id among the waiting refunds.
    ///
    /// Returns [`Lookup::Waiting`] with the refund that arrived first, or [`Lookup::Missing`].
    pub(super) async fn look_up_waiting(&self, id: &PurchaseId) -> Result<Lookup> {
        let sql = format!(
            "select {WAITING_COLUMNS} from purchases_waiting where id = $1 order by sequence limit 1"
        );
        let select = Statement::new(sql).bind(id.to_string());
        let rows = self.connection.query(select).await?;
        let Some(row) = rows.first() else {
            return Ok(Lookup::Missing);
        };
        let waiting = read_waiting(row)?;
        Ok(Lookup::Waiting(waiting.refund.without_context()))
    }
}

/// Reads a waiting refund from a row of [`WAITING_COLUMNS`].
///
/// # Errors
/// [`ErrorKind::Corrupt`] if a column is not valid.
fn read_waiting(row: &Row) -> Result<WaitingRefund> {
    read_waiting_columns(row).map_err(|error| {
        let message = "a row of the table purchases_waiting is no refund";
        postgres_error(ErrorKind::Corrupt, message).with_context("problem", error)
    })
}

/// Reads the [`WAITING_COLUMNS`] of a row. Returns the error of the first column that is not valid.
fn read_waiting_columns(
    row: &Row,
) -> Result<WaitingRefund, Box<dyn std::error::Error + Send + Sync>> {
    let sequence: i64 = row.try_get("sequence")?;
    let id = PurchaseId::from_stored(row.try_get("id")?)?;
    let columns = WaitingColumns {
        value: row.try_get("value")?,
        origin: row.try_get("origin")?,
    };
    let refusal: Option<&str> = row.try_get("refusal")?;
    Ok(columns.read(sequence.cast_unsigned(), id, refusal)?)
}

#[async_trait]
impl WaitingRefunds for PostgresStore {
    /// Returns the number of waiting refunds that are not refused, and the time of the oldest one.
    async fn waiting_summary(&self) -> Result<WaitingSummary> {
        let sql = r#"select count(*) as count, min("timestamp") as "timestamp"
                     from purchases_waiting where refusal is null"#;
        let rows = self.connection.query(Statement::new(sql)).await?;
        let Some(row) = rows.first() else {
            return Ok(WaitingSummary::default());
        };
        let count: i64 = row.try_get("count").unwrap_or_default();
        Ok(WaitingSummary::new(
            count.unsigned_abs(),
            read_time(row).ok(),
        ))
    }

    /// Applies the waiting refunds whose purchase is stored. Returns at most `limit` refused
    /// refunds.
    ///
    /// The ingest calls this from time to time, and makes the returned refunds dead letters.
    async fn apply_waiting(&self, limit: usize) -> Result<Vec<WaitingRefund>> {
        // The insert of a purchase applies its waiting refunds. A process may have ended between
        // the two steps, so the waiting refunds of stored purchases are applied here.
        let sql = format!(
            "select distinct purchase from purchases_waiting as waiting
             where refusal is null and exists (
                 select from purchases where id = waiting.purchase and userid is not null
             ) limit {MAX_SETTLED}"
        );
        let rows = self.connection.write(Statement::new(sql)).await?;
        let stored_purchases: Vec<PurchaseId> = rows
            .iter()
            .filter_map(|row| rows::parse_column(row, "purchase").ok())
            .collect();
        settle(self, &stored_purchases).await?;

        let sql = format!(
            "select {WAITING_COLUMNS} from purchases_waiting
             where refusal is not null order by sequence limit $1"
        );
        let select = Statement::new(sql).bind(row_limit(limit));
        let refused_rows = self.connection.query(select).await?;

        let any_waiting = Statement::new("select from purchases_waiting limit 1");
        update_none_waits(self, self.connection.query(any_waiting)).await?;
        refused_rows.iter().map(read_waiting).collect()
    }

    /// Removes the waiting refunds with these sequence numbers, such as refunds that were applied.
    async fn remove_waiting(&self, sequences: &[u64]) -> Result<()> {
        let sequences: Vec<i64> = sequences
            .iter()
            .map(|sequence| sequence.cast_signed())
            .collect();
        let delete = Statement::new("delete from purchases_waiting where sequence = any ($1)")
            .bind(sequences);
        self.connection.write(delete).await.map(drop)
    }
}

#[async_trait]
impl CurrencyStore for PostgresStore {
    /// Returns the currency of the store, or `None` if none is set yet.
    async fn currency(&self) -> Result<Option<Currency>> {
        let select = Statement::new("select value from purchases_settings where name = 'currency'");
        let rows = self.connection.write(select).await?;
        let currency = match rows.first() {
            None => None,
            Some(row) => Some(rows::parse_column(row, "value").map_err(|error| {
                let message = "the currency in the table purchases_settings is not valid";
                postgres_error(ErrorKind::Corrupt, message).with_source(error)
            })?),
        };
        Ok(self.state.remember_currency(currency))
    }

    async fn adopt_currency(&self, currency: &Currency) -> Result<Currency> {
        // If another transaction sets a currency at the same time, the insert does nothing, and its
        // snapshot may lack the row. So a second statement reads the currency.
        let insert = Statement::new(
            "insert into purchases_settings (name, value) values ('currency', $1) on conflict (name) do nothing",
        );
        self.connection
            .write(insert.bind(currency.to_string()))
            .await?;

        self.currency().await?.ok_or_else(|| {
            let message = "PostgreSQL has not stored the currency: a trigger has skipped it";
            postgres_error(ErrorKind::Unavailable, message)
        })
    }
}
