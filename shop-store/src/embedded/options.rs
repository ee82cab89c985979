//! The options of an embedded store.

shop_core::options! {
    /// Options of an [`EmbeddedStore`](super::EmbeddedStore), and of users and orders.
    #[derive(Debug, Clone)]
    pub struct EmbeddedStoreOptions {
        /// Number of reader threads (default 3).
        pub readers: usize = 3,
        /// Maximum number of queued reads, and of queued writes (default 1,000). If the queue is full, a call fails at
        /// once with [`Overloaded`](shop_core::ErrorKind::Overloaded).
        pub queue_capacity: usize = 1_000,
        /// Maximum size of the file in bytes (default none).
        pub max_file_bytes: Option<u64> = None,
        /// Whether a missing folder or file is created and a file of an earlier version is migrated (default true). If
        /// false, opening such a store is an error.
        pub create: bool = true,
    }
}
