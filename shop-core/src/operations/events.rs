//! Applies all events of a log to a store again.

use futures_util::TryStreamExt as _;

use super::Operations;
use crate::Result;
use crate::log::LogExt as _;
use crate::ports::{InsertOutcome, RecordStore};
use crate::record::Record;

/// The counts of [`Operations::replay_events`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct EventReplay {
    /// The number of records of the log that were read.
    pub records: usize,
    /// The number of events that the store applied now.
    pub new: u64,
    /// The number of events that the store had applied before.
    pub known: u64,
    /// The number of records that are no events which the store can apply.
    pub skipped: usize,
    /// The number of skipped records that cannot be read, and were not erased.
    pub unreadable: usize,
}

impl Operations {
    /// Applies all events of the log to `store`, and counts them by outcome.
    ///
    /// A replay completes a store that was restored from an older copy, or rebuilds one from nothing.
    /// It can be run any number of times, because a store applies each event once. `progress` is
    /// called after each batch.
    ///
    /// # Errors
    /// - the errors of the log and of the store. An event whose outcome is unknown ends the replay.
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) without a log
    ///
    /// # Cancel safety
    /// Dropping the future leaves some of the events applied.
    pub async fn replay_events<R: Record>(
        &self,
        store: &dyn RecordStore<R>,
        progress: impl Fn(&EventReplay) + Send + Sync,
    ) -> Result<EventReplay> {
        let log = self.backend.require_log()?;
        store.check().await?;
        let mut batches = log.scan_all().await?;
        let mut replay = EventReplay::default();
        while let Some(batch) = batches.try_next().await? {
            // Records that do not decode are skipped, and counted below.
            let events: Vec<R> = batch
                .records
                .iter()
                .filter_map(|record| R::decode(record, &batch.partition).ok())
                .collect();
            let skipped_count = batch.records.len() - events.len();
            // The event of an erased user has no content any more, so it is not unreadable.
            let erased_count = batch
                .records
                .iter()
                .filter(|record| record.is_erased())
                .count();
            replay.records += batch.records.len();
            replay.skipped += skipped_count;
            replay.unreadable += skipped_count - erased_count;
            for outcome in store.apply(events.into()).await? {
                match outcome {
                    InsertOutcome::Inserted => replay.new += 1,
                    InsertOutcome::Duplicate => replay.known += 1,
                    InsertOutcome::Unknown(error) => return Err(error),
                    // The store refuses the event for good.
                    _ => replay.skipped += 1,
                }
            }
            progress(&replay);
        }
        Ok(replay)
    }
}
