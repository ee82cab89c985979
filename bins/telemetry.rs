//! Logging, to standard error or a file: text on a terminal, JSON elsewhere. The lines of the access log and of the audit
//! log are always JSON.

use std::io::{IsTerminal, Write, stderr};

use shop_http::AccessLog;
use tracing::Level;
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::fmt::writer::EitherWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

use crate::backend::places;
use crate::lines::{Lines, Records};
use crate::log_file::LogFile;
use crate::settings::{LogFormat, Settings};
use crate::traces::Exporter;
use crate::{CliError, Result};

/// The target of the audit log.
pub(crate) const AUDIT: &str = "audit";
/// The targets of the access log and the audit log. `SHOP_LOG_LEVEL` does not apply to them.
const ACCESS: [&str; 2] = ["access", AUDIT];

/// What telemetry needs until the end of the process.
pub(crate) struct Telemetry {
    pub(crate) exporter: Option<Exporter>,
    /// The lines of a service. Commands and checks write each line themselves.
    pub(crate) lines: Option<Lines>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.lines.iter().for_each(Lines::write_out);
    }
}

/// Starts logging, and exporting traces. Commands and checks log to standard error.
///
/// # Errors
/// When logging was started before, the log file cannot be written, or a setting of traces is invalid.
pub(crate) fn init(settings: &Settings) -> Result<Telemetry> {
    let filter = format!("{},{AUDIT}=info", settings.log_level);
    let filter = EnvFilter::try_new(filter).map_err(CliError::new)?;

    let mut on_terminal = stderr().is_terminal();
    let mut lines = None;
    if settings.serves() {
        let output: Box<dyn Write + Send> = match &settings.log_file {
            Some(path) => {
                on_terminal = false;
                Box::new(LogFile::open(path)?)
            }
            None => Box::new(stderr()),
        };
        lines = Some(Lines::start(output).map_err(CliError::new)?);
    }

    let queue = lines.clone();
    let output = move || match &queue {
        Some(lines) => EitherWriter::A(lines.clone()),
        None => EitherWriter::B(stderr()),
    };
    let is_json = match settings.log_format {
        Some(format) => format == LogFormat::Json,
        None => !on_terminal,
    };
    let exporter = Exporter::start(settings)?;
    // A command has no access log, and writes its audit lines like the others.
    let is_plain =
        !settings.serves() || (settings.access_log() == AccessLog::Off && exporter.is_none());
    let layer = fmt::layer().with_writer(output);
    let text_or_json = if is_json {
        layer
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed()
    } else {
        layer.with_ansi(on_terminal).boxed()
    };
    // One filter around everything: filters of single layers cost more per span.
    let begun = if is_plain {
        registry().with(text_or_json).with(filter).try_init()
    } else {
        let is_other = filter_fn(|metadata| !ACCESS.contains(&metadata.target()));
        // Without this hint it would enable every level.
        let others =
            text_or_json.with_filter(filter.and(is_other.with_max_level_hint(Level::TRACE)));
        let access = Targets::new().with_targets(ACCESS.map(|target| (target, Level::INFO)));
        let records = lines.clone().map(Records).with_filter(access);
        registry()
            .with(others)
            .with(records)
            .with(exporter.as_ref().map(Exporter::layer))
            .try_init()
    };
    begun.map_err(CliError::new)?;
    if settings.serves() {
        let places: Vec<_> = places(settings).collect();
        let place = |what| {
            places
                .iter()
                .find(|place| place.what == what)
                .map(|place| &*place.name)
        };
        let folder = std::path::absolute(&settings.data_dir).map_err(CliError::new)?;
        tracing::info!(
            log = place("log"),
            store = place("store"),
            listings = place("listings"),
            users = place("users"),
            orders = place("orders"),
            folder = %folder.display(),
            roles = settings.role_names(),
            topic = settings.purchases_topic,
            group = settings.purchases_group_id,
            dialect = settings.dialect.name(),
            ingest = settings.ingests(),
            "{} {} starts",
            settings.service.name(),
            crate::version::VERSION
        );
    }
    Ok(Telemetry { exporter, lines })
}
