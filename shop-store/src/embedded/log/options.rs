//! The options of an embedded log.

use std::sync::Arc;
use std::time::Duration;

use shop_core::{Clock, SystemClock};
use uuid::Uuid;

use crate::embedded::schema::FILE;

shop_core::options! {
    /// Options of an [`EmbeddedLog`](super::EmbeddedLog).
    #[derive(Debug, Clone)]
    pub struct EmbeddedLogOptions {
        /// The topic in the records' positions (default `purchases`).
        pub topic: String as impl Into<String> = "purchases".to_owned(),
        /// The file's name without its extension (default `shop`: the file that also contains the
        /// purchases of an [`EmbeddedStore`](crate::embedded::EmbeddedStore)).
        pub file: String as impl Into<String> = FILE.to_owned(),
        /// Maximum number of records in a batch (default 1,000).
        pub batch_records: usize = 1_000,
        /// Size in bytes at which a batch is closed (default 1 MiB).
        pub batch_bytes: usize = 1 << 20,
        /// How long records are kept (default 7 days). Records that a group has not consumed are
        /// never deleted.
        pub retention: Duration = Duration::from_secs(7 * 24 * 3_600),
        /// Fallback poll interval, when no commit notification arrives (default 250 ms). Records of
        /// this process are delivered without delay, and so are records of other processes where
        /// the kernel reports changes of a file (Linux).
        pub poll_interval: Duration = Duration::from_millis(250),
        /// Maximum number of queued writes (default 10,000). If the queue is full, a write fails at
        /// once with [`Overloaded`](shop_core::ErrorKind::Overloaded).
        pub queue_capacity: usize = 10_000,
        /// Maximum size of the file in bytes (default none).
        pub max_file_bytes: Option<u64> = None,
        /// Whether a missing folder or file is created and a file of an earlier version is migrated
        /// (default true). If false, opening such a log is an error.
        pub create: bool = true,
        /// The name of the store that the groups feed (default: the one in the log's file). The
        /// file stores this name for each group: a consumer with another name is refused, because
        /// the records before the group's position are in the store of the first one.
        pub feeds: String as impl Into<String> = "the store in this file".to_owned(),
        /// The clock for the records' timestamps.
        pub clock: Arc<dyn Clock> = Arc::new(SystemClock),
    }
}

impl EmbeddedLogOptions {
    /// Returns the maximum number of records of a batch, and the size in bytes at which a batch is
    /// closed.
    pub(super) fn batch(&self) -> (usize, usize) {
        (self.batch_records.max(1), self.batch_bytes)
    }

    /// Returns the default options for a topic of events: a separate file, without deletion of old
    /// records.
    ///
    /// Old events are kept because a projection is rebuilt from the first event.
    #[must_use]
    pub fn for_events(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            file: file_name(&format!("log-{topic}")),
            retention: Duration::MAX,
            ..Self::default()
        }
    }
}

/// The length in bytes to which [`file_name`] shortens a name, before it adds a hash.
///
/// With hash and extension, the name stays below the 255 bytes that common file systems allow.
const MAX_NAME_BYTES: usize = 190;

/// Converts `text` to a file name, so that different texts become different names.
///
/// Escapes all bytes but ASCII letters, digits, `-` and `_` as `%` and two hex digits. Shortens a
/// long name to a prefix with a hash of `text`.
pub(super) fn file_name(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            name.push(char::from(byte));
        } else {
            name += &format!("%{byte:02x}");
        }
    }
    if name.len() > MAX_NAME_BYTES {
        name.truncate(MAX_NAME_BYTES);
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes());
        name += &format!("~{}", hash.simple());
    }
    name
}
