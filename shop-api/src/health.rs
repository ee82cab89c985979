//! The states of ingests and of roles in `/health`.
//!
//! Members that a service does not know are absent from the JSON, except for an unknown `outbox`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::StuckBody;
use shop_core::Timestamp;
use shop_core::ingest::IngestStatus;
use shop_core::inspect::LogInspection;
use shop_core::log::{Gap, Lag};

/// The maximum number of gaps in a [`GapsHealth`].
const MAX_GAPS: usize = 10;

/// The state of an ingest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct IngestHealth {
    /// The name of the [phase](shop_core::ingest::Phase).
    pub phase: String,
    /// The number of records that were stored since the start of the process.
    pub inserted: u64,
    /// The number of records that had been stored before.
    pub duplicates: u64,
    /// The number of records that became dead letters.
    pub dead_lettered: u64,
    /// The number of pending dead letters of the log, of all processes, if they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters_waiting: Option<u64>,
    /// The refunds in the store whose purchase is not there, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_refunds: Option<WaitingRefundsHealth>,
    /// The number of records that the log no longer contained when they were to be read.
    pub lost_records: u64,
    /// The gaps of the log whose dead letters are pending, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gaps: Option<GapsHealth>,
    /// The number of records that are being stored.
    pub in_flight: u64,
    /// The number of records after the committed positions of the partitions that are assigned to
    /// the process, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// The time for which records have been waiting for the end of a transaction of another
    /// producer, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_transaction_seconds: Option<u64>,
    /// The age in the log of the oldest record of the last batch when the batch was stored, in
    /// milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freshness_ms: Option<u64>,
    /// The failing components, with the kind of the error of each component, but not a driver's
    /// text.
    pub waiting_for: BTreeMap<String, String>,
    /// The oldest record that the store does not accept while it accepts others.
    ///
    /// It includes the text of the error, because without the text an operator cannot tell whether
    /// to fix the store or to park the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck: Option<StuckBody>,
    /// The reason why the ingest stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_because: Option<String>,
}

impl IngestHealth {
    /// Creates the state of an ingest in `phase` from its `status`, its `lag`, if it is known, and
    /// the inspections of its `logs`.
    #[must_use]
    pub fn new(
        phase: &str,
        status: IngestStatus,
        lag: Option<&Lag>,
        logs: &[LogInspection],
    ) -> Self {
        // A member without a partition does not know the lag of its group: another member owns the
        // partitions.
        let lag = lag.filter(|lag| !lag.records.is_empty());
        let transaction_since = lag.and_then(Lag::transaction_since);
        let dead_letter_counts = logs
            .iter()
            .map(|log| log.dead_letters.values().sum::<u64>());
        let freshness_ms = status.freshness.map(|age| age.as_millis());

        Self {
            phase: phase.to_owned(),
            inserted: status.counters.inserted,
            duplicates: status.counters.duplicates,
            dead_lettered: status.counters.dead_lettered,
            // Without an inspected log, the number is unknown, and not 0.
            dead_letters_waiting: dead_letter_counts.reduce(|sum, count| sum + count),
            waiting_refunds: (status.waiting_refunds.count > 0).then_some(WaitingRefundsHealth {
                count: status.waiting_refunds.count,
                oldest: status.waiting_refunds.oldest,
            }),
            lost_records: status.counters.lost,
            gaps: GapsHealth::new(logs),
            in_flight: status.in_flight as u64,
            lag: lag.map(Lag::total),
            open_transaction_seconds: transaction_since.map(|since| since.elapsed().as_secs()),
            freshness_ms: freshness_ms.and_then(|age| age.try_into().ok()),
            waiting_for: status
                .errors
                .iter()
                .map(|(component, error)| (component.to_string(), error.kind().as_str().to_owned()))
                .collect(),
            stuck: status.stuck.map(StuckBody::from),
            stopped_because: status.fatal_error.map(|error| error.message().to_owned()),
        }
    }
}

/// The refunds that wait in a store for their purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WaitingRefundsHealth {
    /// The number of refunds.
    pub count: u64,
    /// The time of the oldest refund.
    pub oldest: Option<Timestamp>,
}

/// The gaps of a log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GapsHealth {
    /// The number of lost records.
    pub records: u64,
    /// Some of the gaps: their topic, partition, offsets, count and cause.
    pub pending: Vec<Value>,
}

impl GapsHealth {
    /// Returns the gaps of `logs`, if there are any.
    fn new(logs: &[LogInspection]) -> Option<Self> {
        let gaps: Vec<_> = logs.iter().flat_map(|log| &log.gaps).collect();
        if gaps.is_empty() {
            return None;
        }
        Some(Self {
            records: gaps.iter().copied().map(Gap::offset_count).sum(),
            pending: gaps.iter().take(MAX_GAPS).map(|gap| json!(gap)).collect(),
        })
    }
}

/// The state of the role of users or of orders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EntityHealth {
    /// Whether the store responds.
    pub store: bool,
    /// The number of unpublished events, if it is known.
    pub outbox: Option<u64>,
    /// The kind of error that keeps events in the outbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbox_waits_for: Option<String>,
    /// The state of the ingest of the other role's events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<IngestHealth>,
}

impl EntityHealth {
    /// Creates the state of a role whose store responds if `store` is true.
    #[must_use]
    pub const fn new(
        store: bool,
        outbox: Option<u64>,
        outbox_waits_for: Option<String>,
        events: Option<IngestHealth>,
    ) -> Self {
        Self {
            store,
            outbox,
            outbox_waits_for,
            events,
        }
    }
}
