//! Every name, once, with what Prometheus is told of it. Those without `shop_` are names that dashboards and
//! autoscalers of the replaced systems ask for: what they mean stays.

/// One metric.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    /// With the upper ends of its buckets, at least one.
    Histogram(&'static [f64]),
}

const fn counter(name: &'static str, help: &'static str) -> Name {
    Name { name, kind: Kind::Counter, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Name {
    Name { name, kind: Kind::Gauge, help }
}

const fn histogram(name: &'static str, buckets: &'static [f64], help: &'static str) -> Name {
    Name { name, kind: Kind::Histogram(buckets), help }
}

/// All that `prom-client` was given in user-buy-list, and the defaults of Python's client in purchase-tracking.
const SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// From a commit on a fast disk to the deadline of a publish.
const PUBLISH_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// From a pipeline that has nothing else to do to an outage of a day.
const FRESHNESS_SECONDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0,
    86_400.0,
];
const RECORDS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0];
/// Powers of four, from 1 KiB to 4 MiB.
const BYTES: &[f64] = &[1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0];

/// Declares names, and the list of them all.
macro_rules! names {
    ($($constant:ident = $name:expr;)+) => {
        $(pub(super) const $constant: Name = $name;)+
        pub(super) const ALL: &[Name] = &[$($constant),+];
    };
}

names! {
    HTTP_REQUESTS = counter("http_requests_total", "Requests that were answered, but for /metrics and /health.");
    HTTP_REQUEST_DURATION = histogram(
        "http_request_duration_seconds", SECONDS,
        "Time from a request's head to the end of its answer, but for /metrics and /health.");
    HTTP_REQUESTS_IN_FLIGHT =
        gauge("http_requests_in_flight", "Requests that are being answered, but for /metrics and /health.");
    FLASK_HTTP_REQUESTS =
        counter("flask_http_request_total", "Requests that were answered, but for /metrics.");
    FLASK_HTTP_REQUEST_DURATION = histogram(
        "flask_http_request_duration_seconds", SECONDS,
        "Time from a request's head to the end of its answer, but for /metrics.");
    FLASK_HTTP_REQUEST_EXCEPTIONS =
        counter("flask_http_request_exceptions_total", "Requests whose handler has panicked.");
    FLASK_EXPORTER_INFO = gauge("flask_exporter_info", "The version of what exposes these metrics.");
    APP_INFO = gauge("app_info", "The version of this service.");

    KAFKA_PRODUCER_MESSAGES =
        counter("kafka_producer_messages_total", "Purchases that the log has acknowledged.");
    PUBLISH = counter("shop_publish_total", "Attempts to publish a purchase, by what became of them.");
    PUBLISH_DURATION =
        histogram("shop_publish_duration_seconds", PUBLISH_SECONDS, "Time from an attempt to publish to its end.");

    KAFKA_MESSAGES_PROCESSED = counter(
        "kafka_messages_processed_total",
        "Records that ingest is done with: stored (success), or put aside as dead letters (error).");
    KAFKA_MESSAGE_PROCESSING = histogram(
        "kafka_message_processing_seconds", SECONDS,
        "Time from when a batch of records was read to when all of them were durable.");
    KAFKA_MESSAGES_IN_QUEUE =
        gauge("kafka_messages_in_queue", "Records that were read and are not durable yet.");
    KAFKA_CONSUMER_GROUP_LAG = gauge(
        "kafka_consumer_group_lag",
        "Records behind the group's committed position, in the partitions that this process reads.");
    INGEST_RECORDS = counter("shop_ingest_records_total", "Records that ingest is done with, by what became of them.");
    DEAD_LETTERS = counter("shop_dead_letters_total", "Records that were put aside, by why.");
    STORE_UNREADABLE = counter(
        "shop_store_unreadable_documents_total",
        "Documents met in the store that are no purchases, each counted once, up to 10,000.");
    DEAD_LETTERS_WAITING = gauge(
        "shop_dead_letters_waiting", "Dead letters of a topic that are not settled, by reason, when last counted.");
    INGEST_BATCH_RECORDS = histogram("shop_ingest_batch_records", RECORDS, "Records of a batch.");
    INGEST_BATCH_BYTES = histogram("shop_ingest_batch_bytes", BYTES, "Bytes of a batch.");
    INGEST_FRESHNESS = histogram(
        "shop_ingest_freshness_seconds", FRESHNESS_SECONDS,
        "Age of the oldest purchase of each batch when it was stored, by the purchase's own time.");
    INGEST_IN_FLIGHT_BATCHES = gauge("shop_ingest_in_flight_batches", "Batches that are being carried.");
    INGEST_IN_FLIGHT_BYTES = gauge("shop_ingest_in_flight_bytes", "Bytes of the batches that are being carried.");
    INGEST_RETRIES = counter("shop_ingest_retries_total", "Calls that have failed and are tried again, by part.");
    INGEST_WAITING = gauge(
        "shop_ingest_waiting_seconds", "How long ingest has been waiting for a part that does not work; 0 when it does.");
    INGEST_OLDEST_UNCOMMITTED = gauge(
        "shop_ingest_oldest_uncommitted_seconds",
        "Time since the oldest record was read whose position is not committed; 0 when there is none.");
    INGEST_PHASE = gauge("shop_ingest_phase", "1 for what ingest is doing, 0 for what it is not.");

    OUTBOX_PENDING = gauge("shop_outbox_pending", "Events that wait in the outbox of a role to be published.");
    OUTBOX_OLDEST = gauge(
        "shop_outbox_oldest_seconds", "How long the oldest of these events has been waiting; 0 when there is none.");
    OUTBOX_PUBLISHED = counter("shop_outbox_published_total", "Events of a role that the log has acknowledged.");
    EVENT_RECORDS = counter(
        "shop_event_records_total", "Records of a topic of events that are done with, by what became of them.");
    EVENT_WAITING = gauge(
        "shop_event_waiting_seconds",
        "How long the ingest of a topic of events has been waiting for a part that does not work; 0 when it does.");
}
