//! The parts that all clients of librdkafka share: their context and health, and helpers for
//! threads.
//!
//! librdkafka calls the [`Context`] of a client with log lines, errors, statistics and requests for
//! tokens, while the client is polled. All contexts of a log write to one [`ClientHealth`], which
//! explains the errors of calls and knows the ids of topics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::{Client, OAuthToken};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{ClientConfig, ClientContext, Statistics};
use secrecy::ExposeSecret as _;
use shop_core::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use crate::OauthTokenProvider;
use crate::batch_limit::BatchLimit;
use crate::error::{from_kafka, kafka_error};

/// Locks `mutex`, and ignores poisoning: every statement under such a lock leaves the value
/// consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state that all clients of a log share, which librdkafka reports to a client and not to the
/// call that failed.
///
/// The most important part is the last authentication or authorization error. A call with a wrong
/// password fails as if no broker could be reached. So [`explain`](Self::explain) replaces the
/// error of the call by the recorded one.
#[derive(Debug, Default)]
pub(crate) struct ClientHealth {
    /// The authentication or authorization error since the last successful request.
    denied: Mutex<Option<Error>>,
    /// The id of each topic by name. A topic that is deleted and created again gets another id.
    topic_ids: Mutex<BTreeMap<String, Arc<str>>>,
    /// The number of times that the id of a topic changed.
    topic_changes: AtomicU64,
    /// The provider of the tokens with which the clients authenticate, if OAUTHBEARER is used.
    oauth: Option<Arc<dyn OauthTokenProvider>>,
    /// The size limits of the topics, which the batches of the producer must not exceed.
    pub(crate) batch_limit: BatchLimit,
    /// Whether a record was not acknowledged since the last check of the topics. The monitor then
    /// checks them at once.
    pub(crate) has_failed_delivery: AtomicBool,
}

/// librdkafka's reason for an error if the provider did not return a token. The error of the
/// provider follows it.
const NO_TOKEN: &str = "Failed to acquire SASL OAUTHBEARER token";

impl ClientHealth {
    pub(crate) fn new(oauth: Option<Arc<dyn OauthTokenProvider>>) -> Self {
        Self {
            oauth,
            ..Self::default()
        }
    }

    /// Records an authentication or authorization error as the cause of all failures until a
    /// request succeeds.
    pub(crate) fn set_denied(&self, error: Error) {
        *lock(&self.denied) = Some(error);
    }

    /// Forgets the recorded error, because a request succeeded.
    pub(crate) fn clear_denied(&self) {
        *lock(&self.denied) = None;
    }

