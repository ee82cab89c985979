//! Sends writes to the collections of a store. No other function inserts, updates or deletes
//! documents.
//!
//! Whatever the URI says, each write
//! - is confirmed by a majority of the servers, and in the journal
//! - finds its documents by ids, so that it uses an index, and the collation of the collection does
//!   not matter: ids are written in one form only. A read finds the documents of a user
//! - is sent as several commands if it exceeds the limits of a command, and as none if it is empty,
//!   because MongoDB refuses an empty command (code 16)
//! - is unordered, and reports each document that the server refused as a [`Refusal`]
//!
//! | function | for | a refused document |
//! |---|---|---|
//! | [`send_write`](MongoConnection::send_write) | purchases that callers sent | is one of the [refusals](WriteReply::refusals) |
//! | [`write_all`](MongoConnection::write_all) | documents of this program, such as marks | is an error |

use std::iter::Peekable;
use std::vec;

use bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, cstr, doc, rawdoc};
use mongodb::Collection;
use serde::Deserialize;
use shop_core::{Error, ErrorKind, Outcome, Result};

use super::connection::MongoConnection;
use super::error::mongo_error;
use super::refusal::{DocumentReport, Refusal, RefusalCause};

/// The maximum number of statements in a command.
pub(super) const MAX_STATEMENTS: usize = 4_000;
/// The maximum size of the statements in a command. The server limits a command to 16 MiB.
const MAX_STATEMENT_BYTES: usize = 15 << 20;
/// The bytes that a statement needs in the array of a command beside its content: the type, the
/// index as text, and its end.
const BYTES_OF_INDEX: usize = 8;
/// The time in milliseconds for which the server waits until the write is on a majority of the
/// servers. It is below the client's timeout, so that the server reports the error.
const WRITE_TIMEOUT: i32 = 10_000;

/// A write to one collection.
pub(super) enum Write {
    /// Inserts these documents.
    Insert(Vec<RawDocumentBuf>),
    /// Carries out these updates, each by itself.
    Update(Vec<Update>),
    /// Deletes all documents that match this condition, which names their ids.
    Delete(Document),
}

/// An update of the document with one `_id`.
pub(super) struct Update {
    filter: Document,
    change: Document,
    is_upsert: bool,
    /// Whether the update is done if a document with the same `_id` exists.
    accepts_existing: bool,
}

impl Update {
    /// Creates an update that makes `change` in the document with this `id`, if the document exists
    /// and matches `condition`.
    pub(super) fn new(id: impl Into<Bson>, condition: Document, change: Document) -> Self {
        let mut filter = doc! { "_id": id.into() };
        filter.extend(condition);
        Self {
            filter,
            change,
            is_upsert: false,
            accepts_existing: false,
        }
    }

    /// Creates an update that sets `members` of the document with this `id`, which is inserted if it
    /// does not exist.
    pub(super) fn upsert(id: impl Into<Bson>, members: Document) -> Self {
        Self {
            is_upsert: true,
            ..Self::new(id, Document::new(), doc! { "$set": members })
        }
    }

    /// Creates an update that inserts a document with this `id` and `members`. If the document
    /// exists, the update changes nothing, and has succeeded.
    pub(super) fn insert_missing(id: impl Into<Bson>, members: Document) -> Self {
        Self {
            is_upsert: true,
            accepts_existing: true,
            ..Self::new(id, Document::new(), doc! { "$setOnInsert": members })
        }
    }

    /// Returns the statement of this update in a command.
    fn statement(&self) -> Document {
        doc! { "q": &self.filter, "u": &self.change, "upsert": self.is_upsert }
    }
}

/// The result of a write, which a majority of the servers has confirmed.
#[derive(Debug, Default)]
pub(super) struct WriteReply {
    /// The number of documents that were inserted, matched or deleted.
    pub(super) count: u64,
    /// The positions of the updates that inserted their document.
    pub(super) upserted: Vec<usize>,
    /// The documents and updates that the server refused.
    pub(super) refusals: Vec<Refusal>,
}

impl MongoConnection {
    /// Sends `write` to `collection`, and returns which documents the server refused.
    ///
    /// The write does not queue behind listings, and is not retried here. Each command takes at most
    /// the timeout of inserts.
    ///
    /// # Errors
    /// An error of the first command that fails, after which no further command is sent:
    /// - [`Unavailable`](ErrorKind::Unavailable) if a majority did not confirm the write, which may
    ///   be rolled back
    /// - [`Internal`](ErrorKind::Internal) if the write cannot be encoded, or the server reports an
    ///   error for a document that was not sent
    /// - the error of the driver
    pub(super) async fn send_write(
        &self,
        collection: &Collection<RawDocumentBuf>,
        write: Write,
    ) -> Result<WriteReply> {
        let Statements {
            name,
            documents,
            accept_existing,
        } = Statements::new(write)?;
        let namespace = collection.namespace().to_string();
        let mut reply = WriteReply::default();
        let mut documents = documents.into_iter().peekable();
        // The position of the first statement of the next command.
        let mut first_position = 0;

        while documents.peek().is_some() {
            let (chunk, length) = take_chunk(&mut documents);
            let command = encode_command(name, collection.name(), chunk);
            let command_reply = self.run_write(command).await?;

            reply.count += command_reply.n;
            reply.upserted.extend(
                command_reply
                    .upserted
                    .iter()
                    .map(|upsert| first_position + upsert.index),
            );
            for report in command_reply.write_errors {
                if report.index >= length {
                    let message = "MongoDB reported an error for a document that was not sent";
                    return Err(mongo_error(ErrorKind::Internal, message));
                }
                let refusal = Refusal::new(first_position, &report, &namespace);
                let accepts_existing = accept_existing.get(refusal.position) == Some(&true);
                let is_done = accepts_existing && refusal.cause == RefusalCause::DuplicateId;
                if !is_done {
                    reply.refusals.push(refusal);
                }
            }
            first_position += length;
        }
        Ok(reply)
    }

