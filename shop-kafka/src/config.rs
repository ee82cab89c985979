//! From our options to librdkafka's properties.
//!
//! Their names and meaning: <https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md>.

use std::time::Duration;

use rdkafka::ClientConfig;
use secrecy::ExposeSecret;

use crate::{AssignmentStrategy, KafkaLogOptions};

/// The largest record that the producer hands to a broker. The broker's own limit decides; this one is above it,
/// so that a dead letter fits that is larger than its record by some headers.
pub(crate) const MAX_RECORD_BYTES: usize = 8 << 20;
/// A request that is not answered by then is given up.
const REQUEST: Duration = Duration::from_secs(10);
/// A broker that takes a connection and says nothing, as one does that is just starting, is tried anew after this;
/// librdkafka's own 10 s and 30 s keep a log away for long after Kafka is back.
const CONNECT: Duration = Duration::from_secs(3);
/// The longest pause between two attempts to connect; librdkafka's own 10 s keep a log away for long after
/// Kafka is back.
const RECONNECT: Duration = Duration::from_secs(1);
/// How often new partitions are looked for.
const METADATA: Duration = Duration::from_secs(30);
/// How long a broker may hold back an empty answer. A partition that is resumed waits for it.
const FETCH_WAIT: Duration = Duration::from_millis(100);

/// What all clients have in common.
pub(crate) fn client(options: &KafkaLogOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.brokers)
        .set("client.id", "shop")
        .set("socket.timeout.ms", millis(REQUEST))
        .set("socket.connection.setup.timeout.ms", millis(CONNECT))
        .set("api.version.request.timeout.ms", millis(CONNECT))
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", millis(RECONNECT))
        .set("topic.metadata.refresh.interval.ms", millis(METADATA))
        .set("security.protocol", protocol(options));
    if let (Some(username), Some(password)) = (&options.username, &options.password) {
        config
            .set("sasl.mechanism", options.mechanism.as_str())
            .set("sasl.username", username)
            .set("sasl.password", password.expose_secret());
    }
    if options.tls {
        // `probe`: an OpenSSL that was built along does not know where the system keeps its certificates.
        let path = options.ca_file.as_ref().map(|path| path.to_string_lossy().into_owned());
        config.set("ssl.ca.location", path.unwrap_or_else(|| "probe".to_owned()));
    }
    config
}

/// A client that asks about topics and never creates one by asking.
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
    if options.statistics.is_some() {
        config.set(STATISTICS, millis(options.statistics_interval));
    }
    config
}

/// librdkafka gives a record up before its caller does, so that the caller is told why.
pub(crate) fn delivery_timeout(options: &KafkaLogOptions) -> Duration {
    options.publish_timeout / 10 * 9
}

/// A member of `group`.
pub(crate) fn consumer(options: &KafkaLogOptions, group: &str) -> ClientConfig {
    let mut config = observer(options);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", strategy(options.assignment))
        .set("session.timeout.ms", millis(options.session_timeout))
        .set("heartbeat.interval.ms", millis(options.heartbeat_interval))
        .set("max.poll.interval.ms", millis(longest_silence(options)))
        .set("queued.max.messages.kbytes", (options.consumer_queue_bytes / 1024).max(1).to_string())
        // The default of one second costs a third of the throughput.
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", millis(FETCH_WAIT));
    if let Some(instance_id) = &options.group_instance_id {
        config.set("group.instance.id", instance_id);
    }
    // The lag is learnt from them.
    config.set(STATISTICS, millis(options.statistics_interval));
    config
}

const STATISTICS: &str = "statistics.interval.ms";

/// A member that does not poll for as long is taken to hang, and a rebalance waits for it no longer; librdkafka's own
/// 5 minutes are how long nobody reads its partitions. Only a grace, followed by a commit that waits for a coordinator,
/// keeps ours from polling.
fn longest_silence(options: &KafkaLogOptions) -> Duration {
    options.session_timeout * 2 + options.revocation_timeout
}

const fn protocol(options: &KafkaLogOptions) -> &'static str {
    match (options.tls, options.username.is_some()) {
        (false, false) => "plaintext",
        (false, true) => "sasl_plaintext",
        (true, false) => "ssl",
        (true, true) => "sasl_ssl",
    }
}

const fn strategy(assignment: AssignmentStrategy) -> &'static str {
    match assignment {
        AssignmentStrategy::CooperativeSticky => "cooperative-sticky",
        AssignmentStrategy::Eager => "range,roundrobin",
    }
}

fn millis(time: Duration) -> String {
    time.as_millis().max(1).to_string()
}

fn fractional_millis(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1_000.0)
}
