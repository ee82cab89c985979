//! Consumers that join no group: for scans, and for the committed positions of a group.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer as _;
use rdkafka::groups::GroupInfo;
use rdkafka::{Offset, TopicPartitionList};
use shop_core::Result;
use shop_core::log::Offsets;

use crate::client::{
    Context, StandaloneConsumer, authenticate, blocking, close_in_background, deliver_events,
    is_of_other_topic, lock, partitions,
};
use crate::config;
use crate::error::from_kafka;
use crate::number::unsigned;
use crate::shared::KafkaLogInner;

/// The timeout of a request.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Consumers that are kept for the next scan or request, because a new consumer has to find the
/// cluster first.
#[derive(Default)]
pub(crate) struct IdleConsumers {
    /// The idle consumers, by group and by whether they read only a few records.
    consumers: Mutex<HashMap<(Arc<str>, bool), StandaloneConsumer>>,
    /// Held during a request about a group, so that requests run one after the other.
    positions: Arc<tokio::sync::Mutex<()>>,
}

impl KafkaLogInner {
    /// Returns an idle consumer of `group`, or creates one. The consumer never joins the group.
    ///
    /// A consumer for a `few` records prefetches as few as possible, and reports an offset that is
    /// not in the log as an error.
    ///
    /// # Errors
    /// If librdkafka rejects the configuration.
    pub(crate) fn consumer(&self, group: &Arc<str>, few: bool) -> Result<StandaloneConsumer> {
        let idle = lock(&self.idle_consumers.consumers).remove(&(Arc::clone(group), few));
        if let Some(consumer) = idle {
            // While the consumer was idle, events and requests for a token have queued up.
            deliver_events(&consumer);
            return Ok(consumer);
        }
        // The group is never joined.
        let mut config = config::reader(&self.options, group);
        config.set("enable.partition.eof", "true");
        if few {
            config
                .set("queued.min.messages", "1")
                .set("fetch.message.max.bytes", "65536")
                .set("auto.offset.reset", "error");
        }
        let context = Context::new(Arc::clone(&self.health), ());
        let consumer =
            StandaloneConsumer::from_config_and_context(&config, context).map_err(from_kafka)?;
        authenticate(&consumer);
        Ok(consumer)
    }

    /// Keeps a consumer for the next scan or request.
    pub(crate) fn keep(&self, group: Arc<str>, few: bool, consumer: StandaloneConsumer) {
        if consumer.unassign().is_ok() {
            // Another consumer may have been kept meanwhile. It is dropped after the lock is
            // released.
            let _replaced = lock(&self.idle_consumers.consumers).insert((group, few), consumer);
        }
    }

    /// Runs `request` about `group` on a thread for blocking work.
    ///
    /// One request runs at a time, so an unresponsive broker does not accumulate waiting threads.
    ///
    /// # Errors
    /// The error of `request` or of a new consumer, with its known cause.
    pub(crate) async fn request<T: Send + 'static>(
        self: &Arc<Self>,
        group: &str,
        request: fn(&StandaloneConsumer, &Self, &str) -> Result<T>,
    ) -> Result<T> {
        let turn = Arc::clone(&self.idle_consumers.positions)
            .lock_owned()
            .await;
        let log = Arc::clone(self);
        let group = Arc::<str>::from(group);
        let read = move || {
            let _turn = turn;
            let consumer = log.consumer(&group, false)?;
            let found = request(&consumer, &log, &group)?;
            log.keep(group, false, consumer);
            Ok(found)
        };
        blocking("request of a group", read)
            .await
            .map_err(|error| self.health.explain(error))
    }
}

/// Returns the client ids of the members of `group`. Blocks.
pub(crate) fn members(
    consumer: &StandaloneConsumer,
    _: &KafkaLogInner,
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

/// Returns the positions that the consumer's group has committed in the topic of the log. Blocks.
pub(crate) fn committed(
    consumer: &StandaloneConsumer,
    log: &KafkaLogInner,
    _: &str,
) -> Result<Offsets> {
    let topic = &*log.topic.name;
    let mut list = TopicPartitionList::new();
    for partition in partitions(consumer.client(), topic, REQUEST_TIMEOUT)? {
        list.add_partition(topic, partition);
    }
    let committed = consumer
        .committed_offsets(list, REQUEST_TIMEOUT)
        .map_err(from_kafka)?;
    let mut positions = Offsets::new();
    let id = log.health.topic_id(topic);
    for element in committed.elements() {
        element.error().map_err(from_kafka)?;
        // A position that was committed in an earlier topic of this name means nothing in the
        // current one.
        if let (Ok(index), Offset::Offset(next)) =
            (element.partition().try_into(), element.offset())
            && !is_of_other_topic(element.metadata(), id.as_ref())
        {
            positions.insert(index, unsigned(next));
        }
    }
    Ok(positions)
}

impl Drop for IdleConsumers {
    fn drop(&mut self) {
        let consumers = std::mem::take(&mut *lock(&self.consumers));
        if !consumers.is_empty() {
            // Closing a client blocks until its threads have ended, which must not happen in an
            // async task.
            close_in_background(move || drop(consumers));
        }
    }
}
