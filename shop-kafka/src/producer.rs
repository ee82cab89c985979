//! The producer, which all writers of a log share.
//!
//! A record passes through three steps: [`ProducerHandle::enqueue`] adds it to the queue of
//! librdkafka, librdkafka sends it in a batch, and [`PendingDelivery`] waits for the report of the
//! broker. [`ProducerHandle::deliver`] and [`ProducerHandle::publish_all`] combine these steps.
//!
//! The producer is idempotent, so the broker writes each batch once and in sequence. A fatal error
//! ends such a producer, and [`ProducerHandle`] replaces it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use shop_core::log::{LogRecord, RecordPosition};
use shop_core::{Clock as _, Error, ErrorKind, Outcome, Result, SystemClock};

use crate::acknowledged::Acknowledgements;
use crate::client::{
    ClientHealth, Context, close_in_background, create_client, fetch_partitions, lock,
};
use crate::delivery::{DeliverySlot, UndeliveredRecord};
use crate::error::{
    as_settings_error, from_code, from_kafka, is_refused_record, kafka_error, too_late,
};
use crate::{KafkaLogOptions, config};

type Producer = ThreadedProducer<Context>;
/// A record for the queue of librdkafka, with the slot in which its report arrives.
type QueueRecord<'a> = BaseRecord<'a, [u8], [u8], Arc<DeliverySlot>>;

/// The parts of a record to publish. librdkafka copies the key and the value.
pub(crate) struct RecordParts<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: OwnedHeaders,
}

impl<'a> RecordParts<'a> {
    /// Creates the parts of `record`, with `headers` in place of its own.
    pub(crate) fn new(record: &'a LogRecord, headers: OwnedHeaders) -> Self {
        Self {
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers,
        }
    }
}

/// The position of a published record, `None` if no broker reported the position, or the error of
/// the publish.
pub(crate) type ReportedPosition = Result<Option<RecordPosition>>;

/// A producer of librdkafka, and the batch size with which it was created.
struct CurrentProducer {
    producer: Arc<Producer>,
    created_at: Instant,
    batch_bytes: usize,
}

/// The minimum lifetime of a producer before it is replaced.
///
/// It limits how many producers are created if each new one fails, for example because of a missing
/// permission.
const MIN_LIFETIME: Duration = Duration::from_secs(1);

/// The minimum time between two warnings that the brokers refuse the timestamps of records.
const TIME_WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The pause before a record of a batch is offered to a full queue again.
const FULL_QUEUE_RETRY: Duration = Duration::from_millis(1);

/// The handle through which all writers of a log publish.
///
/// The handle creates the producer of librdkafka when it is first needed, so a process that only
/// consumes creates none. It replaces the producer after a fatal error, or if the topics accept
/// only smaller batches.
pub(crate) struct ProducerHandle {
    current: Mutex<Option<CurrentProducer>>,
    options: KafkaLogOptions,
    health: Arc<ClientHealth>,
    pub(crate) acknowledgements: Acknowledgements,
    /// When [`warn_refused_timestamp`](Self::warn_refused_timestamp) last logged a warning.
    last_time_warning_at: Mutex<Option<Instant>>,
}

impl ProducerHandle {
    pub(crate) fn new(options: &KafkaLogOptions, health: &Arc<ClientHealth>) -> Self {
        Self {
            current: Mutex::default(),
            options: options.clone(),
            health: Arc::clone(health),
            acknowledgements: Acknowledgements::default(),
            last_time_warning_at: Mutex::default(),
        }
    }

    /// Returns the current producer.
    ///
    /// Creates the producer if there is none yet, or if its batch size differs from the size that
    /// the topics accept now.
    ///
    /// # Errors
    /// If librdkafka rejects the configuration.
    fn current_producer(&self) -> Result<Arc<Producer>> {
        let batch_bytes = self.health.batch_limit.batch_bytes();
        let mut guard = lock(&self.current);
        if let Some(current) = &*guard
            && current.batch_bytes == batch_bytes
        {
            return Ok(Arc::clone(&current.producer));
        }

        let created = self.create(batch_bytes)?;
        let producer = Arc::clone(&created.producer);
        if let Some(previous) = guard.replace(created) {
            tracing::info!(
                batch_bytes,
                "the topics take other batches: using a new producer"
            );
            self.close(previous.producer);
        }
        Ok(producer)
    }

    /// Creates a producer whose batches contain at most `batch_bytes`.
    fn create(&self, batch_bytes: usize) -> Result<CurrentProducer> {
        let config = config::producer(&self.options, batch_bytes);
        Ok(CurrentProducer {
            producer: Arc::new(
                create_client(&config, &self.health, ()).map_err(as_settings_error)?,
            ),
            created_at: Instant::now(),
            batch_bytes,
        })
    }

