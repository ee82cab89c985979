//! Metrics of the ingests and relays of this process, and of the logs that they read.
//!
//! An ingest reports each batch to its observer, which records histograms. Everything else is state
//! that other parts hold, and is exported at each scrape: counters and lag of an ingest, pending
//! events of an outbox, faults of a log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use metrics::Histogram;
use shop_core::ingest::{
    BatchReport, Component, IngestCounters, IngestMonitor, IngestObserver, IngestStatus, Phase,
    StuckRecord,
};
use shop_core::inspect::LogInspection;
use shop_core::log::{Gap, Lag, LogFaults, Offsets, ReasonKind};
use shop_core::{Clock, SystemClock, Timestamp};

use super::history;
use super::names::{self, MetricDefinition};
use super::registry::{Labels, Metrics, Scrape};

/// The phase of an ingest that runs and consumes no partition.
const STANDBY: &str = "standby";
/// The number of histogram samples that a batch adds at most.
const SAMPLES_PER_BATCH: usize = 4;

/// An observer of an ingest that records each batch in histograms.
#[derive(Debug)]
struct BatchMetrics {
    metrics: Metrics,
    records: Histogram,
    bytes: Histogram,
    /// The time from reading a batch until its records are durable, in seconds.
    processing_time: Histogram,
    /// The age of the oldest record when its batch is durable, in seconds.
    freshness: Histogram,
}

impl IngestObserver for BatchMetrics {
    fn batch_completed(&self, batch: &BatchReport) {
        self.records.record(count_value(batch.records));
        self.bytes.record(count_value(batch.bytes));
        // One sample per batch: a sample for each record costs as much as a tenth of its
        // processing.
        self.processing_time.record(batch.duration);
        if let Some(freshness) = batch.freshness {
            self.freshness.record(freshness);
        }
        self.metrics.count_samples(SAMPLES_PER_BATCH);
    }
}

impl Metrics {
    /// Returns an [observer](shop_core::ingest::Ingest::with_observer) for the
    /// [`Ingest`](shop_core::ingest::Ingest) of this process.
    ///
    /// The observer records the size, the duration and the freshness of each batch. The other metrics
    /// of the ingest come from its [`IngestMonitor`] at each scrape.
    #[must_use]
    pub fn ingest_observer(&self) -> Arc<dyn IngestObserver> {
        let registry = &self.shared.registry;
        Arc::new(BatchMetrics {
            metrics: self.clone(),
            records: registry.histogram(names::INGEST_BATCH_RECORDS, &[]),
            bytes: registry.histogram(names::INGEST_BATCH_BYTES, &[]),
            // This metric is named after Kafka for the dashboards that exist, but every log has it.
            processing_time: registry.histogram(names::KAFKA_MESSAGE_PROCESSING, &[]),
            freshness: registry.histogram(names::INGEST_FRESHNESS, &[]),
        })
    }
}

impl Metrics {
    /// Exports how long the log of `topic` keeps a record that was not read.
    ///
    /// `None` means that the retention is unlimited or unknown.
    pub fn note_retention(&self, topic: &str, retention: Option<Duration>) {
        let seconds = retention.map_or(f64::INFINITY, |retention| retention.as_secs_f64());
        self.shared
            .registry
            .set_gauge(names::LOG_RETENTION, &[("topic", topic)], seconds);
    }

