//! Metrics of the ingests and relays of this process: histograms per batch, the rest read at each scrape.

use std::collections::BTreeMap;
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
use super::names::{self, Name};
use super::registry::{Labels, Metrics, Scrape};

/// The phase of an ingest that runs and has no partition.
const STANDBY: &str = "standby";

/// Measures batches.
#[derive(Debug)]
struct IngestMetrics {
    metrics: Metrics,
    records: Histogram,
    bytes: Histogram,
    processing: Histogram,
    freshness: Histogram,
}

impl IngestObserver for IngestMetrics {
    fn batch_completed(&self, batch: &BatchReport) {
        self.records.record(float(batch.records));
        self.bytes.record(float(batch.bytes));
        // One sample per batch: a sample for each record costs as much as a tenth of its processing.
        self.processing.record(batch.duration.as_secs_f64());
        if let Some(freshness) = batch.freshness {
            self.freshness.record(freshness.as_secs_f64());
        }
        self.metrics.sampled(4);
    }
}

impl Metrics {
    /// The [observer](shop_core::ingest::Ingest::with_observer) for the [`Ingest`](shop_core::ingest::Ingest) of this
    /// process. The other metrics come from its monitor.
    #[must_use]
    pub fn ingest_observer(&self) -> Arc<dyn IngestObserver> {
        let histogram = |name| self.shared.registry.histogram(name, &[]);
        Arc::new(IngestMetrics {
            metrics: self.clone(),
            records: histogram(names::INGEST_BATCH_RECORDS),
            bytes: histogram(names::INGEST_BATCH_BYTES),
            processing: histogram(names::KAFKA_MESSAGE_PROCESSING),
            freshness: histogram(names::INGEST_FRESHNESS),
        })
    }
}

#[doc(hidden)]
impl Metrics {
    /// Exports how long the log of `topic` keeps a record that was not read; `None` if that is unlimited or unknown.
    pub fn note_retention(&self, topic: &str, retention: Option<Duration>) {
        let seconds = retention.map_or(f64::INFINITY, |retention| retention.as_secs_f64());
        self.shared
            .registry
            .set(names::LOG_RETENTION, &[("topic", topic)], seconds);
    }

    /// Exports what the log of `topic` says, as an ingest of this process has found it: its size if it manages its own
    /// files, and the pending dead letters. `/health` names the gaps among these, and is degraded until there are none.
    pub fn note_log(&self, topic: &str, found: LogInspection) {
        let labels = [("topic", topic)];
        if let Some(usage) = &found.usage {
            let age = usage
                .oldest
                .map(|oldest| SystemClock.now().saturating_since(oldest));
            let slowest = usage
                .groups
                .iter()
                .map(|group| group.behind)
                .max()
                .unwrap_or_default();
            for (name, value) in [
                (names::LOG_BYTES, approximately(usage.bytes)),
                (names::LOG_FREE_BYTES, approximately(usage.free_bytes)),
                (names::LOG_OLDEST, age.unwrap_or_default().as_secs_f64()),
                (names::LOG_SLOWEST_GROUP, approximately(slowest)),
            ] {
                self.shared.registry.set(name, &labels, value);
            }
        }
        self.shared.logs.lock().insert(topic.to_owned(), found);
    }

    /// The length of the intervals of the last hour in `/health`.
    pub const HISTORY_INTERVAL: Duration = history::INTERVAL;

    /// Keeps the lag of the ingest of purchases for the last hour in `/health`, and how far it is. Without a partition
    /// its lag is unknown.
    pub fn note_progress(&self, lag: &Lag, positions: Offsets) {
        if !lag.records.is_empty() {
            self.shared.history.lags(lag.total());
        }
        self.shared.history.passed(positions);
    }

    /// What the logs of the topics for which `includes` holds said last, if they were inspected.
    pub(crate) fn inspected(&self, includes: impl Fn(&str) -> bool) -> Vec<LogInspection> {
        self.shared
            .logs
            .lock()
            .iter()
            .filter(|(topic, _)| includes(topic))
            .map(|(_, log)| log.clone())
            .collect()
    }
}

