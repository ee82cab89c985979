//! All metrics of the service: their names, kinds, help texts and buckets.
//!
//! Dashboards and autoscalers query the names without `shop_` since before this service, so these
//! keep their meaning. A role may add one [`RequestFamily`] with names of its own.

/// The definition of one metric.
#[derive(Debug, Clone, Copy)]
pub(super) struct MetricDefinition {
    pub(super) name: &'static str,
    pub(super) kind: MetricKind,
    pub(super) help: &'static str,
}

/// The kind of a metric, as Prometheus distinguishes them.
#[derive(Debug, Clone, Copy)]
pub(super) enum MetricKind {
    Counter,
    Gauge,
    /// A histogram with the upper bounds of its buckets, at least one.
    Histogram(&'static [f64]),
}

/// The names of a family of metrics of requests that a [role](crate::Role::request_metrics) exports
/// beside the ones of this crate.
///
/// The family measures the same requests, and `/health` too.
#[derive(Debug, Clone, Copy)]
pub struct RequestFamily {
    /// The counter of requests that got a response, with the labels `method` and `status`.
    pub requests: &'static str,
    /// The histogram of the time from the head of a request to the end of its response in seconds,
    /// with the labels `method`, `path` and `status`, if it is exported.
    pub durations: Option<&'static str>,
    /// The counter of requests whose handler panicked, with the labels `method` and `status`.
    pub panics: &'static str,
    /// The gauge that is always 1, with the label `version`.
    pub version: &'static str,
}

impl RequestFamily {
    /// Returns the counter of requests.
    pub(super) const fn requests(&self) -> MetricDefinition {
        let help = "Requests that got a response, except /metrics.";
        MetricDefinition::new(self.requests, MetricKind::Counter, help)
    }

    /// Returns the histogram of durations.
    pub(super) fn durations(&self) -> Option<MetricDefinition> {
        let help = "Time from a request's head to the end of its response, except /metrics.";
        let kind = MetricKind::Histogram(SECONDS);
        Some(MetricDefinition::new(self.durations?, kind, help))
    }

    /// Returns the counter of panics.
    pub(super) const fn panics(&self) -> MetricDefinition {
        let help = "Requests whose handler panicked.";
        MetricDefinition::new(self.panics, MetricKind::Counter, help)
    }

    /// Returns the gauge with the version.
    pub(super) const fn version(&self) -> MetricDefinition {
        let help = "The version of the exporter of these metrics.";
        MetricDefinition::new(self.version, MetricKind::Gauge, help)
    }
}

impl MetricDefinition {
    /// Creates the definition of a metric.
    const fn new(name: &'static str, kind: MetricKind, help: &'static str) -> Self {
        Self { name, kind, help }
    }
}

/// The buckets of requests, in seconds. The smallest ones are for listings of the embedded store;
/// from 5 ms on, the bounds match [`SECONDS`].
pub(super) const REQUEST_SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75,
    1.0, 2.5, 5.0, 7.5, 10.0,
];
/// The buckets of durations without buckets of their own, in seconds: the defaults of Prometheus'
/// client for Python.
pub(super) const SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// The buckets of publishes, in seconds: from a commit on a fast disk to the time-out.
const PUBLISH_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];
/// The buckets of freshness, in seconds: from an idle pipeline to an outage of a day.
const FRESHNESS_SECONDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0,
    14_400.0, 86_400.0,
];
/// The buckets of the number of records in a batch.
const RECORDS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0,
];
/// The buckets of the size of a batch: powers of four, from 1 KiB to 4 MiB.
const BYTES: &[f64] = &[
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
];

/// Declares a constant for each metric, and their list `ALL`.
macro_rules! names {
    ($($constant:ident = $kind:ident($name:literal, $($buckets:ident,)? $help:literal);)+) => {
        $(pub(super) const $constant: MetricDefinition =
            MetricDefinition { name: $name, kind: MetricKind::$kind$(($buckets))?, help: $help };)+
        pub(super) const ALL: &[MetricDefinition] = &[$($constant),+];
    };
}