    /// Records the last inspection of the log of `topic` by an ingest of this process.
    ///
    /// Sets the gauges of the log's size and age, if the log manages its own files and so reports a
    /// usage. Keeps the inspection, from which each scrape exports the pending dead letters, and
    /// `/health` shows the gaps.
    pub fn note_log(&self, topic: &str, inspection: LogInspection) {
        if let Some(usage) = &inspection.usage {
            // The gauges of a log without records or without groups are 0.
            let oldest_age = usage
                .oldest
                .map(|oldest| SystemClock.now().saturating_since(oldest))
                .unwrap_or_default();
            let slowest_group_records = usage
                .groups
                .iter()
                .map(|group| group.behind)
                .max()
                .unwrap_or_default();
            for (metric, value) in [
                (names::LOG_BYTES, gauge_value(usage.bytes)),
                (names::LOG_FREE_BYTES, gauge_value(usage.free_bytes)),
                (names::LOG_OLDEST_AGE, oldest_age.as_secs_f64()),
                (
                    names::LOG_SLOWEST_GROUP_RECORDS,
                    gauge_value(slowest_group_records),
                ),
            ] {
                self.shared
                    .registry
                    .set_gauge(metric, &[("topic", topic)], value);
            }
        }

        self.shared.logs.lock().insert(topic.to_owned(), inspection);
    }

    /// The length of the intervals of the last hour in `/health`.
    pub const HISTORY_INTERVAL: Duration = history::INTERVAL;

    /// Records the lag and the positions of the ingest of purchases for the last hour in `/health`.
    ///
    /// The lag of an ingest without a partition is unknown, and is not recorded.
    pub fn note_progress(&self, lag: &Lag, positions: Offsets) {
        if !lag.records.is_empty() {
            self.shared.history.record_lag(lag.total());
        }
        self.shared.history.record_positions(positions);
    }

    /// Returns the last inspection of every log.
    pub(crate) fn all_log_inspections(&self) -> Vec<LogInspection> {
        self.shared.logs.lock().values().cloned().collect()
    }

    /// Returns the last inspection of each log whose topic `includes` accepts.
    pub(crate) fn log_inspections(&self, includes: impl Fn(&str) -> bool) -> Vec<LogInspection> {
        self.shared
            .logs
            .lock()
            .iter()
            .filter(|(topic, _inspection)| includes(topic))
            .map(|(_topic, inspection)| inspection.clone())
            .collect()
    }
}

/// Returns the name of the phase of an ingest.
///
/// An ingest that runs without a partition, or without the lock of an embedded log, is a standby:
/// another member consumes, or the log refuses this one.
pub(crate) fn phase_name(status: &IngestStatus, lag: Option<&Lag>) -> &'static str {
    let is_consuming = match lag {
        Some(lag) => !lag.records.is_empty(),
        // The lag is unknown. An embedded log refuses a second reader with an error of the source.
        None => !status.errors.contains_key(&Component::Source),
    };
    if status.phase == Phase::Running && !is_consuming {
        STANDBY
    } else {
        status.phase.as_str()
    }
}

impl Scrape {
    /// Exports the state of the ingest of purchases at `now`. `lag` is `None` if the query of its
    /// lag failed.
    pub(crate) fn export_ingest(&self, monitor: &IngestMonitor, lag: Option<&Lag>, now: Timestamp) {
        let status = monitor.status();

        self.export_counters(&status.counters);
        for (metric, value) in [
            (
                names::WAITING_REFUNDS,
                gauge_value(status.waiting_refunds.count),
            ),
            (
                names::KAFKA_MESSAGES_IN_QUEUE,
                count_value(status.in_flight_records),
            ),
            (
                names::INGEST_IN_FLIGHT_BATCHES,
                count_value(status.in_flight),
            ),
            (
                names::INGEST_IN_FLIGHT_BYTES,
                count_value(status.in_flight_bytes),
            ),
        ] {
            self.set_gauge(metric, &[], value);
        }
        for part in Component::ALL {
            let retries = status.retries.get(&part).copied().unwrap_or_default();
            self.set_counter(names::INGEST_RETRIES, &[("part", part.as_str())], retries);
        }

        let current_phase = phase_name(&status, lag);
        for phase in Phase::ALL.map(Phase::as_str).into_iter().chain([STANDBY]) {
            let is_current = f64::from(phase == current_phase);
            self.set_gauge(names::INGEST_PHASE, &[("phase", phase)], is_current);
        }

        self.export_failing_parts(names::INGEST_WAITING, &status, &[]);
        self.export_progress(&status, lag.map(|lag| &*lag.topic), lag, now);
    }

