//! Maps [`KafkaLogOptions`] to librdkafka's configuration properties.
//!
//! `client` sets the properties that all clients share. Each other function is for one kind of
//! client, and builds on the function to its left:
//!
//! ```text
//! client ─┬─▶ metadata_client ──▶ reader ──▶ consumer
//!         └─▶ producer
//! ```
//!
//! librdkafka documents the properties in
//! <https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md>.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::types::RDKafkaType::{RD_KAFKA_CONSUMER, RD_KAFKA_PRODUCER};
use secrecy::ExposeSecret;
use shop_core::{ErrorKind, Result};

use crate::KafkaLogOptions;
use crate::batch_limit::DEFAULT_BATCH_BYTES;
use crate::client::{ClientHealth, Context};
use crate::error::{from_kafka, kafka_error};

/// The properties that must not be set. Each line contains names and the reason. A name that ends
/// with a dot is a prefix.
const REFUSED: &str = "\
bootstrap.servers metadata.broker.list: use SHOP_KAFKA_BOOTSTRAP_SERVERS
client.id group.id group.instance.id: use SHOP_KAFKA_CLIENT_ID, SHOP_PURCHASES_GROUP_ID or SHOP_KAFKA_INSTANCE_ID
security.protocol sasl. enable.sasl.oauthbearer.unsecure.jwt: use SHOP_KAFKA_TLS, SHOP_KAFKA_SASL_MECHANISM and the settings of the login
ssl.ca. ssl.certificate. ssl.key.location ssl.key.pem ssl.keystore. ssl.engine. ssl_ca ssl_certificate ssl_key: use SHOP_KAFKA_CA_FILE, SHOP_KAFKA_CERT_FILE and SHOP_KAFKA_KEY_FILE
enable.ssl.certificate.verification ssl.endpoint.identification.algorithm: any server could pose as a broker
acks request.required.acks enable.idempotence transactional.id test.: an acknowledged record could be lost, or be written twice
partitioner: the records of a user could be out of order
delivery.timeout.ms message.timeout.ms delivery.report.only.error: a publish could end without its outcome
enable.auto.commit auto.commit.enable enable.auto.offset.store offset.store.method: an offset could be committed before its record is stored
auto.offset.reset isolation.level topic.blacklist: records could be skipped, or those of aborted transactions stored
partition.assignment.strategy group.protocol: all members of a group must have the same
allow.auto.create.topics enable.partition.eof enabled_events statistics.interval.ms: the log depends on its value
plugin.: it would run other code
compression.type compression.codec: use SHOP_KAFKA_COMPRESSION
queue.buffering.max.ms max.partition.fetch.bytes: use linger.ms or fetch.message.max.bytes
";

/// The maximum size of a record that the producer sends. It is above the default limit of a broker,
/// because a dead letter is larger than its record by some headers. The limit of the broker still
/// applies. The limit is 8 MiB.
pub(crate) const MAX_RECORD_BYTES: &str = "8388608";
/// The timeout of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of connection setup.
///
/// A starting broker accepts connections and does not respond. With librdkafka's defaults of 10 s
/// and 30 s, the log would stay unavailable long after Kafka recovered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The maximum backoff between connection attempts. librdkafka's default of 10 s delays recovery.
const MAX_RECONNECT_BACKOFF: Duration = Duration::from_secs(1);
/// The interval of metadata requests. New partitions are detected after at most this time.
const METADATA_REFRESH: Duration = Duration::from_secs(30);
/// The number of queued records of a partition below which the client fetches more.
///
/// librdkafka's limit in bytes counts payloads only. With its default of 100,000, small records
/// take 36 MB more with 6 partitions.
const MIN_QUEUED: &str = "5000";
/// The maximum time for which a broker delays an empty fetch response. A partition that is resumed
/// waits for this response.
const FETCH_WAIT: Duration = Duration::from_millis(500);