names! {
    HTTP_REQUESTS = Counter("http_requests_total", "Requests that got a response, except /metrics and /health.");
    HTTP_REQUEST_DURATION = Histogram(
        "http_request_duration_seconds", REQUEST_SECONDS,
        "Time from a request's head to the end of its response, except /metrics and /health.");
    HTTP_REQUESTS_IN_FLIGHT =
        Gauge("http_requests_in_flight", "Requests in flight, except /metrics and /health.");
    APP_INFO = Gauge("app_info", "The version of this service.");
    DEPENDENCY_UP = Gauge(
        "shop_dependency_up", "1 while a part works that requests to this service need, else 0.");
    LOG_LINES_DROPPED =
        Counter("shop_log_lines_dropped_total", "Log lines that were dropped: their reader was too slow, or their file could not be written.");

    RELOAD_AGE = Gauge(
        "shop_reload_age_seconds", "Time since keys or a certificate were last read successfully, or since the start.");
    TLS_NOT_AFTER = Gauge(
        "shop_tls_certificate_not_after_seconds",
        "End of the validity of the certificate of this service, in seconds since 1970.");

    KAFKA_PRODUCER_MESSAGES =
        Counter("kafka_producer_messages_total", "Purchases that the log has acknowledged.");
    PUBLISH = Counter("shop_publish_total", "Attempts to publish a purchase, by outcome.");
    PUBLISH_DURATION =
        Histogram("shop_publish_duration_seconds", PUBLISH_SECONDS, "Duration of attempts to publish.");

    KAFKA_MESSAGES_PROCESSED = Counter(
        "kafka_messages_processed_total",
        "Records processed by ingest: stored (success) or dead-lettered (error).");
    KAFKA_MESSAGE_PROCESSING = Histogram(
        "kafka_message_processing_seconds", SECONDS,
        "Time from reading a batch of records until all of them are durable.");
    KAFKA_MESSAGES_IN_QUEUE =
        Gauge("kafka_messages_in_queue", "Records that were read and are not durable yet.");
    KAFKA_CONSUMER_GROUP_LAG = Gauge(
        "kafka_consumer_group_lag",
        "Records after the group's committed offset, in the partitions assigned to this process.");
    INGEST_RECORDS = Counter("shop_ingest_records_total", "Records processed by ingest, by outcome.");
    DEAD_LETTERS = Counter("shop_dead_letters_total", "Dead-lettered records, by reason.");
    STORE_UNREADABLE = Counter(
        "shop_store_unreadable_documents_total",
        "Documents in the store that are not purchases, each counted once, up to 10,000.");
    STORE_EXPIRED = Counter(
        "shop_store_expired_purchases_total",
        "Purchases deleted from the store because they were older than SHOP_PURCHASE_RETENTION.");
    STORE_EXPIRING = Gauge(
        "shop_store_expiring_purchases",
        "Purchases that the next round of SHOP_PURCHASE_RETENTION finds to delete, up to 1,000,000.");
    DEAD_LETTERS_WAITING = Gauge(
        "shop_dead_letters_waiting", "Pending dead letters of a topic, by reason, when last counted.");
    INGEST_LOST = Counter(
        "shop_ingest_lost_records_total", "Records that the log no longer had when ingest was to read them.");
    INGEST_OLDEST_UNREAD = Gauge(
        "shop_ingest_oldest_unread_seconds",
        "Age of the oldest record whose offset is not committed, by the log's timestamp; 0 when there is none.");
    LOG_RETENTION = Gauge(
        "shop_log_retention_seconds",
        "How long the log keeps a record that was not read; +Inf when it is unlimited or unknown.");
    LOG_BYTES = Gauge("shop_log_bytes", "Size of the files of an embedded log, when last read.");
    LOG_UNAVAILABLE_PARTITIONS = Gauge(
        "shop_log_unavailable_partitions",
        "Partitions without a leader, or whose records are not acknowledged in time.");
    LOG_TRUNCATED = Counter(
        "shop_log_truncated_records_total",
        "Records that the log had acknowledged to this process and then lost before anybody read them.");
    LOG_FREE_BYTES = Gauge("shop_log_free_bytes", "Available space on the disk of an embedded log.");
    LOG_OLDEST_AGE = Gauge(
        "shop_log_oldest_record_seconds", "Age of the oldest record of an embedded log; 0 when it has none.");
    LOG_SLOWEST_GROUP_RECORDS = Gauge(
        "shop_log_slowest_group_records",
        "Records of an embedded log that its slowest group has not consumed; they are not deleted.");
    WAITING_REFUNDS = Gauge(
        "shop_waiting_refunds", "Refunds in the store whose purchase is not there, when last counted.");
    INGEST_BATCH_RECORDS = Histogram("shop_ingest_batch_records", RECORDS, "Records per batch.");
    INGEST_BATCH_BYTES = Histogram("shop_ingest_batch_bytes", BYTES, "Bytes per batch.");
    INGEST_FRESHNESS = Histogram(
        "shop_ingest_freshness_seconds", FRESHNESS_SECONDS,
        "Per batch, the age of the oldest record when it was stored, by the log's timestamp.");
    INGEST_IN_FLIGHT_BATCHES = Gauge("shop_ingest_in_flight_batches", "Batches in flight.");
    INGEST_IN_FLIGHT_BYTES = Gauge("shop_ingest_in_flight_bytes", "Bytes of the batches in flight.");
    INGEST_RETRIES = Counter("shop_ingest_retries_total", "Failed calls that are retried, by part.");
    INGEST_WAITING = Gauge(
        "shop_ingest_waiting_seconds", "For how long a part of ingest has been failing; 0 when it is healthy.");
    INGEST_OLDEST_UNCOMMITTED = Gauge(
        "shop_ingest_oldest_uncommitted_seconds",
        "Time since the oldest record was read whose offset is not committed; 0 when there is none.");
    INGEST_STUCK = Gauge(
        "shop_ingest_stuck_seconds",
        "Time since the oldest record was read that the healthy store fails over; absent while there is none.");
    INGEST_OPEN_TRANSACTION = Gauge(
        "shop_ingest_open_transaction_seconds",
        "Time for which records have waited for the end of another producer's transaction; 0 when none waits.");
    INGEST_PHASE = Gauge("shop_ingest_phase", "1 for the current phase of ingest, 0 for the others.");

    OUTBOX_PENDING = Gauge("shop_outbox_pending", "Events in the outbox of a role that are not published yet.");
    OUTBOX_OLDEST = Gauge(
        "shop_outbox_oldest_seconds", "Age of the oldest event in the outbox; 0 when there is none.");
    OUTBOX_PUBLISHED = Counter("shop_outbox_published_total", "Events of a role that the log has acknowledged.");
    EVENT_RECORDS = Counter(
        "shop_event_records_total", "Processed records of a topic of events, by outcome.");
    EVENT_WAITING = Gauge(
        "shop_event_waiting_seconds",
        "For how long a part of the ingest of a topic of events has been failing; 0 when it is healthy.");
}
