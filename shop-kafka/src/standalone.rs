//! Consumers that join no group: for scans, and for requests about a group.
//!
//! A new consumer must find the cluster first, so a consumer is reused. A scan or a request takes
//! an idle consumer with [`KafkaLogInner::take_consumer`], and returns it with
//! [`KafkaLogInner::return_consumer`]. Only a complete scan or a successful request returns its
//! consumer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::groups::GroupInfo;
use rdkafka::{Offset, TopicPartitionList};
use shop_core::Result;
use shop_core::log::Offsets;

use crate::client::{
    StandaloneConsumer, authenticate, blocking, close_in_background, create_client, deliver_events,
    fetch_partitions, is_of_other_topic, lock,
};
use crate::config;
use crate::error::{as_settings_error, from_kafka};
use crate::number::unsigned;
use crate::shared::KafkaLogInner;

/// The timeout of a request.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How a standalone consumer is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ConsumerKind {
    /// For requests, and for scans that may read many records.
    General,
    /// For scans of a few records at known offsets. The consumer prefetches as few records as
    /// possible, and reports an offset that is not in the log as an error.
    FewRecords,
}

/// The consumers that no scan or request uses now.
#[derive(Default)]
pub(crate) struct IdleConsumers {
    /// The idle consumers, by group and kind.
    consumers: Mutex<HashMap<(Arc<str>, ConsumerKind), StandaloneConsumer>>,
    /// The lock that a request about a group holds, so that requests run one after the other.
    request_lock: Arc<tokio::sync::Mutex<()>>,
}

impl KafkaLogInner {
    /// Takes an idle consumer of this `kind` with the group id `group`, or creates one. The
    /// consumer never joins the group.
    ///
    /// # Errors
    /// [`Denied`](shop_core::ErrorKind::Denied) if librdkafka rejects the configuration.
    pub(crate) fn take_consumer(
        &self,
        group: &Arc<str>,
        kind: ConsumerKind,
    ) -> Result<StandaloneConsumer> {
        let idle = lock(&self.idle_consumers.consumers).remove(&(Arc::clone(group), kind));
        if let Some(consumer) = idle {
            // An idle consumer is not polled, so its log lines, errors and requests for a new login
            // token are still queued.
            deliver_events(&consumer);
            return Ok(consumer);
        }

        let mut config = config::reader(&self.options, group);
        // A scan ends at the ends of its partitions.
        config.set("enable.partition.eof", "true");
        if kind == ConsumerKind::FewRecords {
            config
                // Prefetches one record, and at most 64 KiB.
                .set("queued.min.messages", "1")
                .set("fetch.message.max.bytes", "65536")
                // A missing record must not be replaced by the oldest one.
                .set("auto.offset.reset", "error");
        }

        let consumer = create_client(&config, &self.health, ()).map_err(as_settings_error)?;
        authenticate(&consumer);
        Ok(consumer)
    }

    /// Returns a consumer that [`take_consumer`](Self::take_consumer) took, for the next scan or
    /// request. Drops a consumer whose partitions cannot be unassigned.
    pub(crate) fn return_consumer(
        &self,
        group: Arc<str>,
        kind: ConsumerKind,
        consumer: StandaloneConsumer,
    ) {
        if consumer.unassign().is_ok() {
            // Another consumer may have been returned in the meantime. It is dropped after the lock
            // is released, because the drop blocks.
            let _replaced_consumer =
                lock(&self.idle_consumers.consumers).insert((group, kind), consumer);
        }
    }

    /// Runs `request` about `group` on a thread for blocking work.
    ///
    /// One request runs at a time, so an unresponsive broker does not accumulate waiting threads.
    ///
    /// # Errors
    /// The error of `request` or of a new consumer. A rejected login, if one is known, replaces it
    /// as its cause.
    pub(crate) async fn request_for_group<T: Send + 'static>(
        self: &Arc<Self>,
        group: &str,
        request: fn(&StandaloneConsumer, &Self, &str) -> Result<T>,
    ) -> Result<T> {
        let request_guard = Arc::clone(&self.idle_consumers.request_lock)
            .lock_owned()
            .await;
        let log = Arc::clone(self);
        let group = Arc::<str>::from(group);
        blocking("request of a group", move || {
            // The thread holds the lock until the request ends, even if this future is dropped.
            let _request_guard = request_guard;
            let consumer = log.take_consumer(&group, ConsumerKind::General)?;
            let response = request(&consumer, &log, &group)?;
            log.return_consumer(group, ConsumerKind::General, consumer);
            Ok(response)
        })
        .await
        .map_err(|error| self.health.explain(error))
    }
}

/// Returns the client ids of the members of `group`. Blocks.
pub(crate) fn group_members(
    consumer: &StandaloneConsumer,
    _log: &KafkaLogInner,
    group: &str,
) -> Result<Vec<String>> {
    let list = consumer
        .fetch_group_list(Some(group), REQUEST_TIMEOUT)
        .map_err(from_kafka)?;
    Ok(list
        .groups()
        .iter()
        .flat_map(GroupInfo::members)
        .map(|member| member.client_id().to_owned())
        .collect())
}

/// Returns the positions that the group of `consumer` committed in the topic of the log. Blocks.
pub(crate) fn group_positions(
    consumer: &StandaloneConsumer,
    log: &KafkaLogInner,
    _group: &str,
) -> Result<Offsets> {
    let topic = &*log.topic.name;
    let mut requested = TopicPartitionList::new();
    for partition in fetch_partitions(consumer.client(), topic, REQUEST_TIMEOUT)? {
        requested.add_partition(topic, partition);
    }
    let committed = consumer
        .committed_offsets(requested, REQUEST_TIMEOUT)
        .map_err(from_kafka)?;

    let mut positions = Offsets::new();
    let topic_id = log.health.topic_id(topic);
    for element in committed.elements() {
        element.error().map_err(from_kafka)?;
        // An element without an offset means that the group committed nothing there. A position of
        // an earlier topic of this name means nothing in the current one.
        if let Ok(index) = element.partition().try_into()
            && let Offset::Offset(next_offset) = element.offset()
            && !is_of_other_topic(element.metadata(), topic_id.as_ref())
        {
            positions.insert(index, unsigned(next_offset));
        }
    }
    Ok(positions)
}

impl Drop for IdleConsumers {
    fn drop(&mut self) {
        let consumers = std::mem::take(&mut *lock(&self.consumers));
        if !consumers.is_empty() {
            // Closing a client blocks until its threads end, which must not happen in an async
            // task.
            close_in_background(move || drop(consumers));
        }
    }
}
