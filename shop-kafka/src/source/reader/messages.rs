//! The messages of a poll: records, ends of partitions, and errors of the consumer.
//!
//! A record and the end of a partition are compared with the position in their partition, and
//! delivered together with the gap before them. An error ends the membership if it is fatal. A
//! connection error leads to a check whether Kafka is available.

use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use shop_core::log::Partition;
use shop_core::{ErrorKind, Result};

use super::{REPORT_INTERVAL, Reader};
use crate::error::{from_code, from_kafka};
use crate::number::unsigned;
use crate::record::from_message;
use crate::source::member::Consumer;
use crate::source::positions::Arrival;
use crate::topic::check_served;

/// The number of messages after which the clock and the queue are checked again: a few microseconds
/// of work.
const MAX_FURTHER_MESSAGES: usize = 64;
/// The pause before the end of a partition is compared with the position again, after a request
/// failed.
const END_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The timeout of the request that checks whether Kafka is available.
const CONNECTIVITY_CHECK_TIMEOUT: Duration = Duration::from_millis(500);

impl Reader {
    /// Waits for a message, handles it and the messages that are available right after it, and
    /// delivers the batches that are old enough.
    ///
    /// Stops early when the queue is full. At most [`MAX_FURTHER_MESSAGES`] messages follow the
    /// first one, so that the checks in [`read`](Self::read) are made once for many messages, but
    /// soon enough.
    ///
    /// # Errors
    /// The error that ends the membership.
    pub(super) fn handle_messages(&mut self, consumer: &Consumer) -> Result<()> {
        let mut timeout = self.delivery.poll_timeout();
        for _ in 0..=MAX_FURTHER_MESSAGES {
            match consumer.poll(timeout) {
                Some(Ok(message)) => self.handle_message(consumer, &message)?,
                Some(Err(KafkaError::PartitionEOF(index))) => {
                    self.reached_ends.insert(unsigned(index));
                }
                Some(Err(error)) => return self.handle_error(consumer, error),
                None => {
                    self.delivery.flush_without_message();
                    break;
                }
            }
            if !self.delivery.queue_has_room() {
                break;
            }
            // Only the first poll waits.
            timeout = Duration::ZERO;
        }

        self.delivery.flush_other_partitions();
        Ok(())
    }

    /// Compares a record with the position in its partition, delivers the gap before the record,
    /// and adds the record to the batch of its partition.
    ///
    /// Discards the record if its partition is not owned, or if it was fetched before its partition
    /// was sought.
    ///
    /// # Errors
    /// The error that ends the membership: the topic was created again, or the brokers did not
    /// respond to a request about the record. The record is read again in the next membership.
    fn handle_message(&mut self, consumer: &Consumer, message: &BorrowedMessage<'_>) -> Result<()> {
        // A record shows that Kafka is available, so a planned check is not needed.
        self.connectivity_check_at = None;
        // The record may be one of a new topic.
        self.check_topic_id()?;
        // A polled record has a partition, whose index is not negative.
        let Ok(index) = u32::try_from(message.partition()) else {
            return Ok(());
        };
        let offset = message.offset();
        let Some(mut partition) = self.member.mark_delivered(index, offset) else {
            // The partition has just been revoked.
            return Ok(());
        };

        match self.positions.advance_past(consumer, &partition, offset)? {
            Arrival::InOrder(gap) => self.delivery.deliver_gaps(gap),
            Arrival::TooEarly(gap) => {
                self.delivery.deliver_gaps(gap);
                return Ok(());
            }
            Arrival::Backwards => {
                partition = self.restart_partition(consumer, partition, offset)?;
            }
        }

        self.delivery
            .add_record(&partition, |buffer| from_message(message, buffer));
        Ok(())
    }

