//! `management import` and `management export`: files of purchases.
//!
//! An import publishes the rows of a file like new purchases, with their ids and times. An export
//! writes the rows of the store to standard output, in an order in which they can be imported.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _};
use indicatif::ProgressBar;
use shop_core::UserId;
use shop_core::api::RowFormat;
use shop_core::import::{Import, ImportReport};
use shop_core::ports::{
    ListOrder, PageLimit, PageRequest, PurchaseQuery, PurchaseQueryExt as _, Selector,
};

use super::output::{print, print_report, progress};
use crate::settings::{ImportFile, Settings};
use crate::telemetry::AUDIT;
use crate::{CliError, Result, backend};

/// Imports a file, or shows how its rows would be read.
///
/// # Errors
/// - a finding if rows were not imported
/// - an error with the line at which an import that was stopped continues
/// - the errors of the file, of the log, of the store and of standard output
pub(super) async fn import(settings: &Settings, command: &ImportFile) -> Result<()> {
    let name = command.file.display().to_string();
    let about_file = CliError::about(&name);
    let file = open_file(&command.file)?;
    let import = import_with_options(command)
        .retention(settings.purchase_retention)
        .refunds(settings.refunds());
    if command.dry_run {
        let preview = import
            .currency(settings.currency.clone())
            .preview(file)
            .map_err(about_file)?;
        return print_report(settings.json, &[], &preview, &preview);
    }

    let (log, store) = backend::log_and_purchases(settings).await?;
    let store = store.port.store;
    let currency = backend::currency::resolve_from_store(settings, &store).await?;
    let sink = (log.port.new_sink)();
    let mut report = ImportReport::default();
    let progress = progress();
    let start = Instant::now();
    let imported = import
        .currency(currency)
        .run(&*sink, &*store, file, &mut report, |report| {
            progress.set_message(format!(
                "{} rows, {} per second, {} failed",
                report.rows,
                report.rows / start.elapsed().as_secs().max(1),
                report.failed()
            ));
        })
        .await;
    drop(progress);

    if imported.is_ok() || report.rows > 0 {
        let text = format!("log    {}\n{report}", log.name);
        print_report(settings.json, &[("log", &log.name)], text, &report)?;
    }
    let failed = report.failed();
    tracing::info!(
        target: AUDIT,
        action = "import",
        imported = report.imported,
        failed,
    );
    if let Err(error) = imported {
        let Some(line) = report.resume_at else {
            return Err(about_file(error));
        };
        let error = error.chain();
        return Err(CliError::new(format!(
            "line {line}: {error}: run it again, with --from-line {line} for the rest"
        )));
    }
    if failed > 0 {
        return Err(CliError::finding(format!("rows not imported: {failed}")));
    }
    Ok(())
}

/// Creates an import with the options of `command`. Without a format, the name of the file decides.
fn import_with_options(command: &ImportFile) -> Import {
    let extension = command.file.extension();
    let mut format_by_name = RowFormat::Ndjson;
    if extension.is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
        format_by_name = RowFormat::Csv;
    }
    Import::new(command.format.unwrap_or(format_by_name))
        .from_line(command.from_line)
        .columns(command.columns.clone())
        .delimiter(command.delimiter)
        .encoding(command.encoding)
        .decimal_comma(command.decimal_comma)
        .time_zone(command.time_zone.clone())
}

/// Opens a file of purchases, or standard input for `-`.
///
/// # Errors
/// An error if the file cannot be opened.
fn open_file(path: &Path) -> Result<Box<dyn Read + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(CliError::new(format!("{}: {error}", path.display()))),
    }
}

/// Exports the purchases of a user, or all purchases.
///
/// # Errors
/// - a finding if some entries of the store cannot be read
/// - the errors of the store and of standard output
pub(super) async fn export(
    settings: &Settings,
    user: Option<&UserId>,
    format: RowFormat,
) -> Result<()> {
    let store = backend::for_purchases(settings).purchases().await?;
    // The pages of a user skip the entries that cannot be read. Only the store counts them.
    let skipped = store
        .port
        .unreadable
        .filter(|_| user.is_some())
        .unwrap_or_default();
    let left_out = write_purchases(store.port.store, user, format, &progress()).await?;
    let unreadable = left_out + skipped.load(Ordering::Relaxed);
    if unreadable > 0 {
        let name = store.name;
        return Err(CliError::finding(format!(
            "{name}: {unreadable} entries cannot be read: `management doctor` names them"
        )));
    }
    Ok(())
}

/// Writes the purchases of a user, or all purchases, to standard output.
///
/// Returns the number of entries that cannot be read, which is 0 for a user. Ends early if standard
/// output is closed.
///
/// # Errors
/// The errors of the store and of standard output.
async fn write_purchases(
    query: Arc<dyn PurchaseQuery>,
    user: Option<&UserId>,
    format: RowFormat,
    progress: &ProgressBar,
) -> Result<u64> {
    let mut head = Vec::new();
    format.write_head(&mut head);
    print(head)?;

    let mut written = 0_u64;
    let mut unreadable = 0;
    // An import needs each purchase before its refund, but a scan yields the refunds anywhere. So a
    // first scan writes the other purchases, and a second scan the refunds, if there are any.
    let mut has_refunds = false;
    let mut are_refunds = false;
    loop {
        let query = Arc::clone(&query);
        let mut batches = match user {
            Some(user) => {
                let first = PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX);
                query
                    .pages(Selector::User(user.clone()), first)
                    .map_ok(|page| (page.items, 0))
                    .boxed()
            }
            None => query
                .scan_batches()
                .map_ok(|batch| (batch.purchases, batch.unreadable.len() as u64))
                .boxed(),
        };
        while let Some((mut purchases, left_out)) = batches.try_next().await? {
            if !are_refunds {
                unreadable += left_out;
            }
            if user.is_none() {
                let read = purchases.len();
                purchases.retain(|purchase| purchase.details.of.is_some() == are_refunds);
                has_refunds |= read > purchases.len();
            }

            written += purchases.len() as u64;
            progress.set_message(format!("{written} purchases exported"));
            let mut rows = Vec::with_capacity(purchases.len() * 192);
            format.write(&mut rows, &purchases)?;
            if !progress.suspend(|| print(&rows))? {
                return Ok(unreadable);
            }
        }
        if are_refunds || !has_refunds {
            return Ok(unreadable);
        }
        are_refunds = true;
    }
}
