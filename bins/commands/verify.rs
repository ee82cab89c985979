//! `management verify`: checks the store of purchases against the log.
//!
//! [`run`] prints the [`VerifyReport`] as text, by [`report_text`], or as JSON, by [`report_json`].
//! The text contains a line for each count that is not zero, and a line for each sample of the
//! findings. The exit code is 1 for findings, and 3 if there was nothing to verify.

use serde_json::{Value, json};
use shop_core::verify::{
    Findings, UnverifiedRecord, Verify, VerifyOptions, VerifyProgress, VerifyReport,
};
use shop_core::{Clock as _, SystemClock};

use super::{print_report, progress};
use crate::backend::{self, TopicSpec};
use crate::settings::Settings;
use crate::{CliError, Result};

/// Verifies the store of purchases against the log of `topic`, and prints the report.
///
/// # Errors
/// - a finding if the store differs from the log, or the log was not complete
/// - an error if there was nothing to verify
/// - the errors of the log, of the store and of standard output
pub(super) async fn run(
    settings: &Settings,
    topic: TopicSpec<'_>,
    mut options: VerifyOptions,
) -> Result<()> {
    let log = backend::log_admin(settings, topic).await?;
    let store = backend::for_purchases(settings).purchases().await?;
    options.retained_from = settings
        .purchase_retention
        .map(|retention| SystemClock.now().saturating_sub(retention));

    let progress = progress();
    let report = Verify::new(store.port.store, options)
        .run(&*log.port, |state| {
            progress.set_message(progress_text(state));
        })
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
        report_text(&report, log.port.first_offset())
    );
    let mut json = report_json(&report);
    json["log"] = log.name.into();
    json["store"] = store.name.into();
    print_report(settings.json, text, &json)?;

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

/// Returns the report as JSON: its serialized members, and the findings.
///
/// The counts of the findings are named by the words of the text report, such as `twice` for
/// duplicates. The samples of the findings are members of their own.
fn report_json(report: &VerifyReport) -> Value {
    let first_offsets: Value = report
        .first_offsets
        .iter()
        .map(|((topic, partition), offset)| {
            json!({ "topic": topic, "partition": partition, "offset": offset })
        })
        .collect();
    let findings = json!({
        // `null` if there was nothing to verify.
        "clean": (report.is_clean() || report.has_findings()).then_some(report.is_clean()),
        "missing": report.missing.count,
        "mismatched": report.mismatched.count,
        "twice": report.duplicates.count,
        "gaps": report.gaps.count,
        "first_offsets": first_offsets,
        "missing_records": records_json(&report.missing.samples),
        "mismatched_records": records_json(&report.mismatched.samples),
        "lost_records": report.gaps.samples,
        "twice_ids": report.duplicates.samples,
    });

    let mut json = json!(report);
    for (name, value) in findings.as_object().into_iter().flatten() {
        json[name] = value.clone();
    }
    json
}

/// Returns the ids and the positions of `records` as JSON.
fn records_json(records: &[UnverifiedRecord]) -> Value {
    records
        .iter()
        .map(|record| json!({ "id": record.id, "position": record.position.to_string() }))
        .collect()
}

/// Returns the report as text.
///
/// `first_offset` is the offset of the first record that a partition ever contained.
fn report_text(report: &VerifyReport, first_offset: u64) -> String {
    let mut lines = vec![report.to_string()];
    add_counts(&mut lines, report);

    for ((topic, partition), first) in &report.first_offsets {
        if *first > first_offset {
            lines.push(format!(
                "the log begins at {topic}-{partition}-{first}: records before it are gone and were not verified"
            ));
        }
    }

    add_findings(&mut lines, "gap", &report.gaps, ToString::to_string);
    add_findings(&mut lines, "missing", &report.missing, record_text);
    add_findings(
        &mut lines,
        "stored with other content",
        &report.mismatched,
        record_text,
    );
    add_findings(&mut lines, "twice", &report.duplicates, ToString::to_string);
    lines.join("\n")
}

/// Returns the id and the position of `record`.
fn record_text(record: &UnverifiedRecord) -> String {
    format!("{} at {}", record.id, record.position)
}

/// Adds a line for each count that is not zero, and that is not in the first line of the report.
fn add_counts(lines: &mut Vec<String>, report: &VerifyReport) {
    let VerifyReport {
        written,
        purchases,
        unreadable,
        dead_lettered,
        conflicts,
        resolved,
        erased,
        expired,
        by_others,
        undecodable,
        lost,
        unstable,
        compacted,
        ..
    } = *report;
    let other_dead_letters = dead_lettered - conflicts;
    let never_written = written.map_or(0, |written| purchases.saturating_sub(written));

    let counted_lines = [
        (
            never_written,
            format!(
                "stored but never written to this log {never_written}: it is older, or not the only source"
            ),
        ),
        (
            dead_lettered,
            format!("dead letters: {conflicts} conflicts, {other_dead_letters} others"),
        ),
        (
            lost,
            format!("lost {lost}: the log no longer had them when they were to be read"),
        ),
        (
            unstable,
            format!(
                "not read {unstable}: offsets behind a transaction of another producer that is open"
            ),
        ),
        (
            compacted,
            format!("without a record {compacted}: a compacted topic, or aborted transactions"),
        ),
        (resolved, format!("resolved dead letters {resolved}")),
        (
            undecodable,
            format!("not purchases {undecodable}, as the dry run has named"),
        ),
        (
            by_others,
            format!("stored by another consumer {by_others}, as of a replaced system"),
        ),
        (
            erased + expired,
            format!("erased {erased}, older than the retention {expired}"),
        ),
        (
            unreadable,
            format!("unreadable {unreadable}: `management doctor` names them"),
        ),
    ];
    for (count, line) in counted_lines {
        if count > 0 {
            lines.push(line);
        }
    }
}

/// Adds a line for each sample of `findings`, and a line for the number of findings without a
/// sample.
fn add_findings<T>(
    lines: &mut Vec<String>,
    name: &str,
    findings: &Findings<T>,
    sample_text: impl Fn(&T) -> String,
) {
    for sample in &findings.samples {
        lines.push(format!("  {name}: {}", sample_text(sample)));
    }
    let more = findings.count - findings.samples.len() as u64;
    if more > 0 {
        lines.push(format!("  {name}: {more} more"));
    }
}
