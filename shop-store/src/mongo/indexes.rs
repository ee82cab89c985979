//! Creates the listing indexes in the background. Purchases can be stored and listed without them.

use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc};
use mongodb::error::ErrorKind as DriverErrorKind;
use mongodb::options::IndexOptions;
use mongodb::{Collection, IndexModel};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::document::REFERENCE;
use super::error::driver_error;
use crate::retries::pauses;

/// The pause between two creations of the indexes. If the collection was dropped, the next insert
/// creates it again, but without indexes.
pub(super) const RECREATE_INTERVAL: Duration = Duration::from_secs(60);

/// The task that creates the four listing indexes. The task retries until the handle is dropped.
#[derive(Debug)]
pub(super) struct ListingIndexes {
    /// Cancelled by the task when the indexes exist or were rejected.
    done: CancellationToken,
    /// Stops the task when the handle is dropped.
    _stop_on_drop: DropGuard,
}

impl ListingIndexes {
    /// Starts the task that creates the indexes, with a pause of `interval` between two passes.
    pub(super) fn new(collection: Collection<RawDocumentBuf>, interval: Duration) -> Self {
        let stopped = CancellationToken::new();
        let done = CancellationToken::new();
        let done_guard = Some(done.clone().drop_guard());
        tokio::spawn(maintain_indexes(
            collection,
            interval,
            stopped.clone(),
            done_guard,
        ));
        Self {
            done,
            _stop_on_drop: stopped.drop_guard(),
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
/// Drops `done_guard` after the first pass, so that callers see that the indexes exist. Later passes
/// create the indexes again if the collection was dropped.
async fn maintain_indexes(
    collection: Collection<RawDocumentBuf>,
    interval: Duration,
    stopped: CancellationToken,
    mut done_guard: Option<DropGuard>,
) {
    // The index without a leading field serves the listing of all purchases.
    let mut leading_fields = vec![Some("userid"), Some("username"), None, Some(REFERENCE)];
    while !leading_fields.is_empty() && !stopped.is_cancelled() {
        let mut remaining_fields = Vec::new();
        for leading_field in leading_fields {
            let may_retry = create_index(&collection, leading_field, &stopped).await;
            if may_retry {
                remaining_fields.push(leading_field);
            }
        }
        leading_fields = remaining_fields;

        drop(done_guard.take());
        stopped.run_until_cancelled(sleep(interval)).await;
    }
}

/// Creates the index on `leading_field` (if there is one), the timestamp and the id, with retries
/// after transient errors.
///
/// Returns `true` if the index exists or `stopped` was cancelled, and `false` if the index must not be
/// tried again, because the server rejected it or the client is closed.
async fn create_index(
    collection: &Collection<RawDocumentBuf>,
    leading_field: Option<&str>,
    stopped: &CancellationToken,
) -> bool {
    let mut keys = Document::new();
    for field in leading_field.into_iter().chain(["timestamp", "_id"]) {
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
    if leading_field == Some(REFERENCE) {
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
        let shop_error = driver_error(error);
        if is_permanent {
            tracing::warn!(error = %shop_error.chain(), index = name, "index creation rejected, listings may be slow");
            return false;
        }
        tracing::debug!(error = %shop_error.chain(), index = name, "index creation failed, retrying");

        // The sequence of pauses is unlimited.
        let pause = backoff.next().unwrap_or_default();
        let is_stopped = stopped.run_until_cancelled(sleep(pause)).await.is_none();
        if is_stopped {
            break;
        }
    }
    true
}
