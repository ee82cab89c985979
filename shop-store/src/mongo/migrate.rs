//! Converts documents that other programs wrote to the format of this store and back, in place.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use bson::raw::RawBsonRef;
use bson::{Bson, Document, RawDocument, doc};
use shop_core::{Error, ErrorKind, Price, Purchase, Result, Timestamp};
use tokio::time::sleep;

use super::connection::MongoConnection;
use super::document::{decimal128, id_text, is_mark, member_value, to_bson_date};
use super::error::mongo_error;
use super::reader::DocumentReader;
use super::write::{Update, Write};
use super::{MongoStore, scan};

/// The progress of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Migration {
    /// Documents that were read.
    pub scanned: u64,
    /// Documents that were changed.
    pub migrated: u64,
    /// Documents that are not purchases as far as the store can read them, which are logged with
    /// their `_id`, or that were modified concurrently by another client. They stay unchanged.
    pub skipped: u64,
}

/// The format in which another program writes the price and the time of a purchase.
///
/// [`MongoStore::convert_to`] writes documents in this format.
pub trait DocumentFormat: Send + Sync {
    /// Returns the value of the member `price`.
    fn price(&self, price: Price) -> Bson;

    /// Returns the value of the member `timestamp`, or `None` if it is a date, as this store writes
    /// it.
    fn timestamp(&self, timestamp: Timestamp) -> Option<Bson>;
}

/// The member that keeps an unreadable timestamp after the migration.
const TIME_BEFORE: &str = "timestamp_before";

impl MongoStore {
    /// Converts documents that other programs wrote to the format of this store, in place.
    ///
    /// Prices become Decimal128, timestamps become Date, and user ids and names become text. `_id`
    /// and all other members stay unchanged. An unreadable timestamp is kept as `timestamp_before`,
    /// and replaced by the time of the document's `ObjectId`.
    ///
    /// Only documents that the [decoder](super::MongoStoreOptions::decoder) of this store reads are
    /// converted, so nothing is without one.
    ///
    /// A migration is idempotent. It can be stopped and restarted at any time, and run while
    /// services use the collection. `progress` is called after every slice. Transient errors are
    /// retried for about half a minute.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) if the server stays unavailable; migrated
    /// documents stay migrated.
    pub async fn migrate(&self, progress: impl FnMut(Migration) + Send) -> Result<Migration> {
        let own_format = None;
        self.convert(own_format, progress).await
    }

    /// Converts prices and timestamps to the `format` of another program, so that this program can
    /// list them.
    ///
    /// Only values that this store wrote or [migrated](Self::migrate) are converted. `_id`, and the
    /// values that other programs wrote, stay unchanged. Like [`migrate`](Self::migrate), this
    /// conversion can run while services use the collection, if they have a
    /// [decoder](super::MongoStoreOptions::decoder) that reads the format.
    ///
    /// # Errors
    /// - [`Invalid`](ErrorKind::Invalid) if this store has no decoder. It would list none of the
    ///   converted documents
    /// - the errors of [`migrate`](Self::migrate)
    pub async fn convert_to(
        &self,
        format: &dyn DocumentFormat,
        progress: impl FnMut(Migration) + Send,
    ) -> Result<Migration> {
        if self.connection.options.decoder.is_none() {
            let message = "the store has no decoder, so it could not list the converted documents";
            return Err(mongo_error(ErrorKind::Invalid, message));
        }
        self.convert(Some(format), progress).await
    }

