//! `management verify`: the log against the store.

use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::time::Duration;

use shop_core::log::LogAdmin;
use shop_core::ports::PurchaseQuery;
use shop_core::verify::{Findings, UnverifiedRecord, Verify, VerifyOptions, VerifyProgress, VerifyReport};

use super::open;
use super::output::{Progress, print};
use crate::backend::{self, Topic};
use crate::settings::Settings;
use crate::{CliError, Result};

pub(super) async fn run(settings: &Settings, wait: Duration, named: usize) -> Result<()> {
    let backend = backend::for_store(settings);
    let query = async { Ok(backend.purchases().await?.map(|store| store.query)) };
    let (log, store) = open::log_and_store(settings, Topic::purchases(settings), query).await?;
    let mut options = VerifyOptions::default();
    (options.quiet_period, options.named) = (wait, named);
    let verified = verify(&*log.port, Arc::clone(&store.port), options).await;
    let first_offset = log.port.first_offset();
    let (log, store) = (log.close().await, store.close().await);
    let verified = verified?;
    print(&format!(
        "log    {log}: {} records\nstore  {store}: {} purchases\n{}",
        verified.records,
        verified.purchases,
        text(&verified, first_offset)
    ))?;
    if verified.is_clean() {
        return Ok(());
    }
    Err(CliError::finding("the store does not hold what the log says: see what is named on standard output"))
}

async fn verify(
    log: &dyn LogAdmin,
    query: Arc<dyn PurchaseQuery>,
    options: VerifyOptions,
) -> Result<VerifyReport> {
    let progress = Progress::begin();
    let report = |at: VerifyProgress| {
        let VerifyProgress { records, waiting, scanned, .. } = at;
        progress.show(match (waiting, scanned) {
            (0, 0) => format!("{records} records looked at"),
            (0, _) => format!("{records} records looked at, {scanned} purchases scanned"),
            _ => format!("{records} records looked at, waiting for {waiting} of them"),
        });
    };
    Ok(Verify::new(query, options).run(log, report).await?)
}

/// What is printed of `verified`; the first record of a partition had the offset `first_offset`.
fn text(verified: &VerifyReport, first_offset: u64) -> String {
    let mut text = format!("{verified}\n");
    // Writing into a String does not fail.
    if verified.dead_lettered > 0 {
        let others = verified.dead_lettered - verified.conflicts;
        let _infallible = writeln!(text, "dead letters: {} conflicts, {others} others", verified.conflicts);
    }
    for ((topic, partition), first) in
        verified.first_offsets.iter().filter(|(_, first)| **first > first_offset)
    {
        let _infallible = writeln!(
            text,
            "the log begins at {topic}-{partition}-{first}: records before it are gone and were not verified"
        );
    }
    if verified.resolved > 0 {
        let _infallible = writeln!(text, "settled by hand {}", verified.resolved);
    }
    let place = |found: &UnverifiedRecord| format!("{} at {}", found.id, found.position);
    name(&mut text, "missing", &verified.missing, place);
    name(&mut text, "stored with other content", &verified.mismatched, place);
    name(&mut text, "twice", &verified.duplicates, ToString::to_string);
    text
}

fn name<T, D: Display>(text: &mut String, what: &str, findings: &Findings<T>, show: impl Fn(&T) -> D) {
    for finding in &findings.named {
        let _infallible = writeln!(text, "  {what}: {}", show(finding));
    }
    let more = findings.count - findings.named.len() as u64;
    if more > 0 {
        let _infallible = writeln!(text, "  {what}: {more} more");
    }
}
