//! `management verify`: checks the store of purchases against the log.
//!
//! The exit code is 1 for findings, and 3 if there was nothing to verify.

use indicatif::HumanDuration;
use shop_core::operations::Operations;
use shop_core::verify::{VerifyOptions, VerifyProgress, VerifyReport};
use shop_core::{Clock as _, SystemClock};

use super::{print_report, start_progress};
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

    let operations = Operations::new(log.port.with(store.port));
    let progress = start_progress();
    if !progress.is_hidden() {
        // The number of purchases is only used for the remaining time on the progress line. If the
        // count fails, the line shows no remaining time.
        progress.set_message("counting the purchases");
        options.expected_purchases = operations.count_purchases().await.ok();
    }
    let report = operations
        .verify(options, |verify_progress| {
            progress.set_message(progress_text(&verify_progress));
        })
        .await?;
    drop(progress);

    let written_text = report
        .written
        .map_or_else(String::new, |count| format!(", {count} ever written"));
    let text = format!(
        "log    {}: {} records{written_text}\nstore  {}: {} purchases\n{}",
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
    // Without findings, the report is not clean because there was nothing to verify.
    if !report.has_findings() {
        return Err(CliError::new(report));
    }

    Err(CliError::finding(finding_text(&report)))
}

/// Returns the finding of `report` that an operator should know first, and the remedy if records are
/// missing from the store. The report must have findings.
fn finding_text(report: &VerifyReport) -> String {
    let difference_count = report.missing.count + report.mismatched.count + report.duplicates.count;
    let finding = if difference_count > 0 {
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
    format!("{finding}: standard output has the findings{remedy}")
}

/// Returns the text of the progress line, such as
/// `pass 1 of 2: 500 of 1000 records checked, 3 minutes left`.
fn progress_text(progress: &VerifyProgress) -> String {
    let mut text = String::new();
    if progress.passes > 1 {
        text += &format!("pass {} of {}: ", progress.pass, progress.passes);
    }

    if progress.records > 0 || progress.pending > 0 {
        let total = total_text(progress.all_records);
        text += &format!("{}{total} records checked", progress.records);
    } else {
        let total = total_text(progress.purchases);
        text += &format!("{}{total} purchases read", progress.scanned);
    }

    if progress.pending > 0 {
        text += &format!(", waiting for {} of them", progress.pending);
    } else if let Some(remaining) = progress.remaining {
        text += &format!(", {} left", HumanDuration(remaining));
    }
    text
}

/// Returns the text that follows the number of checked records or read purchases, such as ` of
/// 1000`. Returns an empty text if the total is not known.
fn total_text(total: Option<u64>) -> String {
    total.map_or_else(String::new, |total| format!(" of {total}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_progress_line_says_what_is_done_and_how_much_time_remains() {
        let mut progress = VerifyProgress::default();
        progress.pass = 1;
        progress.passes = 1;
        progress.scanned = 500;
        assert_eq!(progress_text(&progress), "500 purchases read");

        progress.purchases = Some(2_000);
        progress.remaining = Some(Duration::from_secs(190));
        assert_eq!(
            progress_text(&progress),
            "500 of 2000 purchases read, 3 minutes left"
        );

        progress.passes = 2;
        progress.scanned = 2_000;
        progress.records = 700;
        progress.all_records = Some(1_000);
        progress.remaining = Some(Duration::from_secs(7));
        assert_eq!(
            progress_text(&progress),
            "pass 1 of 2: 700 of 1000 records checked, 7 seconds left"
        );

        progress.pending = 3;
        assert_eq!(
            progress_text(&progress),
            "pass 1 of 2: 700 of 1000 records checked, waiting for 3 of them"
        );
    }
    #[test]
    fn the_first_finding_is_the_one_about_the_store() {
        let report = |missing, mismatched, gaps, compacted| {
            let mut report = VerifyReport::default();
            report.missing.count = missing;
            report.mismatched.count = mismatched;
            report.gaps.count = gaps;
            report.compacted = compacted;
            report
        };
        let reset = ". If the store is an older copy, reset the offsets of its group to before it, then start management";
        for (report, finding, remedy) in [
            (report(1, 0, 1, 1), "the store differs from the log", reset),
            (report(0, 1, 1, 1), "the store differs from the log", ""),
            (report(0, 0, 1, 1), "the log has lost records", ""),
            (report(0, 0, 0, 1), "the log may have lost records", ""),
            (report(0, 0, 0, 0), "the log was not read to its end", ""),
        ] {
            assert_eq!(
                finding_text(&report),
                format!("{finding}: standard output has the findings{remedy}")
            );
        }
    }
}
