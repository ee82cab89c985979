//! `management status`: the state of every part, and how far each log is consumed.
//!
//! [`Status::read`] checks the parts and asks the running service at the same time, then reads the
//! logs whose check succeeded. Everything that needs an operator becomes a finding, and the
//! findings decide the exit code. The whole [`Status`] is printed as text or as JSON.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};
use shop_client::Health;
use shop_core::operations::{Operations, TopicStatus, format_age, unread_age};
use shop_core::ports::WaitingSummary;
use tokio::time::timeout;

use super::{doctor, format_table, print_report};
use crate::backend::{Backends, ComponentKind, TopicSpec};
use crate::check_config::{Part, check};
use crate::service_client::with_service_token;
use crate::settings::Settings;
use crate::version::VERSION;
use crate::{CliError, Result, healthcheck};

/// The time limit for reading the state of a log, and for counting the refunds that wait.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Prints the state of every part, and then returns an error if an operator is needed.
///
/// # Errors
/// - an error if a part is unavailable or does not exist, or if a setting is refused
/// - a finding, which is an error with exit code 1, if an operator is needed for another reason
/// - the errors of standard output
pub(super) async fn run(backends: &Backends<'_>) -> Result<()> {
    let status = Status::read(backends).await;
    print_report(
        backends.settings.process.json,
        status.text().trim_end(),
        &status.json(),
    )?;

    if !status.all_parts_available {
        return Err(CliError::new(
            "a part is unavailable: standard output names it",
        ));
    }
    if !status.findings.is_empty() {
        return Err(CliError::finding(
            "an operator is needed: standard output says why",
        ));
    }
    Ok(())
}

/// The state of all parts of a service, of the service itself, and of its logs.
struct Status<'a> {
    parts: Vec<Part<'a>>,
    /// The address at which the service was asked for its state.
    url: String,
    /// The state that the service reports, unless it does not respond.
    service_state: Option<String>,
    topics: Vec<TopicStatus>,
    waiting_refunds: WaitingSummary,
    files: Vec<FileSize>,
    /// Whether every part exists and was read, and no setting was refused.
    all_parts_available: bool,
    /// A sentence about each problem that needs an operator.
    findings: Vec<String>,
}

impl<'a> Status<'a> {
    /// Reads the state of all parts that the settings select. A part that cannot be read becomes a
    /// finding.
    async fn read(backends: &Backends<'a>) -> Self {
        let settings = backends.settings;
        let url = settings.probe_url();
        let ((parts, mut findings), health) =
            tokio::join!(check(backends), read_health(settings, &url));

        findings.extend(parts.iter().filter_map(missing_part_finding));
        let topics = read_topics(backends, &parts, &mut findings).await;
        let is_store_readable = parts.iter().any(|part| {
            part.is_readable() && matches!(part.component.kind, ComponentKind::Purchases)
        });
        let mut waiting_refunds = WaitingSummary::default();
        if is_store_readable {
            match read_waiting_refunds(backends).await {
                Ok(summary) => waiting_refunds = summary,
                Err(error) => findings.push(format!("refunds that wait: {error}")),
            }
        }

        // The findings so far are about parts or settings that do not work. The findings that are
        // added below need an operator, but make no part unavailable.
        let all_parts_available = findings.is_empty();
        for topic in &topics {
            findings.extend(topic.findings());
        }
        let mut service_state = None;
        // The table of parts shows a service that does not respond. It is no finding.
        if let Ok(health) = health {
            add_service_findings(&health, &mut findings);
            service_state = Some(health.status);
        }

        let files = doctor::existing_files(settings);
        Self {
            parts,
            url,
            service_state,
            topics,
            waiting_refunds,
            files: files.iter().map(|path| FileSize::read(path)).collect(),
            all_parts_available,
            findings,
        }
    }

    /// Returns the status as text: the findings, and a table for each kind of part.
    fn text(&self) -> String {
        let mut text = format!(
            "Version:  {VERSION}\nHealthy:  {}\n",
            self.findings.is_empty()
        );
        for finding in &self.findings {
            text += &format!("  - {finding}\n");
        }

        let service_state = self.service_state.as_deref().unwrap_or("no response");
        let service_row = json!(["service", service_state, self.url]);
        text += &format_table(
            "PART STATE BACKEND",
            self.parts.iter().map(part_row).chain([service_row]),
        );
        text += &format_table(
            "GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG OLDEST-UNREAD RETENTION",
            self.topics.iter().flat_map(partition_rows),
        );
        text += &format_table(
            "TOPIC REASON DEAD-LETTERS",
            self.topics.iter().flat_map(dead_letter_rows),
        );
        let waiting = self.waiting_refunds;
        text += &format_table(
            "WAITING-REFUNDS OLDEST",
            // One row, or an empty table.
            (waiting.count > 0).then(|| json!([waiting.count, waiting.oldest])),
        );
        text += &format_table(
            "FILE BYTES",
            self.files.iter().map(|file| json!([file.path, file.bytes])),
        );
        text
    }

    /// Returns the status as JSON.
    fn json(&self) -> Value {
        let parts = self.parts.iter().map(|part| {
            json!({
                "part": part.component.label,
                "backend": part.name,
                "exists": part.exists,
                "failure": part.failure,
            })
        });
        json!({
            "healthy": self.findings.is_empty(),
            "findings": self.findings,
            "version": VERSION,
            "parts": parts.collect::<Value>(),
            "service": { "url": self.url, "status": self.service_state },
            "waiting_refunds": self.waiting_refunds.count,
            "topics": self.topics,
            "files": self.files,
        })
    }
}

