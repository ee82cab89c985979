//! The settings of a topic at its brokers.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::admin::ResourceSpecifier;
use shop_core::{ErrorKind, Result};

use super::{Partitions, Topic, TopicAdmin};
use crate::error::{from_code, kafka_error};

/// What is known of the settings.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Whether records may be acknowledged: as far as the settings may be read, the topic is not compacted.
    is_approved: AtomicBool,
    /// How many brokers have an acknowledged record; 0 while it is unknown.
    guaranteed_replicas: AtomicU32,
    /// Its `retention.ms`; 0 while it is unknown or unlimited.
    retention: AtomicU64,
}

impl Topic {
    /// Whether records may be acknowledged, as the settings were read last.
    pub(crate) fn is_approved(&self) -> bool {
        self.settings.is_approved.load(Ordering::Relaxed)
    }

    /// Returns how many brokers have a record at least when it is acknowledged, if that is known.
    pub(crate) fn guaranteed_replicas(&self) -> Option<u32> {
        Some(self.settings.guaranteed_replicas.load(Ordering::Relaxed)).filter(|known| *known > 0)
    }

    /// Returns how long the topic keeps a record, if that is limited and known.
    pub(crate) fn retention(&self) -> Option<Duration> {
        let millis = Some(self.settings.retention.load(Ordering::Relaxed)).filter(|millis| *millis > 0);
        millis.map(Duration::from_millis)
    }

    /// Reads the settings again. A compacted topic fails. Blocks.
    pub(crate) fn refresh_settings(&self, admin: &TopicAdmin, partitions: &Partitions) {
        if let Err(error) = self.read_settings(admin, partitions) {
            self.fail(error);
        }
    }

    /// Reads the settings of the topic with these `partitions`. Keeps the known values if the broker does not respond,
    /// and resets them if the user may not read the settings. Blocks.
    ///
    /// # Errors
    /// [`Denied`](ErrorKind::Denied) if the topic is compacted; a retryable error if the broker does not respond.
    pub(super) fn read_settings(&self, admin: &TopicAdmin, partitions: &Partitions) -> Result<()> {
        let topic = ResourceSpecifier::Topic(&self.name);
        // Any broker has the settings. By default, librdkafka waits for the controller.
        let described = admin.request(|client, options| {
            client.describe_configs([&topic], &options.broker_id(partitions.leader))
        });
        let described = described.and_then(|resources| {
            resources.into_iter().next().map(|resource| resource.map_err(from_code)).transpose()
        });
        let found = match described {
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => {
                if !self.is_approved() {
                    let (topic, error) = (&*self.name, error.chain());
                    tracing::warn!(kafka.topic = topic, %error, "make sure that the topic's cleanup.policy, which cannot be read, is delete");
                }
                None
            }
            Ok(found) => found,
        };
        let value = |name: &str| found.as_ref()?.get(name)?.value.as_deref();
        let policy = value("cleanup.policy").unwrap_or_default();
        let is_compacted = policy.contains("compact");
        self.settings.is_approved.store(!is_compacted, Ordering::Relaxed);
        if is_compacted {
            let message = format!(
                "the topic {} has cleanup.policy={policy}, which deletes all but the last record of a user: \
                 set cleanup.policy=delete",
                self.name
            );
            return Err(kafka_error(ErrorKind::Denied, message));
        }
        // -1 is no limit.
        let retention = value("retention.ms").and_then(|millis| millis.parse().ok()).unwrap_or_default();
        self.settings.retention.store(retention, Ordering::Relaxed);
        let min_in_sync = value("min.insync.replicas").and_then(|least| least.parse().ok());
        self.note_min_in_sync(min_in_sync, partitions.replicas);
        Ok(())
    }

    /// Brokers take the smaller of `min.insync.replicas` and the number of replicas.
    fn note_min_in_sync(&self, min_in_sync: Option<usize>, replicas: usize) {
        let guaranteed = min_in_sync.and_then(|least| u32::try_from(least.min(replicas)).ok());
        let guaranteed = guaranteed.unwrap_or_default();
        if self.settings.guaranteed_replicas.swap(guaranteed, Ordering::Relaxed) == guaranteed {
            return;
        }
        let topic = &*self.name;
        tracing::info!(kafka.topic = topic, min_in_sync, replicas, "min.insync.replicas changed");
        if min_in_sync > Some(replicas) {
            tracing::warn!(
                kafka.topic = topic,
                min_in_sync,
                replicas,
                "min.insync.replicas is above the replicas"
            );
        }
    }
}
