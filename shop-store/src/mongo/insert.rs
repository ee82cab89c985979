//! Stores purchases, each unless its id is there already.

use std::collections::HashMap;

use bson::{Bson, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::options::ReadConcern;
use serde::Deserialize;
use shop_core::ports::{InsertOutcome, Reason};
use shop_core::{Error, ErrorKind, Outcome, Purchase, PurchaseId, Result};

use super::codes::{Fate, fate};
use super::connection::Connection;
use super::{command, document};

/// Above what anybody inserts at once; with the longest texts it stays below what a server takes as one
/// command, 16 MiB.
pub(super) const MOST: usize = 4_000;

/// How long the server waits for a majority, in milliseconds; below the deadline, so that it is the server that
/// says so.
const PATIENCE: i32 = 10_000;

/// One outcome for each purchase of `batch`.
pub(super) async fn insert(connection: &Connection, batch: &[Purchase]) -> Result<Vec<InsertOutcome>> {
    let mut outcomes = Vec::with_capacity(batch.len());
    for some in batch.chunks(MOST) {
        let answer = insert_documents(connection, some).await?;
        outcomes.extend(outcomes_of(connection, some, answer).await?);
    }
    Ok(outcomes)
}

/// What a server answers to an insert that it has tried.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    write_errors: Vec<Refusal>,
    write_concern_error: Option<ConcernError>,
}

/// A document that it did not take.
#[derive(Debug, Deserialize)]
struct Refusal {
    index: usize,
    code: i32,
    #[serde(rename = "errmsg", default)]
    message: String,
}

#[derive(Debug, Deserialize)]
struct ConcernError {
    code: i32,
}

async fn insert_documents(connection: &Connection, batch: &[Purchase]) -> Result<Answer> {
    let database = connection.database.clone();
    let command = command::insert(connection.collection.name(), batch, PATIENCE);
    let insert = async move {
        let answer = database.run_raw_command(command?).await?;
        Ok(bson::deserialize_from_document(answer)?)
    };
    connection.change(connection.options.insert_deadline, insert).await
}

/// A document whose id, or something else of it that is unique, was there already.
struct Taken {
    /// Its index in the batch.
    index: usize,
    id: PurchaseId,
    refusal: Refusal,
}

async fn outcomes_of(
    connection: &Connection,
    batch: &[Purchase],
    answer: Answer,
) -> Result<Vec<InsertOutcome>> {
    let mut outcomes = vec![InsertOutcome::Inserted; batch.len()];
    if let Some(concern) = answer.write_concern_error {
        // Inserted, but perhaps not to stay.
        let text = format!("MongoDB did not confirm that a majority has it on disk (code {})", concern.code);
        let error = Error::new(ErrorKind::Unavailable, text).with_origin("mongodb");
        outcomes.fill(InsertOutcome::Unknown(error));
    }
    let mut taken = Vec::new();
    for refusal in answer.write_errors {
        let (Some(outcome), Some(purchase)) = (outcomes.get_mut(refusal.index), batch.get(refusal.index))
        else {
            let message = "MongoDB speaks of a document that it was not sent";
            return Err(Error::new(ErrorKind::Internal, message).with_origin("mongodb"));
        };
        match fate(refusal.code) {
            Fate::Duplicate => taken.push(Taken { index: refusal.index, id: purchase.id, refusal }),
            Fate::Final => *outcome = final_outcome(&refusal),
            Fate::Transient => *outcome = InsertOutcome::Unknown(transient(&refusal)),
        }
    }
    if !taken.is_empty() {
        let first = stored(connection, &taken).await?;
        for taken in taken {
            outcomes[taken.index] = compare(&batch[taken.index], first.get(&taken.id), &taken.refusal);
        }
    }
    Ok(outcomes)
}

/// What is stored under these ids, as far as a majority has it. What cannot be read is `None`.
async fn stored(connection: &Connection, taken: &[Taken]) -> Result<HashMap<PurchaseId, Option<Purchase>>> {
    let ids: Vec<Bson> = taken.iter().map(|taken| document::id_value(&taken.id)).collect();
    let (collection, time) = (connection.collection.clone(), connection.options.query_deadline);
    let found = async move {
        let found = collection.find(doc! { "_id": { "$in": ids } });
        let cursor = found.read_concern(ReadConcern::majority()).max_time(time).await?;
        cursor.try_collect::<Vec<RawDocumentBuf>>().await
    };
    let mut stored = HashMap::new();
    for document in connection.change(time, found).await? {
        if let Some(id) = document::readable_id(&document) {
            stored.insert(id, document::purchase(&document).ok());
        }
    }
    Ok(stored)
}

/// Tells a duplicate from a conflict.
fn compare(purchase: &Purchase, first: Option<&Option<Purchase>>, refusal: &Refusal) -> InsertOutcome {
    match first {
        Some(Some(first)) if first.same_content(purchase) => InsertOutcome::Duplicate,
        Some(_) => InsertOutcome::Conflict,
        None if is_of_another_index(&refusal.message) => final_outcome(refusal),
        // Not yet of a majority, or deleted since: inserting again tells which.
        None => InsertOutcome::Unknown(transient(refusal)),
    }
}

/// Whether the server names a unique index that is not the one of `_id`: nobody but its operator has made that.
fn is_of_another_index(message: &str) -> bool {
    let name = message.split_once(" index: ").and_then(|(_, rest)| rest.split_whitespace().next());
    name.is_some_and(|name| name != "_id_")
}

fn final_outcome(refusal: &Refusal) -> InsertOutcome {
    let message = format!("MongoDB refuses the document: {} (code {})", refusal.message, refusal.code);
    let error = Error::new(ErrorKind::Invalid, message).with_origin("mongodb");
    Reason::refused(error).map_or_else(InsertOutcome::Unknown, InsertOutcome::Rejected)
}

fn transient(refusal: &Refusal) -> Error {
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
        let command = command::insert("purchases", &vec![purchase; MOST], PATIENCE).unwrap();
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