/// Returns the row of a part in the table of parts.
fn part_row(part: &Part<'_>) -> Value {
    let state = if part.failure.is_some() {
        "unavailable"
    } else if part.exists {
        "reachable"
    } else {
        "missing"
    };
    json!([part.component.label, state, part.name])
}

/// Requests the health of the service with these settings, which runs on this machine.
///
/// # Errors
/// The errors of the client, such as when no service responds.
async fn read_health(settings: &Settings, url: &str) -> Result<Health> {
    let client =
        with_service_token(healthcheck::client_builder(settings, url)?, settings)?.build()?;
    Ok(client.health().await?)
}

/// Counts the refunds in the store that wait for their purchase.
///
/// # Errors
/// - the errors of the store
/// - an error if the refunds were not counted within [`READ_TIMEOUT`]
async fn read_waiting_refunds(backends: &Backends<'_>) -> Result<WaitingSummary> {
    let store = backends.purchases().await?;
    read_in_time(Operations::new(store.port).waiting_refunds()).await
}

/// Waits until `read` ends, at most for [`READ_TIMEOUT`].
///
/// # Errors
/// - the error of `read`
/// - an error if `read` takes longer
async fn read_in_time<T>(read: impl Future<Output = shop_core::Result<T>> + Send) -> Result<T> {
    let Ok(result) = timeout(READ_TIMEOUT, read).await else {
        return Err(CliError::new(format!("not read within {READ_TIMEOUT:?}")));
    };
    Ok(result?)
}

/// Returns the finding of a part that does not exist. Commands use only parts that services created.
fn missing_part_finding(part: &Part<'_>) -> Option<String> {
    if part.exists {
        return None;
    }
    let label = part.component.label;
    Some(format!(
        "{label}: does not exist: give the settings of the services"
    ))
}

/// Reads the state of all topics whose log is readable, at the same time. Adds a finding for each
/// topic that cannot be read.
async fn read_topics(
    backends: &Backends<'_>,
    parts: &[Part<'_>],
    findings: &mut Vec<String>,
) -> Vec<TopicStatus> {
    let topic_reads = parts.iter().filter_map(|part| match part.component.kind {
        ComponentKind::Log(topic) if part.is_readable() => {
            Some(read_topic(backends, part.component.label, topic))
        }
        _ => None,
    });

    let mut topics = Vec::new();
    for (label, topic_status) in join_all(topic_reads).await {
        match topic_status {
            Ok(topic_status) => topics.push(topic_status),
            Err(error) => findings.push(format!("{label}: {error}")),
        }
    }
    topics
}

/// Reads the state of a topic and the progress of its group, and returns it with the `label` of the
/// part.
async fn read_topic<'a>(
    backends: &Backends<'_>,
    label: &'a str,
    topic: TopicSpec<'_>,
) -> (&'a str, Result<TopicStatus>) {
    let status_read = async {
        let log = backends.log(topic).await?.port;
        read_in_time(Operations::new(log).status()).await
    };
    (label, status_read.await)
}

/// Returns a row for each partition of the topic.
fn partition_rows(status: &TopicStatus) -> impl Iterator<Item = Value> {
    let retention = status.retention.map(format_age);
    status.partitions.iter().map(move |partition| {
        json!([
            status.group,
            status.topic,
            partition.partition,
            partition.committed,
            partition.end,
            partition.lag,
            unread_age(partition).map(format_age),
            retention
        ])
    })
}

/// Returns a row for each reason for which dead letters of the topic are pending.
fn dead_letter_rows(status: &TopicStatus) -> impl Iterator<Item = Value> {
    let dead_letters = status.dead_letters.iter();
    dead_letters.map(|(reason, count)| json!([status.topic, reason.as_str(), count]))
}

/// Adds to `findings` the problems that the service reports and that need an operator.
fn add_service_findings(health: &Health, findings: &mut Vec<String>) {
    let service_state = &health.status;
    if matches!(service_state.as_str(), "degraded" | "unhealthy") {
        findings.push(format!("service: /health is {service_state}"));
    }

    let entities = [&health.users, &health.orders].into_iter().flatten();
    let event_ingests = entities.flat_map(|entity| &entity.events);
    for ingest in event_ingests.chain(&health.ingest) {
        if let Some(stuck) = &ingest.stuck {
            let position = &stuck.position;
            let error = &stuck.error;
            let age = format_age(Duration::from_secs(stuck.age_seconds));
            findings.push(format!(
                "{position} has been stuck for {age} ({error}): fix the store, or management dlq park {position}"
            ));
        }
    }
}

/// An embedded file, and the size in bytes of the file and its write-ahead log together.
#[derive(Serialize)]
struct FileSize {
    path: String,
    bytes: u64,
}

impl FileSize {
    /// Reads the size of the file at `path`.
    fn read(path: &Path) -> Self {
        Self {
            path: path.display().to_string(),
            bytes: file_bytes(path) + file_bytes(&path.with_extension("db-wal")),
        }
    }
}

/// Returns the size of a file in bytes, or 0 if the file does not exist.
fn file_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
