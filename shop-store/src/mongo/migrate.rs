//! Migrates documents of the replaced systems to the current format, in place.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use bson::raw::RawBsonRef;
use bson::{Bson, DateTime, Document, RawDocument, doc};
use shop_core::{Error, Purchase, Result};
use tokio::time::sleep;

use super::connection::Connection;
use super::document::name;
use super::{MongoStore, document, erase, scan};

/// The progress of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Migration {
    /// Documents that were read.
    pub scanned: u64,
    /// Documents that were changed.
    pub migrated: u64,
    /// Documents that are not purchases, which are logged with their `_id`, or were modified concurrently by another
    /// client. They stay unchanged.
    pub skipped: u64,
}

/// The member that keeps an unreadable timestamp.
const TIME_BEFORE: &str = "timestamp_before";

impl MongoStore {
    /// Converts prices to Decimal128, timestamps to Date, and numeric user ids and names to text. `_id` and all other
    /// members stay unchanged. An unreadable timestamp is kept as `timestamp_before` and replaced by the time of the
    /// document's `ObjectId`.
    ///
    /// A migration is idempotent. It can be stopped and restarted at any time, and run while services use the
    /// collection. `progress` is called after every slice. Transient errors are retried for about half a minute.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) if the server stays unavailable; migrated documents stay
    /// migrated.
    pub async fn migrate(&self, mut progress: impl FnMut(Migration) + Send) -> Result<Migration> {
        let mut migration = Migration::default();
        let mut from = scan::START.to_owned();
        // About half a minute in total. The driver's server selection adds to that.
        let backoff = ExponentialBuilder::new().with_jitter().with_min_delay(Duration::from_millis(100));
        let backoff = backoff.with_max_delay(Duration::from_secs(5)).with_max_times(10);
        loop {
            let slice = || slice(&self.connection, &from);
            let retried = slice.retry(backoff).sleep(sleep).when(Error::is_retryable);
            let warn = |error: &Error, pause| {
                tracing::warn!(error = %error.chain(), ?pause, "migration failing, retrying");
            };
            let (Migration { scanned, migrated, skipped }, next) = retried.notify(warn).await?;
            migration.scanned += scanned;
            migration.migrated += migrated;
            migration.skipped += skipped;
            progress(migration);
            let Some(next) = next else { return Ok(migration) };
            from = next;
        }
    }
}

/// Migrates the documents of a slice by one command. Returns where to continue. Idempotent: can be called again after an
/// error.
async fn slice(connection: &Connection, from: &str) -> Result<(Migration, Option<String>)> {
    let (documents, next) = scan::slice(connection, from).await?;
    let (mut updates, mut skipped) = (Vec::new(), 0);
    for old in documents.iter().filter(|old| !document::is_mark(old)) {
        match document::purchase(old) {
            Ok(_) if is_current(old) => {}
            Ok(purchase) => updates.extend(migration_update(old, &purchase)),
            Err(error) => {
                tracing::warn!(document.id = %name(old), %error, "document skipped: not a purchase");
                skipped += 1;
            }
        }
    }
    let (sent, mut migrated) = (updates.len() as u64, 0);
    if sent > 0 {
        migrated = erase::update(connection, updates).await?.matched;
    }
    let skipped = skipped + sent - migrated;
    Ok((Migration { scanned: documents.len() as u64, migrated, skipped }, next))
}

fn is_current(document: &RawDocument) -> bool {
    let is_text = |name| matches!(document.get(name), Ok(Some(RawBsonRef::String(_))));
    matches!(document.get("price"), Ok(Some(RawBsonRef::Decimal128(_))))
        && matches!(document.get("timestamp"), Ok(Some(RawBsonRef::DateTime(_))))
        && is_text("userid")
        && is_text("username")
}

/// Returns the update of the document as it was read.
fn migration_update(old: &RawDocument, purchase: &Purchase) -> Option<Document> {
    let value = |member: &str| -> Option<Bson> { old.get(member).ok()?.map(Bson::try_from)?.ok() };
    let mut filter = doc! { "_id": value("_id")? };
    // The values as they were read, so a concurrent change is not overwritten.
    for member in ["userid", "username", "price", "timestamp"] {
        filter.insert(member, value(member).unwrap_or(Bson::Null));
    }
    let mut new = doc! {
        "userid": purchase.user_id.as_str(),
        "username": purchase.user_name.as_str(),
        "price": document::decimal128(purchase.price),
        "timestamp": DateTime::from_millis(purchase.timestamp.as_millis()),
    };
    if let Some(before) = value("timestamp").filter(|_| document::timestamp_member(old).is_none()) {
        tracing::warn!(purchase.id = %purchase.id, "unreadable timestamp kept as {TIME_BEFORE}");
        new.insert(TIME_BEFORE, before);
    }
    Some(doc! { "q": filter, "u": { "$set": new } })
}
