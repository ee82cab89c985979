//! `management status`: the state of every part, and how far each log is consumed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};
use shop_client::Health;
use shop_core::api::StuckBody;
use shop_core::log::{Gap, LogAdmin, LogRecord, TailStart};
use shop_core::{Clock as _, SystemClock, Timestamp};
use tokio::time::timeout;

use super::doctor;
use super::open;
use super::output::{print_report, table};
use crate::backend::{Topic, authorized};
use crate::check_config::{Part, check};
use crate::ports::count_dead_letters;
use crate::settings::Settings;
use crate::version::VERSION;
use crate::{CliError, Result, healthcheck};

/// The time limit of reading the state of a log.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the oldest unread records are awaited. The last offsets of a partition may have none.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn run(settings: &Settings) -> Result<()> {
    let url = settings.probe_url();
    let ((parts, mut findings), service) = tokio::join!(check(settings), health(settings, &url));
    // A command runs on what services have created.
    let missing = parts.iter().filter(|part| !part.exists);
    findings.extend(
        missing.map(|part| format!("{}: does not exist: give the settings of the services", part.what)),
    );
    let reads = [
        ("log", Topic::purchases(settings)),
        ("events of users", Topic::users(settings)),
        ("events of orders", Topic::orders(settings)),
    ];
    let is_usable =
        |what| parts.iter().any(|part| part.what == what && part.exists && part.failure.is_none());
    let reads = reads.into_iter().filter(|(what, _)| is_usable(*what));
    let reads = reads.map(async |(what, topic)| (what, TopicStatus::read(settings, topic).await));
    let mut topics = Vec::new();
    for (what, read) in join_all(reads).await {
        match read {
            Ok(topic) => topics.push(topic),
            Err(failure) => findings.push(format!("{what}: {failure}")),
        }
    }
    let is_available = findings.is_empty();
    topics.iter().for_each(|topic| topic.find(&mut findings));
    service.iter().for_each(|health| find_of_service(health, &mut findings));
    let is_healthy = findings.is_empty();
    let (text, report) = rendered(settings, &findings, &parts, (&url, service.as_ref().ok()), &topics);
    print_report(settings.json, &[], text.trim_end(), &report)?;
    match (is_available, is_healthy) {
        (false, _) => Err(CliError::new("a part is unavailable: standard output names it")),
        (true, false) => Err(CliError::finding("an operator is needed: standard output says why")),
        (true, true) => Ok(()),
    }
}

/// The report as text and as JSON.
fn rendered(
    settings: &Settings,
    findings: &[String],
    parts: &[Part],
    (url, service): (&str, Option<&Health>),
    topics: &[TopicStatus],
) -> (String, Value) {
    let (is_healthy, state) = (findings.is_empty(), service.map(|health| &*health.status));
    let files: Vec<_> = files(settings).collect();
    let text = [
        format!("Version:  {VERSION}\nHealthy:  {is_healthy}\n"),
        findings.iter().map(|finding| format!("  - {finding}\n")).collect(),
        table(
            "PART STATE BACKEND",
            parts.iter().map(part_row).chain([row(["service", state.unwrap_or("no response"), url])]),
        ),
        table(
            "GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG OLDEST-UNREAD RETENTION",
            topics.iter().flat_map(TopicStatus::rows),
        ),
        table("TOPIC REASON DEAD-LETTERS", topics.iter().flat_map(TopicStatus::dead_letter_rows)),
        table("FILE BYTES", files.iter().map(|(path, bytes)| row([path, &bytes.to_string()]))),
    ];
    let part = |part: &Part| json!({ "part": part.what, "backend": part.name, "exists": part.exists, "failure": part.failure });
    let file = |(path, bytes): &(String, u64)| json!({ "path": path, "bytes": bytes });
    let report = json!({
        "healthy": is_healthy,
        "findings": findings,
        "version": VERSION,
        "parts": parts.iter().map(part).collect::<Vec<_>>(),
        "service": { "url": url, "status": state },
        "topics": topics,
        "files": files.iter().map(file).collect::<Vec<_>>(),
    });
    (text.concat(), report)
}

/// What the service with these settings reports, if it runs on this machine.
async fn health(settings: &Settings, url: &str) -> Result<Health> {
    let client = authorized(healthcheck::client(settings, url)?, settings)?.build()?;
    Ok(client.health().await?)
}

/// A topic, and how far its group has consumed it.
#[derive(Serialize)]
struct TopicStatus {
    topic: String,
    group: String,
    lag: u64,
    partitions: Vec<PartitionStatus>,
    /// How long the log keeps a record that was not read; `None` without a limit.
    retention_seconds: Option<u64>,
    /// The pending dead letters by reason.
    dead_letters: BTreeMap<&'static str, u64>,
    gaps: Vec<Gap>,
}

#[derive(Serialize)]
struct PartitionStatus {
    partition: u32,
    committed: Option<u64>,
    end: u64,
    lag: u64,
    /// The time of the first record that was not consumed, if it was read in time.
    oldest_unread: Option<Timestamp>,
}

