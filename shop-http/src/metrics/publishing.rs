//! Attempts to publish.

use metrics::{Counter, Histogram};
use shop_core::ports::Receipt;
use shop_core::{Outcome, Result};
use tokio::time::Instant;

use super::names;
use super::registry::Metrics;
use crate::service_kind::ServiceKind;

/// What becomes of attempts to publish.
#[derive(Debug)]
pub(crate) struct Publishing {
    metrics: Metrics,
    acknowledged: Counter,
    not_sent: Counter,
    unknown: Counter,
    duration: Histogram,
    /// Those that the log has acknowledged, where it is the log that is published to.
    in_log: Option<Counter>,
}

impl Publishing {
    /// Those of a service of this role, none so far.
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

    /// An attempt begins.
    pub(crate) fn begin(&self) -> Attempt<'_> {
        Attempt { all: self, begun: Instant::now(), outcome: None }
    }
}

/// An attempt on its way. One that is dropped before its end may have been taken.
pub(crate) struct Attempt<'a> {
    all: &'a Publishing,
    begun: Instant,
    outcome: Option<&'a Counter>,
}

impl Attempt<'_> {
    /// It has come to this end.
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
