//! The log and the store as an operator's commands need them.

use std::sync::Arc;

use shop_core::log::LogAdmin;

use crate::Result;
use crate::backend::{self, OpenPort, Topic};
use crate::settings::Settings;

/// The log of `topic`.
pub(super) async fn log(settings: &Settings, topic: Topic<'_>) -> Result<OpenPort<Arc<dyn LogAdmin>>> {
    Ok(backend::for_log(settings).log(topic).await?.map(|log| log.log.admin()))
}

/// The log of `topic`, and what `opening` opens after it: without a log, no store is created. A log that was opened in
/// vain is left as it was.
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