    /// Closes a producer in the background, after its enqueued records are sent.
    fn close(&self, producer: Arc<Producer>) {
        let timeout = config::delivery_timeout(&self.options) + Duration::from_secs(1);
        close_in_background(move || {
            wait_until_alone(&producer);
            if let Err(error) = producer.flush(timeout) {
                tracing::warn!(%error, "producer closed with unacknowledged records");
            }
        });
    }

    /// Creates the producer in advance, so that the first record does not wait for a connection.
    pub(crate) fn prepare(&self) {
        if let Err(error) = self.current_producer() {
            tracing::warn!(error = %error.chain(), "failed to create a producer");
        }
    }

    /// Requests the indexes of the partitions of a topic. Blocks.
    pub(crate) fn fetch_partitions(&self, topic: &str) -> Result<Vec<i32>> {
        let timeout = self.options.publish_timeout;
        fetch_partitions(self.current_producer()?.client(), topic, timeout)
            .map_err(|error| self.health.explain(error))
    }

    /// Adds a copy of `record` to the queue of the producer, for `partition`, or for the partition
    /// of the record's key if `partition` is `None`.
    ///
    /// Does not wait until the record is sent. The returned [`PendingDelivery`] waits for the
    /// report of the broker.
    ///
    /// # Errors
    /// - [`Overloaded`](ErrorKind::Overloaded) if the queue is full
    /// - otherwise, the reason why librdkafka rejects the record, with the outcome `NotApplied`
    pub(crate) fn enqueue(
        &self,
        topic: &Arc<str>,
        partition: Option<i32>,
        record: RecordParts<'_>,
    ) -> Result<PendingDelivery> {
        let report_slot = Arc::new(DeliverySlot::default());
        let delivery = PendingDelivery {
            topic: Arc::clone(topic),
            // The report of the record is compared with the acknowledgements before it, to detect
            // that the log lost records.
            acknowledgements_at_send: self.acknowledgements.acknowledgement_count(),
            // If the broker refuses the batch, this size tells whether it was reduced since.
            batch_bytes: self.health.batch_limit.batch_bytes(),
            report_slot: Arc::clone(&report_slot),
        };
        self.send(QueueRecord {
            topic,
            partition,
            payload: record.value,
            key: record.key,
            // librdkafka sets the time.
            timestamp: None,
            headers: Some(record.headers),
            delivery_opaque: report_slot,
        })?;
        Ok(delivery)
    }

