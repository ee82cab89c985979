//! Maps [`KafkaLogOptions`] to librdkafka's configuration properties.
//!
//! Reference: <https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md>.

use std::time::Duration;

use rdkafka::ClientConfig;
use secrecy::ExposeSecret;

use crate::{KafkaLogOptions, SaslMechanism};

/// The maximum size of a record that the producer sends. It is above the broker's default limit: a dead letter is
/// larger than its record by some headers. The broker's limit still applies.
pub(crate) const MAX_RECORD_BYTES: usize = 8 << 20;
/// The timeout of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of connection setup. A starting broker accepts connections and does not respond; with librdkafka's
/// defaults of 10 s and 30 s the log stays unavailable long after Kafka has recovered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The maximum backoff between connection attempts. librdkafka's default of 10 s delays recovery.
const MAX_RECONNECT_BACKOFF: Duration = Duration::from_secs(1);
/// The metadata refresh interval: new partitions are detected after at most this time.
const METADATA_REFRESH: Duration = Duration::from_secs(30);
/// The number of records per partition below which more are fetched. librdkafka's limit in bytes counts payloads only, and
/// its default of 100,000 small records takes 36 MB more with 6 partitions.
const MIN_QUEUED: &str = "5000";
/// The maximum time for which a broker delays an empty fetch response. A resumed partition waits for it.
const FETCH_WAIT: Duration = Duration::from_millis(500);

/// The configuration that all clients share.
pub(crate) fn client(options: &KafkaLogOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.brokers)
        .set("client.id", "shop")
        .set("socket.timeout.ms", millis(REQUEST_TIMEOUT))
        .set("socket.connection.setup.timeout.ms", millis(CONNECT_TIMEOUT))
        .set("api.version.request.timeout.ms", millis(CONNECT_TIMEOUT))
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", millis(MAX_RECONNECT_BACKOFF))
        .set("topic.metadata.refresh.interval.ms", millis(METADATA_REFRESH))
        .set("security.protocol", protocol(options));
    if let (Some(username), Some(password)) = (&options.username, &options.password) {
        config
            .set("sasl.mechanism", options.mechanism.as_str())
            .set("sasl.username", username)
            .set("sasl.password", password.expose_secret());
    }
    if options.oauth.is_some() {
        config.set("sasl.mechanism", SaslMechanism::OauthBearer.as_str());
    }
    for (name, path) in
        [("ssl.certificate.location", &options.cert_file), ("ssl.key.location", &options.key_file)]
    {
        if let Some(path) = path {
            config.set(name, path.to_string_lossy());
        }
    }
    if options.tls {
        // `probe`: a statically linked OpenSSL does not know the system's certificate folder.
        let path = options.ca_file.as_ref().map(|path| path.to_string_lossy().into_owned());
        config.set("ssl.ca.location", path.unwrap_or_else(|| "probe".to_owned()));
    }
    config
}

/// A client that reads metadata. It never creates a topic implicitly.
pub(crate) fn observer(options: &KafkaLogOptions) -> ClientConfig {
    let mut config = client(options);
    config.set("allow.auto.create.topics", "false");
    config
}

/// The producer.
pub(crate) fn producer(options: &KafkaLogOptions) -> ClientConfig {
    let mut config = client(options);
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("compression.type", options.compression.as_str())
        .set("message.max.bytes", MAX_RECORD_BYTES.to_string())
        .set("queue.buffering.max.messages", options.producer_queue_capacity.to_string())
        .set("linger.ms", fractional_millis(options.producer_linger))
        .set("delivery.timeout.ms", millis(delivery_timeout(options)));
    config
}

/// The delivery timeout. It is shorter than the caller's, which then gets librdkafka's error with its cause.
pub(crate) fn delivery_timeout(options: &KafkaLogOptions) -> Duration {
    options.publish_timeout / 10 * 9
}

/// A consumer in `group`.
pub(crate) fn consumer(options: &KafkaLogOptions, group: &str) -> ClientConfig {
    let mut config = observer(options);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        // A rebalance revokes only the partitions that move. All members of a group must use the same strategy.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", millis(options.session_timeout))
        .set("heartbeat.interval.ms", millis(options.heartbeat_interval))
        .set("max.poll.interval.ms", millis(max_poll_interval(options)))
        .set("queued.max.messages.kbytes", (options.consumer_queue_bytes / 1024).max(1).to_string())
        .set("queued.min.messages", MIN_QUEUED)
        // The default of one second costs a third of the throughput.
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", millis(FETCH_WAIT));
    if let Some(instance_id) = &options.group_instance_id {
        config.set("group.instance.id", instance_id);
    }
    // Consumer lag is read from the statistics.
    config.set("statistics.interval.ms", millis(options.statistics_interval));
    config
}

/// The time without a poll after which the group evicts a member. With librdkafka's default of 5 minutes, the
/// partitions of a hanging member stay unread for as long. Ours stops polling only for a revocation, at most for its
/// timeout, and for a commit that then waits for a coordinator.
fn max_poll_interval(options: &KafkaLogOptions) -> Duration {
    options.session_timeout * 2 + options.revocation_timeout
}

const fn protocol(options: &KafkaLogOptions) -> &'static str {
    match (options.tls, options.username.is_some() || options.oauth.is_some()) {
        (false, false) => "plaintext",
        (false, true) => "sasl_plaintext",
        (true, false) => "ssl",
        (true, true) => "sasl_ssl",
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().max(1).to_string()
}

fn fractional_millis(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64() * 1_000.0)
}
