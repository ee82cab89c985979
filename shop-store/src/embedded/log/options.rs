//! How a log is opened.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use shop_core::{Clock, SystemClock};
use uuid::Uuid;

/// How an [`EmbeddedLog`](super::EmbeddedLog) is opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EmbeddedLogOptions {
    /// The topic that records are said to be of, `purchases` unless chosen.
    pub topic: String,
    /// The name of the topic's file without its ending, `log` unless chosen.
    pub file: String,
    /// The most records of a batch, 1,000 unless chosen.
    pub batch_records: usize,
    /// The size in bytes at which a batch is closed, 1 MiB unless chosen.
    pub batch_bytes: usize,
    /// How long records stay after every group has consumed them, 7 days unless chosen. What some group has
    /// not consumed stays for ever.
    pub retention: Duration,
    /// How often a reader looks for what other processes have written, 5 ms unless chosen. What this process
    /// writes it learns of at once.
    pub poll_interval: Duration,
    /// The most writes that may wait, 10,000 unless chosen; a further one is refused at once.
    pub queue_capacity: usize,
    /// The largest size of the file in bytes; no limit but the disk's unless chosen.
    pub max_file_bytes: Option<u64>,
    /// Whether folder and file are made if they are missing, and a file of an earlier version is brought to ours. They
    /// are unless chosen; else such a log is refused.
    pub create: bool,
    /// What gives records their time.
    pub clock: Arc<dyn Clock>,
}

impl Default for EmbeddedLogOptions {
    fn default() -> Self {
        Self {
            topic: "purchases".to_owned(),
            file: FILE.to_owned(),
            batch_records: 1_000,
            batch_bytes: 1 << 20,
            retention: Duration::from_secs(7 * 24 * 3_600),
            poll_interval: Duration::from_millis(5),
            queue_capacity: 10_000,
            max_file_bytes: None,
            create: true,
            clock: Arc::new(SystemClock),
        }
    }
}

impl EmbeddedLogOptions {
    /// Those of a topic of events, in a file of its own beside the purchases', from which nothing is ever deleted: who
    /// rebuilds what it has heard reads all of it.
    #[must_use]
    pub fn for_events(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            file: file_name(&format!("{FILE}-{topic}")),
            retention: Duration::MAX,
            ..Self::default()
        }
    }
}

/// The file of the purchases.
pub(super) const FILE: &str = "log";
/// With hash and ending it is less than the 255 bytes of every file system in use.
const MAX_NAME_BYTES: usize = 190;

/// `text` as far as it is fit for a file's name, every other byte as two hex digits behind a percent sign, and a hash at
/// the end of what would be too long.
pub(super) fn file_name(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            name.push(char::from(byte));
        } else {
            // Writing into a String does not fail.
            let _infallible = write!(name, "%{byte:02x}");
        }
    }
    if name.len() > MAX_NAME_BYTES {
        name.truncate(MAX_NAME_BYTES);
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes());
        let _infallible = write!(name, "~{}", hash.simple());
    }
    name
}
