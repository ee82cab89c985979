//! Opens the log for the commands.

use std::sync::Arc;

use shop_core::log::LogAdmin;

use crate::Result;
use crate::backend::{self, OpenPort, Topic};
use crate::settings::Settings;

/// The log of `topic`. It is opened before a store: without a log, no store is created.
pub(super) async fn log(settings: &Settings, topic: Topic<'_>) -> Result<OpenPort<Arc<dyn LogAdmin>>> {
    Ok(backend::for_log(settings).log(topic).await?.map(|log| log.log.admin()))
}
