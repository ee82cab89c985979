//! Rows with consecutive numbers from 1, each written in one transaction with its event.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params_from_iter};
use shop_core::Result;
use shop_core::entity::{Entity, EntityStore, Insertion};
use shop_core::outbox::{Backlog, Outbox, OutboxEntry};
use shop_core::ports::{InsertOutcome, RecordStore};
use tokio::sync::Notify;

use super::outbox;
use crate::embedded::EmbeddedStoreOptions;
use crate::embedded::database::{Database, FileSchema};
use crate::embedded::readers::Readers;
use crate::embedded::writer::Writer;

/// Entities of one type in a file on the local disk, shared by the processes of one machine.
///
/// Clones share the file's writer and readers.
#[derive(Debug, Clone)]
pub struct EmbeddedEntities<E> {
    pub(super) writer: Writer,
    pub(super) readers: Readers,
    /// Notified after every commit. The relay checks whether there are new events.
    changed: Arc<Notify>,
    kind: PhantomData<E>,
}

/// The table of an entity type.
pub(super) trait SqliteEntity: Entity {
    /// The type of the file.
    const FILE: &'static FileSchema;
    /// The name of the file and of the table.
    const NAME: &'static str;
    /// The columns of a row, without the idempotency key.
    const COLUMNS: &'static str;
    /// Inserts a reference to a row of the other service, with its owner.
    const INSERT_REFERENCE: &'static str;
    /// Selects the owner of a row of the other service by id.
    const OWNER: &'static str;

    /// The condition of rows that were not erased.
    const PRESENT: &'static str = "true";

    /// The values of [`COLUMNS`](Self::COLUMNS).
    fn values(&self) -> Vec<Value>;

    /// Reads [`COLUMNS`](Self::COLUMNS).
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self>;
}

impl<E> EmbeddedEntities<E> {
    /// Completes when all clones of this store are dropped, their operations have ended, and the file is closed.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + Sync + use<E> {
        self.writer.exit()
    }
}

#[expect(private_bounds, reason = "users and orders are the only types")]
impl<E: SqliteEntity> EmbeddedEntities<E> {
    /// Opens the file in `folder`. A missing folder or file is created if the options say so.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`](crate::embedded::EmbeddedStore::open).
    pub async fn open(folder: impl AsRef<Path>, options: EmbeddedStoreOptions) -> Result<Self> {
        let database = Database::new(E::FILE, folder.as_ref(), E::NAME, options.max_file_bytes)
            .with_create(options.create);
        let changed = Arc::new(Notify::new());
        let committed = Arc::clone(&changed);
        let writer = Writer::start(database.clone(), options.queue_capacity, move |_| {
            committed.notify_one();
        })
        .await?;
        let readers = Readers::start(&database, &writer, options.readers, options.queue_capacity)?;
        Ok(Self {
            writer,
            readers,
            changed,
            kind: PhantomData,
        })
    }
}

/// Adds a row and its event within the caller's transaction.
fn insert<E: SqliteEntity>(
    connection: &Connection,
    new: &E::New,
) -> rusqlite::Result<Insertion<E>> {
    if let Some(first) = find(connection, "key", E::stored_key(new).as_str())? {
        return Ok(Insertion::with_key_of(new, first));
    }
    let is_taken = match E::unique(new) {
        Some((column, text)) => find::<E>(connection, column, text)?.is_some(),
        None => false,
    };
    let is_known = match E::requires(new) {
        Some(id) => connection.prepare_cached(E::OWNER)?.exists([id])?,
        None => true,
    };
    if is_taken || !is_known {
        return Ok(Insertion::Refused);
    }
    let last = format!("SELECT coalesce(max(id), 0) FROM {}", E::NAME);
    let last: i64 = connection
        .prepare_cached(&last)?
        .query_row([], |row| row.get(0))?;
    let row = E::with_number(new, last.saturating_add(1).into());
    let mut values = row.values();
    values.push(E::stored_key(new).as_str().to_owned().into());
    let placeholders = vec!["?"; values.len()].join(", ");
    let insert = format!(
        "INSERT INTO {} ({}, key) VALUES ({placeholders})",
        E::NAME,
        E::COLUMNS
    );
    connection
        .prepare_cached(&insert)?
        .execute(params_from_iter(values))?;
    let event = row
        .event(new)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    outbox::insert(connection, &event)?;
    Ok(Insertion::Inserted(row))
}

/// Returns the row with this value in `column`.
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

fn apply<E: SqliteEntity>(
    connection: &Connection,
    batch: &[E::ForeignEvent],
) -> rusqlite::Result<Vec<InsertOutcome>> {
    let mut insert = connection.prepare_cached(E::INSERT_REFERENCE)?;
    let mut first = connection.prepare_cached(E::OWNER)?;
    let mut apply = |other: &E::ForeignEvent| {
        let (id, owner) = E::reference(other);
        if insert.execute(params_from_iter([Some(id), owner].into_iter().flatten()))? == 1 {
            return Ok(InsertOutcome::Inserted);
        }
        let known: Option<i64> = first.query_row([id], |row| row.get(0))?;
        Ok(if known == owner {
            InsertOutcome::Duplicate
        } else {
            InsertOutcome::Conflict
        })
    };
    batch.iter().map(&mut apply).collect()
}

#[async_trait]
impl<E: SqliteEntity> RecordStore<E::ForeignEvent> for EmbeddedEntities<E> {
    async fn apply(&self, batch: Arc<[E::ForeignEvent]>) -> Result<Vec<InsertOutcome>> {
        self.writer
            .write(move |connection| apply::<E>(connection, &batch))
            .await
    }

    async fn check(&self) -> Result<()> {
        self.writer.check().await
    }
}

#[async_trait]
impl<E: SqliteEntity> EntityStore<E> for EmbeddedEntities<E> {
    async fn insert(&self, new: &E::New) -> Result<Insertion<E>> {
        let new = new.clone();
        self.writer
            .write(move |connection| insert::<E>(connection, &new))
            .await
    }

    async fn get(&self, number: E::Number) -> Result<Option<E>> {
        let number: i64 = number.into();
        self.readers
            .read(move |connection| find(connection, "id", number))
            .await
    }

    async fn check(&self) -> Result<()> {
        self.writer.check().await
    }
}

#[async_trait]
impl<E: Entity> Outbox for EmbeddedEntities<E> {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        self.readers
            .read(move |connection| outbox::pending(connection, limit))
            .await
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        let ids = ids.to_vec();
        self.writer
            .write(move |connection| outbox::delete(connection, &ids))
            .await
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.readers.read(outbox::backlog).await
    }

    async fn wait_for_entries(&self) {
        self.changed.notified().await;
    }
}