impl TopicStatus {
    async fn read(settings: &Settings, topic: Topic<'_>) -> Result<Self> {
        let log = open::log(settings, topic).await?;
        let read = timeout(READ_TIMEOUT, Self::read_log(&*log.port, topic)).await;
        log.close().await;
        read.unwrap_or_else(|_elapsed| Err(CliError::new(format!("not read within {READ_TIMEOUT:?}"))))
    }

    async fn read_log(log: &dyn LogAdmin, topic: Topic<'_>) -> Result<Self> {
        let positions = log.positions(topic.group).await?;
        let mut tail = log.tail(&TailStart::At(positions.clone())).await?;
        let partition = |(&partition, &end): (&u32, &u64)| {
            let lag = end.saturating_sub(tail.start.get(&partition).copied().unwrap_or(end));
            let committed = positions.get(&partition).copied();
            PartitionStatus { partition, committed, end, lag, oldest_unread: None }
        };
        let mut partitions: Vec<_> = tail.end.iter().map(partition).collect();
        let is_awaited = |at: &PartitionStatus| at.lag > 0 && at.oldest_unread.is_none();
        let read = async {
            while partitions.iter().any(is_awaited) {
                let Some(batch) = tail.batches.try_next().await? else { break };
                let of_batch =
                    |at: &&mut PartitionStatus| at.partition == batch.partition.index && is_awaited(at);
                if let Some(partition) = partitions.iter_mut().find(of_batch) {
                    partition.oldest_unread = batch.records.first().and_then(LogRecord::known_time);
                }
            }
            Ok::<(), shop_core::Error>(())
        };
        timeout(UNREAD_TIMEOUT, read).await.unwrap_or(Ok(()))?;
        let (dead_letters, gaps) = count_dead_letters(log).await?;
        Ok(Self {
            topic: topic.name.to_owned(),
            group: topic.group.to_owned(),
            lag: partitions.iter().map(|at| at.lag).sum(),
            partitions,
            retention_seconds: log.retention().map(|kept| kept.as_secs()),
            dead_letters: dead_letters.into_iter().map(|(reason, count)| (reason.as_str(), count)).collect(),
            gaps,
        })
    }

    fn oldest_unread(&self) -> Option<Duration> {
        self.partitions.iter().filter_map(PartitionStatus::age).max()
    }

    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        let retention = or_dash(self.retention_seconds.map(|kept| human(Duration::from_secs(kept))));
        self.partitions.iter().map(move |at| {
            let (committed, age) = (or_dash(at.committed), or_dash(at.age().map(human)));
            let PartitionStatus { partition, end, lag, .. } = at;
            let numbers = format!("{partition} {committed} {end} {lag} {age} {retention}");
            let names = [&*self.group, &*self.topic].into_iter();
            names.chain(numbers.split(' ')).map(str::to_owned).collect()
        })
    }

    fn dead_letter_rows(&self) -> impl Iterator<Item = Vec<String>> {
        self.dead_letters.iter().map(|(reason, count)| row([&self.topic, reason, &count.to_string()]))
    }

    /// Adds what needs an operator.
    fn find(&self, findings: &mut Vec<String>) {
        findings.extend(self.gaps.iter().map(|gap| format!("lost records: {gap}")));
        // As the alert ShopRetentionNear.
        let limit = self.retention_seconds.map(|kept| Duration::from_secs(kept / 2));
        if let Some(age) = self.oldest_unread().filter(|age| limit.is_some_and(|limit| *age > limit)) {
            let (topic, age) = (&self.topic, human(age));
            findings.push(format!("{topic}: records have been unread for {age}, half of the retention"));
        }
    }
}

impl PartitionStatus {
    fn age(&self) -> Option<Duration> {
        Some(SystemClock.now().saturating_since(self.oldest_unread?))
    }
}

/// Adds what needs an operator by the report of the service.
fn find_of_service(health: &Health, findings: &mut Vec<String>) {
    if ["degraded", "unhealthy"].contains(&&*health.status) {
        findings.push(format!("service: /health is {}", health.status));
    }
    let entities = [&health.users, &health.orders].into_iter().flatten();
    let ingests = entities.filter_map(|entity| entity.events.as_ref()).chain(&health.ingest);
    for StuckBody { position, age_seconds, error, .. } in ingests.filter_map(|ingest| ingest.stuck.as_ref()) {
        let age = human(Duration::from_secs(*age_seconds));
        findings.push(format!(
            "{position} has been stuck for {age} ({error}): fix the store, or management dlq park {position}"
        ));
    }
}

fn part_row(part: &Part) -> Vec<String> {
    let state = match &part.failure {
        Some(_) => "unavailable",
        None if part.exists => "reachable",
        None => "missing",
    };
    row([part.what, state, &part.name])
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

/// The embedded files, and their sizes with their write-ahead logs.
fn files(settings: &Settings) -> impl Iterator<Item = (String, u64)> {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    doctor::files(settings)
        .into_iter()
        .map(move |path| (path.display().to_string(), bytes(&path) + bytes(&path.with_extension("db-wal"))))
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The duration in its largest unit, such as `7d`.
fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let unit = units.into_iter().find(|(size, _)| seconds >= 2 * size);
    let (size, unit) = unit.unwrap_or((1, 's'));
    format!("{}{unit}", seconds / size)
}
