//! Creates the listing indexes in the background. Purchases can be stored and listed without them.

use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc};
use mongodb::error::ErrorKind as DriverErrorKind;
use mongodb::options::IndexOptions;
use mongodb::{Collection, IndexModel};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::document::REFERENCE;
use super::error::from_driver;
use crate::retries::pauses;

/// The pause between two creations of the indexes. If the collection was dropped, the next insert
/// creates it again, but without indexes.
pub(super) const RECREATE_INTERVAL: Duration = Duration::from_secs(60);

/// The task that creates the four listing indexes. The task retries until the handle is dropped.
#[derive(Debug)]
pub(super) struct ListingIndexes {
    /// The token that the task cancels when the indexes exist or were rejected.
    done: CancellationToken,
    /// The guard that stops the task when the handle is dropped.
    _until_dropped: DropGuard,
}

impl ListingIndexes {
    /// Starts the task that creates the indexes, with a pause of `interval` between two passes.
    pub(super) fn new(collection: Collection<RawDocumentBuf>, interval: Duration) -> Self {
        let stopped = CancellationToken::new();
        let done = CancellationToken::new();
        let until_done = Some(done.clone().drop_guard());
        tokio::spawn(maintain_indexes(
            collection,
            interval,
            stopped.clone(),
            until_done,
        ));
        Self {
            done,
            _until_dropped: stopped.drop_guard(),
        }
    }

    /// Waits until the indexes exist or the server rejects them.
    pub(super) async fn wait_until_done(&self) {
        self.done.cancelled().await;
    }
}

/// Creates the indexes again and again, until the server rejects every index, the client is closed,
/// or `stopped` is cancelled.
///
/// Drops `until_done` after the first pass. Later passes create the indexes again if the collection
/// was dropped.
async fn maintain_indexes(
    collection: Collection<RawDocumentBuf>,
    interval: Duration,
    stopped: CancellationToken,
    mut until_done: Option<DropGuard>,
) {
    // The index without a leading field serves the listing of all purchases.
    let mut fields = vec![Some("userid"), Some("username"), None, Some(REFERENCE)];
    while !fields.is_empty() && !stopped.is_cancelled() {
        let mut remaining_fields = Vec::new();
        for field in fields {
            if create_index(&collection, field, &stopped).await {
                remaining_fields.push(field);
            }
        }
        fields = remaining_fields;

        drop(until_done.take());
        stopped.run_until_cancelled(sleep(interval)).await;
    }
}

/// Creates the index on `field`, the timestamp and the id, with retries after transient errors.
///
/// Returns `false` if the index must not be tried again, because the server rejected it or the
/// client is closed.
async fn create_index(
    collection: &Collection<RawDocumentBuf>,
    field: Option<&str>,
    stopped: &CancellationToken,
) -> bool {
    let mut keys = Document::new();
    for field in field.into_iter().chain(["timestamp", "_id"]) {
        keys.insert(field, 1_i32);
    }
    let name = keys
        .keys()
        .map(|field| format!("{field}_1"))
        .collect::<Vec<_>>()
        .join("_");
    // The index has the collation of the collection, which is none: an inspection refuses others, and
    // some servers refuse each index that names a collation.
    let mut options = IndexOptions::builder().name(name.clone()).build();
    // This index contains only the purchases with a reference.
    if field == Some(REFERENCE) {
        options.partial_filter_expression = Some(doc! { REFERENCE: { "$exists": true } });
    }
    let index = IndexModel::builder().keys(keys).options(options).build();

    let mut backoff = pauses(Duration::from_millis(200), Duration::from_secs(30));
    // Only the pauses are cancelled, because a call of the driver must not be dropped midway.
    while let Err(error) = collection.create_index(index.clone()).await {
        let is_permanent = match &*error.kind {
            DriverErrorKind::Shutdown => return false,
            // Unauthorized, CannotCreateIndex, IndexOptionsConflict, IndexKeySpecsConflict,
            // CommandNotSupportedOnView, the codes of servers without partial indexes, and the code
            // of Atlas for Unauthorized.
            DriverErrorKind::Command(command) => {
                matches!(command.code, 13 | 67 | 85 | 86 | 166 | 238 | 303 | 8000)
            }
            _ => false,
        };
        let error = from_driver(error);
        if is_permanent {
            tracing::warn!(error = %error.chain(), index = name, "index creation rejected, listings may be slow");
            return false;
        }
        tracing::debug!(error = %error.chain(), index = name, "index creation failed, retrying");

        let pause = backoff.next().unwrap_or_default();
        let paused = stopped.run_until_cancelled(sleep(pause)).await;
        if paused.is_none() {
            break;
        }
    }
    true
}
