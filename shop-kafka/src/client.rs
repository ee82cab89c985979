//! What all librdkafka clients share: the context, which receives their log lines, errors and statistics, and threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::{Client, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{ClientContext, Statistics};
use secrecy::ExposeSecret as _;
use shop_core::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use crate::OauthTokenProvider;
use crate::batch_limit::BatchLimit;
use crate::error::{from_kafka, kafka_error};

/// Locks, and ignores poisoning: every statement under these locks leaves the value consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Authentication and authorization errors, which librdkafka reports to the client and not to the failed call.
/// To a call, a wrong password looks like an unreachable broker.
#[derive(Debug, Default)]
pub(crate) struct ClientHealth {
    denied: Mutex<Option<Error>>,
    /// The id of each topic, which a topic that is created again does not have, and how often one has changed.
    topic_ids: Mutex<BTreeMap<String, Arc<str>>>,
    topic_changes: AtomicU64,
    /// What the clients authenticate with, if that is not in their configuration.
    oauth: Option<Arc<dyn OauthTokenProvider>>,
    /// The topics' settings that are known, as far as the producer depends on them.
    pub(crate) batch_limit: BatchLimit,
    /// Whether a record was not acknowledged since the topics were checked.
    pub(crate) has_failed: AtomicBool,
}

/// librdkafka's error for a token that the provider did not return, with the provider's error in the reason.
const NO_TOKEN: &str = "Failed to acquire SASL OAUTHBEARER token";

