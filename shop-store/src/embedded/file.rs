//! A store's file, with one writer thread and several reader threads, and its options.

use std::path::Path;

use shop_core::Result;

use super::database::{Database, Kind};
use super::readers::Readers;
use super::writer::Writer;

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

/// A file with its writer and reader threads. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct StoreFile {
    pub(super) writer: Writer,
    pub(super) readers: Readers,
}

impl StoreFile {
    /// Opens the file `name`. A missing folder or file is created if the options say so. `committed` is called after
    /// every commit.
    pub(super) async fn open(
        kind: &'static Kind,
        folder: &Path,
        name: &str,
        options: &EmbeddedStoreOptions,
        committed: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let database = Database::new(kind, folder, name, options.max_file_bytes).with_create(options.create);
        let writer = Writer::start(database.clone(), options.queue_capacity, committed).await?;
        let readers = Readers::start(&database, &writer, options.readers, options.queue_capacity)?;
        Ok(Self { writer, readers })
    }
}
