//! Rows with numbers from 1 without gaps, each stored with its event in one document.
//!
//! Whoever adds a row tries the number behind the greatest one, and the index of `_id` decides between those who do so
//! at a time. A number is tried only when a majority has the one before it: that one stays, whatever server is lost.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc, rawdoc};
use futures_util::TryStreamExt;
use mongodb::IndexModel;
use mongodb::options::{IndexOptions, ReadConcern, WriteConcern};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use shop_core::entity::{Entity, Insertion};
use shop_core::log::LogRecord;
use shop_core::ports::{InsertOutcome, RecordStore};
use shop_core::{Error, Outcome, Result};
use tokio::sync::{Mutex, Notify, OnceCell};
use tokio::time::{Instant, sleep, timeout_at};

use super::{event, integer};
use crate::mongo::MongoEntityOptions;
use crate::mongo::command::{self, Insertable};
use crate::mongo::connection::{Connection, pauses, too_late};
use crate::mongo::insert::{self, Identified};

/// Rows of one kind in a database of MongoDB, shared by whatever processes use it, with an outbox in it.
///
/// Clones share the driver's connections.
#[derive(Debug, Clone)]
pub struct MongoRows<E> {
    pub(super) rows: Arc<Rows>,
    kind: PhantomData<E>,
}

/// How rows of a kind are stored.
pub(super) trait Collection: Entity {
    /// What their database holds.
    const SCHEMA: &'static Schema;
    /// A row as it is read.
    type Stored: DeserializeOwned + Send + Sync + Unpin + 'static;

    /// Appends the members behind number and key.
    fn append_to(&self, document: &mut RawDocumentBuf);

    /// The key of a row.
    fn key_of(stored: &Self::Stored) -> &str;

    /// The row that was read.
    fn from_stored(stored: &Self::Stored) -> Result<Self>;
}

impl<E> MongoRows<E> {
    /// Its database and collection, as `database.collection`.
    #[must_use]
    pub fn namespace(&self) -> String {
        self.rows.connection.collection.namespace().to_string()
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
        self.rows.connection.ping().await
    }
}

/// What is kept of a row of another service: its id, and its owner.
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

    fn has_content_of(&self, document: &RawDocument) -> bool {
        let (_, owner) = self.0;
        owner.is_none_or(|owner| integer(document, "user_id") == Some(owner))
    }
}

/// What a database holds.
#[derive(Debug)]
pub(super) struct Schema {
    /// The collection of the rows.
    pub(super) rows: &'static str,
    /// The members that, beside `_id`, only one row may have the same of.
    pub(super) unique: &'static [&'static str],
    /// The collection of what is known of others, and the index of it, if it needs one.
    pub(super) known: (&'static str, Option<fn() -> Document>),
}

/// The rows of a database, and what is known of others there.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) connection: Connection,
    schema: &'static Schema,
    indexed: OnceCell<()>,
    /// The greatest number, if it is known that a majority has it. Whoever adds a row holds it, as only one at a time
    /// can have the next number.
    last: Mutex<Option<i64>>,
    pub(super) changed: Arc<Notify>,
}

/// A row that is to be added, and its event.
type Row = (RawDocumentBuf, LogRecord);

/// What became of it.
#[derive(Debug)]
enum RowInsertion<T> {
    /// It is stored now, under this number.
    New(i64),
    /// These have something that only one row may have.
    Existing(Vec<T>),
}

#[derive(Debug, Deserialize)]
struct Numbered {
    #[serde(rename = "_id")]
    number: i64,
}

