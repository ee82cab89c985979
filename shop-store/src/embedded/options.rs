//! How a store is opened.

/// How an [`EmbeddedStore`](super::EmbeddedStore) is opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EmbeddedStoreOptions {
    /// The threads that read, 3 unless chosen.
    pub readers: usize,
    /// The most reads, and the most batches to be written, that may wait: 1,000 unless chosen. A further one is
    /// refused at once.
    pub queue_capacity: usize,
    /// The largest size of the file in bytes; no limit but the disk's unless chosen.
    pub max_file_bytes: Option<u64>,
    /// Whether folder and file are made if they are missing, and a file of an earlier version is brought to ours. They
    /// are unless chosen; else such a store is refused.
    pub create: bool,
}

impl Default for EmbeddedStoreOptions {
    fn default() -> Self {
        Self { readers: 3, queue_capacity: 1_000, max_file_bytes: None, create: true }
    }
}
