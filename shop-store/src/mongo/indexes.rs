//! Creates the listing indexes in the background. Purchases can be stored and listed without them.

use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc};
use mongodb::error::ErrorKind as Driver;
use mongodb::options::IndexOptions;
use mongodb::{Collection, IndexModel};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::document::REFERENCE;
use super::error::from_driver;
use crate::retries::pauses;

/// How often the indexes are created again: a collection that was dropped is created by the next insert, without them.
pub(super) const RECREATE_INTERVAL: Duration = Duration::from_secs(60);

/// The task that creates the four listing indexes. The task retries until the handle is dropped.
#[derive(Debug)]
pub(super) struct ListingIndexes {
    /// Cancelled when the indexes exist or were rejected.
    done: CancellationToken,
    _until_dropped: DropGuard,
}

impl ListingIndexes {
    /// Starts the task that creates the indexes, with a pause of `interval` between two passes.
    pub(super) fn new(collection: Collection<RawDocumentBuf>, interval: Duration) -> Self {
        let stopped = CancellationToken::new();
        let done = CancellationToken::new();
        let until_done = done.clone().drop_guard();
        let until_dropped = stopped.clone().drop_guard();
        tokio::spawn(async move {
            // The index without a leading field serves the listing of all purchases.
            let mut wanted = vec![Some("userid"), Some("username"), None, Some(REFERENCE)];
            let mut until_done = Some(until_done);
            while !wanted.is_empty() && !stopped.is_cancelled() {
                for field in std::mem::take(&mut wanted) {
                    wanted.extend(
                        create_index(&collection, field, &stopped)
                            .await
                            .then_some(field),
                    );
                }
                // The first pass is over: releases the callers of `done`. Later passes create the
                // indexes again if the collection was dropped.
                drop(until_done.take());
                stopped.run_until_cancelled(sleep(interval)).await;
            }
        });
        Self {
            done,
            _until_dropped: until_dropped,
        }
    }

    /// Waits until the indexes exist or the server has rejected them.
    pub(super) async fn done(&self) {
        self.done.cancelled().await;
    }
}

/// Codes of permanent errors: Unauthorized, `CannotCreateIndex`, `IndexOptionsConflict`, `IndexKeySpecsConflict`,
/// `CommandNotSupportedOnView`, those of servers without partial indexes, and the code of Atlas for Unauthorized.
const PERMANENT: [i32; 8] = [13, 67, 85, 86, 166, 238, 303, 8000];

/// Creates the index on `field`, the timestamp and the id, with retries after transient errors.
///
/// Returns `false` if the index must not be tried again, because the server has rejected it or the
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
    let mut options = IndexOptions::builder().name(name.clone()).build();
    options.partial_filter_expression =
        (field == Some(REFERENCE)).then(|| doc! { REFERENCE: { "$exists": true } });
    let index = IndexModel::builder().keys(keys).options(options).build();
    let mut pauses = pauses(Duration::from_millis(200), Duration::from_secs(30));
    // Only the pauses are cancelled, because a call of the driver must not be dropped midway.
    while let Err(error) = collection.create_index(index.clone()).await {
        if matches!(&*error.kind, Driver::Shutdown) {
            return false;
        }
        let is_permanent =
            matches!(&*error.kind, Driver::Command(command) if PERMANENT.contains(&command.code));
        let error = from_driver(error);
        if is_permanent {
            tracing::warn!(error = %error.chain(), index = name, "index creation rejected, listings may be slow");
            return false;
        }
        tracing::debug!(error = %error.chain(), index = name, "index creation failed, retrying");
        if stopped
            .run_until_cancelled(sleep(pauses.next().unwrap_or_default()))
            .await
            .is_none()
        {
            break;
        }
    }
    true
}
