//! Attempts to publish.

use metrics::{Counter, Histogram};
use shop_core::ports::Receipt;
use shop_core::{Outcome, Result};
use tokio::time::Instant;

use super::names;
use super::registry::Metrics;
use crate::service::ServiceKind;

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
        let outcome = |outcome| {
            let counter = metrics.counter(names::PUBLISH, &[("outcome", outcome)]);
            counter.absolute(0);
            counter
        };
        Self {
            metrics: metrics.clone(),
            acknowledged: outcome("acknowledged"),
            not_sent: outcome("not_sent"),
            unknown: outcome("unknown"),
            duration: metrics.histogram(names::PUBLISH_DURATION, &[]),
            in_log: (role == ServiceKind::Facing)
                .then(|| metrics.counter(names::KAFKA_PRODUCER_MESSAGES, &[])),
        }
    }

    /// Starts an attempt.
    pub(crate) fn begin(&self) -> Attempt<'_> {
        Attempt { all: self, begun: Instant::now(), outcome: None }
    }

    /// Records the outcomes of purchases that were published together since `begun`.
    pub(crate) fn ended_together(&self, begun: Instant, results: &[Result<Receipt>]) {
        let failed = |outcome| {
            let is =
                |result: &&Result<Receipt>| result.as_ref().is_err_and(|error| error.outcome() == outcome);
            results.iter().filter(is).count() as u64
        };
        let (not_sent, unknown) = (failed(Outcome::NotApplied), failed(Outcome::Unknown));
        let acknowledged = results.len() as u64 - not_sent - unknown;
        self.acknowledged.increment(acknowledged);
        self.in_log.iter().for_each(|counter| counter.increment(acknowledged));
        self.not_sent.increment(not_sent);
        self.unknown.increment(unknown);
        self.duration.record_many(begun.elapsed().as_secs_f64(), results.len());
        self.metrics.sampled(results.len());
    }
}

/// An attempt in progress. One that is dropped before its end has an unknown outcome.
pub(crate) struct Attempt<'a> {
    all: &'a Publishing,
    begun: Instant,
    outcome: Option<&'a Counter>,
}

impl Attempt<'_> {
    /// Records the outcome.
    pub(crate) fn ended(mut self, result: &Result<Receipt>) {
        self.outcome = Some(match result {
            Ok(_) => {
                self.all.in_log.iter().for_each(|counter| counter.increment(1));
                &self.all.acknowledged
            }
            Err(error) if error.outcome() == Outcome::NotApplied => &self.all.not_sent,
            Err(_) => &self.all.unknown,
        });
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.outcome.unwrap_or(&self.all.unknown).increment(1);
        self.all.duration.record(self.begun.elapsed().as_secs_f64());
        self.all.metrics.sampled(1);
    }
}