    /// Sends `write` to `collection`, as [`send_write`](Self::send_write) does. All of it succeeds,
    /// or the result is an error.
    ///
    /// `document_words` names the documents in the message of the error, such as "the currency".
    ///
    /// # Errors
    /// - the errors of [`send_write`](Self::send_write)
    /// - the error of [`Refusal::failure`] for the first refused document. Other documents may have
    ///   been written.
    pub(super) async fn write_all(
        &self,
        collection: &Collection<RawDocumentBuf>,
        write: Write,
        document_words: &'static str,
    ) -> Result<WriteReply> {
        let reply = self.send_write(collection, write).await?;
        let Some(refusal) = reply.refusals.first() else {
            return Ok(reply);
        };
        let error = refusal.failure(document_words);
        // Some documents were written, so the write as a whole was neither applied nor refused.
        if reply.count > 0 {
            return Err(error.with_outcome(Outcome::Unknown));
        }
        Err(error)
    }

    /// Runs one command, and returns the server's reply to it.
    async fn run_write(&self, command: RawDocumentBuf) -> Result<CommandReply> {
        let database = self.database.clone();
        let run_command = async move { database.run_raw_command(command).await };
        let reply = self.run_as_write(run_command).await?;

        // The text of the error is left out, because it quotes the reply.
        let command_reply: CommandReply =
            bson::deserialize_from_document(reply).map_err(|_quoted| {
                mongo_error(
                    ErrorKind::Unavailable,
                    "MongoDB sent an invalid reply to a write",
                )
            })?;
        match command_reply.write_concern_error {
            Some(concern) => Err(unconfirmed_error(concern.code)),
            None => Ok(command_reply),
        }
    }
}

/// The statements of a write, from which its commands are built.
struct Statements {
    name: CommandName,
    documents: Vec<RawDocumentBuf>,
    /// For each update, whether it is done if a document with the same `_id` exists. Empty for
    /// inserts and deletions.
    accept_existing: Vec<bool>,
}

/// The name of a command that writes.
#[derive(Clone, Copy)]
enum CommandName {
    Insert,
    Update,
    Delete,
}

impl Statements {
    /// Encodes the statements of `write`.
    fn new(write: Write) -> Result<Self> {
        let mut accept_existing = Vec::new();
        let (name, documents) = match write {
            Write::Insert(documents) => (CommandName::Insert, documents),
            Write::Update(updates) => {
                let mut documents = Vec::with_capacity(updates.len());
                for update in updates {
                    documents.push(encode_statement(&update.statement())?);
                    accept_existing.push(update.accepts_existing);
                }
                (CommandName::Update, documents)
            }
            Write::Delete(filter) => {
                // A limit of zero deletes all documents that match.
                let statement = doc! { "q": filter, "limit": 0 };
                (CommandName::Delete, vec![encode_statement(&statement)?])
            }
        };
        Ok(Self {
            name,
            documents,
            accept_existing,
        })
    }
}

/// Encodes the statement of an update or a deletion.
fn encode_statement(statement: &Document) -> Result<RawDocumentBuf> {
    // The text of the error is left out, because it may quote a value.
    RawDocumentBuf::try_from(statement)
        .map_err(|_quoted| mongo_error(ErrorKind::Internal, "a write cannot be encoded as BSON"))
}

/// Takes as many statements as fit into one command, and returns them with their number.
///
/// A statement above the limit is taken alone, so that the server refuses no other statement with it.
fn take_chunk(documents: &mut Peekable<vec::IntoIter<RawDocumentBuf>>) -> (RawArrayBuf, usize) {
    let mut chunk = RawArrayBuf::new();
    let mut length = 0;
    let mut bytes = 0;
    while let Some(document) = documents.next_if(|document| {
        let next_bytes = bytes + document.as_bytes().len() + BYTES_OF_INDEX;
        length == 0 || (length < MAX_STATEMENTS && next_bytes <= MAX_STATEMENT_BYTES)
    }) {
        bytes += document.as_bytes().len() + BYTES_OF_INDEX;
        length += 1;
        chunk.push(document);
    }
    (chunk, length)
}