/// Returns the configuration that all clients share: brokers, timeouts, encryption and login.
pub(crate) fn client(options: &KafkaLogOptions) -> ClientConfig {
    let has_login = options.username.is_some() || options.oauth.is_some();
    let protocol = match (has_login, options.tls) {
        (false, false) => "plaintext",
        (false, true) => "ssl",
        (true, false) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };

    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.brokers)
        .set("client.id", &options.client_id)
        .set("socket.timeout.ms", millis(REQUEST_TIMEOUT))
        .set(
            "socket.connection.setup.timeout.ms",
            millis(CONNECT_TIMEOUT),
        )
        .set("api.version.request.timeout.ms", millis(CONNECT_TIMEOUT))
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", millis(MAX_RECONNECT_BACKOFF))
        .set(
            "topic.metadata.refresh.interval.ms",
            millis(METADATA_REFRESH),
        )
        .set("security.protocol", protocol);

    if has_login {
        config.set("sasl.mechanism", options.mechanism.as_str());
    }
    if let Some(username) = &options.username {
        config.set("sasl.username", username);
    }
    if let Some(password) = &options.password {
        config.set("sasl.password", password.expose_secret());
    }

    if let Some(file) = &options.cert_file {
        config.set("ssl.certificate.location", file.to_string_lossy());
    }
    if let Some(file) = &options.key_file {
        config.set("ssl.key.location", file.to_string_lossy());
    }
    if options.tls {
        let authorities = match &options.ca_file {
            Some(file) => file.to_string_lossy(),
            // A statically linked OpenSSL does not know the system's certificate folder. With
            // `probe`, librdkafka looks for the folder.
            None => "probe".into(),
        };
        config.set("ssl.ca.location", authorities);
    }
    config
}

/// Returns the configuration of a client that reads metadata, and that never creates a topic
/// implicitly.
pub(crate) fn metadata_client(options: &KafkaLogOptions) -> ClientConfig {
    let mut config = client(options);
    config.set("allow.auto.create.topics", "false");
    with_topic_ids(with_properties(config, options))
}

/// Returns the configuration of a producer, whose batches contain at most `batch_bytes`.
pub(crate) fn producer(options: &KafkaLogOptions, batch_bytes: usize) -> ClientConfig {
    let mut config = client(options);
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("compression.type", options.compression.as_str())
        .set("message.max.bytes", MAX_RECORD_BYTES)
        .set(
            "queue.buffering.max.messages",
            options.producer_queue_capacity.to_string(),
        )
        .set(
            "linger.ms",
            format!("{:.3}", options.producer_linger.as_secs_f64() * 1_000.0),
        )
        .set("delivery.timeout.ms", millis(delivery_timeout(options)));

    let mut config = with_properties(config, options);
    // A property may make batches smaller, but not larger than the topics accept. A size that is no
    // number is replaced, too.
    let configured_size = config.get("batch.size").and_then(|size| size.parse().ok());
    if configured_size.is_none_or(|size: usize| size > batch_bytes) {
        config.set("batch.size", batch_bytes.to_string());
    }
    config
}

/// Returns the time after which librdkafka fails the delivery of a record.
///
/// The result is nine tenths of the caller's timeout, so that the caller gets librdkafka's error
/// with its cause.
pub(crate) fn delivery_timeout(options: &KafkaLogOptions) -> Duration {
    options.publish_timeout / 10 * 9
}

/// Returns the configuration of a client that reads records and commits no offsets by itself.
///
/// librdkafka requires the id of a group to assign partitions, even if the client does not join the
/// group.
pub(crate) fn reader(options: &KafkaLogOptions, group: &str) -> ClientConfig {
    let mut config = metadata_client(options);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // If records are deleted while the client reads, it continues at the first remaining
        // record.
        .set("auto.offset.reset", "earliest")
        .set(
            "queued.max.messages.kbytes",
            (options.consumer_queue_bytes / 1024).max(1).to_string(),
        )
        // The pause before more records are fetched after the queue was full. The default of one
        // second costs a third of the throughput.
        .set("fetch.queue.backoff.ms", "5");
    config
}

