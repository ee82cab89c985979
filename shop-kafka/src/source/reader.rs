//! The thread that reads: joins the group, polls, cuts batches, pauses while nobody has room, and leaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use shop_core::log::Batch;
use shop_core::{Error, ErrorKind, Result};

use super::member::{Consumer, Member};
use super::pending::{BatchBuilder, Limits, Pending};
use super::rejoin_backoff::RejoinBackoff;
use crate::error::{from_code, from_kafka, is_about_connections, kafka_error};
use crate::record::from_message;
use crate::topic::State;

pub(super) struct Reader {
    member: Arc<Member>,
    pending: Pending,
    limits: Limits,
    /// The partition of the last record.
    reading: Option<u32>,
    /// The epoch and the offset of the last record of each partition.
    last: BTreeMap<u32, (u64, i64)>,
    /// Whether there is room for another batch.
    has_room: bool,
    /// Whether the partitions are paused.
    paused: bool,
    /// When to ask whether Kafka is there, after an error that may mean that it is not.
    ask_at: Option<Instant>,
}

/// The longest poll: how late the end of the source may be noticed.
const POLL: Duration = Duration::from_millis(100);
/// The polls of a paused member, which only serve to stay one.
const PAUSED_POLL: Duration = Duration::from_millis(20);
/// How long a full inbox is waited for before the partitions are paused: a pause throws away what librdkafka has
/// read ahead, and costs a quarter of a second until records come again. A store that collects its garbage is back
/// sooner; a rebalance waits for as long.
const BEFORE_PAUSE: Duration = Duration::from_secs(1);
/// How often a trouble that lasts is told.
const TELL: Duration = Duration::from_secs(1);
/// How long Kafka has to answer whether it is there.
const ANSWER: Duration = Duration::from_millis(500);
/// How many messages are taken between two looks at the clock and at the inbox: microseconds' worth.
const AT_ONCE: usize = 64;
/// How often the thread looks whether the topic is there.
const LOOK: Duration = Duration::from_millis(10);

impl Reader {
    pub(super) fn new(member: Arc<Member>) -> Self {
        let options = &member.log.options;
        let limits = Limits { records: options.batch_records, bytes: options.batch_bytes };
        let (pending, last) = (Pending::default(), BTreeMap::new());
        Self { member, pending, limits, reading: None, last, has_room: true, paused: false, ask_at: None }
    }

    /// Reads until the source is closed.
    pub(super) fn run(mut self, consumer: Arc<Consumer>) {
        let (mut consumer, mut rejoining) = (Some(consumer), RejoinBackoff::default());
        while !self.member.inbox.is_closed() {
            let begun = Instant::now();
            let made = consumer.take().map_or_else(|| Member::make_consumer(&self.member), Ok);
            let ended = made.and_then(|consumer| {
                let read = self.join(&consumer).and_then(|()| self.read(&consumer));
                self.leave(consumer);
                read
            });
            if let Err(error) = ended {
                let pause = rejoining.pause(begun.elapsed());
                tracing::error!(log.group = %self.member.group, error = %error.chain(), ?pause, "the membership has ended");
                self.back_off(&error, pause);
            }
        }
    }

