//! The statements for refunds, for refunds that wait for their purchase, and for the currency, in
//! PostgreSQL.
//!
//! | table | content |
//! |---|---|
//! | `purchases` | purchases, and refunds of stored purchases |
//! | `purchases_waiting` | refunds that wait for their purchase, see `waiting` |
//! | `purchases_settings` | the currency of the store |
//!
//! [`crate::refunds`] decides what to do with a refund, and calls the statements here.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use shop_core::domain::Currency;
use shop_core::log::Reason;
use shop_core::ports::{
    CurrencyStore, InsertOutcome, Lookup, WaitingRefund, WaitingRefunds, WaitingSummary,
};
use shop_core::{ErrorKind, Purchase, PurchaseId, Result};

use super::connection::Statement;
use super::error::postgres_error;
use super::insert::{self, Insertable as _, PURCHASES, TargetTable};
use super::rows::{self, read_time};
use super::store::PostgresStore;
use super::waiting::{self, purchases_of};
use crate::refunds::{PurchaseRows, PurchaseState, StoredRow, id_texts};
use crate::waiting::{SweepEntry, sweep};

#[async_trait]
impl PurchaseRows for PostgresStore {
    fn state(&self) -> &PurchaseState {
        &self.purchase_state
    }

    async fn insert_purchases(&self, batch: &[Purchase]) -> Result<Vec<InsertOutcome>> {
        insert::insert(&self.connection, &PURCHASES, batch).await
    }

    /// Inserts refunds whose purchase is stored.
    ///
    /// The statement locks the purchase of each refund. So another transaction can erase or delete the
    /// purchase only after this transaction has ended. It then sees the refund, and erases or deletes
    /// the refund too.
    ///
    /// All statements that insert rows lock and insert in the order of the ids, so that two of these
    /// statements never wait for each other.
    async fn insert_refunds(&self, refunds: &[Purchase]) -> Result<Vec<bool>> {
        let TargetTable {
            columns, arrays, ..
        } = PURCHASES;
        let sql = format!(
            r#"with input as materialized (
                select * from unnest({arrays}, $7::text[]) as input ({columns}, purchase)
            ), purchases_of_refunds as materialized (
                select id from purchases where id = any ($7) and userid is not null order by id for key share
            )
            insert into purchases ({columns}) select {columns} from input
            where purchase in (select id from purchases_of_refunds) order by id collate "C"
            on conflict (id) do nothing returning id"#
        );
        let refund_rows: Vec<&Purchase> = refunds.iter().collect();
        let insert =
            Purchase::bind(Statement::new(sql), &refund_rows).bind(purchases_of(&refund_rows));
        let inserted_rows = self.connection.write(insert).await?;

        // The statement returns ids of this batch, so all of them can be parsed.
        let mut inserted_ids: HashSet<PurchaseId> = inserted_rows
            .iter()
            .filter_map(|row| rows::parse_column(row, "id").ok())
            .collect();
        // If two refunds in the batch share an id, only the first of them was inserted. So an id is
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

        // The ids in the condition are valid, so the ids of the found rows are too.
        let stored_rows = found_rows.iter().filter_map(|row| {
            let id = rows::parse_column(row, "id").ok()?;
            Some((id, rows::read_stored_row(row)))
        });
        let mut stored_rows_by_id = HashMap::with_capacity(found_rows.len());
        stored_rows_by_id.extend(stored_rows);
        Ok(stored_rows_by_id)
    }

    async fn keep_waiting(&self, refunds: &[&Purchase]) -> Result<()> {
        let insert = waiting::insert_statement(refunds)?;
        self.connection.write(insert).await.map(drop)
    }

    async fn find_waiting_refunds(&self, purchases: &[PurchaseId]) -> Result<Vec<WaitingRefund>> {
        let query = waiting::of_purchases_query(purchases);
        let rows = self.connection.write(query).await?;
        rows.iter().map(waiting::read_waiting).collect()
    }

    async fn find_waiting_behind(&self, position: u64, limit: usize) -> Result<Vec<SweepEntry>> {
        let query = waiting::behind_query(position, limit);
        let rows = self.connection.write(query).await?;
        rows.iter().map(waiting::read_sweep_entry).collect()
    }

    async fn refuse_waiting(&self, sequences: &[u64], reason: &Reason) -> Result<()> {
        let refuse = waiting::refuse_statement(sequences, reason);
        self.connection.write(refuse).await.map(drop)
    }

    async fn remove_waiting(&self, sequences: &[u64]) -> Result<()> {
        let delete = waiting::delete_statement(sequences);
        self.connection.write(delete).await.map(drop)
    }
}

impl PostgresStore {
    /// Looks up a refund with this id among the waiting refunds.
    ///
    /// Returns [`Lookup::Waiting`] with the refund that arrived first, or [`Lookup::Missing`].
    pub(super) async fn look_up_waiting(&self, id: &PurchaseId) -> Result<Lookup> {
        let rows = self.connection.query(waiting::with_id_query(id)).await?;
        let mut first_entry: Option<WaitingRefund> = None;
        for row in &rows {
            let entry = waiting::read_waiting(row)?;
            let is_earlier = first_entry
                .as_ref()
                .is_none_or(|first| entry.sequence < first.sequence);
            if is_earlier {
                first_entry = Some(entry);
            }
        }
        Ok(first_entry.map_or(Lookup::Missing, |entry| {
            Lookup::Waiting(entry.refund.without_context())
        }))
    }
}

#[async_trait]
impl WaitingRefunds for PostgresStore {
    async fn waiting_summary(&self) -> Result<WaitingSummary> {
        let rows = self.connection.query(waiting::summary_query()).await?;
        let Some(row) = rows.first() else {
            return Ok(WaitingSummary::default());
        };
        // A count is never null.
        let count: i64 = row.try_get("count").unwrap_or_default();
        Ok(WaitingSummary::new(
            count.unsigned_abs(),
            // The time is null if no refund waits.
            read_time(row).ok(),
        ))
    }

    async fn apply_waiting(&self, removed: &[u64], limit: usize) -> Result<Vec<WaitingRefund>> {
        if !removed.is_empty() {
            self.remove_waiting(removed).await?;
        }
        sweep(self).await?;
        self.start_fold();
        let refused_rows = self.connection.query(waiting::refused_query(limit)).await?;
        refused_rows.iter().map(waiting::read_waiting).collect()
    }
}

#[async_trait]
impl CurrencyStore for PostgresStore {
    async fn currency(&self, adopted: Option<Currency>) -> Result<Option<Currency>> {
        if let Some(adopted) = &adopted {
            // If another transaction sets a currency at the same time, the insert does nothing, and
            // its snapshot may lack the row. So a second statement reads the currency.
            let insert = Statement::new(
                "insert into purchases_settings (name, value) values ('currency', $1) on conflict (name) do nothing",
            );
            self.connection
                .write(insert.bind(adopted.to_string()))
                .await?;
        }

        let select = Statement::new("select value from purchases_settings where name = 'currency'");
        let rows = self.connection.write(select).await?;
        let currency = match rows.first() {
            None if adopted.is_some() => {
                let message = "PostgreSQL has not stored the currency: a trigger has skipped it";
                return Err(postgres_error(ErrorKind::Unavailable, message));
            }
            None => None,
            Some(row) => Some(rows::parse_column(row, "value").map_err(|error| {
                let message = "the currency in the table purchases_settings is not valid";
                postgres_error(ErrorKind::Corrupt, message).with_source(error)
            })?),
        };
        Ok(self.purchase_state.remember_currency(currency))
    }
}
