//! Stores documents, each unless its id is there already.

use std::collections::HashMap;
use std::hash::Hash;

use super::error::mongo_error;
use bson::{Bson, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::options::ReadConcern;
use serde::Deserialize;
use shop_core::log::Reason;
use shop_core::ports::InsertOutcome;
use shop_core::{Error, ErrorKind, Outcome, Purchase, PurchaseId, Result};

use super::codes::{ErrorClass, fate};
use super::command::Insertable;
use super::connection::Connection;
use super::{command, document};

/// Above what anybody inserts at once; with the longest texts it stays below what a server takes as one
/// command, 16 MiB.
pub(super) const MOST: usize = 4_000;

/// How long the server waits for a majority, in milliseconds; below the deadline, so that it is the server that
/// says so.
const WRITE_TIMEOUT: i32 = 10_000;

/// What its id tells from others: the same id with the same content is the same.
pub(super) trait Identified: Insertable + 'static {
    /// The id.
    type Id: Copy + Eq + Hash + Send + Sync;

    /// Its id.
    fn id(&self) -> Self::Id;

    /// An id as it stands in `_id`.
    fn id_value(id: &Self::Id) -> Bson;

    /// The id of `document`, if it can be one of these.
    fn readable_id(document: &RawDocument) -> Option<Self::Id>;

    /// Whether `document`, which has the same id, says the same.
    fn has_content_of(&self, document: &RawDocument) -> bool;
}

impl Identified for Purchase {
    type Id = PurchaseId;

    fn id(&self) -> PurchaseId {
        self.id
    }

    fn id_value(id: &PurchaseId) -> Bson {
        document::id_value(id)
    }

    fn readable_id(document: &RawDocument) -> Option<PurchaseId> {
        document::readable_id(document)
    }

    fn has_content_of(&self, document: &RawDocument) -> bool {
        document::purchase(document).is_ok_and(|first| first.same_content(self))
    }
}

/// One outcome for each of `batch`, which are stored in `collection`.
pub(super) async fn insert<D: Identified>(
    connection: &Connection,
    collection: &str,
    batch: &[D],
) -> Result<Vec<InsertOutcome>> {
    let mut outcomes = Vec::with_capacity(batch.len());
    for some in batch.chunks(MOST) {
        let insert = sent(connection, collection, some);
        let answer = connection.change(connection.options.insert_timeout, insert).await?;
        outcomes.extend(outcomes_of(connection, collection, some, answer).await?);
    }
    Ok(outcomes)
}

/// What a server answers to an insert that it has tried.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct InsertReply {
    write_errors: Vec<WriteError>,
    write_concern_error: Option<ConcernError>,
}

/// A document that it did not take.
#[derive(Debug, Deserialize)]
struct WriteError {
    index: usize,
    code: i32,
    #[serde(rename = "errmsg", default)]
    message: String,
}

#[derive(Debug, Deserialize)]
struct ConcernError {
    code: i32,
}

/// Sends all of `batch` at once; the answer.
pub(super) fn sent<D: Insertable + 'static>(
    connection: &Connection,
    collection: &str,
    batch: &[D],
) -> impl Future<Output = mongodb::error::Result<InsertReply>> + Send + use<D> {
    let database = connection.database.clone();
    let command = command::insert(collection, batch, WRITE_TIMEOUT);
    async move {
        let answer = database.run_raw_command(command?).await?;
        Ok(bson::deserialize_from_document(answer)?)
    }
}

impl InsertReply {
    /// Whether the one document that was sent is stored. If not, something that only one may have is taken, by one
    /// of the indexes with these names.
    pub(super) fn is_stored(&self, unique: &[&str]) -> Result<bool> {
        let Some(refusal) = self.write_errors.first() else {
            return self.write_concern_error.as_ref().map_or(Ok(true), |concern| Err(not_durable(concern)));
        };
        match fate(refusal.code) {
            ErrorClass::Duplicate if index(&refusal.message).is_none_or(|name| unique.contains(&name)) => {
                Ok(false)
            }
            ErrorClass::Duplicate | ErrorClass::Final => Err(refused(refusal)),
            ErrorClass::Transient => Err(transient(refusal)),
        }
    }
}

/// A document whose id, or something else of it that is unique, was there already.
struct DuplicateKey<Id> {
    /// Its index in the batch.
    index: usize,
    id: Id,
    refusal: WriteError,
}

