//! Reads the committed positions of a group, without joining it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};
use shop_core::log::Offsets;
use shop_core::{ErrorKind, Result};
use tokio::sync::Mutex;

use crate::client::{Context, authenticate};
use crate::error::{from_kafka, kafka_error};
use crate::log::Shared;
use crate::topic::Observer;
use crate::{config, thread};

/// The timeout of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The client of the last request. Requests are sequential: an unresponsive broker must not accumulate waiting threads.
#[derive(Debug, Default)]
pub(crate) struct Positions(Arc<Mutex<Option<GroupClient>>>);

/// A client that is configured for a group and no member of it.
struct GroupClient {
    group: String,
    consumer: Option<Observer>,
}

impl Positions {
    /// The positions of `group` in the topic of `log`.
    pub(crate) async fn of(&self, log: &Arc<Shared>, group: &str) -> Result<Offsets> {
        let (log, group) = (Arc::clone(log), group.to_owned());
        let mut client = Arc::clone(&self.0).lock_owned().await;
        let read = move || {
            if client.as_ref().is_none_or(|client| client.group != group) {
                *client = Some(GroupClient::new(&log, group)?);
            }
            let consumer = client.as_ref().and_then(|client| client.consumer.as_ref());
            consumer.map_or_else(|| Ok(Offsets::new()), |consumer| read(consumer, &log.topic.name))
        };
        let aborted = |error| kafka_error(ErrorKind::Internal, "offsets request aborted").with_source(error);
        tokio::task::spawn_blocking(read).await.map_err(aborted)?
    }
}

fn read(consumer: &Observer, topic: &str) -> Result<Offsets> {
    // Delivers log lines and requests for a token. The client reads no records.
    drop(consumer.poll(Duration::ZERO));
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT).map_err(from_kafka)?;
    let mut partitions = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions).map(MetadataPartition::id) {
        partitions.add_partition(topic, partition);
    }
    let committed = consumer.committed_offsets(partitions, REQUEST_TIMEOUT).map_err(from_kafka)?;
    let mut positions = Offsets::new();
    for element in committed.elements() {
        element.error().map_err(from_kafka)?;
        if let (Ok(index), Offset::Offset(next)) = (element.partition().try_into(), element.offset()) {
            positions.insert(index, u64::try_from(next).unwrap_or_default());
        }
    }
    Ok(positions)
}

impl GroupClient {
    fn new(log: &Shared, group: String) -> Result<Self> {
        let mut config = config::observer(&log.options);
        config.set("group.id", &group).set("enable.auto.commit", "false");
        let context = Context::new(Arc::clone(&log.health), None, ());
        let consumer = Observer::from_config_and_context(&config, context).map_err(from_kafka)?;
        authenticate(&consumer);
        Ok(Self { group, consumer: Some(consumer) })
    }
}

impl Drop for GroupClient {
    fn drop(&mut self) {
        // Closing a client blocks until its threads have ended: not in an async task.
        if let Some(consumer) = self.consumer.take() {
            thread::close_in_background(consumer, |_| {});
        }
    }
}

impl fmt::Debug for GroupClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupClient").field("group", &self.group).finish_non_exhaustive()
    }
}
