//! The context that all librdkafka clients share: it receives their log lines, errors and statistics.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Statistics};
use shop_core::{Error, ErrorKind};

use crate::error::from_kafka;

/// Locks, and ignores poisoning: every statement under these locks leaves the value consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Authentication and authorization errors, which librdkafka reports to the client and not to the failed call.
/// To a call, a wrong password looks like an unreachable broker.
#[derive(Debug, Default)]
pub(crate) struct Health {
    denied: Mutex<Option<Error>>,
}

impl Health {
    fn note(&self, error: &KafkaError, reason: &str) {
        let is_denied = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed)
        );
        if is_denied {
            self.set_denied(from_kafka(error.clone()).with_context("reason", reason));
        }
    }

    /// Records an authorization error. It explains all failures until a request succeeds.
    pub(crate) fn set_denied(&self, error: Error) {
        *lock(&self.denied) = Some(error);
    }

    /// A request succeeded: no error is known any more.
    pub(crate) fn clear(&self) {
        *lock(&self.denied) = None;
    }

    /// Returns the known cause of `error`, or `error` itself.
    pub(crate) fn explain(&self, error: Error) -> Error {
        // A full queue has no other cause, and is transient.
        if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Overloaded) {
            return error;
        }
        lock(&self.denied).clone().unwrap_or(error)
    }
}

/// Callback for the statistics of a client.
pub(crate) type OnStatistics = Box<dyn Fn(&Statistics) + Send + Sync>;

/// The context of a client. `own` is the state of the client's kind.
pub(crate) struct Context<T> {
    health: Arc<Health>,
    on_statistics: Option<OnStatistics>,
    pub(crate) own: T,
}

impl<T> Context<T> {
    pub(crate) fn new(health: Arc<Health>, on_statistics: Option<OnStatistics>, own: T) -> Self {
        Self { health, on_statistics, own }
    }
}

impl<T> Debug for Context<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("health", &self.health).finish_non_exhaustive()
    }
}

impl<T: Send + Sync> ClientContext for Context<T> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(kafka.facility = facility, "{message}");
            }
            // librdkafka logs failed connections as errors, and retries them.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(kafka.facility = facility, "{message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(kafka.facility = facility, "{message}");
            }
        }
    }

    fn stats(&self, statistics: Statistics) {
        let Some(observe) = &self.on_statistics else { return };
        // The observer is foreign code: its panic must not end the reader thread.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| observe(&statistics))).is_err() {
            tracing::error!("statistics observer panicked");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.note(&error, reason);
        tracing::debug!(%error, reason, "kafka client error");
    }
}