async fn outcomes_of<D: Identified>(
    connection: &Connection,
    collection: &str,
    batch: &[D],
    answer: InsertReply,
) -> Result<Vec<InsertOutcome>> {
    let mut outcomes = vec![InsertOutcome::Inserted; batch.len()];
    if let Some(concern) = answer.write_concern_error {
        outcomes.fill(InsertOutcome::Unknown(not_durable(&concern)));
    }
    let mut taken = Vec::new();
    for refusal in answer.write_errors {
        let (Some(outcome), Some(sent)) = (outcomes.get_mut(refusal.index), batch.get(refusal.index)) else {
            let message = "MongoDB speaks of a document that it was not sent";
            return Err(mongo_error(ErrorKind::Internal, message));
        };
        match fate(refusal.code) {
            ErrorClass::Duplicate => {
                taken.push(DuplicateKey { index: refusal.index, id: sent.id(), refusal });
            }
            ErrorClass::Final => *outcome = final_outcome(&refusal),
            ErrorClass::Transient => *outcome = InsertOutcome::Unknown(transient(&refusal)),
        }
    }
    if !taken.is_empty() {
        let first = stored::<D>(connection, collection, &taken).await?;
        for taken in taken {
            outcomes[taken.index] = compare(&batch[taken.index], first.get(&taken.id), &taken.refusal);
        }
    }
    Ok(outcomes)
}

/// What is stored under these ids, as far as a majority has it.
async fn stored<D: Identified>(
    connection: &Connection,
    collection: &str,
    taken: &[DuplicateKey<D::Id>],
) -> Result<HashMap<D::Id, RawDocumentBuf>> {
    let ids: Vec<Bson> = taken.iter().map(|taken| D::id_value(&taken.id)).collect();
    let collection = connection.database.collection::<RawDocumentBuf>(collection);
    let time = connection.options.query_timeout;
    let found = async move {
        let found = collection.find(doc! { "_id": { "$in": ids } });
        let cursor = found.read_concern(ReadConcern::majority()).max_time(time).await?;
        cursor.try_collect::<Vec<RawDocumentBuf>>().await
    };
    let found = connection.change(time, found).await?;
    Ok(found.into_iter().filter_map(|document| Some((D::readable_id(&document)?, document))).collect())
}

/// Tells a duplicate from a conflict.
fn compare<D: Identified>(sent: &D, first: Option<&RawDocumentBuf>, refusal: &WriteError) -> InsertOutcome {
    match first {
        Some(first) if sent.has_content_of(first) => InsertOutcome::Duplicate,
        Some(_) => InsertOutcome::Conflict,
        None if is_of_another_index(&refusal.message) => final_outcome(refusal),
        // Not yet of a majority, or deleted since: inserting again tells which.
        None => InsertOutcome::Unknown(transient(refusal)),
    }
}

/// Whether the server names a unique index that is not the one of `_id`: nobody but its operator has made that.
fn is_of_another_index(message: &str) -> bool {
    index(message).is_some_and(|name| name != "_id_")
}

/// The unique index that the server names.
fn index(message: &str) -> Option<&str> {
    message.split_once(" index: ")?.1.split_whitespace().next()
}

/// It is inserted, but perhaps not to stay.
fn not_durable(concern: &ConcernError) -> Error {
    let text = format!("MongoDB did not confirm that a majority has it on disk (code {})", concern.code);
    mongo_error(ErrorKind::Unavailable, text)
}

fn final_outcome(refusal: &WriteError) -> InsertOutcome {
    Reason::refused(refused(refusal)).map_or_else(InsertOutcome::Unknown, InsertOutcome::Rejected)
}

fn refused(refusal: &WriteError) -> Error {
    let message = format!("MongoDB refuses the document: {} (code {})", refusal.message, refusal.code);
    mongo_error(ErrorKind::Invalid, message)
}

fn transient(refusal: &WriteError) -> Error {
    let message =
        format!("MongoDB does not take the document now: {} (code {})", refusal.message, refusal.code);
    Error::new(ErrorKind::Unavailable, message).with_outcome(Outcome::NotApplied).with_origin("mongodb")
}

#[cfg(test)]
mod tests {
    use shop_core::Timestamp;

    use super::*;

    #[test]
    fn what_is_inserted_at_once_is_no_more_than_a_server_takes() {
        let longest = |characters| "\u{1f6d2}".repeat(characters);
        let id = "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap();
        let (user, name) = (longest(128).parse().unwrap(), longest(256).parse().unwrap());
        let purchase = Purchase::new(id, user, name, "1".parse().unwrap(), Timestamp::MIN);
        let command = command::insert("purchases", &vec![purchase; MOST], WRITE_TIMEOUT).unwrap();
        // maxBsonObjectSize, which the command as a whole is held to.
        assert!(command.as_bytes().len() < 16 << 20, "{}", command.as_bytes().len());
    }

    #[test]
    fn an_index_of_somebody_else_is_told_by_its_name() {
        let message = |index: &str| {
            format!(
                "E11000 duplicate key error collection: shop.purchases index: {index} dup key: {{ x: 1 }}"
            )
        };
        assert!(is_of_another_index(&message("username_1")));
        assert!(!is_of_another_index(&message("_id_")));
        assert!(!is_of_another_index("E11000 duplicate key error"));
    }
}
