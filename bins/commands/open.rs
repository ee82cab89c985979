//! Opens the log and the store for the commands.

use std::sync::Arc;

use shop_core::log::LogAdmin;

use crate::backend::{self, OpenPort, Topic};
use crate::settings::Settings;
use crate::{CliError, Result};

/// Has the commands that only read use a migrated copy of the data folder if its files have an earlier version.
pub(super) async fn migrate_copy(settings: &Settings) -> Result<()> {
    let folder = tempfile::tempdir().map_err(CliError::new)?;
    if backend::for_files(settings).migrated_copy(folder.path()).await? {
        settings.copy.get_or_init(|| folder);
    }
    Ok(())
}

/// The log of `topic`.
pub(super) async fn log(settings: &Settings, topic: Topic<'_>) -> Result<OpenPort<Arc<dyn LogAdmin>>> {
    Ok(backend::for_log(settings).log(topic).await?.map(|log| log.log.admin()))
}

/// Opens the log of `topic`, then runs `opening`: without a log, no store is created. Closes the log if `opening`
/// fails.
pub(super) async fn log_and_store<T>(
    settings: &Settings,
    topic: Topic<'_>,
    opening: impl Future<Output = Result<OpenPort<T>>> + Send,
) -> Result<(OpenPort<Arc<dyn LogAdmin>>, OpenPort<T>)> {
    let log = log(settings, topic).await?;
    match opening.await {
        Ok(store) => Ok((log, store)),
        Err(failure) => {
            log.close().await;
            Err(failure)
        }
    }
}