    /// Adds `record` to the queue of the producer, and tries once more with a new producer after a
    /// fatal error.
    ///
    /// # Errors
    /// The error of the last attempt, with the outcome `NotApplied`. It is
    /// [`Overloaded`](ErrorKind::Overloaded) if the queue is full.
    fn send(&self, record: QueueRecord<'_>) -> Result<()> {
        let Err((mut error, rejected_record)) = self.current_producer()?.send(record) else {
            return Ok(());
        };
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.replace_if_broken();
            match self.current_producer()?.send(rejected_record) {
                Ok(()) => return Ok(()),
                Err((second_error, _)) => error = second_error,
            }
        }
        Err(self
            .health
            .explain(from_kafka(error))
            .with_outcome(Outcome::NotApplied))
    }

    /// Publishes the record that `enqueue` adds to the queue, and waits until all in-sync replicas
    /// contain the record. Returns the position of the record.
    ///
    /// If no broker reports a position, calls `enqueue` again, because the record may be lost.
    /// librdkafka reports a success without a position if it infers the success of a batch from the
    /// success of a later batch of the partition: a broker accepts batches only in sequence. The
    /// inference is wrong if the broker knows no batch of the producer. If the broker is not ready
    /// to lead the partition yet, the first batch may return with an error while the second one is
    /// written, and the first one is lost
    /// (<https://github.com/confluentinc/confluent-kafka-go/issues/921>).
    pub(crate) async fn deliver(
        &self,
        enqueue: impl Fn() -> Result<PendingDelivery> + Send,
    ) -> Result<RecordPosition> {
        let mut position = enqueue()?.wait_for_report(self).await?;
        for _ in 1..MAX_ATTEMPTS {
            if position.is_some() {
                break;
            }
            tracing::info!(
                "a record was acknowledged without its position, publishing it once more"
            );
            let delivery = enqueue().map_err(|error| error.with_outcome(Outcome::Unknown))?;
            position = delivery.wait_for_report(self).await?;
        }
        position.ok_or_else(no_position_error)
    }

    /// Publishes `count` records, and returns the reported position of each record in the order of
    /// their indexes.
    ///
    /// `enqueue` adds the record with the given index to the queue. While the queue is full, this
    /// function tries again until `deadline`.
    pub(crate) async fn publish_all(
        &self,
        count: usize,
        deadline: tokio::time::Instant,
        enqueue: impl Fn(usize) -> Result<PendingDelivery> + Send + Sync,
    ) -> Vec<ReportedPosition> {
        let mut deliveries = Vec::with_capacity(count);
        for index in 0..count {
            let mut enqueued = enqueue(index);
            while let Err(error) = &enqueued
                && error.kind() == ErrorKind::Overloaded
                && tokio::time::Instant::now() < deadline
            {
                tokio::time::sleep(FULL_QUEUE_RETRY).await;
                enqueued = enqueue(index);
            }
            deliveries.push(enqueued);
        }

        // The reports are awaited from the last one on. Most other reports have arrived by then, so
        // the task wakes up only a few times.
        let mut reported = Vec::with_capacity(count);
        while let Some(delivery) = deliveries.pop() {
            reported.push(match delivery {
                Ok(delivery) => delivery.wait_for_report(self).await,
                Err(error) => Err(error),
            });
        }
        reported.reverse();
        reported
    }

    /// Handles the failed delivery of `record`, and returns its error.
    ///
    /// Replaces a producer with a fatal error, requests a check of the topics, and records a
    /// timeout for the partition. `batch_bytes` is the batch size when the record was enqueued. The
    /// outcome of the error is `Unknown`, except for records that the brokers refuse.
    fn handle_failed_delivery(
        &self,
        topic: &Arc<str>,
        record: &UndeliveredRecord,
        batch_bytes: usize,
    ) -> Error {
        if record.error.rdkafka_error_code() == Some(RDKafkaErrorCode::InvalidTimestamp) {
            self.warn_refused_timestamp(topic, record);
        }
        self.replace_if_broken();
        self.health
            .has_failed_delivery
            .store(true, Ordering::Release);

        let error = from_kafka(record.error.clone());
        if is_refused_record(&record.error) {
            return error.with_outcome(Outcome::NotApplied);
        }
        let error = self.health.explain(error);
        match error.kind() {
            ErrorKind::TooLarge => return self.handle_too_large(topic, error, record, batch_bytes),
            ErrorKind::DeadlineExceeded => {
                // The partition is negative if none was chosen yet.
                if let Ok(partition) = u32::try_from(record.partition) {
                    self.acknowledgements.record_failure(topic, partition);
                }
            }
            _ => {}
        }
        // An earlier attempt may have been written, whatever the last attempt returned. Even a
        // record that was purged from the queue may have waited there for a retry.
        error.with_outcome(Outcome::Unknown)
    }

    /// Warns that the brokers refuse the timestamp of `record`, at most once per
    /// [`TIME_WARNING_INTERVAL`].
    ///
    /// The warning contains the time of the record and the time of this machine. An operator
    /// compares both with the clocks of the brokers, which do not report their time. Without the
    /// interval, each purchase would cause a warning until the clocks agree.
    fn warn_refused_timestamp(&self, topic: &str, record: &UndeliveredRecord) {
        {
            let mut last_warning_at = lock(&self.last_time_warning_at);
            if last_warning_at.is_some_and(|at| at.elapsed() < TIME_WARNING_INTERVAL) {
                return;
            }
            *last_warning_at = Some(Instant::now());
        }

        let now = SystemClock.now();
        let record_time = record.time.map(tracing::field::display);
        tracing::warn!(
            kafka.topic = topic,
            kafka.partition = record.partition,
            record_time,
            %now,
            "the brokers refuse the time of records: compare `now` with the clocks of the brokers, and check the topic's message.timestamp.before.max.ms and message.timestamp.after.max.ms"
        );
    }

    /// Handles a record whose batch exceeded the size limit of the topic, and returns its error.
    ///
    /// - A record that exceeds the limit by itself keeps `error`.
    /// - A record that was in a batch with others gets an [`Unavailable`](ErrorKind::Unavailable)
    ///   error, which the caller may retry. The batch size is reduced, so the next batches are
    ///   smaller.
    fn handle_too_large(
        &self,
        topic: &Arc<str>,
        error: Error,
        record: &UndeliveredRecord,
        batch_bytes: usize,
    ) -> Error {
        let record_bytes = record.bytes + HEADER_BYTES;
        let limit = self.health.batch_limit.topic_limit(topic);
        if record_bytes >= limit.unwrap_or(batch_bytes) {
            tracing::warn!(kafka.topic = %topic, bytes = record_bytes, limit, "a record exceeds the topic's max.message.bytes");
            return error.with_outcome(Outcome::NotApplied);
        }

        // Several records of one batch fail together. Only the first one reduces the batch size.
        if self.health.batch_limit.batch_bytes() == batch_bytes {
            self.health.batch_limit.reduce_batch_bytes(batch_bytes);
            tracing::warn!(
                kafka.topic = %topic,
                batch_bytes,
                "the topic's max.message.bytes is below the producer's batches: they get smaller"
            );
        }
        let message = "the record was in a batch above the topic's max.message.bytes: repeat it";
        kafka_error(ErrorKind::Unavailable, message)
            .with_source(error)
            .with_outcome(Outcome::NotApplied)
    }

    /// Replaces the producer after a fatal error, because librdkafka then rejects any use of the
    /// producer.
    ///
    /// The producer stays if it is younger than [`MIN_LIFETIME`].
    fn replace_if_broken(&self) {
        let mut guard = lock(&self.current);
        let Some(current) = &mut *guard else { return };
        let Some((code, reason)) = current.producer.client().fatal_error() else {
            return;
        };
        let error = from_code(code);
        if error.kind() == ErrorKind::Denied {
            self.health
                .set_denied(error.with_context("reason", &reason));
        }
        if current.created_at.elapsed() < MIN_LIFETIME {
            return;
        }

        tracing::warn!(%code, reason, "replacing the producer after a fatal error");
        match self.create(current.batch_bytes) {
            Ok(created) => {
                let broken = std::mem::replace(current, created);
                close_in_background(move || wait_until_alone(&broken.producer));
            }
            Err(error) => tracing::error!(error = %error.chain(), "failed to create a producer"),
        }
    }

    /// Waits until no record of the current producer is in flight, at most for `timeout`. Blocks.
    pub(crate) fn flush(&self, timeout: Duration) -> Result<()> {
        let producer = match &*lock(&self.current) {
            Some(current) => Arc::clone(&current.producer),
            None => return Ok(()),
        };
        producer
            .flush(timeout)
            .map_err(|error| too_late().with_source(error))
    }
}

