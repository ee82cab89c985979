//! The producer: one for all that write, replaced by a new one when it is broken for good.

use std::fmt::{self, Debug};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message as _, OwnedHeaders};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use shop_core::log::RecordPosition;
use shop_core::{ErrorKind, Outcome, Result};
use tokio::sync::oneshot;

use crate::client::{Context, Health, OnStatistics};
use crate::error::{from_code, from_kafka, kafka_error, too_late};
use crate::thread::close_in_background;
use crate::{KafkaLogOptions, KafkaStatistics, config};

/// Hands each delivery to who waits for it.
pub(crate) struct Deliveries;

type Producer = ThreadedProducer<Context<Deliveries>>;
/// Where the record stands, if the broker has said so: of one that it had already, it does not.
type Delivered = Result<Option<RecordPosition>, KafkaError>;

impl ProducerContext for Context<Deliveries> {
    type DeliveryOpaque = Box<oneshot::Sender<Delivered>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let delivered = match result {
            Ok(message) => Ok(position(message)),
            Err((error, _)) => Err(error.clone()),
        };
        // Who has given up waiting does not hear it.
        let _nobody_waits = waiting.send(delivered);
    }
}

fn position(message: &BorrowedMessage<'_>) -> Option<RecordPosition> {
    let partition = u32::try_from(message.partition()).ok()?;
    let offset = u64::try_from(message.offset()).ok()?;
    Some(RecordPosition::new(message.topic().to_owned(), partition, offset))
}

/// A record on its way.
pub(crate) struct OutgoingRecord<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: OwnedHeaders,
}

struct Current {
    producer: Arc<Producer>,
    made: Instant,
}

/// How long a producer is kept that is broken: what breaks each one, such as a right that is missing, must not
/// make them by the hundred.
const AT_LEAST: Duration = Duration::from_secs(1);

pub(crate) struct ProducerHandle {
    current: RwLock<Current>,
    options: KafkaLogOptions,
    health: Arc<Health>,
}

impl ProducerHandle {
    pub(crate) fn start(options: &KafkaLogOptions, health: &Arc<Health>) -> Result<Self> {
        let producer = make(options, health)?;
        Ok(Self {
            current: RwLock::new(Current { producer: Arc::new(producer), made: Instant::now() }),
            options: options.clone(),
            health: Arc::clone(health),
        })
    }

    fn current(&self) -> Arc<Producer> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).producer)
    }

    /// The partitions of a topic. Blocks.
    pub(crate) fn partitions(&self, topic: &str) -> Result<Vec<i32>> {
        let metadata = self.current().client().fetch_metadata(Some(topic), self.options.publish_timeout);
        let metadata = metadata.map_err(|error| self.health.explain(from_kafka(error)))?;
        let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        Ok(partitions.map(MetadataPartition::id).collect())
    }

    /// Puts a record into the queue, for the partition of its key.
    pub(crate) fn enqueue(&self, record: OutgoingRecord<'_>) -> Result<PendingDelivery> {
        self.enqueue_to(None, record)
    }

    /// Puts a record into the queue, for `partition`; for that of its key without.
    pub(crate) fn enqueue_to(
        &self,
        partition: Option<i32>,
        record: OutgoingRecord<'_>,
    ) -> Result<PendingDelivery> {
        let (sender, delivered) = oneshot::channel();
        let mut native = BaseRecord::with_opaque_to(record.topic, Box::new(sender)).headers(record.headers);
        native.key = record.key;
        native.payload = record.value;
        native.partition = partition;
        let producer = self.current();
        let Err((mut error, returned)) = producer.send(native) else {
            return Ok(PendingDelivery { delivered, deadline: None });
        };
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.replace_if_broken();
            match self.current().send(returned) {
                Ok(()) => return Ok(PendingDelivery { delivered, deadline: None }),
                Err((again, _)) => error = again,
            }
        }
        Err(self.health.explain(from_kafka(error)).with_outcome(Outcome::NotApplied))
    }

    /// Lets a new producer take over from one that has lost track of what it has sent: librdkafka refuses all
    /// further use of it.
    fn replace_if_broken(&self) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let Some((code, reason)) = current.producer.client().fatal_error() else { return };
        let why = from_code(code);
        if why.kind() == ErrorKind::Denied {
            self.health.deny(why.with_context("said", &reason));
        }
        if current.made.elapsed() < AT_LEAST {
            return;
        }
        tracing::warn!(%code, reason, "the producer is broken for good, a new one takes over");
        match make(&self.options, &self.health) {
            Ok(producer) => {
                let next = Current { producer: Arc::new(producer), made: Instant::now() };
                let broken = std::mem::replace(&mut *current, next).producer;
                close_in_background(broken, wait_until_alone);
            }
            Err(error) => tracing::error!(error = %error.chain(), "no new producer could be made"),
        }
    }

    /// Waits until nothing is on its way any more. Blocks.
    pub(crate) fn flush(&self, time: Duration) -> Result<()> {
        self.current().flush(time).map_err(|error| too_late().with_source(error))
    }
}