    /// Converts all documents of the collection to `format`, or to the format of this store for
    /// `None`, slice after slice, with retries.
    ///
    /// `progress` is called with the sum of all slices so far.
    async fn convert(
        &self,
        format: Option<&dyn DocumentFormat>,
        mut progress: impl FnMut(Migration) + Send,
    ) -> Result<Migration> {
        let mut migration = Migration::default();
        let sent_ids = SentIds::default();
        let mut position = scan::FIRST_POSITION.to_owned();
        // The retries take about half a minute in total. The driver's server selection adds to
        // that.
        let backoff = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .with_max_times(10);
        loop {
            let (slice, next_position) =
                (|| convert_slice(&self.connection, &position, format, &sent_ids))
                    .retry(backoff)
                    .sleep(sleep)
                    .when(Error::is_retryable)
                    .notify(log_retry)
                    .await?;

            lock(&sent_ids).clear();
            migration.scanned += slice.scanned;
            migration.migrated += slice.migrated;
            migration.skipped += slice.skipped;
            progress(migration);

            let Some(next_position) = next_position else {
                return Ok(migration);
            };
            position = next_position;
        }
    }
}

/// Logs the error of a slice, which is converted again after `pause`.
fn log_retry(error: &Error, pause: Duration) {
    tracing::warn!(error = %error.chain(), ?pause, "migration failing, retrying");
}

/// The ids of the documents that earlier attempts at a slice have sent, as [`id_text`] returns
/// them.
type SentIds = Mutex<HashSet<String>>;

/// Converts the documents of the slice at `position` with one command: to `format`, or to the format
/// of this store for `None`.
///
/// Returns the progress of this slice, and the position of the next slice; `None` at the end. The
/// conversion is idempotent, so the caller may repeat it after an error, with the same `sent_ids`.
/// A document that an earlier attempt has sent, and that needs no update any more, was migrated by
/// that attempt.
///
/// # Errors
/// The errors of [`scan::read_slice`] and [`MongoConnection::write_all`].
async fn convert_slice(
    connection: &MongoConnection,
    position: &str,
    format: Option<&dyn DocumentFormat>,
    sent_ids: &SentIds,
) -> Result<(Migration, Option<String>)> {
    let (documents, next_position) = scan::read_slice(connection, position).await?;

    let mut updates = Vec::new();
    let mut newly_sent_ids = Vec::new();
    let mut migrated_earlier = 0;
    let mut unreadable_count = 0;
    for document in &documents {
        if is_mark(document) {
            continue;
        }
        match connection.reader.read_purchase(document) {
            Ok(purchase) => {
                let new_members = match format {
                    Some(format) => foreign_format_members(format, document, &purchase),
                    None => own_format_members(&connection.reader, document, &purchase),
                };
                if let Some(update) = build_update(document, new_members) {
                    updates.push(update);
                    newly_sent_ids.push(id_text(document));
                } else if lock(sent_ids).contains(&id_text(document)) {
                    migrated_earlier += 1;
                }
            }
            Err(error) => {
                tracing::warn!(document.id = %id_text(document), %error, "document skipped: not a purchase");
                unreadable_count += 1;
            }
        }
    }

    let sent_count = updates.len() as u64;
    // The ids are recorded before the command is sent, because its outcome may be unknown.
    lock(sent_ids).extend(newly_sent_ids);
    let reply = connection
        .write_all(
            &connection.collection,
            Write::Update(updates),
            "a migrated document",
        )
        .await?;
    let matched_count = reply.count;

    let migration = Migration {
        scanned: documents.len() as u64,
        migrated: migrated_earlier + matched_count,
        // An update matches no document if another client changed the document meanwhile.
        skipped: unreadable_count + sent_count - matched_count,
    };
    Ok((migration, next_position))
}

/// Locks the ids of the documents that earlier attempts have sent.
fn lock(sent_ids: &SentIds) -> MutexGuard<'_, HashSet<String>> {
    sent_ids.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether the price is a Decimal128, which only this store writes.
fn has_decimal_price(document: &RawDocument) -> bool {
    matches!(document.get("price"), Ok(Some(RawBsonRef::Decimal128(_))))
}

/// Returns the update that sets `new_members` in `old_document`; `None` if there are no new
/// members.
///
/// The update matches the values as they were read, so that it does not overwrite a concurrent
/// change.
fn build_update(old_document: &RawDocument, new_members: Document) -> Option<Update> {
    if new_members.is_empty() {
        return None;
    }
    let mut old_members = Document::new();
    for member in ["userid", "username", "price", "timestamp"] {
        // Null matches a missing member.
        old_members.insert(member, member_value(old_document, member));
    }
    let id = member_value(old_document, "_id")?;
    Some(Update::new(id, old_members, doc! { "$set": new_members }))
}

