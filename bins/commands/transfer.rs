//! `management import` and `management export`: files of purchases.
//!
//! An import publishes the rows of a file like new purchases, with their ids and times, and waits
//! until they are in the store. An export writes the purchases of the store to standard output, in
//! an order in which they can be imported: each purchase before its refund.
//!
//! Both show their progress on standard error, if it is a terminal. A dry run only reads the file,
//! and prints the prices in the currency of the settings.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use futures_util::TryStreamExt as _;
use serde_json::json;
use shop_api::files::{FileOptions, Import, RowFormat};
use shop_core::import::ImportReport;
use shop_core::operations::Operations;
use shop_core::{Backend, ErrorKind, UserId};

use super::{print_report, print_unless_closed, start_progress};
use crate::backend::{Backends, open_shop};
use crate::settings::ImportFile;
use crate::telemetry::AUDIT;
use crate::{CliError, Result};

/// The typical length in bytes of an exported row.
const TYPICAL_ROW_BYTES: usize = 192;

/// Imports a file, or shows how its rows would be read.
///
/// # Errors
/// - a finding if some rows were not imported
/// - a usage error if the file was imported before with other options
/// - an error with the line at which to continue, if the import failed on its way
/// - the errors of the file, of the log, of the store and of standard output
pub(super) async fn import(backends: &Backends<'_>, command: &ImportFile) -> Result<()> {
    let settings = backends.settings;
    let name = command.file.display().to_string();
    let file = open_file(&command.file)?;
    let import = import_with_options(command)
        .retention(settings.process.purchase_retention)
        .refunds(settings.http_options().refunds);

    if command.dry_run {
        // `check_command` has compared the currency of the settings with that of the store, if the
        // store is available. So a preview needs only the settings.
        let preview = import
            .currency(settings.process.currency.clone())
            .preview(file)
            .map_err(CliError::about(&name))?;
        return print_report(settings.process.json, &preview, &json!(preview));
    }

    let shop = open_shop(backends).await?;
    let import = import.currency(shop.port.shop_currency().known()?);

    let mut report = ImportReport::default();
    let progress = start_progress();
    let start = Instant::now();
    let result = import
        .run(&shop.port, file, &mut report, |report| {
            progress.set_message(format!(
                "{} rows, {} per second, {} failed",
                report.rows,
                report.rows / start.elapsed().as_secs().max(1),
                report.failed()
            ));
        })
        .await;
    drop(progress);

    if result.is_ok() || report.rows > 0 {
        let text = format!("log    {}\n{report}", shop.name);
        let mut json = json!(report);
        json["log"] = shop.name.into();
        print_report(settings.process.json, text, &json)?;
    }

    let failed = report.failed();
    tracing::info!(
        target: AUDIT,
        action = "import",
        imported = report.imported,
        failed,
    );

    if let Err(error) = result {
        return Err(import_error(error, report.resume_at, &name));
    }
    if failed > 0 {
        return Err(CliError::finding(format!("rows not imported: {failed}")));
    }
    Ok(())
}

/// Returns the error of an import of the file `name` that failed with `error`. `resume_at` is the
/// line with which the import can continue, if rows were read.
fn import_error(error: shop_core::Error, resume_at: Option<u64>, name: &str) -> CliError {
    match (resume_at, error.kind()) {
        (Some(line), _) => CliError::new(format!(
            "line {line}: {}: run it again, with --from-line {line} for the rest",
            error.chain()
        )),
        // A conflict before the first row means that this file was imported before with other
        // options. The options are wrong then.
        (None, ErrorKind::Conflict) => CliError::usage(format!("{name}: {error}")),
        (None, _) => CliError::about(name)(error),
    }
}

/// Creates an import with the options of `command`. If `command` names no format, the extension of
/// the file decides.
fn import_with_options(command: &ImportFile) -> Import {
    let extension = command.file.extension().unwrap_or_default();
    let mut format_by_name = RowFormat::Ndjson;
    if extension.eq_ignore_ascii_case("csv") {
        format_by_name = RowFormat::Csv;
    }
    // Presets describe only CSV files, so a preset decides before the extension.
    if command.preset.is_some() {
        format_by_name = RowFormat::Csv;
    }
    Import::new(command.format.unwrap_or(format_by_name))
        .from_line(command.from_line)
        .again(command.again)
        .file_options(FileOptions {
            preset: command.preset,
            columns: command.columns.clone(),
            delimiter: command.delimiter,
            encoding: command.encoding,
            skip_lines: command.skip_lines,
            only: command.only.clone(),
            decimal_comma: command.decimal_comma.then_some(true),
            thousands: command.thousands,
            currency_sign: command.currency_sign.clone(),
            time_pattern: command.time_pattern.clone(),
            zone_abbreviations: command.zone_abbreviations.clone(),
            time_zone: command.time_zone.clone(),
        })
}

/// Opens a file of purchases, or standard input if `path` is `-`.
///
/// # Errors
/// An error if the file cannot be opened.
fn open_file(path: &Path) -> Result<Box<dyn Read + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let file =
        File::open(path).map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
    Ok(Box::new(file))
}

/// Exports the purchases of a user, or all purchases.
///
/// # Errors
/// - a finding if some entries of the store cannot be read
/// - the errors of the store and of standard output
pub(super) async fn export(
    backends: &Backends<'_>,
    user: Option<&UserId>,
    format: RowFormat,
) -> Result<()> {
    let store = backends.purchases().await?;
    let mut unreadable = write_purchases(store.port.clone(), user, format).await?;
    // The pages of a user skip the entries that cannot be read. Only the store counts these
    // entries.
    if user.is_some()
        && let Some(skipped_count) = store.port.unreadable
    {
        unreadable += skipped_count.load(Ordering::Relaxed);
    }

    if unreadable > 0 {
        return Err(CliError::finding(format!(
            "{}: {unreadable} entries cannot be read: `management doctor` names them",
            store.name
        )));
    }
    Ok(())
}

/// Writes the purchases of `user`, or all purchases if `user` is `None`, to standard output. Ends
/// early, without an error, if standard output is closed.
///
/// Returns the number of entries that cannot be read. For a user the number is 0, because the user
/// of such an entry is unknown.
///
/// # Errors
/// The errors of the store and of standard output.
async fn write_purchases(store: Backend, user: Option<&UserId>, format: RowFormat) -> Result<u64> {
    let progress = start_progress();
    let mut head = Vec::new();
    format.write_head(&mut head);
    // If standard output is closed already, the first batch ends the export.
    print_unless_closed(head)?;

    let mut exported = 0_u64;
    let mut unreadable = 0;
    let mut batches = Operations::new(store).export(user.cloned())?;
    while let Some(batch) = batches.try_next().await? {
        unreadable += batch.unreadable.len() as u64;
        exported += batch.purchases.len() as u64;
        progress.set_message(format!("{exported} purchases exported"));
        let mut rows = Vec::with_capacity(batch.purchases.len() * TYPICAL_ROW_BYTES);
        format.write(&mut rows, &batch.purchases)?;
        let is_open = progress.suspend(|| print_unless_closed(&rows))?;
        if !is_open {
            return Ok(unreadable);
        }
    }
    Ok(unreadable)
}