    /// Waits for `pause`, and says all the while why nothing is read: whoever hears nothing takes it to be well.
    fn back_off(&self, error: &Error, pause: Duration) {
        let (inbox, until) = (&self.member.inbox, Instant::now() + pause);
        while !inbox.is_closed() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return inbox.works();
            }
            inbox.trouble(error.clone());
            inbox.pause(left.min(TELL));
        }
    }

    /// Ends the membership. Commits nothing.
    fn leave(&mut self, consumer: Arc<Consumer>) {
        self.member.lose_all();
        self.member.end_commits();
        self.pending = Pending::default();
        (self.has_room, self.paused) = (true, false);
        drop(consumer);
    }

    /// Joins the group once the topic is there: librdkafka looks only every now and then for one that was not
    /// there at first.
    fn join(&self, consumer: &Consumer) -> Result<()> {
        let (log, inbox) = (&self.member.log, &self.member.inbox);
        let mut told = None::<Instant>;
        while !inbox.is_closed() {
            let error = match log.topic.state() {
                State::Ready(_) if log.monitor.cluster().is_some() => {
                    return consumer.subscribe(&[&log.topic.name]).map_err(from_kafka);
                }
                State::Ready(_) => {
                    let nameless = "the cluster tells no id, which a record without one of its own needs";
                    Some(kafka_error(ErrorKind::Unavailable, nameless))
                }
                State::Failed(error) => Some(error),
                State::Unknown => None,
            };
            if let Some(error) = error
                && told.is_none_or(|at| at.elapsed() > TELL)
            {
                told = Some(Instant::now());
                inbox.trouble(error);
            }
            inbox.pause(LOOK);
            // Nothing to be read yet: this hands out log lines and errors.
            drop(consumer.poll(Duration::ZERO));
        }
        Ok(())
    }

    /// Polls until the source is closed; an error is the end of this membership.
    fn read(&mut self, consumer: &Consumer) -> Result<()> {
        while !self.member.inbox.is_closed() {
            self.apply_backpressure(consumer);
            self.check_connectivity(consumer);
            match consumer.poll(self.step()) {
                Some(Ok(message)) => {
                    self.add(&message);
                    self.read_on(consumer)?;
                }
                Some(Err(error)) => self.note(consumer, error)?,
                None => self.flush_due(),
            }
        }
        Ok(())
    }

    /// Takes what lies ready behind a message, as far as there is room: many messages for one look at the clock
    /// and at what others want.
    fn read_on(&mut self, consumer: &Consumer) -> Result<()> {
        for _ in 0..AT_ONCE {
            if !self.has_room {
                break;
            }
            match consumer.poll(Duration::ZERO) {
                Some(Ok(message)) => self.add(&message),
                Some(Err(error)) => return self.note(consumer, error),
                None => {
                    self.flush_due();
                    break;
                }
            }
        }
        // A partition that is read without end does not hold up the others; it fills a batch of its own soon.
        self.put_waiting(self.member.log.options.batch_linger, self.reading);
        Ok(())
    }

    /// Pauses what is assigned while there is no room, and resumes it when there is.
    fn apply_backpressure(&mut self, consumer: &Consumer) {
        if self.paused && self.member.assigned.swap(false, Ordering::AcqRel) {
            // Partitions that came meanwhile are not paused: all are paused anew, if there is still no room.
            self.resume(consumer);
        }
        if self.has_room {
            return;
        }
        let inbox = &self.member.inbox;
        self.has_room = inbox.wait_for_room(if self.paused { Duration::ZERO } else { BEFORE_PAUSE });
        if self.has_room {
            self.resume(consumer);
        } else if !self.paused && !inbox.is_closed() {
            self.member.assigned.store(false, Ordering::Release);
            self.paused = true;
            tracing::debug!(log.group = %self.member.group, "the reader is full: pausing");
            warn_of(consumer.assignment().and_then(|list| consumer.pause(&list)));
        }
    }

    fn resume(&mut self, consumer: &Consumer) {
        if std::mem::take(&mut self.paused) {
            tracing::debug!(log.group = %self.member.group, "resuming");
            warn_of(consumer.assignment().and_then(|list| consumer.resume(&list)));
        }
    }

    /// How long to wait for the next message.
    fn step(&self) -> Duration {
        if self.paused {
            return PAUSED_POLL;
        }
        let Some(oldest) = self.pending.oldest() else { return POLL };
        if self.member.inbox.is_empty() {
            return Duration::ZERO;
        }
        self.member.log.options.batch_linger.saturating_sub(oldest.elapsed())
    }

    fn add(&mut self, message: &BorrowedMessage<'_>) {
        self.ask_at = None;
        let Ok(index) = u32::try_from(message.partition()) else { return };
        // What is not owned was revoked a moment ago.
        let Some(epoch) = self.member.epoch(index) else { return };
        let Some(epoch) = self.check_offset_order((index, epoch), message.offset()) else { return };
        self.reading = Some(index);
        let full = self.pending.add((index, epoch), |buffer| from_message(message, buffer), self.limits);
        if let Some(filling) = full {
            self.put(index, filling);
        }
    }

    /// Offsets grow, unless the log was cut back or begins anew: then librdkafka goes back by itself. What was
    /// committed may have to go back, too, so this is a new epoch. Answers the epoch that the record is of.
    fn check_offset_order(&mut self, (index, epoch): (u32, u64), offset: i64) -> Option<u64> {
        let last = self.last.insert(index, (epoch, offset));
        if last.is_some_and(|(of, last)| of == epoch && offset <= last) {
            tracing::warn!(log.group = %self.member.group, log.partition = index, log.offset = offset, "the log goes back");
            self.member.lose(&[(index, epoch)]);
            self.member.own(std::iter::once(index));
            self.last.remove(&index);
            return self.member.epoch(index);
        }
        Some(epoch)
    }

    /// Nothing more to be read just now: batches are handed over that have waited long enough, or that somebody
    /// waits for.
    fn flush_due(&mut self) {
        let linger = self.member.log.options.batch_linger;
        self.put_waiting(if self.member.inbox.is_empty() { Duration::ZERO } else { linger }, None);
    }

    /// Batches are handed over that have waited for at least as long as `linger`, but for that of partition `but`.
    fn put_waiting(&mut self, linger: Duration, but: Option<u32>) {
        while self.has_room
            && let Some((index, filling)) = self.pending.pop(linger, but)
        {
            self.put(index, filling);
        }
    }

    fn put(&mut self, index: u32, filling: BatchBuilder) {
        if self.member.epoch(index) != Some(filling.epoch) {
            return;
        }
        if let Some(partition) = self.member.partition(index, filling.epoch) {
            self.has_room = self.member.inbox.put(Batch::new(partition, filling.records));
        }
    }

    /// Takes note of an error; it is the end of the membership if librdkafka says so.
    fn note(&mut self, consumer: &Consumer, error: KafkaError) -> Result<()> {
        if let KafkaError::PartitionEOF(_) = error {
            return Ok(());
        }
        if let Some((code, reason)) = consumer.client().fatal_error() {
            return Err(from_code(code).with_context("said", reason));
        }
        match error.rdkafka_error_code() {
            // One broker that is away is no trouble as long as others do its work.
            Some(code) if is_about_connections(code) => {
                self.ask_at.get_or_insert_with(Instant::now);
            }
            _ => self.member.inbox.trouble(self.member.log.health.explain(from_kafka(error))),
        }
        Ok(())
    }

    /// Asks whether Kafka is there, while that is in doubt, and tells if it is not.
    fn check_connectivity(&mut self, consumer: &Consumer) {
        if self.ask_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        let log = &self.member.log;
        match consumer.fetch_metadata(Some(&log.topic.name), ANSWER) {
            Ok(_) => {
                log.health.works();
                self.member.inbox.works();
                self.ask_at = None;
            }
            Err(error) => {
                self.member.inbox.trouble(log.health.explain(from_kafka(error)));
                self.ask_at = Some(Instant::now() + TELL);
            }
        }
    }
}

/// A pause that did not come about costs memory at most: librdkafka's own queue is bounded.
fn warn_of(result: Result<(), KafkaError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "partitions could not be paused or resumed");
    }
}
