//! `management verify`: checks the store against the log.

use serde_json::{Value, json};
use shop_core::verify::{
    Findings, UnverifiedRecord, Verify, VerifyOptions, VerifyProgress, VerifyReport,
};
use shop_core::{Clock as _, SystemClock};

use super::output::{print_report, progress};
use crate::backend::{self, TopicSpec};
use crate::settings::Settings;
use crate::{CliError, Result};

/// What to do about missing purchases, after a restore.
const OLDER_STORE: &str = ". If the store is an older copy, reset the offsets of its group to before it, then start management";

pub(super) async fn run(
    settings: &Settings,
    topic: TopicSpec<'_>,
    mut options: VerifyOptions,
) -> Result<()> {
    let log = backend::log_admin(settings, topic).await?;
    let store = backend::for_purchases(settings).purchases().await?;
    options.retained_from = settings
        .purchase_retention
        .map(|keep| SystemClock.now().saturating_sub(keep));
    let progress = progress();
    let show = |VerifyProgress {
                    records,
                    pending,
                    scanned,
                    ..
                }: VerifyProgress| {
        progress.set_message(match (pending, scanned) {
            (0, 0) => format!("{records} records checked"),
            (0, _) => format!("{records} records checked, {scanned} purchases scanned"),
            _ => format!("{records} records checked, waiting for {pending} of them"),
        });
    };
    let verified = Verify::new(store.port.store, options)
        .run(&*log.port, show)
        .await?;
    drop(progress);
    let result = text(&verified, log.port.first_offset());
    let log = log.name;
    let store = store.name;
    let VerifyReport {
        records, purchases, ..
    } = verified;
    let written = verified
        .written
        .map_or_else(String::new, |count| format!(", {count} ever written"));
    let text = format!(
        "log    {log}: {records} records{written}\nstore  {store}: {purchases} purchases\n{result}"
    );
    print_report(
        settings.json,
        &[("log", &log), ("store", &store)],
        text,
        &json(&verified),
    )?;
    if verified.is_clean() {
        return Ok(());
    }
    if !verified.has_findings() {
        return Err(CliError::new(verified));
    }
    let differs =
        verified.missing.count + verified.mismatched.count + verified.duplicates.count > 0;
    let what = if differs {
        "the store differs from the log"
    } else if verified.gaps.count > 0 {
        "the log has lost records"
    } else if verified.compacted > 0 {
        "the log may have lost records"
    } else {
        "the log was not read to its end"
    };
    let remedy = if verified.missing.count > 0 {
        OLDER_STORE
    } else {
        ""
    };
    Err(CliError::finding(format!(
        "{what}: standard output has the findings{remedy}"
    )))
}

/// The report as JSON. Counts have the words of the text, and samples their names beside them.
fn json(report: &VerifyReport) -> Value {
    let records = |found: &Findings<UnverifiedRecord>| -> Value {
        found
            .samples
            .iter()
            .map(|found| {
                json!({ "id": found.id.to_string(), "position": found.position.to_string() })
            })
            .collect()
    };
    let mut json = json!(report);
    json["clean"] = (report.is_clean() || report.has_findings())
        .then_some(report.is_clean())
        .into();
    json["missing"] = report.missing.count.into();
    json["mismatched"] = report.mismatched.count.into();
    json["twice"] = report.duplicates.count.into();
    json["gaps"] = report.gaps.count.into();
    json["first_offsets"] = report
        .first_offsets
        .iter()
        .map(|((topic, partition), offset)| {
            json!({ "topic": topic, "partition": partition, "offset": offset })
        })
        .collect();
    json["missing_records"] = records(&report.missing);
    json["mismatched_records"] = records(&report.mismatched);
    json["lost_records"] = json!(report.gaps.samples);
    json["twice_ids"] = json!(report.duplicates.samples);
    json
}

/// Returns the report as text. `first_offset` is the first offset that a partition ever had.
fn text(verified: &VerifyReport, first_offset: u64) -> String {
    let mut lines = vec![verified.to_string()];
    lines.extend(notes(verified));
    for ((topic, partition), first) in &verified.first_offsets {
        if *first > first_offset {
            lines.push(format!(
                "the log begins at {topic}-{partition}-{first}: records before it are gone and were not verified"
            ));
        }
    }
    let place = |found: &UnverifiedRecord| format!("{} at {}", found.id, found.position);
    add_findings(&mut lines, "gap", &verified.gaps, ToString::to_string);
    add_findings(&mut lines, "missing", &verified.missing, place);
    add_findings(
        &mut lines,
        "stored with other content",
        &verified.mismatched,
        place,
    );
    add_findings(
        &mut lines,
        "twice",
        &verified.duplicates,
        ToString::to_string,
    );
    lines.join("\n")
}

/// A line for each count that is not zero and is not in the first line of the report.
fn notes(report: &VerifyReport) -> impl Iterator<Item = String> {
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
    let beyond = written.map_or(0, |written| purchases.saturating_sub(written));
    [
        (
            beyond,
            format!(
                "stored but never written to this log {beyond}: it is older, or not the only source"
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
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(_, note)| note)
}

/// Adds a line for each sample of `findings`, and one for the number of findings without a sample.
fn add_findings<T>(
    lines: &mut Vec<String>,
    what: &str,
    findings: &Findings<T>,
    show: impl Fn(&T) -> String,
) {
    for finding in &findings.samples {
        lines.push(format!("  {what}: {}", show(finding)));
    }
    let more = findings.count - findings.samples.len() as u64;
    if more > 0 {
        lines.push(format!("  {what}: {more} more"));
    }
}
