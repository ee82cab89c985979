//! Logging: text on a terminal, JSON elsewhere. The lines of the access log and of the audit log are always JSON.

use std::io::{IsTerminal, stderr};

use shop_http::AccessLog;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

use crate::settings::Settings;
use crate::traces::Exporter;
use crate::{CliError, Result};

/// The targets of the access log and the audit log. `LOG_LEVEL` does not apply to them.
const ACCESS: [&str; 2] = ["access", "audit"];

/// Starts logging to standard error, and exporting traces.
///
/// # Errors
/// When logging was started before, or a setting of traces is invalid.
pub(crate) fn init(settings: &Settings) -> Result<Option<Exporter>> {
    let filter = EnvFilter::try_new(&settings.log_level).map_err(CliError::new)?;
    let on_terminal = stderr().is_terminal();
    let is_json = settings.log_format.unwrap_or(!on_terminal);
    let exporter = Exporter::start(settings)?;
    let is_plain = settings.access_log() == AccessLog::Off && exporter.is_none();
    // One filter around everything: filters of single layers cost more per span.
    let begun = match (is_plain, is_json) {
        (true, true) => registry().with(json()).with(filter).try_init(),
        (true, false) => registry().with(text(on_terminal)).with(filter).try_init(),
        (false, _) => {
            let others = filter.and(filter_fn(|metadata| !ACCESS.contains(&metadata.target())));
            let lines = if is_json { json().boxed() } else { text(on_terminal).boxed() };
            let access = Targets::new().with_targets(ACCESS.map(|target| (target, Level::INFO)));
            let traces = exporter.as_ref().map(Exporter::layer);
            let lines = lines.with_filter(others);
            registry().with(lines).with(json().with_filter(access)).with(traces).try_init()
        }
    };
    begun.map_err(CliError::new)?;
    tracing::info!("{} {} starts", settings.service.name(), env!("CARGO_PKG_VERSION"));
    Ok(exporter)
}

fn json<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> + Send + Sync {
    fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false).with_writer(stderr)
}

fn text<S: Subscriber + for<'a> LookupSpan<'a>>(on_terminal: bool) -> impl Layer<S> + Send + Sync {
    fmt::layer().with_ansi(on_terminal).with_writer(stderr)
}
