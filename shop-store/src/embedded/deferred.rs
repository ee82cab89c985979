//! Files that are opened when they are first needed.

use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rusqlite::Connection;
use rustix::fs::{Access, access};
use shop_core::{Error, Result};
use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::error::from_io;
use super::file::StoreFile;
use super::permissions::create_folder;
use super::thread::ThreadExit;
use super::writer::Writer;

/// How often a waiting consumer checks whether another process has created the file.
const FILE_INTERVAL: Duration = Duration::from_millis(250);

type Open<T> = Box<dyn Fn() -> BoxFuture<'static, Result<T>> + Send + Sync>;

/// A database file that is opened at once, or, if it is `lazy` and missing, with the first write. Then it has no
/// threads and no connections until a write of this process, or a file of another process, opens it.
pub(super) struct Deferred<T> {
    cell: OnceCell<T>,
    open: Open<T>,
    path: PathBuf,
    opened: Notify,
    exit: Arc<OnceLock<ThreadExit>>,
    dropped: CancellationToken,
    _guard: DropGuard,
}

impl<T: AsRef<StoreFile> + Send + Sync> Deferred<T> {
    /// The file at `path`, which `open` opens. If it is `lazy`, its folder is created, or must be there unless `create`
    /// is set.
    pub(super) async fn new<F>(
        path: PathBuf,
        lazy: bool,
        create: bool,
        open: impl Fn() -> F + Send + Sync + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (exit, dropped) = (Arc::default(), CancellationToken::new());
        let guard = dropped.clone().drop_guard();
        let open: Open<T> = Box::new(move || Box::pin(open()));
        let (cell, opened) = (OnceCell::new(), Notify::new());
        let file = Self { cell, open, path, opened, exit, dropped, _guard: guard };
        if lazy && create {
            let folder = file.folder();
            create_folder(folder).map_err(|error| from_io(error, folder))?;
        }
        if !lazy || file.path.exists() {
            file.open().await?;
        }
        Ok(file)
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// The file, if it was opened.
    pub(super) fn get(&self) -> Option<&T> {
        self.cell.get()
    }

    /// The file, which is created if it is missing.
    pub(super) async fn open(&self) -> Result<&T> {
        if let Some(file) = self.get() {
            return Ok(file);
        }
        let open = async {
            let file = (self.open)().await?;
            // Set once: another call gets the same file.
            let _first = self.exit.set(file.as_ref().writer.exit());
            Ok::<_, Error>(file)
        };
        let file = self.cell.get_or_try_init(|| open).await?;
        self.opened.notify_waiters();
        Ok(file)
    }

    /// The file, if it exists.
    pub(super) async fn existing(&self) -> Result<Option<&T>> {
        if self.get().is_none() && !self.path.exists() {
            return Ok(None);
        }
        self.open().await.map(Some)
    }

    /// Waits until the file exists.
    pub(super) async fn wait(&self) -> Result<&T> {
        loop {
            let opened = self.opened.notified();
            if let Some(file) = self.existing().await? {
                return Ok(file);
            }
            let _timed_out = tokio::time::timeout(FILE_INTERVAL, opened).await;
        }
    }

    /// Like [`Readers::read`](super::readers::Readers::read). A missing file has the default value.
    pub(super) async fn read<R: Default + Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<R> {
        match self.existing().await? {
            Some(file) => file.as_ref().readers.read(query).await,
            None => Ok(R::default()),
        }
    }

    /// Like [`Writer::write`].
    pub(super) async fn write<R: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<R> {
        self.writer().await?.write(work).await
    }

    pub(super) async fn writer(&self) -> Result<&Writer> {
        Ok(&self.open().await?.as_ref().writer)
    }

    /// Like [`Writer::check`]. The folder of a missing file must be writable.
    pub(super) async fn check(&self) -> Result<()> {
        match self.existing().await? {
            Some(file) => file.as_ref().writer.check().await,
            None => access(self.folder(), Access::WRITE_OK | Access::EXEC_OK)
                .map_err(|error| from_io(error.into(), self.folder())),
        }
    }

    /// Completes when this value is dropped and the file, if it was opened, is closed.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + Send + Sync + use<T> {
        let (exit, dropped) = (Arc::clone(&self.exit), self.dropped.clone());
        async move {
            dropped.cancelled_owned().await;
            if let Some(exit) = exit.get() {
                exit.clone().wait().await;
            }
        }
    }
}

impl<T> Debug for Deferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use shop_core::entity::EntityStore;
    use shop_core::outbox::{Backlog, Outbox};
    use shop_core::users::{NewUser, UserErase, UserNumber, UserOrders};

    use crate::embedded::{EmbeddedStoreOptions, EmbeddedUsers};

    fn ada() -> NewUser {
        NewUser::new("sign-up".parse().unwrap(), "ada@example.com".parse().unwrap(), "Ada".parse().unwrap())
    }

    #[tokio::test]
    async fn the_file_comes_with_the_first_row_of_any_process() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, number) = (folder.path().join("data"), UserNumber::new(1));
        let open = || EmbeddedUsers::open(&folder, EmbeddedStoreOptions::default().lazy(true));
        let (one, two) = (open().await.unwrap(), open().await.unwrap());
        EntityStore::check(&one).await.unwrap();
        assert!(one.get(number).await.unwrap().is_none() && one.orders_of(number).await.unwrap().is_none());
        assert!(!one.erase_user(number).await.unwrap());
        assert!(one.pending(10).await.unwrap().is_empty());
        assert_eq!(one.backlog().await.unwrap(), Backlog::default());
        assert!(!folder.join("users.db").exists());

        one.insert(&ada()).await.unwrap();
        // As another process does.
        assert!(two.get(number).await.unwrap().is_some());
        assert_eq!(two.pending(10).await.unwrap().len(), 1);
        // One after the other: of connections that are closed concurrently, none removes the write-ahead log.
        for file in [one, two] {
            let closed = file.closed();
            drop(file);
            tokio::time::timeout(std::time::Duration::from_secs(20), closed).await.unwrap();
        }
        assert!(!folder.join("users.db-wal").exists(), "closed in order");
        assert!(open().await.unwrap().get(number).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn without_create_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("data");
        let options = EmbeddedStoreOptions::default().lazy(true).create(false);
        let users = EmbeddedUsers::open(&folder, options).await.unwrap();
        assert!(users.get(UserNumber::new(1)).await.unwrap().is_none());
        users.insert(&ada()).await.unwrap_err();
        assert!(!folder.exists());
    }
}
