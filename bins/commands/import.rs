//! `management import`: publishes the purchases of a file.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use shop_core::ports::PurchaseSink;
use shop_core::{Error, Outcome, Purchase, Timestamp};
use tokio::sync::mpsc;

use super::output::{Progress, print, print_json};
use super::rows::{self, ReadError, Row};
use crate::backend::{self, Topic};
use crate::settings::{Import, Settings};
use crate::{CliError, Result};

/// The number of purchases that are published together.
const BATCH: usize = 1_000;
/// The maximum number of rejected lines that are named.
const NAMED: usize = 20;
/// The pauses before purchases with an unknown outcome are published again: 0.1 s to 6.4 s, half of a minute in all.
const PAUSES: u32 = 9;

pub(super) async fn run(settings: &Settings, command: &Import) -> Result<()> {
    let input = open(&command.file)?;
    let log = backend::for_log(settings).log(Topic::purchases(settings)).await?;
    let mut report = Report::default();
    let sink = (log.port.sink)();
    let retained_from = settings.purchases_retained_from().unwrap_or(Timestamp::MIN);
    let imported = import(&*sink, input, command, retained_from, &mut report).await;
    drop(sink);
    let name = log.close().await;
    if imported.is_ok() || report.imported + report.rejected > 0 {
        match settings.json {
            true => print_json(&report.json(&name))?,
            false => print(&report.text(&name))?,
        };
    }
    imported?;
    match report.rejected {
        0 => Ok(()),
        rejected => Err(CliError::finding(format!("{rejected} lines were rejected"))),
    }
}

fn open(file: &Path) -> Result<Box<dyn std::io::BufRead + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let opened = File::open(file).map_err(|error| CliError::new(format!("{}: {error}", file.display())))?;
    Ok(Box::new(BufReader::new(opened)))
}

#[derive(Debug, Default)]
struct Report {
    imported: u64,
    rejected: u64,
    /// The first rejected lines, with the reasons.
    named: Vec<(u64, String)>,
}

impl Report {
    fn reject(&mut self, line: u64, why: String) {
        self.rejected += 1;
        if self.named.len() < NAMED {
            self.named.push((line, why));
        }
    }

    fn text(&self, log: &str) -> String {
        let mut text = format!("log    {log}\nimported {}, rejected {}\n", self.imported, self.rejected);
        for (line, why) in &self.named {
            text.push_str(&format!("  line {line}: {why}\n"));
        }
        let more = self.rejected - self.named.len() as u64;
        if more > 0 {
            text.push_str(&format!("  {more} more\n"));
        }
        text
    }

    fn json(&self, log: &str) -> Value {
        let lines = self.named.iter().map(|(line, why)| json!({ "line": line, "detail": why }));
        json!({
            "log": log,
            "imported": self.imported,
            "rejected": self.rejected,
            "rejected_lines": lines.collect::<Vec<_>>(),
        })
    }
}

async fn import(
    sink: &dyn PurchaseSink,
    input: Box<dyn std::io::BufRead + Send>,
    command: &Import,
    retained_from: Timestamp,
    report: &mut Report,
) -> Result<()> {
    let progress = Progress::begin();
    sink.check().await?;
    // Few batches are read ahead.
    let (batches, mut waiting) = mpsc::channel::<Vec<Row>>(2);
    let (format, from) = (command.format, command.from_line);
    let reading = tokio::task::spawn_blocking(move || {
        let mut batch = Vec::with_capacity(BATCH);
        let read = rows::read(input, format, from, retained_from, |row| {
            batch.push(row);
            batch.len() < BATCH || batches.blocking_send(std::mem::take(&mut batch)).is_ok()
        });
        // The receiver is gone when the import has failed.
        let _receiver_gone = batches.blocking_send(batch);
        read
    });
    while let Some(batch) = waiting.recv().await {
        publish(sink, batch, report).await?;
        progress.show(format!("{} purchases imported, {} lines rejected", report.imported, report.rejected));
    }
    let read = reading.await.map_err(|error| CliError::new(format!("the file was not read: {error}")))?;
    read.map_err(|error| match error {
        ReadError::Io(error) => CliError::new(format!("{}: {error}", command.file.display())),
        ReadError::Header(what) => CliError::new(what).usage(),
    })
}

/// Publishes a batch until each purchase is acknowledged or rejected.
async fn publish(sink: &dyn PurchaseSink, batch: Vec<Row>, report: &mut Report) -> Result<()> {
    let (mut lines, mut purchases) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for (line, row) in batch {
        match row {
            Ok(purchase) => {
                lines.push(line);
                purchases.push(purchase);
            }
            Err(why) => report.reject(line, why),
        }
    }
    let mut pauses = 0;
    while !purchases.is_empty() {
        let (mut failed, mut again) = (None, (Vec::new(), Vec::<Purchase>::new()));
        let results = sink.publish_many(&purchases).await;
        for ((line, purchase), result) in lines.into_iter().zip(purchases).zip(results) {
            match result {
                Ok(_) => report.imported += 1,
                Err(error) if error.is_retryable() || error.outcome() == Outcome::Unknown => {
                    failed.get_or_insert((line, error));
                    again.0.push(line);
                    again.1.push(purchase);
                }
                Err(error) => report.reject(line, error.to_string()),
            }
        }
        (lines, purchases) = again;
        if let Some((line, error)) = failed {
            if pauses == PAUSES {
                return Err(stopped(line, &error));
            }
            tracing::warn!(error = %error.chain(), line, "publish failed, retrying");
            tokio::time::sleep(Duration::from_millis(100 << pauses.min(6))).await;
            pauses += 1;
        }
    }
    Ok(())
}

fn stopped(line: u64, error: &Error) -> CliError {
    let error = error.chain();
    CliError::new(format!("line {line}: {error}: run it again, with --from-line {line} for the rest"))
}
