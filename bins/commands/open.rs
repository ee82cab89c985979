//! Opens the log and the store for the commands.

use std::sync::Arc;

use shop_core::log::LogAdmin;

use crate::Result;
use crate::backend::{self, OpenPort, Topic};
use crate::settings::Settings;

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
