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

/// The idle consumers, by group and whether they fetch few records: a new one has to find the cluster first.
#[derive(Default)]
pub(crate) struct IdleConsumers {
    consumers: Mutex<HashMap<(Arc<str>, bool), StandaloneConsumer>>,
    /// Held during a request for positions.
    positions: Arc<tokio::sync::Mutex<()>>,
}

impl KafkaLogInner {
    /// An idle consumer of `group`, or a new one. If it is to read `few` records, it fetches no others, and stops at an
    /// offset that is not in the log.
    pub(crate) fn consumer(&self, group: &Arc<str>, few: bool) -> Result<StandaloneConsumer> {
        let idle = lock(&self.idle_consumers.consumers).remove(&(Arc::clone(group), few));
        if let Some(consumer) = idle {
            // And requests for a token.
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

    /// Keeps a consumer for the next request.
    pub(crate) fn keep(&self, group: Arc<str>, few: bool, consumer: StandaloneConsumer) {
        if consumer.unassign().is_ok() {
            // Another one may have been kept meanwhile. It is dropped without the lock.
            let _replaced = lock(&self.idle_consumers.consumers).insert((group, few), consumer);
        }
    }

    /// Runs a request about `group`. Requests are sequential: an unresponsive broker must not accumulate waiting threads.
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

/// The client ids of the members of `group`.
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

/// The committed positions of the consumer's group in the topic of the log.
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
        // That of an earlier topic is none in this one.
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
            // Closing a client blocks until its threads have ended: not in an async task.
            close_in_background(move || drop(consumers));
        }
    }
}
