//! `management import` and `management export`: files of purchases.

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

/// Imports a file, or shows how it would be read.
pub(super) async fn import(settings: &Settings, command: &ImportFile) -> Result<()> {
    let name = command.file.display().to_string();
    let about_file = CliError::about(&name);
    let file = open(&command.file)?;
    let import = import_of(command)
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

/// Opens a file of purchases, or standard input.
fn open(file: &Path) -> Result<Box<dyn Read + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let opened =
        File::open(file).map_err(|error| CliError::new(format!("{}: {error}", file.display())))?;
    Ok(Box::new(opened))
}

/// Exports the purchases of a user, or all.
pub(super) async fn export(
    settings: &Settings,
    user: Option<&UserId>,
    format: RowFormat,
) -> Result<()> {
    let store = backend::for_purchases(settings).purchases().await?;
    // Pages skip what cannot be read, and only the store counts it.
    let skipped = store
        .port
        .unreadable
        .filter(|_| user.is_some())
        .unwrap_or_default();
    let left_out = write_all(store.port.store, user, format, &progress()).await?;
    let unreadable = left_out + skipped.load(Ordering::Relaxed);
    if unreadable > 0 {
        let name = store.name;
        return Err(CliError::finding(format!(
            "{name}: {unreadable} entries cannot be read: `management doctor` names them"
        )));
    }
    Ok(())
}

/// Writes the selected purchases. Returns the number of unreadable entries, if it reads all.
async fn write_all(
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
    // A scan has refunds anywhere, and an import needs the purchase of each before it: they are those of a second scan.
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
                .map_ok(|batch| (batch.purchases, batch.unreadable.len()))
                .boxed(),
        };
        while let Some((mut purchases, left_out)) = batches.try_next().await? {
            unreadable += if are_refunds { 0 } else { left_out as u64 };
            if user.is_none() {
                let all = purchases.len();
                purchases.retain(|purchase| purchase.details.of.is_some() == are_refunds);
                has_refunds |= all > purchases.len();
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
