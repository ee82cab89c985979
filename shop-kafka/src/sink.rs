//! [`KafkaSink`]: publishes purchases to the log.
//!
//! Before Kafka's first response, each purchase waits in a task of its own. After it, purchases go
//! to the producer at once. If the producer detects that the log lost acknowledged records, the
//! sink puts the lost ranges among the dead letters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use shop_core::ports::{PurchaseSink, Receipt, SinkInfo, publish_each};
use shop_core::{Clock as _, ErrorKind, Purchase, Result, SystemClock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::batch::BatchRoom;
use crate::client::blocking;
use crate::dead_letters::KafkaDeadLetters;
use crate::error::{closed, from_kafka, kafka_error, not_reached, too_late};
use crate::shared::KafkaLogInner;

/// Publishes purchases to a [`KafkaLog`](crate::KafkaLog).
///
/// ```no_run
/// use std::time::Duration;
///
/// use shop_core::ports::PurchaseSink;
/// use shop_core::{Outcome, Purchase};
/// use shop_kafka::KafkaLog;
///
/// # async fn example(log: KafkaLog, purchase: Purchase) -> shop_core::Result<()> {
/// let sink = log.sink();
/// match sink.publish(&purchase).await {
///     Ok(receipt) => println!("durable: {:?}", receipt.durability),
///     // It has the same id when it is published again, and is stored once.
///     Err(error) if error.outcome() == Outcome::Unknown => drop(sink.publish(&purchase).await?),
///     Err(error) => return Err(error),
/// }
/// sink.close(Duration::from_secs(5)).await
/// # }
/// ```
#[derive(Debug)]
pub struct KafkaSink {
    log: Arc<KafkaLogInner>,
    /// The tasks of purchases that wait for Kafka's first response. The tracker is closed with the
    /// sink.
    waiting_tasks: TaskTracker,
    batch_room: BatchRoom,
    /// Cancelled when a close stops waiting for the tasks in `waiting_tasks`.
    abandoned: CancellationToken,
}

/// The minimum time left for a delivery. With less, a purchase that waited for Kafka's first
/// response is not sent.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

impl KafkaSink {
    /// Creates a sink of `log`.
    pub(crate) fn new(log: Arc<KafkaLogInner>) -> Self {
        Self {
            waiting_tasks: TaskTracker::new(),
            batch_room: BatchRoom::new(log.options.producer_queue_capacity),
            abandoned: CancellationToken::new(),
            log,
        }
    }

    /// Publishes a purchase shortly after the start, when Kafka has not responded yet.
    ///
    /// A separate task waits for the response, so the purchase is sent even if the caller stops
    /// waiting.
    ///
    /// # Errors
    /// - [`Overloaded`](ErrorKind::Overloaded) if too many purchases wait already
    /// - [`Closed`](ErrorKind::Closed) if the sink is closed during the wait
    /// - the error of the first check of the topic
    /// - otherwise, the error of the delivery
    async fn publish_before_response(&self, purchase: Purchase) -> Result<Receipt> {
        if self.waiting_tasks.len() >= self.log.options.producer_queue_capacity {
            let message = "too many purchases are waiting for kafka's first response";
            return Err(kafka_error(ErrorKind::Overloaded, message));
        }

        let log = Arc::clone(&self.log);
        let abandoned = self.abandoned.clone();
        let task = self.waiting_tasks.spawn(async move {
            let started = Instant::now();
            // Nothing was passed to librdkafka yet, so the outcome of these errors is `NotApplied`.
            tokio::select! {
                biased;
                () = abandoned.cancelled() => return Err(closed("sink")),
                // The first check decides, so that a service responds before its own deadline, with
                // a known outcome.
                ready = log.topic.wait_for_check(log.options.publish_timeout) => ready?,
            }

            let publish_timeout = log.options.publish_timeout;
            let remaining = publish_timeout.saturating_sub(started.elapsed());
            if remaining < MIN_TIMEOUT {
                return Err(not_reached());
            }
            // This delivery started late, so the remaining time may be shorter than librdkafka's
            // delivery timeout, which ends every other delivery.
            tokio::time::timeout(remaining, append_for_receipt(&log, &purchase))
                .await
                .unwrap_or_else(|_elapsed| {
                    Err(from_kafka(KafkaError::MessageProduction(
                        RDKafkaErrorCode::MessageTimedOut,
                    )))
                })
        });
        task.await.map_err(|error| {
            kafka_error(ErrorKind::Internal, "publish task aborted").with_source(error)
        })?
    }

    /// Starts a task that puts lost records among the dead letters, if the producer detected a
    /// loss.
    ///
    /// The caller does not wait for the task, and does not learn whether it succeeds.
    fn report_lost_records(&self) {
        if !self.log.producer.acknowledgements.has_lost_ranges() {
            return;
        }
        let log = Arc::clone(&self.log);
        tokio::spawn(async move {
            let blocking_log = Arc::clone(&log);
            let gaps = blocking("search for lost records", move || {
                Ok(blocking_log.convert_lost_ranges())
            })
            .await
            // Only a panic of the search is an error.
            .unwrap_or_default();
            if gaps.is_empty() {
                return;
            }

            let now = SystemClock.now();
            let dead_letters: Vec<_> = gaps.iter().map(|gap| gap.to_dead_letter(now)).collect();
            let kafka_dead_letters = KafkaDeadLetters {
                dead_letter_topic: log.ensure_dead_letter_topic(),
                log,
            };
            if let Err(error) = kafka_dead_letters.put(&dead_letters).await {
                tracing::warn!(
                    error = %error.chain(),
                    "the lost records are kept in the log of this program alone: the dead-letter topic cannot be written"
                );
            }
        });
    }

    /// Returns an error if the sink is closed.
    fn check_open(&self) -> Result<()> {
        if self.waiting_tasks.is_closed() {
            return Err(closed("sink"));
        }
        Ok(())
    }

    /// Returns whether Kafka has responded since the start.
    ///
    /// # Errors
    /// - [`Closed`](ErrorKind::Closed) if the sink is closed
    /// - the error of the last check if the topic is unavailable
    fn has_kafka_responded(&self) -> Result<bool> {
        self.check_open()?;
        self.log.topic.is_checked()
    }
}

/// Appends the record of `purchase`, and returns its receipt.
async fn append_for_receipt(log: &KafkaLogInner, purchase: &Purchase) -> Result<Receipt> {
    let position = log.append_purchase(purchase).await?;
    Ok(Receipt::new(purchase.id, log.durability()).with_position(position))
}

#[async_trait]
impl PurchaseSink for KafkaSink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        if !self.has_kafka_responded()? {
            // Boxed, so that the future of every other publish need not be as large as this one.
            return Box::pin(self.publish_before_response(purchase.clone())).await;
        }
        let receipt = append_for_receipt(&self.log, purchase).await;
        self.report_lost_records();
        receipt
    }

    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        match self.has_kafka_responded() {
            Err(error) => purchases.iter().map(|_| Err(error.clone())).collect(),
            // Shortly after the start, each purchase waits for Kafka's first response.
            Ok(false) => publish_each(self, purchases).await,
            Ok(true) => {
                let receipts = self.batch_room.publish(&self.log, purchases).await;
                self.report_lost_records();
                receipts
            }
        }
    }

    fn info(&self) -> SinkInfo {
        SinkInfo::new(self.log.durability()).with_faults(self.log.faults())
    }

    async fn check(&self) -> Result<()> {
        self.check_open()?;
        self.log.monitor.check(&self.log.topic).await
    }

    async fn close(&self, timeout: Duration) -> Result<()> {
        let started = Instant::now();
        self.waiting_tasks.close();
        // Purchases that wait for Kafka's first response count as queued.
        let waited = tokio::time::timeout(timeout, self.waiting_tasks.wait()).await;
        self.abandoned.cancel();

        let log = Arc::clone(&self.log);
        let remaining = timeout.saturating_sub(started.elapsed());
        blocking("flush task", move || log.producer.flush(remaining)).await?;
        waited.map_err(|elapsed| too_late().with_source(elapsed))
    }
}