impl ClientHealth {
    pub(crate) fn new(oauth: Option<Arc<dyn OauthTokenProvider>>) -> Self {
        Self {
            oauth,
            ..Self::default()
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

    /// Keeps the id of a topic that a debug line of librdkafka states: 'Topic purchases changed id from … to …'. A client
    /// writes it before it reads from the topic of that id. No safe call returns the id.
    fn note_topic_id(&self, line: &str) -> Option<()> {
        let (topic, ids) = line
            .split_once("Topic ")?
            .1
            .split_once(" changed id from ")?;
        // All zeros is the id of a broker that has none.
        let id = ids.split_once(" to ")?.1.trim_end();
        if id.starts_with("AAAAAAAAAAAA") {
            return None;
        }
        let before = lock(&self.topic_ids).insert(topic.to_owned(), id.into());
        if before.is_some_and(|before| *before != *id) {
            tracing::warn!(log.topic = topic, "the topic was deleted and created again");
            self.topic_changes.fetch_add(1, Ordering::AcqRel);
        }
        Some(())
    }

    /// The id of a topic, if the brokers have stated it.
    pub(crate) fn topic_id(&self, topic: &str) -> Option<Arc<str>> {
        lock(&self.topic_ids).get(topic).cloned()
    }

    /// How often a topic was replaced by another one of its name.
    pub(crate) fn topic_changes(&self) -> u64 {
        self.topic_changes.load(Ordering::Acquire)
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

/// The state of a kind of client.
pub(crate) trait StatisticsHandler: Send + Sync {
    /// Handles the statistics that librdkafka emits periodically while the client is polled.
    fn update_statistics(&self, _statistics: &Statistics) {}
}

impl StatisticsHandler for () {}

/// The context of a client. `client_state` is the state of the client's kind, such as a group member.
pub(crate) struct Context<T = ()> {
    health: Arc<ClientHealth>,
    /// Whether the client has requested its first token.
    token_requested: AtomicBool,
    pub(crate) client_state: T,
}

impl<T> Context<T> {
    pub(crate) fn new(health: Arc<ClientHealth>, client_state: T) -> Self {
        Self {
            health,
            token_requested: AtomicBool::new(false),
            client_state,
        }
    }
}

/// Whether a position, whose commit has this metadata, is one of an earlier topic than that of `id`. Other clients commit
/// without an id.
pub(crate) fn is_of_other_topic(metadata: &str, id: Option<&Arc<str>>) -> bool {
    !metadata.is_empty() && id.is_some_and(|id| **id != *metadata)
}

/// A client for metadata and scans, which joins no group.
pub(crate) type StandaloneConsumer = BaseConsumer<Context>;

impl ConsumerContext for Context {}

/// The maximum number of lines that a client is made to deliver at a time: it keeps them until it is polled.
const MAX_LINES: usize = 1_000;

/// Delivers the log lines and errors of a client that has no partitions, and so no record.
pub(crate) fn deliver_events(consumer: &StandaloneConsumer) {
    (0..MAX_LINES).for_each(|_| drop(consumer.poll(Duration::ZERO)));
}

/// How long a new client is polled for its request for a token.
const TOKEN_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Gives a new consumer its token, if it needs one. A client requests a token when it is polled, and other calls wait
/// for it.
pub(crate) fn authenticate(consumer: &StandaloneConsumer) {
    let context = Arc::clone(consumer.context());
    let deadline = Instant::now() + TOKEN_REQUEST_TIMEOUT;
    while context.health.oauth.is_some()
        && !context.token_requested.load(Ordering::Acquire)
        && Instant::now() < deadline
    {
        // Without an assignment there is no record to return.
        drop(consumer.poll(Duration::from_millis(20)));
    }
}

impl<T: StatisticsHandler> ClientContext for Context<T> {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.token_requested.store(true, Ordering::Release);
        let provider = self
            .health
            .oauth
            .as_ref()
            .ok_or("there is no provider of tokens")?;
        // Foreign code, whose panic must not end a thread of a client.
        let token = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| provider.token()));
        match token.map_err(|_panic| "the provider of tokens panicked")? {
            Ok(token) => Ok(OAuthToken {
                token: token.token.expose_secret().to_owned(),
                principal_name: token.principal,
                lifetime_ms: token.expires_at.as_millis(),
            }),
            Err(error) => {
                tracing::warn!(error = %error.chain(), "no token for Kafka");
                self.health.set_denied(error.clone());
                Err(error.into())
            }
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "METADATA" {
            let _other_line = self.health.note_topic_id(message);
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(kafka.facility = facility, "{message}");
            }
            // A property of producers at a consumer, or the reverse.
            RDKafkaLogLevel::Warning if message.contains("will be ignored by this") => {}
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
        self.client_state.update_statistics(&statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client error");
        let is_denied = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed)
        );
        // The provider's own error is known, and may be transient.
        if is_denied && !reason.contains(NO_TOKEN) {
            let denied = from_kafka(error).with_context("reason", reason);
            self.health.set_denied(denied);
        }
    }
}

/// Runs `run` in a new thread. Returns a token that is cancelled when the thread ends.
pub(crate) fn start_thread(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let guard = token.clone().drop_guard();
    let run = move || {
        // Dropped when the thread ends, even by a panic.
        let _guard = guard;
        run();
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| {
            kafka_error(ErrorKind::Unavailable, "failed to start a thread").with_source(error)
        })?;
    Ok(token)
}

/// Runs `call` on a thread for blocking work. The error of one that has panicked names it as `what`.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &str,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(call)
        .await
        .unwrap_or_else(|error| {
            Err(kafka_error(ErrorKind::Internal, format!("{what} aborted")).with_source(error))
        })
}

/// Runs `close`, which owns a client and drops it, in a new thread: closing a client blocks.
pub(crate) fn close_in_background(close: impl FnOnce() + Send + 'static) {
    if let Err(error) = start_thread("shop-kafka-end", close) {
        // The closure was dropped, and the client with it: it was closed here, and has blocked the caller.
        tracing::warn!(error = %error.chain(), "failed to start a thread to close a kafka client");
    }
}

/// Returns the partitions of a topic. Blocks.
pub(crate) fn partitions<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Vec<i32>> {
    let metadata = client
        .fetch_metadata(Some(topic), timeout)
        .map_err(from_kafka)?;
    Ok(metadata
        .topics()
        .iter()
        .flat_map(MetadataTopic::partitions)
        .map(MetadataPartition::id)
        .collect())
}