/// Returns the members of `purchase` in the format of this store; an empty document if
/// `old_document` is in this format already.
///
/// A timestamp that cannot be read is kept in the member [`TIME_BEFORE`].
fn own_format_members(
    reader: &DocumentReader,
    old_document: &RawDocument,
    purchase: &Purchase,
) -> Document {
    let is_in_own_format = has_decimal_price(old_document)
        && old_document.get_datetime("timestamp").is_ok()
        && old_document.get_str("userid").is_ok()
        && old_document.get_str("username").is_ok();
    if is_in_own_format {
        return Document::new();
    }

    let mut new_members = doc! {
        "userid": purchase.user_id.as_str(),
        "username": purchase.user_name.as_str(),
        "price": decimal128(purchase.price),
        "timestamp": to_bson_date(purchase.timestamp),
    };
    if let Some(old_timestamp) = member_value(old_document, "timestamp")
        && reader.read_timestamp_member(old_document).is_none()
    {
        tracing::warn!(purchase.id = %purchase.id, "unreadable timestamp kept as {TIME_BEFORE}");
        new_members.insert(TIME_BEFORE, old_timestamp);
    }
    new_members
}

/// Returns the price and the timestamp of `purchase` in `format`.
///
/// The result contains each of the two only if `old_document` contains it in the format of this
/// store.
fn foreign_format_members(
    format: &dyn DocumentFormat,
    old_document: &RawDocument,
    purchase: &Purchase,
) -> Document {
    let mut new_members = Document::new();
    if has_decimal_price(old_document) {
        new_members.insert("price", format.price(purchase.price));
    }
    if old_document.get_datetime("timestamp").is_ok()
        && let Some(timestamp) = format.timestamp(purchase.timestamp)
    {
        new_members.insert("timestamp", timestamp);
    }
    new_members
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bson::RawDocumentBuf;

    use super::*;
    use crate::mongo::decoder_fixture::Cents;
    use crate::mongo::document::purchase_document;
    use crate::server_fixture::purchases;

    /// A format with the timestamp of this store.
    struct Texts;

    impl DocumentFormat for Texts {
        fn price(&self, price: Price) -> Bson {
            Bson::String(price.to_string())
        }

        fn timestamp(&self, _timestamp: Timestamp) -> Option<Bson> {
            None
        }
    }

    fn raw(document: &Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(document).unwrap()
    }

    #[test]
    fn documents_are_converted_to_another_format_once_and_read_as_before() {
        let purchase = &purchases(1)[0];
        let written = purchase_document(purchase);
        let time = purchase.timestamp.as_millis();
        let new_members = foreign_format_members(&Cents, &written, purchase);
        assert_eq!(new_members, doc! { "price": 50_i64, "timestamp": time });

        let mut document = Document::try_from(&*written).unwrap();
        document.extend(new_members);
        let converted = raw(&document);
        let reader = DocumentReader::new(Some(Arc::new(Cents)));
        let read = reader.read_purchase(&converted).unwrap();
        assert!(read.same_content(purchase));
        assert_eq!(read.timestamp, purchase.timestamp);
        assert!(foreign_format_members(&Cents, &converted, purchase).is_empty());
        let strict = DocumentReader::new(None);
        strict.read_purchase(&converted).unwrap_err();

        // And back.
        document.extend(own_format_members(&reader, &converted, purchase));
        assert_eq!(raw(&document), written);
        assert!(own_format_members(&reader, &written, purchase).is_empty());
    }

    #[test]
    fn a_date_stays_in_a_format_with_dates() {
        let purchase = &purchases(1)[0];
        let written = purchase_document(purchase);
        let new_members = foreign_format_members(&Texts, &written, purchase);
        assert_eq!(new_members, doc! { "price": "0.5" });
    }
}