/// The name of the phase of an ingest. Running without a partition, or without the lock of an embedded log, is a standby:
/// another member consumes, or the log refuses this one.
pub(crate) fn phase_word(status: &IngestStatus, lag: Option<&Lag>) -> &'static str {
    let is_refused = status.errors.contains_key(&Component::Source);
    let reads = lag.map_or(!is_refused, |lag| !lag.records.is_empty());
    if status.phase == Phase::Running && !reads {
        STANDBY
    } else {
        status.phase.as_str()
    }
}

impl Scrape {
    /// Exports the state of `monitor` at `now`; its `lag` was queried before.
    pub(crate) fn note_ingest(&self, monitor: &IngestMonitor, lag: Option<&Lag>, now: Timestamp) {
        let status = monitor.status();
        self.note_counters(&status);
        let waiting_refunds = approximately(status.waiting_refunds.count);
        for (name, value) in [
            (names::WAITING_REFUNDS, waiting_refunds),
            (
                names::KAFKA_MESSAGES_IN_QUEUE,
                float(status.in_flight_records),
            ),
            (names::INGEST_IN_FLIGHT_BATCHES, float(status.in_flight)),
            (names::INGEST_IN_FLIGHT_BYTES, float(status.in_flight_bytes)),
        ] {
            self.registry.set(name, &[], value);
        }
        for part in Component::ALL {
            let retries = status.retries.get(&part).copied().unwrap_or_default();
            self.registry
                .counter(names::INGEST_RETRIES, &[("part", part.as_str())])
                .absolute(retries);
        }
        self.note_waiting(names::INGEST_WAITING, &status, &[]);
        let current = phase_word(&status, lag);
        for phase in Phase::ALL.map(Phase::as_str).into_iter().chain([STANDBY]) {
            let is_it = f64::from(u8::from(phase == current));
            self.registry
                .set(names::INGEST_PHASE, &[("phase", phase)], is_it);
        }
        self.note_oldest(&status, lag.map(|lag| &*lag.topic), now);
        self.note_lost(&status, lag);
        lag.into_iter().for_each(|lag| self.note_lag(lag));
    }

    /// Exports what is wrong with the log that this process publishes to.
    pub(crate) fn note_faults(&self, faults: &LogFaults) {
        self.registry.set(
            names::LOG_UNAVAILABLE_PARTITIONS,
            &[],
            float(faults.unavailable.len()),
        );
        self.registry
            .counter(names::LOG_TRUNCATED, &[])
            .absolute(faults.lost.iter().map(Gap::offset_count).sum());
    }

    /// Exports whether each part that requests need works.
    pub(crate) fn note_dependencies(&self, parts: &BTreeMap<&'static str, bool>) {
        for (part, works) in parts {
            self.registry.set(
                names::DEPENDENCY_UP,
                &[("part", part)],
                f64::from(u8::from(*works)),
            );
        }
    }

    /// Exports the state of the outbox of `role`; the number of its pending events and the time of the oldest were
    /// queried before.
    pub(crate) fn note_outbox(
        &self,
        role: &str,
        published: u64,
        pending: Option<(u64, Option<Timestamp>)>,
        now: Timestamp,
    ) {
        let labels = [("role", role)];
        self.registry
            .counter(names::OUTBOX_PUBLISHED, &labels)
            .absolute(published);
        if let Some((entries, oldest)) = pending {
            let oldest = oldest.map_or(0.0, |oldest| now.saturating_since(oldest).as_secs_f64());
            self.registry
                .set(names::OUTBOX_PENDING, &labels, approximately(entries));
            self.registry.set(names::OUTBOX_OLDEST, &labels, oldest);
        }
    }