/// Returns the configuration of a consumer that joins `group`.
pub(crate) fn consumer(options: &KafkaLogOptions, group: &str) -> ClientConfig {
    let mut config = reader(options, group);
    config
        // With this strategy, a rebalance revokes only the partitions that move. All members of a
        // group must use the same strategy.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", millis(options.session_timeout))
        .set("heartbeat.interval.ms", millis(options.heartbeat_interval))
        // The time without a poll after which the group evicts a member. With librdkafka's default
        // of 5 minutes, the partitions of a hanging member would stay unread for as long. A member
        // of this crate stops polling only during a revocation, at most for its timeout, and during
        // a commit that waits for a coordinator after it.
        .set(
            "max.poll.interval.ms",
            millis(options.session_timeout * 2 + options.revocation_timeout),
        )
        .set("queued.min.messages", MIN_QUEUED)
        .set("fetch.wait.max.ms", millis(FETCH_WAIT))
        // At the end of a partition, the position moves over the markers of transactions.
        .set("enable.partition.eof", "true");
    if let Some(instance_id) = &options.group_instance_id {
        config.set("group.instance.id", instance_id);
    }
    // Consumer lag is read from the statistics.
    config.set(
        "statistics.interval.ms",
        millis(options.statistics_interval),
    );
    with_topic_ids(with_properties(config, options))
}

/// Adds the properties of the options, which take precedence over `config`.
fn with_properties(mut config: ClientConfig, options: &KafkaLogOptions) -> ClientConfig {
    for (name, value) in &options.properties {
        config.set(name, value.expose_secret());
    }
    config
}

/// Adds the debug lines from which the ids of topics are read, see [`ClientHealth::topic_id`].
fn with_topic_ids(mut config: ClientConfig) -> ClientConfig {
    let debug_contexts = match config.get("debug") {
        Some(contexts) => format!("{contexts},topic"),
        None => "topic".to_owned(),
    };
    config
        .set("debug", debug_contexts)
        .set_log_level(RDKafkaLogLevel::Debug);
    config
}

/// Checks the properties of the options against [`REFUSED`], and with librdkafka.
///
/// librdkafka checks properties only when a client is created. So this function creates a producer
/// and a consumer, and drops them.
///
/// # Errors
/// - [`Invalid`](ErrorKind::Invalid) with all refused properties and the reasons
/// - the error of librdkafka for a property that is unknown or whose value is wrong
pub(crate) fn check_properties(options: &KafkaLogOptions) -> Result<()> {
    let refusals: Vec<_> = options
        .properties
        .keys()
        .filter_map(|name| refusal(name, options.tls))
        .collect();
    if !refusals.is_empty() {
        let message = format!("properties that cannot be set: {}", refusals.join("; "));
        return Err(kafka_error(ErrorKind::Invalid, message));
    }
    if options.properties.is_empty() {
        return Ok(());
    }

    let clients = [
        (producer(options, DEFAULT_BATCH_BYTES), RD_KAFKA_PRODUCER),
        (consumer(options, "check"), RD_KAFKA_CONSUMER),
    ];
    for (mut config, client_type) in clients {
        // Without brokers, the client connects to nothing. Level 0 suppresses its log lines.
        config.remove("bootstrap.servers").set("log_level", "0");
        let context = Context::new(Arc::new(ClientHealth::new(options.oauth.clone())), ());
        let client = config
            .create_native_config()
            .and_then(|native| Client::new(&config, native, client_type, context));
        drop(client.map_err(from_kafka)?);
    }
    Ok(())
}

/// Returns the `name` of a property with the reason why the property must not be set, or `None` if
/// it may be set.
fn refusal(name: &str, uses_tls: bool) -> Option<String> {
    for line in REFUSED.lines() {
        // Every line of the constant has a colon.
        let Some((listed_names, reason)) = line.split_once(": ") else {
            continue;
        };
        for listed_name in listed_names.split(' ') {
            let is_prefix = listed_name.ends_with('.');
            if name == listed_name || is_prefix && name.starts_with(listed_name) {
                return Some(format!("{name} ({reason})"));
            }
        }
    }
    if name.starts_with("ssl.") && !uses_tls {
        return Some(format!("{name} (it has no effect without TLS)"));
    }
    None
}

/// Formats a duration as a number of milliseconds, at least one.
fn millis(duration: Duration) -> String {
    duration.as_millis().max(1).to_string()
}
