//! The reported status, derived from the state of the pipeline.
//!
//! After each event the driver updates the [`IngestStatus`] that monitors see, and then logs the
//! components that failed or recovered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::super::status::{Component, IngestStatus, Phase, StuckRecord, replace};
use super::IngestPipeline;
use crate::Error;

/// The maximum number of stuck records that are logged concurrently. With more, the cause is not a
/// single record.
const MAX_NAMED: usize = 10;

impl IngestPipeline {
    /// Updates `status` from the state of the pipeline, and returns whether the status has changed.
    ///
    /// Called while the status is locked, so it only remembers what
    /// [`log_transitions`](Self::log_transitions) logs afterwards.
    pub(in super::super) fn report(&mut self, status: &mut IngestStatus) -> bool {
        let phase = if self.is_stopping() {
            Phase::Draining
        } else {
            Phase::Running
        };
        let mut changed = replace(&mut status.phase, phase)
            | replace(&mut status.counters, self.counters)
            | replace(&mut status.in_flight, self.in_flight.len())
            | replace(
                &mut status.in_flight_records,
                self.in_flight.values().map(|batch| batch.records).sum(),
            )
            | replace(&mut status.in_flight_bytes, self.bytes())
            | replace(&mut status.freshness, self.freshness);
        for (partition, (count, _)) in &self.lost {
            if status.lost.get(partition) != Some(count) {
                status.lost.insert(partition.clone(), *count);
                changed = true;
            }
        }
        // Failures change rarely, and collecting them allocates, so they are collected only after a
        // change.
        if std::mem::take(&mut self.failures_changed) {
            self.transitions.extend(self.report_failures(status));
            changed = true;
        }
        changed | self.report_oldest(status)
    }

    /// Logs the components that failed or recovered since the last call.
    ///
    /// Must not be called while the status is locked, because logging may block.
    pub(in super::super) fn log_transitions(&mut self) {
        for (part, error) in self.transitions.drain(..) {
            match error {
                Some(error) => {
                    tracing::warn!(ingest.part = %part, error = %error.chain(), "ingest failing, retrying");
                }
                None => tracing::info!(ingest.part = %part, "ingest recovered"),
            }
        }
    }

    /// Sets the failure of each component in `status`, the number of retries, and the oldest stuck
    /// record.
    ///
    /// If several batches fail at the same component, the failure that has lasted longest is
    /// reported. Returns the components that fail since this call, with their error, and the ones
    /// that recovered, without an error.
    fn report_failures(&self, status: &mut IngestStatus) -> Vec<(Component, Option<Error>)> {
        let before = std::mem::take(&mut status.errors);
        status.failing_since.clear();
        for (part, since, error) in self.failing() {
            let since = since.into();
            if status
                .failing_since
                .get(&part)
                .is_none_or(|longest| since < *longest)
            {
                status.failing_since.insert(part, since);
                status.errors.insert(part, error.clone());
            }
        }
        // Batch numbers ascend, so the first stuck record found is of the oldest batch.
        let stuck = self
            .in_flight
            .values()
            .flat_map(|batch| batch.stuck.values())
            .next();
        status.stuck = stuck.cloned();
        status.retries.clone_from(&self.retries);
        let new = status
            .errors
            .iter()
            .filter(|(part, _)| !before.contains_key(part));
        let failing = new.map(|(part, error)| (*part, Some(error.clone())));
        let recovered = before
            .keys()
            .filter(|part| !status.errors.contains_key(part));
        failing.chain(recovered.map(|part| (*part, None))).collect()
    }

    /// Iterates over the current failures: the component, since when it fails, and its error.
    fn failing(&self) -> impl Iterator<Item = (Component, Instant, &Error)> {
        let calls = [
            (Component::Source, &self.reading),
            (Component::Commit, &self.commits.backoff),
        ];
        let calls = calls.into_iter().filter_map(|(part, backoff)| {
            let (since, error) = backoff.failing()?;
            Some((part, *since, error))
        });
        let batches = self.in_flight.values().filter_map(|batch| {
            let (part, since, error) = batch.failing.as_ref()?;
            Some((*part, *since, error))
        });
        calls.chain(batches)
    }

    /// Sets, for each topic, when its oldest uncommitted record was read, and the timestamp of that
    /// record in the log.
    ///
    /// Returns whether a value has changed.
    fn report_oldest(&self, status: &mut IngestStatus) -> bool {
        let mut read = BTreeMap::new();
        let mut written = BTreeMap::new();
        for progress in self.partitions.values() {
            let Some(oldest) = progress.oldest_uncommitted() else {
                continue;
            };
            let topic = &progress.partition.topic;
            keep_earlier(&mut read, topic, oldest.at.into());
            if let Some(time) = oldest.time {
                keep_earlier(&mut written, topic, time);
            }
        }
        replace_all(&mut status.oldest_uncommitted, read)
            | replace_all(&mut status.oldest_unread, written)
    }

    /// Counts a failed call of `component` that is retried.
    pub(super) fn count_retry(&mut self, component: Component) {
        *self.retries.entry(component).or_default() += 1;
        self.failures_changed = true;
    }

    /// Records that the record at `index` of the batch `number` is stuck, and logs it the first
    /// time.
    ///
    /// A stuck record is one that the store fails over although it is healthy.
    pub(super) fn note_stuck(&mut self, number: u64, index: usize, record: StuckRecord) {
        let count: usize = self.in_flight.values().map(|batch| batch.stuck.len()).sum();
        let Some(batch) = self.in_flight.get_mut(&number) else {
            return;
        };
        // A record is reported again after each further attempt, and logged once.
        if count < MAX_NAMED && !batch.stuck.contains_key(&index) {
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

/// Sets the time of `topic` in `oldest` to `time`, unless the present one is earlier.
fn keep_earlier<'a, T: Ord + Copy>(
    oldest: &mut BTreeMap<&'a Arc<str>, T>,
    topic: &'a Arc<str>,
    time: T,
) {
    oldest
        .entry(topic)
        .and_modify(|oldest| *oldest = time.min(*oldest))
        .or_insert(time);
}

/// Sets the value of each topic in `known` to its value in `values`, and returns whether a value
/// has changed.
///
/// A known topic without a value stays, with `None`.
fn replace_all<T: PartialEq + Copy>(
    known: &mut BTreeMap<Arc<str>, Option<T>>,
    mut values: BTreeMap<&Arc<str>, T>,
) -> bool {
    let mut changed = false;
    for (topic, known) in known.iter_mut() {
        changed |= replace(known, values.remove(topic));
    }
    changed |= !values.is_empty();
    known.extend(
        values
            .into_iter()
            .map(|(topic, value)| (Arc::clone(topic), Some(value))),
    );
    changed
}
