//! What the ports of a log share.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use shop_core::log::Partition;
use shop_core::{ErrorKind, Result};
use tokio::sync::watch;

use super::notifier::Waiter;
use super::{EmbeddedLogOptions, position};
use crate::embedded::database::Database;
use crate::embedded::error::database_error;
use crate::embedded::readers::Readers;
use crate::embedded::writer::Writer;

#[derive(Debug)]
pub(super) struct EmbeddedLogInner {
    pub(super) options: EmbeddedLogOptions,
    pub(super) database: Database,
    pub(super) folder: PathBuf,
    pub(super) topic: Arc<str>,
    pub(super) writer: Writer,
    /// For reads that must not delay writes.
    pub(super) readers: Readers,
    pub(super) cluster: Arc<str>,
    /// What the last restore of the file has set.
    pub(super) generation: Option<Arc<str>>,
    /// Notifies the readers in this process of its commits.
    pub(super) notifier: watch::Sender<()>,
}

impl EmbeddedLogInner {
    /// Creates `group` if it is missing.
    ///
    /// # Errors
    /// If it feeds another store than that of this process.
    pub(super) async fn register(&self, group: &str) -> Result<()> {
        let name = group.to_owned();
        let feeds = self.options.feeds.clone();
        let register = move |connection: &Connection| position::register(connection, &name, &feeds);
        let known = self.writer.write(register).await?;
        if known == self.options.feeds {
            return Ok(());
        }
        let message = format!(
            "the group feeds another store: use that store, another folder, or run `management groups forget {group}`, \
             after which it begins again at the oldest record"
        );
        Err(database_error(ErrorKind::Invalid, message)
            .with_context("feeds", known)
            .with_context("file", self.database.path().display()))
    }

    /// The partition in `epoch`.
    pub(super) fn partition(&self, epoch: u64) -> Partition {
        Partition::new(Arc::clone(&self.cluster), Arc::clone(&self.topic), 0, epoch)
    }

    pub(super) fn waiter(&self) -> Waiter {
        Waiter::new(&self.notifier, &self.database.file("lock"))
    }
}