/// Returns the command that carries out `statements`, unordered, with majority and journal.
///
/// Unlike `insert_many` of the driver, this function builds no map of all ids.
fn encode_command(name: CommandName, collection: &str, statements: RawArrayBuf) -> RawDocumentBuf {
    let (name, member) = match name {
        CommandName::Insert => (cstr!("insert"), cstr!("documents")),
        CommandName::Update => (cstr!("update"), cstr!("updates")),
        CommandName::Delete => (cstr!("delete"), cstr!("deletes")),
    };
    let write_concern = rawdoc! { "w": "majority", "j": true, "wtimeout": WRITE_TIMEOUT };

    let mut encoded = RawDocumentBuf::new();
    encoded.append(name, collection);
    encoded.append(cstr!("ordered"), false);
    encoded.append(cstr!("writeConcern"), write_concern);
    encoded.append(member, statements);
    encoded
}

/// The server's reply to a command.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CommandReply {
    n: u64,
    upserted: Vec<UpsertReport>,
    write_errors: Vec<DocumentReport>,
    write_concern_error: Option<ConcernReport>,
}

/// The server's report of an update that inserted its document.
#[derive(Deserialize)]
struct UpsertReport {
    index: usize,
}

/// The server's report of a command that was applied, but not confirmed by a majority in time.
#[derive(Deserialize)]
struct ConcernReport {
    code: i32,
}

/// Creates the error of a write that was applied, but may be rolled back.
fn unconfirmed_error(code: i32) -> Error {
    let message = format!("MongoDB did not confirm the write by a majority (code {code})");
    mongo_error(ErrorKind::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mongo::MongoStoreOptions;
    use crate::mongo::document::purchase_document;
    use crate::server_fixture::purchases;

    /// maxBsonObjectSize, which limits a command as a whole.
    const MAX_COMMAND_BYTES: usize = 16 << 20;

    /// No server listens at this address, so a write that is sent fails.
    #[tokio::test]
    async fn an_empty_write_is_not_sent() {
        let options = MongoStoreOptions::new("mongodb://127.0.0.1:1");
        let connection = MongoConnection::open(options).await.unwrap();
        let empty: [fn() -> Write; 2] = [|| Write::Insert(vec![]), || Write::Update(vec![])];
        for write in empty {
            let sent = connection.write_all(&connection.collection, write(), "nothing");
            assert_eq!(sent.await.unwrap().count, 0);
        }
    }

    #[test]
    fn every_write_is_durable_and_unordered() {
        let condition = || doc! { "userid": "u1" };
        for (write, member) in [
            (Write::Insert(vec![rawdoc! { "_id": 1 }]), "documents"),
            (
                Write::Update(vec![
                    Update::new(1, condition(), doc! { "erased": true }),
                    Update::upsert("currency", doc! { "currency": "EUR" }),
                    Update::insert_missing("mark", doc! { "erased": true }),
                ]),
                "updates",
            ),
            (Write::Delete(doc! { "_id": 1 }), "deletes"),
        ] {
            let statements = Statements::new(write).unwrap();
            let (chunk, _) = take_chunk(&mut statements.documents.into_iter().peekable());
            let command = encode_command(statements.name, "purchases", chunk);
            let command = Document::try_from(&*command).unwrap();
            let concern = doc! { "w": "majority", "j": true, "wtimeout": WRITE_TIMEOUT };
            assert_eq!(command.get_document("writeConcern").unwrap(), &concern);
            assert!(!command.get_bool("ordered").unwrap());
            for statement in command.get_array(member).unwrap() {
                let statement = statement.as_document().unwrap();
                let filter = statement.get_document("q").unwrap_or(statement);
                assert!(filter.contains_key("_id"), "{statement}");
            }
        }
    }

    #[test]
    fn commands_stay_below_the_limits_of_the_server() {
        let longest = |characters| "\u{1f6d2}".repeat(characters);
        let mut purchase = purchases(1).remove(0);
        purchase.user_id = longest(128).parse().unwrap();
        purchase.user_name = longest(256).parse().unwrap();
        purchase.details.item = Some(longest(256).parse().unwrap());
        purchase.details.reference = Some(longest(128).parse().unwrap());
        let largest_purchases = vec![purchase_document(&purchase); MAX_STATEMENTS + 1];

        let bytes_of = |mebibytes: usize| rawdoc! { "details": "x".repeat(mebibytes << 20) };
        let mut large_documents = vec![bytes_of(1); 40];
        large_documents.insert(20, bytes_of(17));

        for (documents, expected) in [
            (Vec::new(), &[][..]),
            (largest_purchases, &[MAX_STATEMENTS, 1]),
            (large_documents, &[14, 6, 1, 14, 6]),
        ] {
            let mut documents = documents.into_iter().peekable();
            let mut lengths = Vec::new();
            while documents.peek().is_some() {
                let (chunk, length) = take_chunk(&mut documents);
                let command = encode_command(CommandName::Insert, "purchases", chunk);
                let size = command.as_bytes().len();
                assert!(size < MAX_COMMAND_BYTES || length == 1, "{size}");
                lengths.push(length);
            }
            assert_eq!(lengths, expected);
        }
    }
}
