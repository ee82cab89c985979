//! What every client of librdkafka is listened to for: log lines, errors, statistics.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Statistics};
use shop_core::{Error, ErrorKind};

use crate::error::from_kafka;

/// Locks, whoever has panicked with the lock held: all that we keep is whole after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the clients have heard that a call's own error does not say: a wrong password looks like a broker that
/// does not answer.
#[derive(Debug, Default)]
pub(crate) struct Health {
    denied: Mutex<Option<Error>>,
}

impl Health {
    fn note(&self, error: &KafkaError, reason: &str) {
        let refused = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed)
        );
        if refused {
            self.deny(from_kafka(error.clone()).with_context("said", reason));
        }
    }

    /// A right is missing: what fails until something works, fails for that.
    pub(crate) fn deny(&self, error: Error) {
        *lock(&self.denied) = Some(error);
    }

    /// A request was answered.
    pub(crate) fn works(&self) {
        *lock(&self.denied) = None;
    }

    /// `error`, or what is known to be behind it.
    pub(crate) fn explain(&self, error: Error) -> Error {
        // A full queue is full whatever is behind it, and passes.
        if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Overloaded) {
            return error;
        }
        lock(&self.denied).clone().unwrap_or(error)
    }
}

/// Who is told the statistics of a client.
pub(crate) type OnStatistics = Box<dyn Fn(&Statistics) + Send + Sync>;

/// The context of a client, with what only its kind needs.
pub(crate) struct Context<T> {
    health: Arc<Health>,
    on_statistics: Option<OnStatistics>,
    pub(crate) own: T,
}

impl<T> Context<T> {
    pub(crate) fn new(health: Arc<Health>, tell: Option<OnStatistics>, own: T) -> Self {
        Self { health, on_statistics: tell, own }
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
            // Connections that do not come about are errors to librdkafka; it goes on trying.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(kafka.facility = facility, "{message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(kafka.facility = facility, "{message}");
            }
        }
    }

    fn stats(&self, statistics: Statistics) {
        let Some(tell) = &self.on_statistics else { return };
        // Whoever is told may be anybody: a panic there must not end the thread that reads.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tell(&statistics))).is_err() {
            tracing::error!("the observer of the statistics has panicked");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.note(&error, reason);
        tracing::debug!(%error, reason, "a client of kafka has met an error");
    }
}
