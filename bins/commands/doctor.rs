//! `management doctor`: finds what cannot be read in the store, and damaged files.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use shop_core::ErrorKind;
use shop_core::ports::{PurchaseQuery, PurchaseQueryExt as _, Selector};

use super::output::{print_report, progress};
use crate::backend::{self, ComponentKind, TopicSpec};
use crate::settings::Settings;
use crate::{CliError, Result};

pub(super) async fn run(settings: &Settings) -> Result<()> {
    let mut report = Report {
        json: settings.json,
        progress: progress(),
        purchases: 0,
        findings: 0,
    };
    for file in files(settings) {
        let name = file.display().to_string();
        report.progress.set_message(format!("checking {name}"));
        for line in backend::for_files(settings).damage_of(&file).await? {
            report.found(&name, line)?;
        }
    }
    // A damaged file may not open: that is a finding, not a failure of this command.
    match backend::for_purchases(settings).purchases().await {
        Ok(store) => {
            scan(store.port.store, &mut report).await?;
            let name = store.name;
            let purchases = report.purchases;
            let unreadable = report.findings;
            report.print(
                format!("store  {name}: {purchases} purchases, unreadable {unreadable}"),
                &json!({ "store": name, "purchases": purchases, "unreadable": unreadable }),
            )?;
        }
        Err(error) if report.findings == 0 => return Err(error),
        Err(error) => report.found("store", error)?,
    }
    if report.findings == 0 {
        return Ok(());
    }
    Err(CliError::finding(
        "some of the data cannot be read: standard output names it",
    ))
}

/// The findings so far.
struct Report {
    json: bool,
    progress: ProgressBar,
    purchases: u64,
    findings: u64,
}

impl Report {
    fn found(&mut self, id: &str, reason: impl Display) -> Result<()> {
        self.findings += 1;
        let reason = reason.to_string();
        let text = format!("{id}  {}", reason.replace(char::is_control, " "));
        self.print(text, &json!({ "id": id, "reason": reason }))
    }

    fn print(&self, text: String, report: &Value) -> Result<()> {
        self.progress
            .suspend(|| print_report(self.json, &[], text, report))
    }
}

/// The files of the embedded log and stores that exist.
pub(super) fn files(settings: &Settings) -> BTreeSet<PathBuf> {
    let log = backend::for_log(settings);
    let store = backend::for_purchases(settings);
    let logs = [
        TopicSpec::purchases(settings),
        TopicSpec::users(settings),
        TopicSpec::orders(settings),
    ]
    .into_iter()
    .filter_map(|topic| log.file(ComponentKind::Log(topic)));
    let stores = [
        ComponentKind::Purchases,
        ComponentKind::Users,
        ComponentKind::Orders,
    ]
    .into_iter()
    .filter_map(|part| store.file(part));
    logs.chain(stores).filter(|file| file.exists()).collect()
}

/// Reads all purchases of the store, and reports those that are unreadable.
async fn scan(query: Arc<dyn PurchaseQuery>, report: &mut Report) -> Result<()> {
    // Progress needs the total only to be shown. The summary of a damaged store may fail.
    let total = match query.summary(&Selector::All).await {
        Ok(summary) => format!(" of {}", summary.count),
        Err(_) => String::new(),
    };
    // The time that the files took does not count towards the rate.
    report.progress.reset_eta();
    let mut batches = pin!(query.scan_batches());
    loop {
        match batches.try_next().await {
            Ok(Some(batch)) => {
                report.purchases += batch.purchases.len() as u64;
                batch
                    .unreadable
                    .iter()
                    .try_for_each(|entry| report.found(&entry.id, &entry.reason))?;
                let purchases = report.purchases;
                report.progress.set_position(purchases);
                report.progress.set_message(format!(
                    "{purchases}{total} purchases read, {:.0} per second",
                    report.progress.per_sec()
                ));
            }
            Ok(None) => return Ok(()),
            // The rest of a damaged file cannot be read.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                return report.found("store", error.chain());
            }
            Err(error) => return Err(error.into()),
        }
    }
}
