//! Attempts to publish.

use metrics::{Counter, Histogram};
use shop_core::ports::Receipt;
use shop_core::{Outcome, Result};
use tokio::time::Instant;

use super::names;
use super::registry::Metrics;
use crate::service::kind::ServiceKind;

/// Measures attempts to publish, by outcome.
#[derive(Debug)]
pub(crate) struct Publishing {
    metrics: Metrics,
    acknowledged: Counter,
    not_sent: Counter,
    unknown: Counter,
    duration: Histogram,
    /// Purchases that the log has acknowledged, where the sink is a log.
    in_log: Option<Counter>,
}

impl Publishing {
    /// Registers the metrics for a service of this kind.
    pub(crate) fn new(metrics: &Metrics, role: ServiceKind) -> Self {
        let registry = &metrics.shared.registry;
        let outcome = |outcome| {
            let counter = registry.counter(names::PUBLISH, &[("outcome", outcome)]);
            counter.absolute(0);
            counter
        };
        Self {
            metrics: metrics.clone(),
            acknowledged: outcome("acknowledged"),
            not_sent: outcome("not_sent"),
            unknown: outcome("unknown"),
            duration: registry.histogram(names::PUBLISH_DURATION, &[]),
            in_log: (role == ServiceKind::Facing)
                .then(|| registry.counter(names::KAFKA_PRODUCER_MESSAGES, &[])),
        }
    }

    /// Records the outcomes of purchases that were published together since `begun`.
    pub(crate) fn ended(&self, begun: Instant, results: &[Result<Receipt>]) {
        let failed = |outcome| {
            results
                .iter()
                .filter_map(|result| result.as_ref().err())
                .filter(|error| error.outcome() == outcome)
                .count() as u64
        };
        let not_sent = failed(Outcome::NotApplied);
        let unknown = failed(Outcome::Unknown);
        let acknowledged = results.len() as u64 - not_sent - unknown;
        self.acknowledged.increment(acknowledged);
        self.metrics.shared.history.bought(acknowledged);
        self.in_log
            .iter()
            .for_each(|counter| counter.increment(acknowledged));
        self.not_sent.increment(not_sent);
        self.unknown.increment(unknown);
        self.duration
            .record_many(begun.elapsed().as_secs_f64(), results.len());
        self.metrics.sampled(results.len());
    }
}