/// Waits until the caller holds the only reference to `producer`. Blocks.
///
/// Dropping the last reference blocks until the producer is closed, which must not happen in a
/// publish.
#[expect(
    clippy::disallowed_methods,
    reason = "an `Arc` does not notify of dropped references"
)]
fn wait_until_alone(producer: &Arc<Producer>) {
    while Arc::strong_count(producer) > 1 {
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for ProducerHandle {
    fn drop(&mut self) {
        let current = lock(&self.current).take();
        if let Some(current) = current {
            self.close(current.producer);
        }
    }
}

/// The number of bytes that are reserved for the headers and the framing of a record. A purchase
/// needs less.
const HEADER_BYTES: usize = 1_024;

/// The maximum number of times that a record is enqueued while no broker reports its position.
const MAX_ATTEMPTS: usize = 3;

/// A record in the queue of the producer, whose report is still to be awaited.
pub(crate) struct PendingDelivery {
    topic: Arc<str>,
    /// The number of acknowledgements before the record was enqueued, see [`Acknowledgements`].
    acknowledgements_at_send: u64,
    /// The maximum size of a batch when the record was enqueued.
    batch_bytes: usize,
    /// The slot in which the report arrives.
    report_slot: Arc<DeliverySlot>,
}

impl PendingDelivery {
    /// Waits for the report of the record, and returns the reported position.
    ///
    /// Returns `None` if the record was delivered and no broker reported its position.
    ///
    /// # Errors
    /// The error of [`ProducerHandle::handle_failed_delivery`] if the record was not delivered.
    /// This includes a record whose producer was closed before.
    async fn wait_for_report(self, producer: &ProducerHandle) -> ReportedPosition {
        let delivered = match self.report_slot.wait().await {
            Ok(delivered) => delivered,
            Err(record) => {
                return Err(producer.handle_failed_delivery(&self.topic, record, self.batch_bytes));
            }
        };

        // librdkafka reports an unknown partition or offset as a negative number.
        let (Ok(partition), Ok(offset)) = (
            u32::try_from(delivered.partition),
            u64::try_from(delivered.offset),
        ) else {
            return Ok(None);
        };
        producer.acknowledgements.record_acknowledged(
            &self.topic,
            partition,
            offset,
            self.acknowledgements_at_send,
            producer.health.topic_changes(),
        );
        Ok(Some(RecordPosition::new(self.topic, partition, offset)))
    }
}

/// Creates the error of a record whose position no broker reported. Its outcome is `Unknown`.
pub(crate) fn no_position_error() -> Error {
    let message = "the record was acknowledged without its position, and may not be in the log";
    kafka_error(ErrorKind::Unavailable, message).with_outcome(Outcome::Unknown)
}