    /// Records the id of a topic from a debug line of librdkafka. Ignores all other lines.
    ///
    /// A client writes this line before it reads from the topic with the new id. No safe call
    /// returns the id.
    fn record_topic_id(&self, line: &str) {
        let Some((topic, id)) = parse_topic_id(line) else {
            return;
        };
        let previous_id = lock(&self.topic_ids).insert(topic.to_owned(), id.into());
        if previous_id.is_some_and(|previous_id| *previous_id != *id) {
            tracing::warn!(log.topic = topic, "the topic was deleted and created again");
            self.topic_changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Returns the id of a topic, if a broker reported it.
    pub(crate) fn topic_id(&self, topic: &str) -> Option<Arc<str>> {
        lock(&self.topic_ids).get(topic).cloned()
    }

    /// Returns the number of times that a topic was replaced by another one of the same name.
    pub(crate) fn topic_changes(&self) -> u64 {
        self.topic_changes.load(Ordering::Acquire)
    }

    /// Returns the recorded authentication or authorization error in place of `error`, or `error`
    /// itself if none is recorded.
    pub(crate) fn explain(&self, error: Error) -> Error {
        // An error about authorization needs no explanation. A full queue (`Overloaded`) has no
        // other cause, and is transient.
        if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Overloaded) {
            return error;
        }
        lock(&self.denied).clone().unwrap_or(error)
    }
}

/// Parses a debug line of librdkafka: 'Topic purchases changed id from … to …'. Returns the name of
/// the topic and the new id, or `None` for any other line.
fn parse_topic_id(line: &str) -> Option<(&str, &str)> {
    let (_, change) = line.split_once("Topic ")?;
    let (topic, ids) = change.split_once(" changed id from ")?;
    let (_, new_id) = ids.split_once(" to ")?;
    let id = new_id.trim_end();
    // An id of zeros, which is `A…` in base 64, comes from a broker that does not support ids.
    if id.starts_with("AAAAAAAAAAAA") {
        return None;
    }
    Some((topic, id))
}

/// The state that only one kind of client has, which receives the statistics of librdkafka.
///
/// The state of a group's consumer is the member of the group. Other clients have the state `()`.
pub(crate) trait StatisticsHandler: Send + Sync {
    /// Handles the statistics that librdkafka emits periodically while the client is polled.
    fn update_statistics(&self, _statistics: &Statistics) {}
}

impl StatisticsHandler for () {}

/// The context of a client, which receives the log lines, errors, statistics and token requests of
/// librdkafka.
pub(crate) struct Context<T = ()> {
    health: Arc<ClientHealth>,
    /// Whether the client requested its first token.
    token_requested: AtomicBool,
    /// The state that only this kind of client has, see [`StatisticsHandler`].
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

/// Creates a client of librdkafka, such as a consumer or a producer, with `config`. The client gets
/// its own [`Context`], which reports to `health` and contains `client_state`.
///
/// # Errors
/// If librdkafka rejects the configuration.
pub(crate) fn create_client<T: StatisticsHandler, C: FromClientConfigAndContext<Context<T>>>(
    config: &ClientConfig,
    health: &Arc<ClientHealth>,
    client_state: T,
) -> Result<C> {
    let context = Context::new(Arc::clone(health), client_state);
    config.create_with_context(context).map_err(from_kafka)
}

/// Returns whether a committed position belongs to an earlier topic of the same name, and not to
/// the topic with `id`.
///
/// `metadata` is the metadata of the commit, which contains the id of its topic. Commits of other
/// programs have no metadata, and count as positions in the present topic.
pub(crate) fn is_of_other_topic(metadata: &str, id: Option<&Arc<str>>) -> bool {
    !metadata.is_empty() && id.is_some_and(|id| **id != *metadata)
}

/// A client for metadata and scans, which joins no group.
pub(crate) type StandaloneConsumer = BaseConsumer<Context>;

impl ConsumerContext for Context {}

/// The maximum number of events that a client delivers at a time. The client keeps the other events
/// until it is polled again.
const MAX_EVENTS: usize = 1_000;

/// Delivers the queued log lines and errors of a client. The client must not be assigned any
/// partition, because its records would be lost.
pub(crate) fn deliver_events(consumer: &StandaloneConsumer) {
    for _ in 0..MAX_EVENTS {
        drop(consumer.poll(Duration::ZERO));
    }
}

/// How long a new client is polled for its request for a token.
const TOKEN_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Polls a new consumer until it requests its token, if it authenticates with tokens. Blocks.
///
/// A client requests a token only when it is polled, and its other calls wait for the token.
pub(crate) fn authenticate(consumer: &StandaloneConsumer) {
    let context = Arc::clone(consumer.context());
    let deadline = Instant::now() + TOKEN_REQUEST_TIMEOUT;
    while context.health.oauth.is_some()
        && !context.token_requested.load(Ordering::Acquire)
        && Instant::now() < deadline
    {
        // Without an assignment, the poll returns no record.
        drop(consumer.poll(Duration::from_millis(20)));
    }
}

impl<T: StatisticsHandler> ClientContext for Context<T> {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(
        &self,
        _oauth_config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.token_requested.store(true, Ordering::Release);
        let provider = self
            .health
            .oauth
            .as_ref()
            .ok_or("there is no provider of tokens")?;
        // The provider is code of the embedder. Its panic must not end a thread of the client.
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

    /// Forwards a line of librdkafka's diagnostic log, and learns the ids of topics from such lines.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // librdkafka has no safe call for the id of a topic, and states the id in its debug lines
        // about metadata only.
        if facility == "METADATA" {
            self.health.record_topic_id(message);
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(kafka.facility = facility, "{message}");
            }
            // A property of producers was set for a consumer, or the reverse.
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
        // If the provider returned no token, its own error is recorded already. That error may be
        // transient, while this one is not.
        if is_denied && !reason.contains(NO_TOKEN) {
            let denied = from_kafka(error).with_context("reason", reason);
            self.health.set_denied(denied);
        }
    }
}

/// Runs `run` in a new thread named `name`, and returns a token that is cancelled when the thread
/// ends.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) if the system starts no thread.
pub(crate) fn start_thread(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let guard = token.clone().drop_guard();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // The guard cancels the token when it is dropped, even after a panic.
            let _guard = guard;
            run();
        })
        .map_err(|error| {
            kafka_error(ErrorKind::Unavailable, "failed to start a thread").with_source(error)
        })?;
    Ok(token)
}

/// Runs `call` on a thread for blocking work, and returns its result.
///
/// # Errors
/// - [`Internal`](ErrorKind::Internal), with `name` as the name of the call, if `call` panicked
/// - otherwise, the error of `call`
pub(crate) async fn blocking<T: Send + 'static>(
    name: &str,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(call)
        .await
        .unwrap_or_else(|error| {
            Err(kafka_error(ErrorKind::Internal, format!("{name} aborted")).with_source(error))
        })
}

/// Runs `close` in a new thread. `close` owns a client and drops the client, which blocks until the
/// client is closed.
pub(crate) fn close_in_background(close: impl FnOnce() + Send + 'static) {
    if let Err(error) = start_thread("shop-kafka-end", close) {
        // Without a thread, `close` was dropped here together with the client, so the client was
        // closed on this thread.
        tracing::warn!(error = %error.chain(), "failed to start a thread to close a kafka client");
    }
}

/// Requests the indexes of the partitions of a topic. Blocks.
pub(crate) fn fetch_partitions<C: ClientContext>(
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
