//! Rows with consecutive numbers from 1, each stored with its event in one document.
//!
//! A new row tries the number after the greatest one. The index of `_id` decides between concurrent inserts. A number
//! is only tried when a majority has the number before it, which then cannot be lost with a server.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bson::{Bson, DateTime, Document, RawDocument, RawDocumentBuf, cstr, doc, rawdoc};
use futures_util::TryStreamExt;
use mongodb::options::{IndexOptions, ReadConcern, WriteConcern};
use mongodb::{Client, IndexModel};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use shop_core::entity::{Entity, Insertion};
use shop_core::log::LogRecord;
use shop_core::ports::{InsertOutcome, RecordStore};
use shop_core::{Error, Outcome, Result};
use tokio::sync::{Mutex, Notify, OnceCell};
use tokio::time::{Instant, sleep, timeout_at};

use super::integer;
use crate::mongo::MongoEntityOptions;
use crate::mongo::command::{self, Insertable};
use crate::mongo::connection::{Connection, timed_out};
use crate::mongo::insert::{self, Identified};
use crate::mongo::outbox::event;
use crate::retries::pauses;

/// Rows of one entity type in a MongoDB database, shared by all processes that use it, with an outbox.
///
/// Clones share the driver's connections.
#[derive(Debug, Clone)]
pub struct MongoRows<E> {
    pub(super) rows: Arc<Rows>,
    kind: PhantomData<E>,
}

/// The collection of an entity type.
pub(super) trait Collection: Entity {
    /// The schema of the database.
    const SCHEMA: &'static Schema;
    /// A stored row.
    type Stored: DeserializeOwned + Send + Sync + Unpin + 'static;

    /// Appends the members after number and key.
    fn append_to(&self, document: &mut RawDocumentBuf);

    /// The idempotency key of a row.
    fn key_of(stored: &Self::Stored) -> &str;

    /// Converts a stored row.
    fn from_stored(stored: &Self::Stored) -> Result<Self>;
}

impl<E> MongoRows<E> {
    /// Returns the namespace as `database.collection`.
    #[must_use]
    pub fn namespace(&self) -> String {
        self.rows.connection.collection.namespace().to_string()
    }

    /// The driver's client, for another store on the same server.
    #[must_use]
    pub fn client(&self) -> Client {
        self.rows.connection.database.client().clone()
    }
}

pub(super) async fn open<E: Collection>(options: MongoEntityOptions) -> Result<MongoRows<E>> {
    Ok(MongoRows { rows: Arc::new(Rows::open(E::SCHEMA, options).await?), kind: PhantomData })
}

#[async_trait]
impl<E: Collection> RecordStore<E::Other> for MongoRows<E> {
    async fn apply(&self, batch: Arc<[E::Other]>) -> Result<Vec<InsertOutcome>> {
        let references: Vec<Reference> = batch.iter().map(|other| Reference(E::reference(other))).collect();
        self.rows.apply(&references).await
    }

    async fn check(&self) -> Result<()> {
        self.rows.connection.check_writes().await
    }
}

/// A reference to a row of the other service: its id and its owner.
#[derive(Debug)]
struct Reference((i64, Option<i64>));

impl Insertable for Reference {
    fn size(&self) -> usize {
        64
    }

    fn append_to(&self, bytes: &mut Vec<u8>) {
        let (id, owner) = self.0;
        command::enclosed(bytes, |bytes| {
            command::integer(bytes, b"_id", id);
            owner.into_iter().for_each(|owner| command::integer(bytes, b"user_id", owner));
        });
    }
}

impl Identified for Reference {
    type Id = i64;

    fn id(&self) -> i64 {
        self.0.0
    }

    fn id_value(id: &i64) -> Bson {
        Bson::Int64(*id)
    }

    fn readable_id(document: &RawDocument) -> Option<i64> {
        integer(document, "_id")
    }

    fn compare(&self, stored: &RawDocument) -> InsertOutcome {
        let (_, owner) = self.0;
        match owner.is_none_or(|owner| integer(stored, "user_id") == Some(owner)) {
            true => InsertOutcome::Duplicate,
            false => InsertOutcome::Conflict,
        }
    }
}

/// The schema of a database.
#[derive(Debug)]
pub(super) struct Schema {
    /// The collection of the rows.
    pub(super) rows: &'static str,
    /// The members with a unique index, besides `_id`.
    pub(super) unique: &'static [&'static str],
    /// The collection of references to the other service's rows, and the keys of its index, if it has one.
    pub(super) references: (&'static str, Option<fn() -> Document>),
}

/// The rows and references of a database.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) connection: Connection,
    schema: &'static Schema,
    indexed: OnceCell<()>,
    /// The greatest number, if a majority is known to have it. Locked while a row is added: only one row at a time can
    /// get the next number.
    last: Mutex<Option<i64>>,
    pub(super) changed: Arc<Notify>,
}

/// A row to add, and its event.
type Row = (RawDocumentBuf, LogRecord);