    /// Exports the state of the ingest of the events of `topic`; its `lag` was queried before.
    pub(crate) fn note_events(
        &self,
        topic: &str,
        ingest: &IngestMonitor,
        lag: Option<&Lag>,
        now: Timestamp,
    ) {
        let status = ingest.status();
        for (outcome, count) in outcomes(&status.counters) {
            let labels = [("topic", topic), ("outcome", outcome)];
            self.registry
                .counter(names::EVENT_RECORDS, &labels)
                .absolute(count);
        }
        self.note_waiting(names::EVENT_WAITING, &status, &[("topic", topic)]);
        self.note_oldest(&status, Some(topic), now);
        self.note_lost(&status, lag);
        lag.into_iter().for_each(|lag| self.note_lag(lag));
    }

    /// For how long each part of an ingest has been failing.
    fn note_waiting(&self, gauge: Name, status: &IngestStatus, labels: Labels<'_>) {
        for part in Component::ALL {
            let waiting = status
                .failing_since
                .get(&part)
                .map_or(0.0, |since| since.elapsed().as_secs_f64());
            self.registry.set(
                gauge,
                &[labels, &[("part", part.as_str())]].concat(),
                waiting,
            );
        }
    }

    /// The pending dead letters of each topic, by reason.
    pub(super) fn note_pending(&self) {
        for (topic, log) in &*self.metrics.shared.logs.lock() {
            for reason in ReasonKind::ALL {
                let count = log.dead_letters.get(&reason).copied().unwrap_or_default();
                let labels = [("topic", &**topic), ("reason", reason.as_str())];
                self.registry
                    .set(names::DEAD_LETTERS_WAITING, &labels, approximately(count));
            }
        }
    }

    /// The stuck record of an ingest, if it has one.
    fn note_stuck(&self, status: &IngestStatus) {
        let Some(StuckRecord {
            topic,
            partition,
            offset,
            since,
            error,
            ..
        }) = &status.stuck
        else {
            return;
        };
        let labels = [
            ("topic", &**topic),
            ("partition", &partition.to_string()),
            ("offset", &offset.to_string()),
            ("error", error.kind().as_str()),
        ];
        self.registry
            .set(names::INGEST_STUCK, &labels, since.elapsed().as_secs_f64());
    }

    /// Per topic that was consumed. `topic` has a series before its first record.
    fn note_oldest(&self, status: &IngestStatus, topic: Option<&str>, now: Timestamp) {
        self.note_stuck(status);
        let unread = topic.filter(|topic| !status.oldest_uncommitted.contains_key(*topic));
        let read = status
            .oldest_uncommitted
            .iter()
            .map(|(topic, oldest)| (&**topic, *oldest));
        for (topic, oldest) in read.chain(unread.map(|topic| (topic, None))) {
            let age = oldest.map_or(0.0, |read| read.elapsed().as_secs_f64());
            self.registry
                .set(names::INGEST_OLDEST_UNCOMMITTED, &[("topic", topic)], age);
            let age = status
                .oldest_unread
                .get(topic)
                .copied()
                .flatten()
                .map_or(0.0, |time| now.saturating_since(time).as_secs_f64());
            self.registry
                .set(names::INGEST_OLDEST_UNREAD, &[("topic", topic)], age);
        }
    }

    /// Per partition that was assigned or has lost records. Others are unknown.
    fn note_lost(&self, status: &IngestStatus, lag: Option<&Lag>) {
        let assigned = lag
            .into_iter()
            .flat_map(|lag| lag.records.keys().map(|index| (&lag.topic, *index)));
        let lost = status.lost.keys().map(|(topic, index)| (topic, *index));
        for (topic, index) in assigned.chain(lost) {
            let count = status
                .lost
                .get(&(Arc::clone(topic), index))
                .copied()
                .unwrap_or_default();
            let labels = [("topic", &**topic), ("partition", &*index.to_string())];
            self.registry
                .counter(names::INGEST_LOST, &labels)
                .absolute(count);
        }
    }

