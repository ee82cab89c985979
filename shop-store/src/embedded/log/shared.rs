//! The state that all handles of a log share: the log itself, its sinks, its sources and its dead
//! letters.

use std::path::PathBuf;
use std::sync::Arc;

use shop_core::log::Partition;
use shop_core::{ErrorKind, Result};
use tokio::sync::watch;

use super::notifier::Waiter;
use super::{EmbeddedLogOptions, position};
use crate::embedded::database::Database;
use crate::embedded::error::database_error;
use crate::embedded::readers::Readers;
use crate::embedded::writer::Writer;

/// The shared state of an open log.
#[derive(Debug)]
pub(super) struct EmbeddedLogInner {
    pub(super) options: EmbeddedLogOptions,
    pub(super) database: Database,
    /// The folder of the log's file, which also contains the lock files of groups.
    pub(super) folder: PathBuf,
    pub(super) topic: Arc<str>,
    pub(super) writer: Writer,
    /// The thread for reads, which do not delay the writes of the writer thread.
    pub(super) readers: Readers,
    /// The id of the log, which was created with its file.
    pub(super) cluster: Arc<str>,
    /// The generation of the log, which was set by the last restore of the file from a backup.
    /// `None` if the file was never restored.
    pub(super) generation: Option<Arc<str>>,
    /// Notifies the readers in this process of the commits of this process.
    pub(super) notifier: watch::Sender<()>,
}

impl EmbeddedLogInner {
    /// Creates `group` if it is missing, and checks that it feeds the store of this process.
    ///
    /// The purchases of the records before the group's position are in the store that the group has
    /// fed so far. Another store would lack them.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if the group feeds another store; the error of a write.
    pub(super) async fn register(&self, group: &str) -> Result<()> {
        let name = group.to_owned();
        let feeds = self.options.feeds.clone();
        let fed_store = self
            .writer
            .write(move |connection| position::register_group(connection, &name, &feeds))
            .await?;
        if fed_store == self.options.feeds {
            return Ok(());
        }

        let message = format!(
            "the group feeds another store: use that store, another folder, or run `management groups forget {group}`, \
             after which it begins again at the oldest record"
        );
        Err(database_error(ErrorKind::Invalid, message)
            .with_context("feeds", fed_store)
            .with_context("file", self.database.path().display()))
    }

    /// Returns the only partition of the log, in `epoch`.
    pub(super) fn partition(&self, epoch: u64) -> Partition {
        Partition::new(Arc::clone(&self.cluster), Arc::clone(&self.topic), 0, epoch)
    }

    /// Creates a waiter for commits to the log. Each commit of any process sets the times of the
    /// lock file `lock`.
    pub(super) fn waiter(&self) -> Waiter {
        Waiter::new(&self.notifier, &self.database.file("lock"))
    }
}
