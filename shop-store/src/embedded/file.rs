//! A store's file, with one writer thread and several reader threads.

use std::path::Path;

use shop_core::Result;

use super::database::{Database, Kind};
use super::options::EmbeddedStoreOptions;
use super::readers::Readers;
use super::writer::Writer;

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