impl Rows {
    /// A server that is away now is waited for by whoever calls.
    pub(super) async fn open(schema: &'static Schema, options: MongoEntityOptions) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(options.for_collection(schema.rows)).await?,
            schema,
            indexed: OnceCell::new(),
            last: Mutex::new(None),
            changed: Arc::new(Notify::new()),
        })
    }

    /// Adds a row with its event, unless its key or something else of it is taken, or what it requires is not known.
    pub(super) async fn create<E: Collection>(&self, new: &E::New) -> Result<Insertion<E>> {
        let key = E::key(new).as_str();
        let of_key = doc! { "key": key };
        let is_known = match E::requires(new) {
            Some(id) => !self.look_up::<Document>(self.schema.known.0, doc! { "_id": id }).await?.is_empty(),
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
            // Whether the key is taken comes first, whatever else is wrong with what comes with it.
            self.look_up::<E::Stored>(self.schema.rows, of_key).await?
        };
        let first = found.iter().find(|stored| E::key_of(stored) == key);
        first.map_or(Ok(Insertion::Refused), |first| Ok(Insertion::with_key_of(new, E::from_stored(first)?)))
    }

    /// The row with this number.
    pub(super) async fn get<E: Collection>(&self, id: i64) -> Result<Option<E>> {
        let found: Vec<E::Stored> = self.ask(self.schema.rows, doc! { "_id": id }, doc! {}, 1).await?;
        found.first().map(E::from_stored).transpose()
    }

    /// Adds the row that `row` makes of its number, unless a row is there that `unique` finds: one that has something
    /// that only one may have.
    async fn add<T: DeserializeOwned + Send + Sync + Unpin + 'static>(
        &self,
        unique: &Document,
        row: impl Fn(i64) -> Result<Row> + Send + Sync,
    ) -> Result<RowInsertion<T>> {
        let deadline = self.connection.options.insert_timeout;
        let end = Instant::now() + deadline;
        self.wait_for_indexes(end).await?;
        let last = timeout_at(end, self.last.lock()).await;
        let mut last = last.map_err(|_elapsed| too_late(deadline, Outcome::NotApplied))?;
        // The more are at it, the longer.
        let mut pauses = pauses(Duration::from_millis(1), Duration::from_millis(100));
        loop {
            // Nobody knows the greatest number until this one is known to be stored.
            let before = match last.take() {
                Some(last) => last,
                None => self.greatest(end).await.map_err(not_applied)?,
            };
            let number = before.saturating_add(1);
            if self.insert(row(number)?, number, end).await? {
                *last = Some(number);
                return Ok(RowInsertion::New(number));
            }
            let found = self.find(self.schema.rows, unique.clone(), doc! {}, self.schema.unique.len());
            let found: Vec<T> = self.connection.change(until(end), found).await?;
            if !found.is_empty() {
                *last = Some(before);
                return Ok(RowInsertion::Existing(found));
            }
            // Somebody else has the number, or a majority does not have yet what took something.
            sleep(pauses.next().unwrap_or_default().min(until(end))).await;
        }
    }

    /// Stores a row with its event; not when something of it is taken.
    async fn insert(&self, (row, event): Row, number: i64, end: Instant) -> Result<bool> {
        let document = event::with_event(row, number, &event);
        let (insert, changed) =
            (insert::sent(&self.connection, self.schema.rows, &[document]), Arc::clone(&self.changed));
        let insert = async move {
            let answer = insert.await;
            // Here, as it may be stored when nobody waits for it any more.
            changed.notify_one();
            answer
        };
        let answer = self.connection.change(until(end), insert).await?;
        let names: Vec<String> = self.schema.unique.iter().map(|member| format!("{member}_1")).collect();
        let unique: Vec<&str> = names.iter().map(String::as_str).chain(["_id_"]).collect();
        answer.is_stored(&unique)
    }

    /// The greatest number that a majority has; 0 when there is none.
    async fn greatest(&self, end: Instant) -> Result<i64> {
        // Only numbers are greater than a number: whatever else somebody has put there is left out.
        let found = self.find(self.schema.rows, doc! { "_id": { "$gt": 0 } }, doc! { "_id": -1 }, 1);
        let found: Vec<Numbered> = self.connection.change(until(end), found).await?;
        Ok(found.first().map_or(0, |row| row.number))
    }

    /// Applies `batch` to what is known of others.
    async fn apply<D: Identified>(&self, batch: &[D]) -> Result<Vec<InsertOutcome>> {
        self.wait_for_indexes(Instant::now() + self.connection.options.insert_timeout).await?;
        insert::insert(&self.connection, self.schema.known.0, batch).await
    }

    /// Looks for documents that a majority has, in the order of `sort`.
    fn find<T: DeserializeOwned + Send + Sync + Unpin + 'static>(
        &self,
        collection: &str,
        filter: Document,
        sort: Document,
        most: usize,
    ) -> impl Future<Output = mongodb::error::Result<Vec<T>>> + Send + use<T> {
        let collection = self.connection.database.collection::<T>(collection);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let time = self.connection.options.query_timeout;
        async move {
            let found = collection.find(filter).sort(sort).limit(most).max_time(time);
            found.read_concern(ReadConcern::majority()).await?.try_collect().await
        }
    }

    /// Looks for a document before a write.
    async fn look_up<T: DeserializeOwned + Send + Sync + Unpin + 'static>(
        &self,
        collection: &str,
        filter: Document,
    ) -> Result<Vec<T>> {
        let found = self.find(collection, filter, doc! {}, 1);
        let found = self.connection.change(self.connection.options.query_timeout, found);
        found.await.map_err(not_applied)
    }

    /// The same for those who only ask: they may wait behind others, and ask again when the server cannot answer.
    pub(super) async fn ask<T: DeserializeOwned + Send + Sync + Unpin + 'static>(
        &self,
        collection: &str,
        filter: Document,
        sort: Document,
        most: usize,
    ) -> Result<Vec<T>> {
        let find = || self.find(collection, filter.clone(), sort.clone(), most);
        self.connection.ask(self.connection.options.query_timeout, find).await
    }

    /// Makes the indexes, unless this was done: without them two rows could be alike, so nothing is written before.
    async fn wait_for_indexes(&self, end: Instant) -> Result<()> {
        let made = timeout_at(end, self.indexed.get_or_try_init(|| self.make_indexes(end))).await;
        let deadline = self.connection.options.insert_timeout;
        made.unwrap_or_else(|_elapsed| Err(too_late(deadline, Outcome::NotApplied))).map(drop)
    }

    async fn make_indexes(&self, end: Instant) -> Result<()> {
        let Schema { rows, unique, known: (known, of_known) } = self.schema;
        let unique = unique.iter().map(|member| {
            let options = IndexOptions::builder().unique(true).build();
            IndexModel::builder().keys(doc! { *member: 1 }).options(options).build()
        });
        let of_rows: Vec<_> = unique.chain([event::index()]).collect();
        let of_known = of_known.map(|keys| IndexModel::builder().keys(keys()).build());
        for (name, indexes) in [(rows, of_rows), (known, of_known.into_iter().collect())] {
            if indexes.is_empty() {
                continue;
            }
            let collection = self.connection.database.collection::<RawDocumentBuf>(name);
            let make = async move {
                let make = collection.create_indexes(indexes);
                make.write_concern(WriteConcern::majority()).await
            };
            let made = self.connection.change(until(end), make).await;
            made.map_err(|error| no_indexes(name, error))?;
        }
        Ok(())
    }
}

fn row<E: Collection>(new: &E::New, number: i64) -> Result<Row> {
    let row = E::with_number(new, number);
    let mut document = rawdoc! { "_id": number, "key": E::key(new).as_str() };
    row.append_to(&mut document);
    Ok((document, row.event(new)?))
}

fn no_indexes(collection: &str, error: Error) -> Error {
    let message = "MongoDB does not make the indexes that keep rows apart, so nothing is written";
    Error::new(error.kind(), message)
        .with_retry(error.retry())
        .with_outcome(Outcome::NotApplied)
        .with_origin("mongodb")
        .with_context("collection", collection)
        .with_source(error)
}

/// The same error: what has failed was a question before a write.
fn not_applied(error: Error) -> Error {
    error.with_outcome(Outcome::NotApplied)
}

fn until(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}
