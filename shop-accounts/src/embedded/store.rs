//! [`EmbeddedEntities`]: users or orders in a SQLite file, with consecutive numbers from 1.
//!
//! A row is written in one transaction with its event, which a relay publishes later. The file of
//! either service also contains a table of references to the rows of the other service, which are
//! learned from that service's events:
//!
//! | file | rows | references |
//! |---|---|---|
//! | `users.db` | `users` | `orders_of_users`: the id of each order, with its user |
//! | `orders.db` | `orders` | `known_users`: the id of each user |
//!
//! Writes go through the writer thread of the file, and reads through its reader threads.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use shop_core::Result;
use shop_core::ports::{DescribeStore, InsertOutcome, RecordStore, StoreInfo};
use shop_store::embedded::EmbeddedStoreOptions;
use shop_store::embedded::file::{FileSchema, SqliteFile};
use shop_store::embedded::rusqlite::types::Value;
use shop_store::embedded::rusqlite::{
    self, Connection, OptionalExtension, Row, ToSql, params_from_iter,
};

use super::outbox;
use crate::entity::{Entity, EntityStore, Insertion};
use crate::outbox::{Backlog, Outbox, OutboxEntry};

/// Entities of one type in a file on the local disk, shared by the processes of one machine.
///
/// Clones share the file's writer and readers.
#[derive(Debug, Clone)]
pub struct EmbeddedEntities<E> {
    pub(super) file: SqliteFile,
    kind: PhantomData<E>,
}

/// The tables of users or of orders: names, columns and statements.
pub(super) trait SqliteEntity: Entity {
    /// The schema of the file.
    const FILE: &'static FileSchema;
    /// The name of the file and of the table.
    const NAME: &'static str;
    /// The columns of a row, without the idempotency key.
    const COLUMNS: &'static str;
    /// The statement that inserts the reference to a row of the other service: its id, and its
    /// owner if there is one. An order is owned by its user. A user has no owner.
    const INSERT_REFERENCE: &'static str;
    /// The query of the owner of a row of the other service, by its id. It returns no row if the id
    /// is unknown.
    const OWNER: &'static str;

    /// The condition that a row was not erased.
    const PRESENT: &'static str = "true";

    /// Returns the values of the [`COLUMNS`](Self::COLUMNS), in their order.
    fn values(&self) -> Vec<Value>;

    /// Reads a row of the [`COLUMNS`](Self::COLUMNS).
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self>;
}

impl<E> EmbeddedEntities<E> {
    /// Returns a future that completes when all clones of this store are dropped, their operations
    /// have ended, and the file is closed.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + Sync + use<E> {
        self.file.closed()
    }
}

#[expect(private_bounds, reason = "users and orders are the only types")]
impl<E: SqliteEntity> EmbeddedEntities<E> {
    /// Opens the file in `folder`. A missing folder or file is created if the options say so.
    ///
    /// # Errors
    /// The errors of [`EmbeddedStore::open`](shop_store::embedded::EmbeddedStore::open).
    pub async fn open(folder: impl AsRef<Path>, options: EmbeddedStoreOptions) -> Result<Self> {
        let file = SqliteFile::open(folder.as_ref(), E::NAME, E::FILE, options).await?;
        Ok(Self {
            file,
            kind: PhantomData,
        })
    }
}

/// Inserts a row for `new` with the next number, and its event, within the caller's transaction.
///
/// Inserts nothing and returns why, if [`find_obstacle`] finds a reason.
fn insert<E: SqliteEntity>(
    connection: &Connection,
    new: &E::New,
) -> rusqlite::Result<Insertion<E>> {
    if let Some(obstacle) = find_obstacle(connection, new)? {
        return Ok(obstacle);
    }

    // The writer thread holds the write lock, so no other insert can take the same number. Erased
    // rows keep their numbers.
    let last_number_sql = format!("SELECT coalesce(max(id), 0) FROM {}", E::NAME);
    let last_number: i64 = connection
        .prepare_cached(&last_number_sql)?
        .query_row([], |row| row.get(0))?;

    let row = E::with_number(new, last_number.saturating_add(1).into());
    let mut values = row.values();
    values.push(E::stored_key(new).as_str().to_owned().into());
    let placeholders = vec!["?"; values.len()].join(", ");
    let insert_sql = format!(
        "INSERT INTO {} ({}, key) VALUES ({placeholders})",
        E::NAME,
        E::COLUMNS
    );
    connection
        .prepare_cached(&insert_sql)?
        .execute(params_from_iter(values))?;

    let event = row
        .event(new)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    outbox::insert(connection, &event)?;
    Ok(Insertion::Inserted(row))
}

