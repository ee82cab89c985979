//! Brings documents of older systems to the form that we write, in place.

use std::time::Duration;

use bson::raw::RawBsonRef;
use bson::{Bson, DateTime, Document, RawDocument, RawDocumentBuf, doc};
use futures_util::{StreamExt, TryStreamExt, stream};
use shop_core::{Purchase, Result};
use tokio::time::sleep;

use super::connection::{Connection, pauses};
use super::unreadable::name;
use super::{MongoStore, document, select};

/// How far a migration has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Migration {
    /// Documents that were looked at.
    pub scanned: u64,
    /// Documents that were changed.
    pub migrated: u64,
    /// Documents that are no purchases, or were changed by another client meanwhile, and stay as they are. Each is
    /// named in the log by its `_id`.
    pub skipped: u64,
}

/// The documents that are read, and then changed, at a time.
const SLICE: usize = 1_000;
/// The changes that are on their way at a time.
const CHANGES: usize = 16;
/// How long it may take to find those whose `_id` no purchase can have: nothing else is to be done then.
const OTHERS: Duration = Duration::from_secs(600);
/// Where a time stays that could not be read, when the document gets another one.
const TIME_BEFORE: &str = "timestamp_before";

impl MongoStore {
    /// Turns every price into a Decimal128, every timestamp into a Date, and ids and names of users that are
    /// numbers into text; `_id` and all other members stay. A timestamp that cannot be read stays as
    /// `timestamp_before`, and that of the document's `ObjectId` takes its place.
    ///
    /// It may be stopped and begun again at any time, and run beside a service. `progress` is told after every
    /// slice. A server that is away for less than a minute is waited for.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) when the server stays away; what was changed stays.
    pub async fn migrate(&self, mut progress: impl FnMut(Migration) + Send) -> Result<Migration> {
        let mut migration = Migration::default();
        let mut after = None;
        let mut waits = backoff();
        loop {
            after = match slice(self.connection(), after.clone(), &mut migration).await {
                Ok(next) => next,
                Err(error) if error.is_transient() => {
                    let Some(pause) = waits.next() else { return Err(error) };
                    tracing::warn!(error = %error.chain(), "the migration goes on in {pause:?}");
                    sleep(pause).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            waits = backoff();
            progress(migration);
            if after.is_none() {
                let others = others(self.connection()).await?;
                migration.scanned += others;
                migration.skipped += others;
                return Ok(migration);
            }
        }
    }
}

/// How long to wait before each further try, about half a minute together; the driver's own looking for a server
/// comes to that.
fn backoff() -> impl Iterator<Item = Duration> {
    pauses(Duration::from_millis(100), Duration::from_secs(5)).take(10)
}

/// Changes the next documents behind `after`; answers behind which to go on, if there may be more. It may be called
/// again after an error: what it changed already is seen to be ours.
async fn slice(
    connection: &Connection,
    after: Option<Bson>,
    migration: &mut Migration,
) -> Result<Option<Bson>> {
    let documents = documents(connection, after).await?;
    let (mut seen, mut left) = (0, 0);
    let next = documents.last().filter(|_| documents.len() == SLICE).and_then(|last| document::place(last).1);
    let changes = documents.into_iter().map(|old| change(connection, old));
    let mut changes = stream::iter(changes).buffer_unordered(CHANGES);
    while let Some(change) = changes.try_next().await? {
        migration.migrated += u64::from(change == Change::Made);
        left += u64::from(change == Change::Left);
        seen += 1;
    }
    migration.scanned += seen;
    migration.skipped += left;
    Ok(next)
}

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It is as we write it since now.
    Made,
    /// It was so already.
    NotNeeded,
    /// It stays as it is.
    Left,
}

/// The next slice of all documents, in the order of `_id`: what is to be changed is found here, so that every call
/// costs the same.
async fn documents(connection: &Connection, after: Option<Bson>) -> Result<Vec<RawDocumentBuf>> {
    let mut all = vec![select::purchases_filter()];
    all.extend(after.map(|id| select::behind(&id, "$gt")));
    let slice = i64::try_from(SLICE).unwrap_or(i64::MAX);
    let find = || {
        let (collection, filter) = (connection.collection.clone(), doc! { "$and": &all });
        async move {
            let cursor = collection.find(filter).sort(doc! { "_id": 1 }).limit(slice).await?;
            cursor.try_collect().await
        }
    };
    connection.ask(connection.options.insert_timeout, find).await
}

/// How many documents have an `_id` that no purchase can have.
async fn others(connection: &Connection) -> Result<u64> {
    let find = || {
        let collection = connection.collection.clone();
        let filter = doc! { "$nor": [select::purchases_filter()] };
        async move {
            let mut documents = collection.find(filter).projection(doc! { "_id": 1 }).await?;
            let mut count = 0;
            while let Some(document) = documents.try_next().await? {
                tracing::warn!(document.id = %name(&document), "a document whose _id is no purchase's stays as it is");
                count += 1;
            }
            Ok(count)
        }
    };
    connection.ask(OTHERS, find).await
}

async fn change(connection: &Connection, old: RawDocumentBuf) -> Result<Change> {
    let purchase = match document::purchase(&old) {
        Ok(purchase) => purchase,
        Err(error) => {
            tracing::warn!(document.id = %name(&old), %error, "a document that is no purchase stays as it is");
            return Ok(Change::Left);
        }
    };
    if is_ours(&old) {
        return Ok(Change::NotNeeded);
    }
    let Some((filter, update)) = new_form(&old, &purchase) else { return Ok(Change::Left) };
    let collection = connection.collection.clone();
    let update = async move { collection.update_one(filter, update).await };
    let updated = connection.change(connection.options.insert_timeout, update).await?;
    Ok(if updated.matched_count == 1 { Change::Made } else { Change::Left })
}

fn is_ours(document: &RawDocument) -> bool {
    let is_text = |name| matches!(document.get(name), Ok(Some(RawBsonRef::String(_))));
    matches!(document.get("price"), Ok(Some(RawBsonRef::Decimal128(_))))
        && matches!(document.get("timestamp"), Ok(Some(RawBsonRef::DateTime(_))))
        && is_text("userid")
        && is_text("username")
}

/// What finds the document as it was read, and what is to be changed of it.
fn new_form(old: &RawDocument, purchase: &Purchase) -> Option<(Document, Document)> {
    let value = |member: &str| -> Option<Bson> { old.get(member).ok()?.map(Bson::try_from)?.ok() };
    let mut filter = doc! { "_id": value("_id")? };
    // As they were read, so that a change by somebody else is not undone.
    for member in ["userid", "username", "price", "timestamp"] {
        filter.insert(member, value(member).unwrap_or(Bson::Null));
    }
    let mut new = doc! {
        "userid": purchase.user_id.as_str(),
        "username": purchase.user_name.as_str(),
        "price": document::decimal128(purchase.price),
        "timestamp": DateTime::from_millis(purchase.timestamp.as_millis()),
    };
    if let Some(before) = value("timestamp").filter(|_| document::time_of_its_own(old).is_none()) {
        tracing::warn!(purchase.id = %purchase.id, "a timestamp that cannot be read stays as {TIME_BEFORE}");
        new.insert(TIME_BEFORE, before);
    }
    Some((filter, doc! { "$set": new }))
}