    /// Exports the faults of the log that this process publishes to.
    pub(crate) fn export_log_faults(&self, faults: &LogFaults) {
        let unavailable = count_value(faults.unavailable.len());
        self.set_gauge(names::LOG_UNAVAILABLE_PARTITIONS, &[], unavailable);

        let lost_records = faults.lost.iter().map(Gap::offset_count).sum();
        self.set_counter(names::LOG_TRUNCATED, &[], lost_records);
    }

    /// Exports whether each part that requests need works.
    pub(crate) fn export_dependencies(&self, parts: &BTreeMap<&'static str, bool>) {
        for (part, works) in parts {
            self.set_gauge(names::DEPENDENCY_UP, &[("part", part)], f64::from(*works));
        }
    }

    /// Exports the state of the outbox of `role` at `now`.
    ///
    /// `pending` is the number of pending events and the time of the oldest event, or `None` if the
    /// store could not be asked. The gauges are then absent.
    pub(crate) fn export_outbox(
        &self,
        role: &str,
        published: u64,
        pending: Option<(u64, Option<Timestamp>)>,
        now: Timestamp,
    ) {
        let labels = [("role", role)];
        self.set_counter(names::OUTBOX_PUBLISHED, &labels, published);
        if let Some((count, oldest)) = pending {
            let oldest_age = oldest
                .map(|oldest| now.saturating_since(oldest))
                .unwrap_or_default();
            self.set_gauge(names::OUTBOX_PENDING, &labels, gauge_value(count));
            self.set_gauge(names::OUTBOX_OLDEST, &labels, oldest_age);
        }
    }

    /// Exports the state of the ingest of the events of `topic` at `now`. `lag` is `None` if the
    /// query of its lag failed.
    pub(crate) fn export_events(
        &self,
        topic: &str,
        monitor: &IngestMonitor,
        lag: Option<&Lag>,
        now: Timestamp,
    ) {
        let status = monitor.status();
        for (outcome, count) in record_outcomes(&status.counters) {
            let labels = [("topic", topic), ("outcome", outcome)];
            self.set_counter(names::EVENT_RECORDS, &labels, count);
        }
        self.export_failing_parts(names::EVENT_WAITING, &status, &[("topic", topic)]);
        self.export_progress(&status, Some(topic), lag, now);
    }

    /// Exports for how long each part of an ingest has been failing; 0 for a part that works.
    fn export_failing_parts(
        &self,
        metric: MetricDefinition,
        status: &IngestStatus,
        labels: Labels<'_>,
    ) {
        for part in Component::ALL {
            let failing_for = status
                .failing_since
                .get(&part)
                .map(tokio::time::Instant::elapsed)
                .unwrap_or_default();
            let labels = [labels, &[("part", part.as_str())]].concat();
            self.set_gauge(metric, &labels, failing_for);
        }
    }

    /// Exports the pending dead letters of each topic, by reason.
    pub(super) fn export_pending_dead_letters(&self) {
        for (topic, log) in &*self.metrics.shared.logs.lock() {
            for reason in ReasonKind::ALL {
                let count = log.dead_letters.get(&reason).copied().unwrap_or_default();
                let labels = [("topic", &**topic), ("reason", reason.as_str())];
                self.set_gauge(names::DEAD_LETTERS_WAITING, &labels, gauge_value(count));
            }
        }
    }

    /// Exports how far an ingest is: its stuck record, its oldest records, its losses and its lag.
    ///
    /// The ages of the oldest records are exported for all consumed topics, and for `topic` even
    /// before its first record is consumed.
    fn export_progress(
        &self,
        status: &IngestStatus,
        topic: Option<&str>,
        lag: Option<&Lag>,
        now: Timestamp,
    ) {
        if let Some(record) = &status.stuck {
            self.export_stuck_record(record);
        }

        let consumed_topics = status.oldest_uncommitted.keys().map(|topic| &**topic);
        let topics: BTreeSet<&str> = consumed_topics.chain(topic).collect();
        for topic in topics {
            self.export_oldest_records(status, topic, now);
        }

        if let Some(lag) = lag {
            self.export_lag(lag);
        }
        for ((topic, partition), count) in &status.lost {
            self.export_lost_records(topic, *partition, *count);
        }
    }

