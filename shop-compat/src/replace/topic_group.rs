//! The progress and the members of a group that consumes a topic.

use std::fmt::{self, Debug};
use std::sync::{Arc, OnceLock};

use shop_core::inspect::GroupProgress;
use shop_core::log::{Log, LogExt as _, Offsets};
use shop_core::record::header;
use shop_core::{Backend, Result};

/// A topic, and the group that consumes the topic.
pub struct TopicGroup {
    topic: String,
    group: String,
    pub(super) log: Arc<dyn Log>,
    /// The ends of the partitions when the progress of the group was first read.
    initial_ends: OnceLock<Offsets>,
}

/// The progress of a group in all partitions of its topic together.
#[derive(Default)]
pub(super) struct TotalProgress {
    /// The number of records that the group has not read.
    pub(super) lag: u64,
    /// The number of unread records that were in the topic when the progress was first read.
    pub(super) lag_behind_initial_ends: u64,
    /// The sum of the ends of the partitions.
    pub(super) end: u64,
}

/// The members of a group.
pub(super) struct Members {
    /// The client ids of the members, our services first.
    pub(super) names: Vec<String>,
    /// The number of members that are our services. The others are old programs.
    pub(super) our_count: usize,
}

impl Debug for TopicGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicGroup")
            .field("topic", &self.topic)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl TopicGroup {
    /// Creates a topic with its group from the `backend` that opened the log of the topic.
    ///
    /// # Errors
    /// [`Unsupported`](shop_core::ErrorKind::Unsupported) if the backend has no log.
    pub fn new(
        topic: impl Into<String>,
        group: impl Into<String>,
        backend: &Backend,
    ) -> Result<Self> {
        Ok(Self {
            topic: topic.into(),
            group: group.into(),
            log: Arc::clone(backend.require_log()?),
            initial_ends: OnceLock::new(),
        })
    }

    /// Returns the name of the topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Returns the name of the group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Reads how far the group has read the topic.
    ///
    /// The first call keeps the present ends of the partitions. A group can catch up with these
    /// initial ends even while programs write further records.
    pub(super) async fn read_progress(&self) -> Result<TotalProgress> {
        let partitions = GroupProgress::read(&self.group, &*self.log).await?;
        let initial_ends = self.initial_ends.get_or_init(|| {
            partitions
                .iter()
                .map(|partition| (partition.partition, partition.end))
                .collect()
        });

        let mut total = TotalProgress::default();
        for partition in partitions {
            total.lag += partition.lag;
            total.end += partition.end;
            if let Some(initial_end) = initial_ends.get(&partition.partition) {
                let next_offset = partition.end - partition.lag;
                total.lag_behind_initial_ends += initial_end.saturating_sub(next_offset);
            }
        }
        Ok(total)
    }

    /// Reads the members of the group. Members with the client id `our_id` are our services.
    pub(super) async fn read_members(&self, our_id: &str) -> Result<Members> {
        let mut names = self.log.members(&self.group).await?;
        // `false` sorts before `true`, so our services come first.
        names.sort_by_key(|name| name != our_id);
        let our_count = names.partition_point(|name| name == our_id);
        Ok(Members { names, our_count })
    }

    /// Returns whether one of our services wrote the newest record of the topic, by the time of the
    /// record. An empty topic has no such record.
    pub(super) async fn is_newest_record_ours(&self) -> Result<bool> {
        // The time of the newest record so far, and whether it is ours.
        let mut newest_record = None;
        for partition in GroupProgress::read(&self.group, &*self.log).await? {
            if partition.end > 0
                && let Some((_, record)) = self
                    .log
                    .find(partition.partition, partition.end - 1)
                    .await?
            {
                // Old programs do not write this header.
                let is_ours = record.headers.contains(header::SCHEMA);
                newest_record = newest_record.max(Some((record.time, is_ours)));
            }
        }
        Ok(newest_record.is_some_and(|(_, is_ours)| is_ours))
    }
}