/// The last to drop a producer waits for its end: that shall not be one who publishes.
#[expect(clippy::disallowed_methods, reason = "nothing tells that the last one who borrowed it is gone")]
fn wait_until_alone(producer: &Arc<Producer>) {
    while Arc::strong_count(producer) > 1 {
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for ProducerHandle {
    fn drop(&mut self) {
        // What was enqueued is sent, though nobody waits for it any more.
        let time = config::delivery_timeout(&self.options) + Duration::from_secs(1);
        close_in_background(self.current(), move |producer| {
            if let Err(error) = producer.flush(time) {
                tracing::warn!(%error, "a producer has ended with records that were not acknowledged");
            }
        });
    }
}

impl Debug for ProducerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerHandle").finish_non_exhaustive()
    }
}

fn make(options: &KafkaLogOptions, health: &Arc<Health>) -> Result<Producer> {
    let tell = options.statistics.clone().map(|observer| -> OnStatistics {
        Box::new(move |statistics| observer.observe(&KafkaStatistics::from_producer(statistics)))
    });
    let context = Context::new(Arc::clone(health), tell, Deliveries);
    Producer::from_config_and_context(&config::producer(options), context).map_err(from_kafka)
}

/// A record that was enqueued.
#[derive(Debug)]
pub(crate) struct PendingDelivery {
    delivered: oneshot::Receiver<Delivered>,
    /// For those who wait less long than librdkafka tries: that gives every record up in the end.
    deadline: Option<Duration>,
}

impl PendingDelivery {
    /// The same, but waited for at most for `time`.
    pub(crate) fn within(mut self, time: Duration) -> Self {
        self.deadline = Some(time);
        self
    }

    /// Where the record stands, once all replicas that are in sync have it.
    pub(crate) async fn delivered(self, producing: &ProducerHandle) -> Result<Option<RecordPosition>> {
        let delivered = match self.deadline {
            None => self.delivered.await,
            Some(deadline) => tokio::time::timeout(deadline, self.delivered).await.map_err(|_elapsed| {
                from_kafka(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut))
            })?,
        };
        match delivered {
            Ok(Ok(position)) => Ok(position),
            Ok(Err(error)) => {
                producing.replace_if_broken();
                let error = producing.health.explain(from_kafka(error));
                // An earlier attempt may have been written, whatever became of the last one. That holds for a record
                // that is purged from the queue too: it may wait there to be sent again.
                let not_applied = error.kind() == ErrorKind::TooLarge;
                Err(error.with_outcome(if not_applied { Outcome::NotApplied } else { Outcome::Unknown }))
            }
            Err(_) => {
                Err(kafka_error(ErrorKind::Unavailable, "the producer was ended before it had an answer"))
            }
        }
    }
}