    fn note_counters(&self, IngestStatus { counters, .. }: &IngestStatus) {
        let stored = counters.inserted + counters.duplicates;
        for (status, count) in [("success", stored), ("error", counters.dead_lettered)] {
            self.registry
                .counter(names::KAFKA_MESSAGES_PROCESSED, &[("status", status)])
                .absolute(count);
        }
        for (outcome, count) in outcomes(counters) {
            self.registry
                .counter(names::INGEST_RECORDS, &[("outcome", outcome)])
                .absolute(count);
        }
        for (reason, count) in [
            (ReasonKind::Undecodable, counters.undecodable),
            (ReasonKind::Conflict, counters.conflicts),
            (ReasonKind::Refused, counters.refused),
            (ReasonKind::Parked, counters.parked),
        ] {
            self.registry
                .counter(names::DEAD_LETTERS, &[("reason", reason.as_str())])
                .absolute(count);
        }
    }

    fn note_lag(&self, lag: &Lag) {
        let Lag {
            topic,
            group,
            records,
            ..
        } = lag;
        let waiting = lag
            .transaction_since()
            .map_or(0.0, |since| since.elapsed().as_secs_f64());
        self.registry
            .set(names::INGEST_OPEN_TRANSACTION, &[("topic", topic)], waiting);
        for (index, behind) in records {
            let labels = [
                ("topic", &**topic),
                ("group", group),
                ("partition", &index.to_string()),
            ];
            self.registry.set(
                names::KAFKA_CONSUMER_GROUP_LAG,
                &labels,
                approximately(*behind),
            );
        }
    }
}

/// The outcomes of records, with their counts.
const fn outcomes(counters: &IngestCounters) -> [(&'static str, u64); 3] {
    [
        ("inserted", counters.inserted),
        ("duplicate", counters.duplicates),
        ("dead_lettered", counters.dead_lettered),
    ]
}

fn float(count: usize) -> f64 {
    approximately(count as u64)
}

/// Prometheus has no other numbers; up to 2^53 they are exact.
#[expect(clippy::cast_precision_loss, reason = "no count is near 2^53")]
pub(super) const fn approximately(count: u64) -> f64 {
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
                phase_word(&status, lag.as_ref()),
                expected,
                "{lag:?} {is_refused}"
            );
            status.phase = Phase::Stopped;
            assert_eq!(phase_word(&status, lag.as_ref()), "stopped");
        }
    }

    #[test]
    fn pending_dead_letters_are_a_gauge() {
        let metrics = Metrics::new();
        let note = |topic, reason, count| {
            let dead_letters = BTreeMap::from([(reason, count)]);
            metrics.note_log(
                topic,
                LogInspection {
                    dead_letters,
                    ..LogInspection::default()
                },
            );
        };
        assert!(metrics.inspected(|_| true).is_empty());
        note("purchases", ReasonKind::Conflict, 2);
        note("user_created", ReasonKind::Refused, 1);
        let series = |topic, reason, count| {
            format!("shop_dead_letters_waiting{{topic=\"{topic}\",reason=\"{reason}\"}} {count}\n")
        };
        let text = metrics.scrape().text();
        for (topic, reason, count) in [
            ("purchases", "conflict", 2),
            ("purchases", "refused", 0),
            ("purchases", "undecodable", 0),
            ("user_created", "refused", 1),
        ] {
            assert!(
                text.contains(&series(topic, reason, count)),
                "{topic} {reason}: {text}"
            );
        }
        let counts = |log: LogInspection| log.dead_letters.into_values().collect::<Vec<_>>();
        let inspected = metrics.inspected(|topic| topic == "purchases");
        assert_eq!(inspected.into_iter().map(counts).collect::<Vec<_>>(), [[2]]);
        metrics.note_log("purchases", LogInspection::default());
        assert!(
            metrics
                .scrape()
                .text()
                .contains(&series("purchases", "conflict", 0))
        );
        assert_eq!(
            metrics
                .inspected(|_| true)
                .into_iter()
                .map(counts)
                .collect::<Vec<_>>(),
            [vec![], vec![1]]
        );
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