    /// Exports the time since the stuck `record` was read. The store refuses this record, but accepts
    /// others.
    fn export_stuck_record(&self, record: &StuckRecord) {
        let labels = [
            ("topic", &*record.topic),
            ("partition", &record.partition.to_string()),
            ("offset", &record.offset.to_string()),
            ("error", record.error.kind().as_str()),
        ];
        self.set_gauge(names::INGEST_STUCK, &labels, record.since.elapsed());
    }

    /// Exports two ages of the oldest records of `topic`, which are 0 without such a record: the time
    /// since the oldest uncommitted record was read, and since the oldest unread record was appended.
    fn export_oldest_records(&self, status: &IngestStatus, topic: &str, now: Timestamp) {
        let labels = [("topic", topic)];

        let read_at = status.oldest_uncommitted.get(topic).copied().flatten();
        let uncommitted_age = read_at.map(|read_at| read_at.elapsed()).unwrap_or_default();
        self.set_gauge(names::INGEST_OLDEST_UNCOMMITTED, &labels, uncommitted_age);

        let appended_at = status.oldest_unread.get(topic).copied().flatten();
        let unread_age = appended_at
            .map(|appended_at| now.saturating_since(appended_at))
            .unwrap_or_default();
        self.set_gauge(names::INGEST_OLDEST_UNREAD, &labels, unread_age);
    }

    /// Exports the number of records of a partition that the log lost before they were read.
    ///
    /// Two calls may export the same partition: 0 for an assigned partition, and its losses. The
    /// higher number stays, because a counter never decreases.
    fn export_lost_records(&self, topic: &str, partition: u32, count: u64) {
        let labels = [("topic", topic), ("partition", &*partition.to_string())];
        self.set_counter(names::INGEST_LOST, &labels, count);
    }

    /// Exports what an ingest did with the records of purchases so far.
    fn export_counters(&self, counters: &IngestCounters) {
        let stored = counters.inserted + counters.duplicates;
        for (status, count) in [("success", stored), ("error", counters.dead_lettered)] {
            self.set_counter(
                names::KAFKA_MESSAGES_PROCESSED,
                &[("status", status)],
                count,
            );
        }
        for (outcome, count) in record_outcomes(counters) {
            self.set_counter(names::INGEST_RECORDS, &[("outcome", outcome)], count);
        }
        for (reason, count) in [
            (ReasonKind::Undecodable, counters.undecodable),
            (ReasonKind::Conflict, counters.conflicts),
            (ReasonKind::Refused, counters.refused),
            (ReasonKind::Parked, counters.parked),
        ] {
            self.set_counter(names::DEAD_LETTERS, &[("reason", reason.as_str())], count);
        }
    }

    /// Exports the lag of a group in the partitions that are assigned to this process. Also sets the
    /// counters of the lost records of these partitions to 0, so that they exist before a loss.
    fn export_lag(&self, lag: &Lag) {
        let transaction_age = lag
            .transaction_since()
            .map(|since| since.elapsed())
            .unwrap_or_default();
        self.set_gauge(
            names::INGEST_OPEN_TRANSACTION,
            &[("topic", &*lag.topic)],
            transaction_age,
        );

        for (partition, lag_records) in &lag.records {
            let labels = [
                ("topic", &*lag.topic),
                ("group", &*lag.group),
                ("partition", &partition.to_string()),
            ];
            self.set_gauge(
                names::KAFKA_CONSUMER_GROUP_LAG,
                &labels,
                gauge_value(*lag_records),
            );
            let no_loss = 0;
            self.export_lost_records(&lag.topic, *partition, no_loss);
        }
    }
}

