//! The reported status, derived from the state of the pipeline.
//!
//! After each event the driver updates the [`IngestStatus`] that monitors see, and then logs the
//! components that failed or recovered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::super::status::{Component, IngestStatus, Phase, StuckRecord, replace_and_compare};
use super::IngestPipeline;
use crate::Error;

/// The number of stuck records at which no further one is logged. With more, the cause is not a
/// single record.
const MAX_LOGGED_STUCK: usize = 10;

impl IngestPipeline {
    /// Updates `status` from the state of the pipeline, and returns whether the status changed.
    ///
    /// The caller holds the lock of the status, so nothing is logged here.
    /// [`log_transitions`](Self::log_transitions) logs the failures and recoveries afterwards.
    pub(in super::super) fn update_status(&mut self, status: &mut IngestStatus) -> bool {
        let phase = if self.is_stopping() {
            Phase::Draining
        } else {
            Phase::Running
        };

        // The operator `|` evaluates both sides, so each field is set, also after a change.
        let mut changed = replace_and_compare(&mut status.phase, phase)
            | replace_and_compare(&mut status.counters, self.counters)
            | replace_and_compare(&mut status.in_flight, self.in_flight.len())
            | replace_and_compare(
                &mut status.in_flight_records,
                self.in_flight.values().map(|batch| batch.records).sum(),
            )
            | replace_and_compare(&mut status.in_flight_bytes, self.in_flight_bytes())
            | replace_and_compare(&mut status.freshness, self.freshness);
        if status.lost != self.lost {
            status.lost.clone_from(&self.lost);
            changed = true;
        }

        // Failures change rarely, and collecting them allocates, so they are collected only after a
        // change.
        if std::mem::take(&mut self.failures_changed) {
            self.transitions.extend(self.report_failures(status));
            changed = true;
        }
        changed | self.update_oldest_uncommitted(status)
    }

    /// Logs the components that failed or recovered since the last call.
    ///
    /// Must not be called while the status is locked, because logging may block.
    pub(in super::super) fn log_transitions(&mut self) {
        for (component, error) in self.transitions.drain(..) {
            match error {
                Some(error) => {
                    tracing::warn!(
                        ingest.part = %component,
                        error = %error.chain(),
                        "ingest failing, retrying"
                    );
                }
                None => tracing::info!(ingest.part = %component, "ingest recovered"),
            }
        }
    }

    /// Sets the failure of each component in `status`, the number of retries, and the oldest stuck
    /// record.
    ///
    /// If several batches fail at the same component, the longest-lasting failure is reported.
    ///
    /// Returns the changes since the last call: each component that began to fail, with its error,
    /// and each component that recovered, with `None`.
    fn report_failures(&self, status: &mut IngestStatus) -> Vec<(Component, Option<Error>)> {
        let previous_errors = std::mem::take(&mut status.errors);
        status.failing_since.clear();
        for (component, since, error) in self.current_failures() {
            let since = since.into();
            let is_longest = status
                .failing_since
                .get(&component)
                .is_none_or(|longest| since < *longest);
            if is_longest {
                status.failing_since.insert(component, since);
                status.errors.insert(component, error.clone());
            }
        }

        // Batch numbers ascend, so the first stuck record is of the oldest batch.
        status.stuck = self
            .in_flight
            .values()
            .flat_map(|batch| batch.stuck.values())
            .next()
            .cloned();
        status.retries.clone_from(&self.retries);

        let failing = status
            .errors
            .iter()
            .filter(|(component, _)| !previous_errors.contains_key(component))
            .map(|(component, error)| (*component, Some(error.clone())));
        let recovered = previous_errors
            .keys()
            .filter(|component| !status.errors.contains_key(component))
            .map(|component| (*component, None));
        failing.chain(recovered).collect()
    }

    /// Returns the current failures of the source, of commits and of batches: the component, since
    /// when it fails, and its last error.
    fn current_failures(&self) -> impl Iterator<Item = (Component, Instant, &Error)> {
        let source_and_commits = [
            (Component::Source, &self.read_backoff),
            (Component::Commit, &self.commit_backoff),
        ]
        .into_iter()
        .filter_map(|(component, backoff)| {
            let (since, error) = backoff.failing.as_ref()?;
            Some((component, *since, error))
        });
        let batches = self.in_flight.values().filter_map(|batch| {
            let (component, since, error) = batch.failing.as_ref()?;
            Some((*component, *since, error))
        });
        source_and_commits.chain(batches)
    }

    /// Sets two times in `status` for each topic: when its oldest uncommitted record was read, and
    /// the timestamp that the log assigned to that record.
    ///
    /// Returns whether one of these times changed.
    fn update_oldest_uncommitted(&self, status: &mut IngestStatus) -> bool {
        let mut read_times = topics_without_time(&status.oldest_uncommitted);
        let mut log_times = topics_without_time(&status.oldest_unread);
        for progress in self.partitions.values() {
            let Some(oldest_record) = progress.oldest_uncommitted() else {
                continue;
            };
            let topic = &progress.partition.topic;
            keep_earlier(&mut read_times, topic, oldest_record.read_at.into());
            if let Some(log_time) = oldest_record.time {
                keep_earlier(&mut log_times, topic, log_time);
            }
        }

        // The operator `|` evaluates both sides, so both fields are set.
        replace_and_compare(&mut status.oldest_uncommitted, read_times)
            | replace_and_compare(&mut status.oldest_unread, log_times)
    }

    /// Counts a failed call of `component` that is retried.
    pub(super) fn count_retry(&mut self, component: Component) {
        *self.retries.entry(component).or_default() += 1;
        self.failures_changed = true;
    }

    /// Adds a stuck record, at `index` of the batch `number`, to the status, and logs it the first
    /// time.
    ///
    /// The store keeps failing over a stuck record, although the store is healthy.
    pub(super) fn record_stuck(&mut self, number: u64, index: usize, record: StuckRecord) {
        let stuck_count: usize = self.in_flight.values().map(|batch| batch.stuck.len()).sum();
        let Some(batch) = self.in_flight.get_mut(&number) else {
            return;
        };

        // A stuck record gets here after each failed attempt, and is logged once.
        if stuck_count < MAX_LOGGED_STUCK && !batch.stuck.contains_key(&index) {
            tracing::warn!(
                log.topic = %record.topic,
                log.partition = record.partition,
                log.offset = record.offset,
                id = record.id.as_deref().unwrap_or_default(),
                error = %record.error.chain(),
                "record stuck: the store fails over it and it is retried, its partition's position stays before it"
            );
        }
        batch.stuck.insert(index, record);
    }
}

/// Returns a map with the topics of `topic_times`, in which each topic has no time.
///
/// So a topic whose records are all committed stays in the status.
fn topics_without_time<T>(
    topic_times: &BTreeMap<Arc<str>, Option<T>>,
) -> BTreeMap<Arc<str>, Option<T>> {
    let topics = topic_times.keys().cloned();
    topics.map(|topic| (topic, None)).collect()
}

/// Sets the time of `topic` in `oldest_times` to `time`, unless the present one is earlier.
fn keep_earlier<T: Ord + Copy>(
    oldest_times: &mut BTreeMap<Arc<str>, Option<T>>,
    topic: &Arc<str>,
    time: T,
) {
    let oldest_time = oldest_times.entry(Arc::clone(topic)).or_default();
    *oldest_time = Some(oldest_time.map_or(time, |present_time| present_time.min(time)));
}