/// The outcome of adding a row.
#[derive(Debug)]
enum RowInsertion<T> {
    /// The row was stored under this number.
    New(i64),
    /// Existing rows with the same value in a unique member.
    Existing(Vec<T>),
}

#[derive(Debug, Deserialize)]
struct Numbered {
    #[serde(rename = "_id")]
    number: i64,
}

impl Rows {
    /// Does not wait for the server: each call does.
    pub(super) async fn open(schema: &'static Schema, options: MongoEntityOptions) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(options.for_collection(schema.rows)).await?,
            schema,
            indexed: OnceCell::new(),
            last: Mutex::new(None),
            changed: Arc::new(Notify::new()),
        })
    }

    /// Adds a row with its event, unless its key or another unique value exists or its reference is unknown.
    pub(super) async fn create<E: Collection>(&self, new: &E::New) -> Result<Insertion<E>> {
        let key = E::stored_key(new);
        let of_key = doc! { "key": key.as_str() };
        let is_known = match E::requires(new) {
            Some(id) => {
                !self.look_up::<Document>(self.schema.references.0, doc! { "_id": id }).await?.is_empty()
            }
            None => true,
        };
        let found = if is_known {
            let unique = E::unique(new).map(|(member, text)| doc! { member: text });
            let any: Vec<Document> = std::iter::once(of_key).chain(unique).collect();
            match self.add(&doc! { "$or": any }, |number| row::<E>(new, number)).await? {
                RowInsertion::New(number) => return Ok(Insertion::Inserted(E::with_number(new, number))),
                RowInsertion::Existing(found) => found,
            }
        } else {
            // A repeated key takes precedence over an unknown reference.
            self.look_up::<E::Stored>(self.schema.rows, of_key).await?
        };
        let first = found.iter().find(|stored| E::key_of(stored) == key.as_str());
        first.map_or(Ok(Insertion::Refused), |first| Ok(Insertion::with_key_of(new, E::from_stored(first)?)))
    }

    /// Returns the row with this number.
    pub(super) async fn get<E: Collection>(&self, id: i64) -> Result<Option<E>> {
        let filter = doc! { "_id": id, "erased": { "$exists": false } };
        let found: Vec<E::Stored> = self.find_all(self.schema.rows, filter, doc! {}, 1).await?;
        found.first().map(E::from_stored).transpose()
    }

    /// Adds the row that `row` creates for its number, unless `unique` finds an existing row.
    async fn add<T: DeserializeOwned + Send + Sync + Unpin + 'static>(
        &self,
        unique: &Document,
        row: impl Fn(i64) -> Result<Row> + Send + Sync,
    ) -> Result<RowInsertion<T>> {
        let timeout = self.connection.options.insert_timeout;
        let deadline = Instant::now() + timeout;
        self.wait_for_indexes(deadline).await?;
        let last = timeout_at(deadline, self.last.lock()).await;
        let mut last = last.map_err(|_elapsed| timed_out(timeout, Outcome::NotApplied))?;
        // The backoff grows with contention.
        let mut pauses = pauses(Duration::from_millis(1), Duration::from_millis(100));
        loop {
            // The greatest number is unknown until this insert has succeeded.
            let before = match last.take() {
                Some(last) => last,
                None => self.greatest(deadline).await.map_err(not_applied)?,
            };
            let number = before.saturating_add(1);
            if self.insert(row(number)?, number, deadline).await? {
                *last = Some(number);
                return Ok(RowInsertion::New(number));
            }
            let found = self.find(self.schema.rows, unique.clone(), doc! {}, self.schema.unique.len());
            let found: Vec<T> = self.connection.write(time_left(deadline), found).await?;
            if !found.is_empty() {
                *last = Some(before);
                return Ok(RowInsertion::Existing(found));
            }
            // A concurrent insert has taken the number, or an existing value is not visible to a majority yet.
            sleep(pauses.next().unwrap_or_default().min(time_left(deadline))).await;
        }
    }

    /// Inserts a row with its event. Returns false if a unique value exists.
    async fn insert(&self, (mut document, event): Row, number: i64, deadline: Instant) -> Result<bool> {
        document.append(cstr!("outbox"), event::encode(number, &event));
        let (insert, changed) =
            (insert::send(&self.connection, self.schema.rows, &[document]), Arc::clone(&self.changed));
        let insert = async move {
            let reply = insert.await;
            // Notified in this task: the row may be stored after the caller has timed out.
            changed.notify_one();
            reply
        };
        let reply = self.connection.write(time_left(deadline), insert).await?;
        let names: Vec<String> = self.schema.unique.iter().map(|member| format!("{member}_1")).collect();
        let unique: Vec<&str> = names.iter().map(String::as_str).chain(["_id_"]).collect();
        reply.is_stored(&unique)
    }

    /// Returns the greatest number that a majority has; 0 without rows.
    async fn greatest(&self, deadline: Instant) -> Result<i64> {
        // The comparison matches numbers only, and so skips ids of other types.
        let found = self.find(self.schema.rows, doc! { "_id": { "$gt": 0 } }, doc! { "_id": -1 }, 1);
        let found: Vec<Numbered> = self.connection.write(time_left(deadline), found).await?;
        Ok(found.first().map_or(0, |row| row.number))
    }

    /// Replaces the row with this number by a mark, which keeps the number taken. Returns false if there is no row.
    pub(super) async fn erase(&self, id: i64) -> Result<bool> {
        let filter = doc! { "_id": id, "erased": { "$exists": false } };
        let mut mark = doc! { "erased": DateTime::now() };
        // The unique indexes need a value, which is no key and no address.
        mark.extend(
            self.schema.unique.iter().map(|member| ((*member).to_owned(), format!("erased {id}").into())),
        );
        let collection = self.connection.database.collection::<Document>(self.schema.rows);
        let erase =
            async move { collection.replace_one(filter, mark).write_concern(WriteConcern::majority()).await };
        let erased = self.connection.write(self.connection.options.insert_timeout, erase).await?;
        Ok(erased.matched_count == 1)
    }

    /// Inserts `batch` into the references.
    async fn apply<D: Identified>(&self, batch: &[D]) -> Result<Vec<InsertOutcome>> {
        self.wait_for_indexes(Instant::now() + self.connection.options.insert_timeout).await?;
        insert::insert(&self.connection, self.schema.references.0, batch).await
    }

    /// Finds documents that a majority has, ordered by `sort`.
    fn find<T: DeserializeOwned + Send + Sync + Unpin + 'static>(
        &self,
        collection: &str,
        filter: Document,
        sort: Document,
        limit: usize,
    ) -> impl Future<Output = mongodb::error::Result<Vec<T>>> + Send + use<T> {
        let collection = self.connection.database.collection::<T>(collection);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let time = self.connection.options.query_timeout;
        async move {
            let found = collection.find(filter).sort(sort).limit(limit).max_time(time);
            found.read_concern(ReadConcern::majority()).await?.try_collect().await
        }
    }

    /// Finds a document before a write.
    async fn look_up<T: DeserializeOwned + Send + Sync + Unpin + 'static>(
        &self,
        collection: &str,
        filter: Document,
    ) -> Result<Vec<T>> {
        let found = self.find(collection, filter, doc! {}, 1);
        let found = self.connection.write(self.connection.options.query_timeout, found);
        found.await.map_err(not_applied)
    }

    /// Like [`find`](Self::find), as a query: it may queue behind others, and is retried after a transient error.
    pub(super) async fn find_all<T: DeserializeOwned + Send + Sync + Unpin + 'static>(
        &self,
        collection: &str,
        filter: Document,
        sort: Document,
        limit: usize,
    ) -> Result<Vec<T>> {
        let find = || self.find(collection, filter.clone(), sort.clone(), limit);
        self.connection.query(self.connection.options.query_timeout, find).await
    }

    /// Creates the indexes, once. Nothing is written before, because they ensure uniqueness.
    async fn wait_for_indexes(&self, deadline: Instant) -> Result<()> {
        let created =
            timeout_at(deadline, self.indexed.get_or_try_init(|| self.create_indexes(deadline))).await;
        let timeout = self.connection.options.insert_timeout;
        created.unwrap_or_else(|_elapsed| Err(timed_out(timeout, Outcome::NotApplied))).map(drop)
    }

    async fn create_indexes(&self, deadline: Instant) -> Result<()> {
        let Schema { rows, unique, references: (references, of_references) } = self.schema;
        let unique = unique.iter().map(|member| {
            let options = IndexOptions::builder().unique(true).build();
            IndexModel::builder().keys(doc! { *member: 1 }).options(options).build()
        });
        let of_rows: Vec<_> = unique.chain([event::index()]).collect();
        let of_references = of_references.map(|keys| IndexModel::builder().keys(keys()).build());
        for (name, indexes) in [(rows, of_rows), (references, of_references.into_iter().collect())] {
            if indexes.is_empty() {
                continue;
            }
            let collection = self.connection.database.collection::<RawDocumentBuf>(name);
            let create = async move {
                let create = collection.create_indexes(indexes);
                create.write_concern(WriteConcern::majority()).await
            };
            let created = self.connection.write(time_left(deadline), create).await;
            created.map_err(|error| no_indexes(name, error))?;
        }
        Ok(())
    }
}

fn row<E: Collection>(new: &E::New, number: i64) -> Result<Row> {
    let row = E::with_number(new, number);
    let mut document = rawdoc! { "_id": number, "key": E::stored_key(new).as_str() };
    row.append_to(&mut document);
    Ok((document, row.event(new)?))
}

fn no_indexes(collection: &str, error: Error) -> Error {
    let message = "the unique indexes cannot be created, so nothing is written";
    Error::new(error.kind(), message)
        .with_retry(error.retry())
        .with_outcome(Outcome::NotApplied)
        .with_origin("mongodb")
        .with_context("collection", collection)
        .with_source(error)
}

/// Sets the outcome for an error of a query before the write.
fn not_applied(error: Error) -> Error {
    error.with_outcome(Outcome::NotApplied)
}

fn time_left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
