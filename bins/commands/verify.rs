//! `management verify`: checks the store of purchases against the log.
//!
//! The exit code is 1 for findings, and 3 if there was nothing to verify.

use shop_core::operations::Operations;
use shop_core::verify::{VerifyOptions, VerifyProgress};
use shop_core::{Clock as _, SystemClock};

use super::{print_report, progress};
use crate::backend::{Backends, TopicSpec};
use crate::{CliError, Result};

/// Verifies the store of purchases against the log of `topic`, and prints the report.
///
/// # Errors
/// - a finding if the store differs from the log, or the log was not complete
/// - an error if there was nothing to verify
/// - the errors of the log, of the store and of standard output
pub(super) async fn run(
    backends: &Backends<'_>,
    topic: TopicSpec<'_>,
    mut options: VerifyOptions,
) -> Result<()> {
    let settings = backends.settings;
    let log = backends.log(topic).await?;
    let store = backends.purchases().await?;
    options.retained_from = settings
        .process
        .purchase_retention
        .map(|retention| SystemClock.now().saturating_sub(retention));

    let progress = progress();
    let report = Operations::new(log.port.with(store.port))
        .verify(options, |state| progress.set_message(progress_text(state)))
        .await?;
    drop(progress);

    let written = report
        .written
        .map_or_else(String::new, |count| format!(", {count} ever written"));
    let text = format!(
        "log    {}: {} records{written}\nstore  {}: {} purchases\n{}",
        log.name,
        report.records,
        store.name,
        report.purchases,
        report.details()
    );
    let mut json = report.to_json();
    json["log"] = log.name.into();
    json["store"] = store.name.into();
    print_report(settings.process.json, text, &json)?;

    if report.is_clean() {
        return Ok(());
    }
    if !report.has_findings() {
        return Err(CliError::new(report));
    }

    let differences = report.missing.count + report.mismatched.count + report.duplicates.count;
    let finding = if differences > 0 {
        "the store differs from the log"
    } else if report.gaps.count > 0 {
        "the log has lost records"
    } else if report.compacted > 0 {
        "the log may have lost records"
    } else {
        "the log was not read to its end"
    };
    let remedy = if report.missing.count > 0 {
        ". If the store is an older copy, reset the offsets of its group to before it, then start management"
    } else {
        ""
    };
    Err(CliError::finding(format!(
        "{finding}: standard output has the findings{remedy}"
    )))
}

/// Returns the text of the progress line.
fn progress_text(
    VerifyProgress {
        records,
        pending,
        scanned,
    }: VerifyProgress,
) -> String {
    let mut text = format!("{records} records checked");
    if pending > 0 {
        text += &format!(", waiting for {pending} of them");
    } else if scanned > 0 {
        text += &format!(", {scanned} purchases scanned");
    }
    text
}
