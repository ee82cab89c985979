//! A line of the log per purchase, in the dialect that has one.

use std::sync::Arc;
use std::time::Duration;

use shop_core::Purchase;
use shop_core::ingest::{BatchReport, IngestObserver};
use shop_core::log::Batch;
use shop_core::record::decode;

use crate::settings::Settings;

/// `observer`, with a line per purchase that is stored, in the dialect that has one.
pub(super) fn logged(observer: Arc<dyn IngestObserver>, settings: &Settings) -> Arc<dyn IngestObserver> {
    if settings.dialect.logs_purchases() { Arc::new(Logged(observer)) } else { observer }
}

#[derive(Debug)]
struct Logged(Arc<dyn IngestObserver>);

impl IngestObserver for Logged {
    fn batch_completed(&self, batch: &BatchReport) {
        self.0.batch_completed(batch);
    }

    fn records_durable(&self, batch: &Batch, duration: Duration) {
        self.0.records_durable(batch, duration);
        // Dead letters have separate lines.
        let purchases = batch.records.iter().filter_map(|record| decode(record, &batch.partition).ok());
        for Purchase { id, user_id, .. } in purchases {
            tracing::info!(purchase.id = %id, user.id = user_id.as_str(), "Received purchase");
        }
    }
}
