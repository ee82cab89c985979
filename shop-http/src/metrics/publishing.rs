//! Metrics of publishing purchases: attempts by outcome, and their duration.
//!
//! A service registers its series when it is created, with zeros, so that a rate over the first
//! failure is right. The sink of the service reports each publish, of one purchase or of a batch.

use std::time::Duration;

use super::names;
use super::registry::Metrics;
use crate::service::kind::ServiceKind;
use metrics::{Counter, Histogram};
use shop_core::ports::Receipt;
use shop_core::{Outcome, Result};

/// The metrics of publishing purchases in one service.
#[derive(Debug)]
pub(crate) struct PublishMetrics {
    metrics: Metrics,
    acknowledged: Counter,
    not_sent: Counter,
    unknown: Counter,
    duration: Histogram,
    /// The counter of purchases that the log acknowledged. It counts nothing if the sink is no log.
    log_messages: Counter,
}

impl PublishMetrics {
    /// Registers the metrics for a service of this kind.
    pub(crate) fn new(metrics: &Metrics, kind: ServiceKind) -> Self {
        let registry = &metrics.shared.registry;
        Self {
            metrics: metrics.clone(),
            acknowledged: register_outcome(metrics, "acknowledged"),
            not_sent: register_outcome(metrics, "not_sent"),
            unknown: register_outcome(metrics, "unknown"),
            duration: registry.histogram(names::PUBLISH_DURATION, &[]),
            log_messages: match kind {
                ServiceKind::Facing => registry.counter(names::KAFKA_PRODUCER_MESSAGES, &[]),
                ServiceKind::Management => Counter::noop(),
            },
        }
    }

    /// Records the results of purchases that were published together, which took `duration`.
    pub(crate) fn record_results(&self, duration: Duration, results: &[Result<Receipt>]) {
        let not_sent_count = count_failures(results, Outcome::NotApplied);
        let unknown_count = count_failures(results, Outcome::Unknown);
        let acknowledged_count = results.len() as u64 - not_sent_count - unknown_count;

        self.acknowledged.increment(acknowledged_count);
        let history = &self.metrics.shared.history;
        history.record_purchases(acknowledged_count);
        self.log_messages.increment(acknowledged_count);
        self.not_sent.increment(not_sent_count);
        self.unknown.increment(unknown_count);

        self.duration.record_many(duration, results.len());
        self.metrics.count_samples(results.len());
    }
}

/// Registers the counter of the attempts with this outcome. It is exported as 0 before the first one.
fn register_outcome(metrics: &Metrics, outcome: &str) -> Counter {
    let labels = [("outcome", outcome)];
    let counter = metrics.shared.registry.counter(names::PUBLISH, &labels);
    counter.absolute(0);
    counter
}

/// Returns the number of failures with this outcome.
fn count_failures(results: &[Result<Receipt>], outcome: Outcome) -> u64 {
    results
        .iter()
        .filter(|result| matches!(result, Err(error) if error.outcome() == outcome))
        .count() as u64
}
