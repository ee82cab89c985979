//! The writing end of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shop_core::log::LogRecord;
use shop_core::ports::{Durability, PurchaseSink, Receipt};
use shop_core::record::encode;
use shop_core::{ErrorKind, Purchase, PurchaseId, Result};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::error::{closed, kafka_error, not_reached, too_late};
use crate::log::Shared;
use crate::producer::PendingDelivery;
use crate::topic::State;

/// Writes into a [`KafkaLog`](crate::KafkaLog).
#[derive(Debug)]
pub struct KafkaSink {
    log: Arc<Shared>,
    closed: AtomicBool,
    /// Room for purchases that wait for Kafka's first answer.
    startup_permits: Arc<Semaphore>,
    /// Cancelled when these are not waited for any longer.
    given_up: CancellationToken,
}

/// With less time left, a purchase that has waited for Kafka's first answer is not sent any more.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
/// The most purchases that may wait for it, as many as can be counted on every machine; the producer's queue is shorter.
const MAX_STARTUP_QUEUE: u32 = u32::MAX >> 3;

impl KafkaSink {
    pub(crate) fn new(log: Arc<Shared>) -> Self {
        let room = early_room(&log) as usize;
        Self {
            log,
            closed: AtomicBool::new(false),
            startup_permits: Arc::new(Semaphore::new(room)),
            given_up: CancellationToken::new(),
        }
    }

    /// The receipt of a purchase that comes before Kafka's first answer: a moment after the start. A task of its
    /// own waits for that, so that the purchase is on its way whoever waits for it.
    async fn publish_before_ready(&self, id: PurchaseId, record: LogRecord) -> Result<Receipt> {
        let room = Arc::clone(&self.startup_permits).try_acquire_owned().map_err(|error| {
            // A close has taken all the room, or else there is none left.
            let full = "too many purchases wait for kafka's first answer already";
            self.open().err().unwrap_or_else(|| kafka_error(ErrorKind::Overloaded, full).with_source(error))
        })?;
        let (log, given_up) = (Arc::clone(&self.log), self.given_up.clone());
        let task = tokio::spawn(async move {
            let _room = room;
            let begun = Instant::now();
            // Nothing was handed to librdkafka by then, so that these errors say that nothing was done.
            tokio::select! {
                biased;
                () = given_up.cancelled() => return Err(closed("sink")),
                ready = log.topic.ready(log.options.publish_timeout) => ready?,
            }
            let left = log.options.publish_timeout.saturating_sub(begun.elapsed());
            if left < MIN_TIMEOUT {
                return Err(not_reached());
            }
            let on_its_way = log.enqueue(&record)?.within(left);
            receipt(&log, id, on_its_way).await
        });
        task.await.unwrap_or_else(|error| {
            Err(kafka_error(ErrorKind::Internal, "a publish has ended early").with_source(error))
        })
    }

    fn open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed("sink")) } else { Ok(()) }
    }
}

/// How many purchases may wait for Kafka's first answer.
fn early_room(log: &Shared) -> u32 {
    u32::try_from(log.options.producer_queue_capacity).unwrap_or(u32::MAX).min(MAX_STARTUP_QUEUE)
}

async fn receipt(log: &Shared, id: PurchaseId, on_its_way: PendingDelivery) -> Result<Receipt> {
    let position = on_its_way.delivered(&log.producing).await?;
    let receipt = Receipt::new(id, durability(log));
    Ok(match position {
        Some(position) => receipt.with_position(position),
        None => receipt,
    })
}

/// What `acks=all` guarantees, whatever the last metadata said of the in-sync set.
fn durability(log: &Shared) -> Durability {
    Durability::Broker { replicas: log.topic.min_in_sync() }
}

#[async_trait]
impl PurchaseSink for KafkaSink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        self.open()?;
        let on_its_way = match self.log.topic.state() {
            State::Failed(error) => return Err(error),
            State::Unknown => return self.publish_before_ready(purchase.id, encode(purchase)?).await,
            State::Ready(_) => self.log.enqueue(&encode(purchase)?)?,
        };
        receipt(&self.log, purchase.id, on_its_way).await
    }

    fn durability(&self) -> Durability {
        durability(&self.log)
    }

    async fn check(&self) -> Result<()> {
        self.open()?;
        self.log.monitor.check(&self.log.topic).await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        let begun = Instant::now();
        self.closed.store(true, Ordering::Release);
        // Those that came before count as in the queue, too.
        let in_time =
            tokio::time::timeout(deadline, self.startup_permits.acquire_many(early_room(&self.log))).await;
        self.given_up.cancel();
        let log = Arc::clone(&self.log);
        let left = deadline.saturating_sub(begun.elapsed());
        let flushed = tokio::task::spawn_blocking(move || log.producing.flush(left));
        flushed.await.unwrap_or_else(|error| {
            Err(kafka_error(ErrorKind::Internal, "the end of the sink came to no end").with_source(error))
        })?;
        in_time.map_or_else(|elapsed| Err(too_late().with_source(elapsed)), |_all| Ok(()))
    }
}
