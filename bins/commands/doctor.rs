//! `management doctor`: finds damaged files, stores that do not keep what is written to them, and
//! entries of the store that cannot be read.
//!
//! The command checks the embedded files first, then inspects the store and reads all its
//! purchases. It prints each finding as a line, and ends with a finding if there are any.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::PathBuf;

use futures_util::TryStreamExt as _;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use shop_core::Backend;
use shop_core::operations::Operations;

use super::{print_report, start_progress};
use crate::backend::{self, Backends, ComponentKind, OpenPort, TopicSpec};
use crate::settings::Settings;
use crate::{CliError, Result};

/// Checks the files and the store, and prints the findings.
///
/// # Errors
/// - a finding if some of the data cannot be read, or the store loses what is written to it
/// - the errors of the store and of standard output
pub(super) async fn run(backends: &Backends<'_>) -> Result<()> {
    let settings = backends.settings;
    let mut report = DoctorReport {
        is_json: settings.process.json,
        progress: start_progress(),
        purchases: 0,
        findings: 0,
    };
    for file in existing_files(settings) {
        let name = file.display().to_string();
        report.progress.set_message(format!("checking {name}"));
        for damage in backend::find_damage(&file).await? {
            report.print_finding(&name, damage)?;
        }
    }

    // A damaged file, which is a finding already, may not open. That is no failure of this command.
    match backends.purchases().await {
        Ok(store) => check_store(store, &mut report).await?,
        Err(error) if report.findings == 0 => return Err(error),
        Err(error) => report.print_finding("store", error)?,
    }
    if report.findings > 0 {
        return Err(CliError::finding(
            "some of the data cannot be read: standard output names it",
        ));
    }
    Ok(())
}

/// Reads all purchases of `store`, and prints the entries that cannot be read and the faults of the
/// store.
///
/// # Errors
/// - a finding if all findings of the command are faults of the store
/// - the errors of the store and of standard output
async fn check_store(store: OpenPort<Backend>, report: &mut DoctorReport) -> Result<()> {
    let name = store.name;
    read_purchases(&Operations::new(store.port), report).await?;
    let purchase_count = report.purchases;
    // The findings so far are damaged files and unreadable entries.
    let unreadable_count = report.findings;
    report.print(
        format!("store  {name}: {purchase_count} purchases, unreadable {unreadable_count}"),
        &json!({ "store": name, "purchases": purchase_count, "unreadable": unreadable_count }),
    )?;

    for fault in &store.inspection.faults {
        report.print_finding(&name, fault.chain())?;
    }
    if unreadable_count == 0 && report.findings > 0 {
        return Err(CliError::finding(
            "the store does not keep what is written to it: standard output says why",
        ));
    }
    Ok(())
}

/// The counts of purchases and findings so far, and the output of the command.
struct DoctorReport {
    is_json: bool,
    progress: ProgressBar,
    purchases: u64,
    findings: u64,
}

impl DoctorReport {
    /// Counts and prints a finding about the file, the entry or the store `id`.
    ///
    /// # Errors
    /// The errors of standard output.
    fn print_finding(&mut self, id: &str, reason: impl Display) -> Result<()> {
        self.findings += 1;
        let reason = reason.to_string();
        let text = format!("{id}  {}", reason.replace(char::is_control, " "));
        self.print(text, &json!({ "id": id, "reason": reason }))
    }

    /// Prints a line above the progress line, as `text` or as JSON.
    ///
    /// # Errors
    /// The errors of standard output.
    fn print(&self, text: String, report: &Value) -> Result<()> {
        self.progress
            .suspend(|| print_report(self.is_json, text, report))
    }
}

/// Returns the existing files of the embedded logs and stores.
pub(super) fn existing_files(settings: &Settings) -> BTreeSet<PathBuf> {
    [
        ComponentKind::Log(TopicSpec::purchases(settings)),
        ComponentKind::Log(TopicSpec::users(settings)),
        ComponentKind::Log(TopicSpec::orders(settings)),
        ComponentKind::Purchases,
        ComponentKind::Users,
        ComponentKind::Orders,
    ]
    .into_iter()
    .filter_map(|component| backend::file_of(settings, component))
    .filter(|file| file.exists())
    .collect()
}

/// Reads all purchases of the store, and reports the entries that cannot be read.
///
/// # Errors
/// The errors of the store and of standard output. A damaged file is a finding.
async fn read_purchases(operations: &Operations, report: &mut DoctorReport) -> Result<()> {
    // The total is only for the progress line. It is left out if a damaged store cannot count.
    let total_text = operations
        .count_purchases()
        .await
        .map(|count| format!(" of {count}"))
        .unwrap_or_default();
    // The rate counts from here, without the time that the files took.
    report.progress.reset_eta();

    let mut batches = operations.scan_store()?;
    while let Some(batch) = batches.try_next().await? {
        for entry in &batch.unreadable {
            report.print_finding(&entry.id, &entry.reason)?;
        }
        report.purchases += batch.purchases.len() as u64;
        report.progress.set_position(report.purchases);
        report.progress.set_message(format!(
            "{}{total_text} purchases read, {:.0} per second",
            report.purchases,
            report.progress.per_sec()
        ));
    }
    Ok(())
}
