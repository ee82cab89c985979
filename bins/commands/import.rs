//! `management import`: imports the purchases of a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use shop_core::api::RowFormat;
use shop_core::import::{Import, ImportReport};

use super::output::{print_report, progress};
use crate::backend;
use crate::settings::{ImportFile, Settings};
use crate::telemetry::AUDIT;
use crate::{CliError, Result};

/// Imports a file, or shows how it would be read.
pub(super) async fn run(settings: &Settings, command: &ImportFile) -> Result<()> {
    let name = command.file.display().to_string();
    let about_file = CliError::about(&name);
    let file = open(&command.file)?;
    let import = import_of(command)
        .retention(settings.purchase_retention)
        .refunds(settings.refunds());
    if command.dry_run {
        let import = import.currency(settings.currency.clone());
        let preview = import.preview(file).map_err(about_file)?;
        return print_report(settings.json, &[], &preview, &preview);
    }

    let (log, store) = backend::log_and_purchases(settings).await?;
    let currency = backend::currency::of_store(settings, &store.port.store).await?;
    let import = import.currency(currency);
    let sink = (log.port.sink)();
    let mut report = ImportReport::default();
    let line = progress();
    let begun = Instant::now();
    let show = |report: &ImportReport| {
        line.set_message(format!(
            "{} rows, {} per second, {} failed",
            report.rows,
            report.rows / begun.elapsed().as_secs().max(1),
            report.failed()
        ));
    };
    let imported = import
        .run(&*sink, &*store.port.store, file, &mut report, show)
        .await;
    drop(line);

    if imported.is_ok() || report.rows > 0 {
        let text = format!("log    {}\n{report}", log.name);
        print_report(settings.json, &[("log", &log.name)], text, &report)?;
    }
    tracing::info!(
        target: AUDIT,
        action = "import",
        imported = report.imported,
        failed = report.failed(),
    );
    imported.map_err(|error| match report.resume_at {
        Some(line) => {
            let error = error.chain();
            CliError::new(format!(
                "line {line}: {error}: run it again, with --from-line {line} for the rest"
            ))
        }
        None => about_file(error),
    })?;
    match report.failed() {
        0 => Ok(()),
        failed => Err(CliError::finding(format!("rows not imported: {failed}"))),
    }
}

/// Returns the import that a command asks for. Without a format, it follows from the file's name.
fn import_of(command: &ImportFile) -> Import {
    let extension = command.file.extension();
    let is_csv = extension.is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let by_name = if is_csv {
        RowFormat::Csv
    } else {
        RowFormat::Ndjson
    };
    Import::new(command.format.unwrap_or(by_name))
        .from_line(command.from_line)
        .columns(command.columns.clone())
        .delimiter(command.delimiter)
        .encoding(command.encoding)
        .decimal_comma(command.decimal_comma)
        .time_zone(command.time_zone.clone())
}

fn open(file: &Path) -> Result<Box<dyn Read + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let opened =
        File::open(file).map_err(|error| CliError::new(format!("{}: {error}", file.display())))?;
    Ok(Box::new(opened))
}