    /// Gives up a partition whose offsets went back to `offset`, and takes it again in a new epoch.
    /// Returns the partition in the new epoch.
    ///
    /// Offsets only go back if the log was cut or created again. Notifies the callers of the source
    /// that they lost the partition in its earlier epoch. In the new epoch they start over, so that
    /// the committed position can go back as well. Delivers the records that the log lost as a
    /// [`Gap`](shop_core::log::Gap).
    ///
    /// # Errors
    /// If the brokers do not respond to the request for the watermarks.
    fn restart_partition(
        &mut self,
        consumer: &Consumer,
        mut partition: Partition,
        offset: i64,
    ) -> Result<Partition> {
        let index = partition.index;
        tracing::warn!(log.group = %self.member.group, log.partition = index, log.offset = offset, "offsets went backwards: log truncated or recreated");
        self.member
            .release_without_drain(std::slice::from_ref(&partition));
        partition.epoch = self.member.take_ownership(&[index]);
        let gap = self.positions.restart(consumer, &partition, offset)?;
        self.delivery.deliver_gaps(gap);
        Ok(partition)
    }

    /// Compares the reached ends of partitions with the positions, and delivers each end that
    /// follows offsets without a record. The group's position must pass these offsets, although no
    /// record follows them.
    ///
    /// librdkafka reports the end of a partition once, after all its records. If a request about an
    /// end fails, the end is compared again after [`END_RETRY_INTERVAL`].
    pub(super) fn deliver_ends(&mut self, consumer: &Consumer) {
        let is_retry_pending = self.end_retry_at.is_some_and(|at| at > Instant::now());
        if self.reached_ends.is_empty() || is_retry_pending {
            return;
        }

        let reached_ends = std::mem::take(&mut self.reached_ends);
        self.end_retry_at = None;
        for partition in self.member.owned_partitions() {
            if !reached_ends.contains(&partition.index) {
                continue;
            }
            match self.positions.pass_end(consumer, &partition) {
                Ok(Some(end)) => self.delivery.deliver_end(&partition, end),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(log.partition = partition.index, %error, "failed to compare the end with the position");
                    self.reached_ends.insert(partition.index);
                    self.end_retry_at = Some(Instant::now() + END_RETRY_INTERVAL);
                }
            }
        }
    }

    /// Handles an error that a poll returned.
    ///
    /// - A connection error is not reported at once, but schedules a check whether Kafka is
    ///   available, see [`check_connectivity`](Self::check_connectivity).
    /// - Any other error that is not fatal is reported to a caller of the source, and the
    ///   membership continues.
    ///
    /// # Errors
    /// The fatal error of the consumer, which ends the membership. A consumer fails fatally if
    /// another member of the group joins with the same instance id, for example.
    fn handle_error(&mut self, consumer: &Consumer, error: KafkaError) -> Result<()> {
        if let Some((code, reason)) = consumer.client().fatal_error() {
            return Err(from_code(code).with_context("reason", reason));
        }

        let error = from_kafka(error);
        if error.kind() == ErrorKind::Unavailable {
            // A lost connection to one broker is harmless while the others serve the topic, so
            // Kafka is checked first. A check that is already scheduled keeps its time.
            self.connectivity_check_at.get_or_insert_with(Instant::now);
        } else {
            let error = self.member.log.health.explain(error);
            self.member.queue.set_error(error);
        }
        Ok(())
    }

    /// Checks whether Kafka is available if a check is due, which
    /// [`handle_error`](Self::handle_error) schedules after a connection error. Blocks for up to
    /// [`CONNECTIVITY_CHECK_TIMEOUT`].
    ///
    /// If Kafka is available, clears the reported error, if no caller has received it yet. If not,
    /// reports an error to the callers of the source, and schedules the next check.
    pub(super) fn check_connectivity(&mut self, consumer: &Consumer) {
        if self
            .connectivity_check_at
            .is_none_or(|at| at > Instant::now())
        {
            return;
        }

        let log = &self.member.log;
        let queue = &self.member.queue;
        match check_served(
            consumer,
            &log.health,
            &log.topic.name,
            CONNECTIVITY_CHECK_TIMEOUT,
        ) {
            Ok(()) => {
                queue.clear_error();
                self.connectivity_check_at = None;
            }
            Err(error) => {
                queue.set_error(log.health.explain(error));
                self.connectivity_check_at = Some(Instant::now() + REPORT_INTERVAL);
            }
        }
    }
}