/// Returns the number of records with each outcome, by its name.
const fn record_outcomes(counters: &IngestCounters) -> [(&'static str, u64); 3] {
    [
        ("inserted", counters.inserted),
        ("duplicate", counters.duplicates),
        ("dead_lettered", counters.dead_lettered),
    ]
}

/// Returns a number of items as the value of a gauge or a sample.
fn count_value(count: usize) -> f64 {
    gauge_value(count as u64)
}

/// Returns `count` as the value of a gauge. It is exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "no count is near 2^53")]
pub(super) const fn gauge_value(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use shop_core::retention::RetentionMonitor;

    use super::*;

    #[test]
    fn an_ingest_that_reads_no_partition_is_on_standby() {
        let lag = |records: &[(u32, u64)]| {
            Some(Lag::new(
                "purchases".into(),
                "group".to_owned(),
                records.iter().copied().collect(),
            ))
        };
        for (lag, is_refused, expected) in [
            (None, false, "running"),
            (None, true, STANDBY),
            (lag(&[]), false, STANDBY),
            (lag(&[(0, 7)]), false, "running"),
            (lag(&[(0, 7)]), true, "running"),
        ] {
            let mut status = IngestStatus::default();
            status.phase = Phase::Running;
            if is_refused {
                let error =
                    shop_core::Error::new(shop_core::ErrorKind::Invalid, "of another group");
                status.errors.insert(Component::Source, error);
            }
            assert_eq!(
                phase_name(&status, lag.as_ref()),
                expected,
                "{lag:?} {is_refused}"
            );
            status.phase = Phase::Stopped;
            assert_eq!(phase_name(&status, lag.as_ref()), "stopped");
        }
    }

    #[test]
    fn pending_dead_letters_are_a_gauge() {
        let metrics = Metrics::new();
        let note = |topic, dead_letters: BTreeMap<_, _>| {
            let inspection = LogInspection {
                dead_letters,
                ..LogInspection::default()
            };
            metrics.note_log(topic, inspection);
        };
        let waiting = || {
            let text = metrics.scrape().text();
            let lines = text.lines();
            let mut waiting: Vec<_> = lines
                .filter_map(|line| line.strip_prefix("shop_dead_letters_waiting"))
                .filter(|line| !line.ends_with(" 0"))
                .map(str::to_owned)
                .collect();
            waiting.sort();
            waiting
        };
        let inspected = |topic| {
            let logs = metrics.log_inspections(|known| known == topic).into_iter();
            logs.map(|log| log.dead_letters.len()).collect::<Vec<_>>()
        };
        note("purchases", BTreeMap::from([(ReasonKind::Conflict, 2)]));
        note("user_created", BTreeMap::from([(ReasonKind::Refused, 1)]));
        let of_users = r#"{topic="user_created",reason="refused"} 1"#;
        let of_purchases = r#"{topic="purchases",reason="conflict"} 2"#;
        assert_eq!(waiting(), [of_purchases, of_users]);
        assert_eq!(inspected("purchases"), [1]);

        note("purchases", BTreeMap::new());
        assert_eq!(waiting(), [of_users]);
        assert_eq!(inspected("purchases"), [0]);
    }

    #[test]
    fn unreadable_documents_are_exposed_if_the_store_counts_them() {
        let metrics = Metrics::new();
        assert!(
            !metrics
                .scrape()
                .text()
                .contains("shop_store_unreadable_documents_total ")
        );
        metrics.count_unreadable(Arc::new(3.into()));
        let retention = Arc::<RetentionMonitor>::default();
        retention.deleted.store(7, Ordering::Relaxed);
        retention.due.store(5, Ordering::Relaxed);
        metrics.count_expired(retention);
        let text = metrics.scrape().text();
        assert!(text.contains("\nshop_store_unreadable_documents_total 3\n"));
        assert!(text.contains("\nshop_store_expired_purchases_total 7\n"));
        assert!(text.contains("\nshop_store_expiring_purchases 5\n"));
    }
}
