//! Logging, to standard error or a file, and the start of traces.
//!
//! Without SHOP_LOG_FORMAT, lines are text on a terminal, and JSON elsewhere. The lines of the
//! access log and of the audit log of a service are always JSON. A service writes its lines on a
//! thread: see `lines`. A command or a check writes each line itself, to standard error.

use std::io::{IsTerminal, Write, stderr};

use shop_http::AccessLog;
use tracing::Level;
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::fmt::writer::EitherWriter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, fmt, registry};

use crate::backend::components;
use crate::lines::{Lines, Records};
use crate::log_file::LogFile;
use crate::settings::{LogFormat, Settings};
use crate::traces::Exporter;
use crate::{CliError, Result};

/// The target of the audit log.
pub(crate) const AUDIT: &str = "audit";
/// The targets of the access log and of the audit log, to which `SHOP_LOG_LEVEL` does not apply.
const ACCESS: [&str; 2] = ["access", AUDIT];

/// The parts of telemetry that last until the end of the process.
pub(crate) struct Telemetry {
    pub(crate) exporter: Option<Exporter>,
    /// The queue of the lines of a service, or `None` for a command or a check.
    pub(crate) lines: Option<Lines>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(lines) = &self.lines {
            lines.wait_until_written();
        }
    }
}

/// Starts logging, and the export of traces.
///
/// # Errors
/// - an error if logging was started before
/// - an error if the log file cannot be written
/// - an error if a setting of the log or of traces is invalid
pub(crate) fn init(settings: &Settings) -> Result<Telemetry> {
    let filter = EnvFilter::try_new(format!("{},{AUDIT}=info", settings.process.log_level))
        .map_err(CliError::new)?;

    let mut is_terminal = stderr().is_terminal();
    let mut lines = None;
    if settings.serves() {
        let mut output: Box<dyn Write + Send> = Box::new(stderr());
        if let Some(path) = &settings.process.log_file {
            is_terminal = false;
            output = Box::new(LogFile::open(path)?);
        }
        lines = Some(Lines::start(output).map_err(CliError::new)?);
    }

    let exporter = Exporter::start(settings)?;
    let line_queue = lines.clone();
    let layer = fmt::layer().with_writer(move || match &line_queue {
        Some(lines) => EitherWriter::A(lines.clone()),
        None => EitherWriter::B(stderr()),
    });
    let is_json = settings
        .process
        .log_format
        .map_or(!is_terminal, |format| format == LogFormat::Json);
    let layer = if is_json {
        layer
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed()
    } else {
        layer.with_ansi(is_terminal).boxed()
    };

    // Only a service writes an access log. A command writes its audit lines like the other lines.
    let has_one_layer = !settings.serves()
        || (settings.http_options().access_log == AccessLog::Off && exporter.is_none());
    let init_result = if has_one_layer {
        // One filter around everything: filters of single layers cost more per span.
        registry().with(layer).with(filter).try_init()
    } else {
        // Without the hint, the filter would enable every level.
        let is_no_access_log = filter_fn(|metadata| !ACCESS.contains(&metadata.target()))
            .with_max_level_hint(Level::TRACE);
        let is_access_log = Targets::new().with_targets(ACCESS.map(|target| (target, Level::INFO)));
        registry()
            .with(layer.with_filter(filter.and(is_no_access_log)))
            .with(lines.clone().map(Records).with_filter(is_access_log))
            .with(exporter.as_ref().map(Exporter::layer))
            .try_init()
    };
    init_result.map_err(CliError::new)?;

    if settings.serves() {
        log_start(settings)?;
    }
    Ok(Telemetry { exporter, lines })
}

/// Logs that the service starts, and where its components are.
///
/// # Errors
/// An error if the path of the data folder cannot be made absolute: the path is empty, or the
/// working directory is gone.
fn log_start(settings: &Settings) -> Result<()> {
    let components: Vec<_> = components(settings).collect();
    // The server or the file of a component, if the service uses the component.
    let place_of = |label| {
        let component = components
            .iter()
            .find(|component| component.label == label)?;
        Some(&*component.name)
    };
    let folder = std::path::absolute(&settings.data_dir).map_err(CliError::new)?;
    tracing::info!(
        log = place_of("log"),
        store = place_of("store"),
        listings = place_of("listings"),
        users = place_of("users"),
        orders = place_of("orders"),
        folder = %folder.display(),
        roles = settings.roles.names(),
        topic = settings.process.purchases_topic,
        group = settings.process.purchases_group_id,
        dialect = settings.process.dialect_name(),
        ingest = settings.ingests,
        "{} {} starts",
        settings.service.name(),
        crate::version::VERSION
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::settings_test::read;

    #[test]
    fn lines_below_the_level_are_not_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let settings = read(
            "SHOP_LOG_LEVEL=warning,shop_store=debug SHOP_LOG_FILE=@file management",
            file.path().to_str().unwrap(),
        )
        .unwrap();

        let telemetry = init(&settings).unwrap();
        tracing::info!("information of any module");
        tracing::warn!("a warning of any module");
        tracing::trace!(target: "shop_store", "steps of one module");
        tracing::debug!(target: "shop_store", "details of one module");
        drop(telemetry);

        // Other tests may write lines, too.
        let written = std::fs::read_to_string(file.path()).unwrap();
        for (message, is_written) in [
            ("information of any module", false),
            ("a warning of any module", true),
            ("steps of one module", false),
            ("details of one module", true),
        ] {
            assert_eq!(
                written.contains(message),
                is_written,
                "{message}: {written}"
            );
        }
    }
}
