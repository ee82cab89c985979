//! A store's file, with one writer thread and several reader threads.

use std::path::Path;
use std::sync::Arc;

use shop_core::Result;

use super::database::{Database, Kind};
use super::deferred::Deferred;
use super::options::EmbeddedStoreOptions;
use super::readers::Readers;
use super::writer::Writer;

/// A file with its writer and reader threads. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct StoreFile {
    pub(super) writer: Writer,
    pub(super) readers: Readers,
}

impl AsRef<Self> for StoreFile {
    fn as_ref(&self) -> &Self {
        self
    }
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

    /// Like [`open`](Self::open), at the time that the options say.
    pub(super) async fn deferred(
        kind: &'static Kind,
        folder: &Path,
        name: &'static str,
        options: &EmbeddedStoreOptions,
        committed: impl Fn() + Clone + Send + Sync + 'static,
    ) -> Result<Arc<Deferred<Self>>> {
        let (folder, options) = (folder.to_owned(), options.clone());
        let path = folder.join(format!("{name}.db"));
        let (lazy, create) = (options.lazy, options.create);
        let open = move || {
            let (folder, options, committed) = (folder.clone(), options.clone(), committed.clone());
            async move { Self::open(kind, &folder, name, &options, committed).await }
        };
        Deferred::new(path, lazy, create, open).await.map(Arc::new)
    }
}