/// Returns why no row can be inserted for `new`: its idempotency key is taken, another row has the
/// value of the [unique member](Entity::unique), or the row of the other service that `new`
/// [requires](Entity::requires) is unknown. Returns `None` if a row can be inserted.
fn find_obstacle<E: SqliteEntity>(
    connection: &Connection,
    new: &E::New,
) -> rusqlite::Result<Option<Insertion<E>>> {
    if let Some(first_row) = find(connection, "key", E::stored_key(new).as_str())? {
        return Ok(Some(Insertion::with_key_of(new, first_row)));
    }
    if let Some((unique_column, value)) = E::unique(new)
        && find::<E>(connection, unique_column, value)?.is_some()
    {
        return Ok(Some(Insertion::Refused));
    }
    if let Some(required_id) = E::requires(new)
        && !connection.prepare_cached(E::OWNER)?.exists([required_id])?
    {
        return Ok(Some(Insertion::Refused));
    }
    Ok(None)
}

/// Returns the row with `value` in `column`, or `None` if there is no such row or it was erased.
pub(super) fn find<E: SqliteEntity>(
    connection: &Connection,
    column: &str,
    value: impl ToSql,
) -> rusqlite::Result<Option<E>> {
    let sql = format!(
        "SELECT {} FROM {} WHERE {column} = ?1 AND {}",
        E::COLUMNS,
        E::NAME,
        E::PRESENT
    );
    connection
        .prepare_cached(&sql)?
        .query_row([value], E::from_row)
        .optional()
}

/// Inserts the references in a batch of the other service's events, within the caller's
/// transaction.
///
/// Returns an outcome for each event: `Inserted`, `Duplicate` if the reference is stored with the
/// same owner already, or `Conflict` if it is stored with another owner.
fn apply<E: SqliteEntity>(
    connection: &Connection,
    batch: &[E::ForeignEvent],
) -> rusqlite::Result<Vec<InsertOutcome>> {
    let mut insert_reference = connection.prepare_cached(E::INSERT_REFERENCE)?;
    let mut find_owner = connection.prepare_cached(E::OWNER)?;

    let mut outcomes = Vec::with_capacity(batch.len());
    for event in batch {
        let (id, owner) = E::reference(event);
        // A user has no owner, so the statement for users has only the parameter of the id.
        let parameters = params_from_iter([Some(id), owner].into_iter().flatten());
        if insert_reference.execute(parameters)? == 1 {
            outcomes.push(InsertOutcome::Inserted);
            continue;
        }

        let stored_owner: Option<i64> = find_owner.query_row([id], |row| row.get(0))?;
        outcomes.push(if stored_owner == owner {
            InsertOutcome::Duplicate
        } else {
            InsertOutcome::Conflict
        });
    }
    Ok(outcomes)
}

#[async_trait]
impl<E: SqliteEntity> RecordStore<E::ForeignEvent> for EmbeddedEntities<E> {
    async fn apply(&self, batch: Arc<[E::ForeignEvent]>) -> Result<Vec<InsertOutcome>> {
        self.file
            .write(move |connection| apply::<E>(connection, &batch))
            .await
    }

    async fn check(&self) -> Result<()> {
        self.file.check().await
    }
}

impl<E: SqliteEntity> DescribeStore for EmbeddedEntities<E> {
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
    }
}

#[async_trait]
impl<E: SqliteEntity> EntityStore<E> for EmbeddedEntities<E> {
    async fn insert(&self, new: &E::New) -> Result<Insertion<E>> {
        let new = new.clone();
        self.file
            .write(move |connection| insert::<E>(connection, &new))
            .await
    }

    async fn get(&self, number: E::Number) -> Result<Option<E>> {
        let number: i64 = number.into();
        self.file
            .read(move |connection| find(connection, "id", number))
            .await
    }

    async fn check(&self) -> Result<()> {
        self.file.check().await
    }
}

#[async_trait]
impl<E: Entity> Outbox for EmbeddedEntities<E> {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        self.file
            .read(move |connection| outbox::pending(connection, limit))
            .await
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        let ids = ids.to_vec();
        self.file
            .write(move |connection| outbox::delete(connection, &ids))
            .await
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.file.read(outbox::backlog).await
    }

    async fn wait_for_entries(&self) {
        self.file.wait_for_commit().await;
    }
}
