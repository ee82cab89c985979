//! Logging: text on a terminal, JSON elsewhere.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::Settings;
use crate::{CliError, Result};

/// Starts logging to standard error.
///
/// # Errors
/// When logging was started before.
pub(crate) fn init(settings: &Settings) -> Result<()> {
    let filter = EnvFilter::try_new(&settings.log_level).map_err(CliError::new)?;
    let on_terminal = stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(on_terminal);
    let begun = if settings.log_format.unwrap_or(!on_terminal) {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()
    } else {
        lines.finish().try_init()
    };
    begun.map_err(CliError::new)?;
    tracing::info!("{} {} starts", settings.service.name(), env!("CARGO_PKG_VERSION"));
    Ok(())
}
