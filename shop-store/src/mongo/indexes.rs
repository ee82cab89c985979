//! The indexes of listings: made in the background, as purchases can be stored and listed without them.

use std::time::Duration;

use bson::{RawDocumentBuf, doc};
use mongodb::error::ErrorKind as Driver;
use mongodb::options::IndexOptions;
use mongodb::{Collection, IndexModel};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connection::pauses;
use super::error::from_driver;

/// Makes the two indexes that listings use, as soon as the server lets us, as long as this lives.
#[derive(Debug)]
pub(super) struct ListingIndexes {
    /// They are made, or cannot be.
    made: CancellationToken,
    _until_dropped: DropGuard,
}

impl ListingIndexes {
    pub(super) fn new(collection: Collection<RawDocumentBuf>) -> Self {
        let (stopped, made) = (CancellationToken::new(), CancellationToken::new());
        let (indexes, done) = (make_all(collection, stopped.clone()), made.clone().drop_guard());
        tokio::spawn(async move {
            indexes.await;
            drop(done);
        });
        Self { made, _until_dropped: stopped.drop_guard() }
    }

    /// Waits until they are made, or the server has refused them.
    pub(super) async fn made(&self) {
        self.made.cancelled().await;
    }
}

/// Errors that more tries do not mend: Unauthorized, `CannotCreateIndex`, `IndexOptionsConflict`,
/// `IndexKeySpecsConflict`, `CommandNotSupportedOnView`, and Atlas' refusal.
const INDEXES_STAY: [i32; 6] = [13, 67, 85, 86, 166, 8000];

async fn make_all(collection: Collection<RawDocumentBuf>, stopped: CancellationToken) {
    for whose in ["userid", "username"] {
        make_index(&collection, whose, &stopped).await;
    }
}

async fn make_index(collection: &Collection<RawDocumentBuf>, whose: &str, stopped: &CancellationToken) {
    let keys = doc! { whose: 1, "timestamp": 1, "_id": 1 };
    let name = format!("{whose}_1_timestamp_1__id_1");
    let index = IndexModel::builder().keys(keys).options(IndexOptions::builder().name(name).build()).build();
    let mut pauses = pauses(Duration::from_millis(200), Duration::from_secs(30));
    // Only the pauses are cut short: a call to the driver is not dropped half-way.
    while let Err(error) = collection.create_index(index.clone()).await {
        let code = match &*error.kind {
            Driver::Command(command) => command.code,
            _ => 0,
        };
        let error = from_driver(error);
        if INDEXES_STAY.contains(&code) {
            tracing::warn!(error = %error.chain(), index = whose, "an index could not be made: listings may be slow");
            return;
        }
        tracing::debug!(error = %error.chain(), index = whose, "an index is not made yet");
        if stopped.run_until_cancelled(sleep(pauses.next().unwrap_or_default())).await.is_none() {
            return;
        }
    }
}
