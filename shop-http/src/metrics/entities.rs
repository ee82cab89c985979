//! Metrics of users and orders: their relays, and the ingests of their events, read at each scrape.

use shop_core::Timestamp;
use shop_core::ingest::IngestMonitor;
use shop_core::log::Lag;
use shop_core::outbox::{Backlog, RelayMonitor};

use super::ingest::{approximately, outcomes};
use super::names;
use super::registry::Scrape;

impl Scrape {
    /// Exports the state of the relay of `role`; its `backlog` was queried before.
    pub(crate) fn note_relay(
        &self,
        role: &str,
        relay: &RelayMonitor,
        backlog: Option<&Backlog>,
        now: Timestamp,
    ) {
        let labels = [("role", role)];
        self.counter(names::OUTBOX_PUBLISHED, &labels).absolute(relay.status().published);
        if let Some(backlog) = backlog {
            let oldest = backlog.oldest.map_or(0.0, |oldest| now.saturating_since(oldest).as_secs_f64());
            self.gauge(names::OUTBOX_PENDING, &labels).set(approximately(backlog.entries));
            self.gauge(names::OUTBOX_OLDEST, &labels).set(oldest);
        }
    }

    /// Exports the state of the ingest of the events of `topic`; its `lag` was queried before.
    pub(crate) fn note_events(
        &self,
        topic: &str,
        monitor: &IngestMonitor,
        lag: Option<&Lag>,
        now: Timestamp,
    ) {
        let status = monitor.status();
        for (outcome, count) in outcomes(&status.counters) {
            let labels = [("topic", topic), ("outcome", outcome)];
            self.counter(names::EVENT_RECORDS, &labels).absolute(count);
        }
        self.note_waiting(names::EVENT_WAITING, &status, &[("topic", topic)]);
        self.note_oldest(&status, Some(topic), now);
        self.note_lost(&status, lag);
        lag.into_iter().for_each(|lag| self.note_lag(lag));
    }
}
