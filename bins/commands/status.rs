//! `management status`: the state of every part, and how far each log is consumed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use shop_client::Health;
use shop_core::api::StuckBody;
use shop_core::inspect::{GroupProgress, LogInspection};
use shop_core::ports::WaitingSummary;
use shop_core::{Clock as _, SystemClock};
use tokio::time::timeout;

use super::doctor;
use super::output::{print_report, table};
use crate::backend::{self, ComponentKind, TopicSpec, authorized};
use crate::check_config::{Part, check};
use crate::settings::Settings;
use crate::version::VERSION;
use crate::{CliError, Result, healthcheck};

/// The time limit of reading the state of a log.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn run(settings: &Settings) -> Result<()> {
    let url = settings.probe_url();
    let ((parts, mut findings), service) = tokio::join!(check(settings), health(settings, &url));
    let mut reads = Vec::new();
    for Part {
        place,
        exists,
        failure,
        ..
    } in &parts
    {
        match place.kind {
            // A command runs on what services have created.
            _ if !exists => {
                findings.push(format!(
                    "{}: does not exist: give the settings of the services",
                    place.what
                ));
            }
            ComponentKind::Log(topic) if failure.is_none() => {
                reads.push(async move { (place.what, TopicStatus::read(settings, topic).await) });
            }
            _ => {}
        }
    }
    let mut topics = Vec::new();
    for (what, read) in join_all(reads).await {
        match read {
            Ok(topic) => topics.push(topic),
            Err(failure) => findings.push(format!("{what}: {failure}")),
        }
    }
    let waiting = waiting_refunds(settings, &parts)
        .await
        .unwrap_or_else(|failure| {
            findings.push(format!("refunds that wait: {failure}"));
            None
        });
    let is_available = findings.is_empty();
    topics.iter().for_each(|topic| topic.find(&mut findings));
    service
        .iter()
        .for_each(|health| find_of_service(health, &mut findings));
    let is_healthy = findings.is_empty();
    let (text, report) = rendered(
        settings,
        &findings,
        &parts,
        &url,
        service.as_ref().ok(),
        &topics,
        waiting,
    );
    print_report(settings.json, &[], text.trim_end(), &report)?;
    if !is_available {
        return Err(CliError::new(
            "a part is unavailable: standard output names it",
        ));
    }
    if !is_healthy {
        return Err(CliError::finding(
            "an operator is needed: standard output says why",
        ));
    }
    Ok(())
}

/// Returns the report as text and as JSON.
fn rendered(
    settings: &Settings,
    findings: &[String],
    parts: &[Part<'_>],
    url: &str,
    service: Option<&Health>,
    topics: &[TopicStatus<'_>],
    waiting: Option<WaitingSummary>,
) -> (String, Value) {
    let is_healthy = findings.is_empty();
    let state = service.map(|health| &*health.status);
    let files: Vec<_> = files(settings).collect();
    let service = json!(["service", state.unwrap_or("no response"), url]);
    let text = [
        format!("Version:  {VERSION}\nHealthy:  {is_healthy}\n"),
        findings
            .iter()
            .map(|finding| format!("  - {finding}\n"))
            .collect(),
        table(
            "PART STATE BACKEND",
            parts.iter().map(part_row).chain([service]),
        ),
        table(
            "GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG OLDEST-UNREAD RETENTION",
            topics.iter().flat_map(TopicStatus::rows),
        ),
        table(
            "TOPIC REASON DEAD-LETTERS",
            topics.iter().flat_map(TopicStatus::dead_letter_rows),
        ),
        table(
            "WAITING-REFUNDS OLDEST",
            waiting
                .iter()
                .map(|waiting| json!([waiting.count, waiting.oldest])),
        ),
        table("FILE BYTES", files.iter().map(|file| json!(file))),
    ];
    let parts = parts.iter().map(
        |Part {
             place,
             name,
             exists,
             failure,
         }| json!({ "part": place.what, "backend": name, "exists": exists, "failure": failure }),
    );
    let files = files
        .iter()
        .map(|(path, bytes)| json!({ "path": path, "bytes": bytes }));
    let report = json!({
        "healthy": is_healthy,
        "findings": findings,
        "version": VERSION,
        "parts": parts.collect::<Value>(),
        "service": { "url": url, "status": state },
        "waiting_refunds": waiting.map_or(0, |waiting| waiting.count),
        "topics": topics.iter().map(TopicStatus::json).collect::<Value>(),
        "files": files.collect::<Value>(),
    });
    (text.concat(), report)
}

/// Counts the refunds in the store that wait for their purchase. Returns `None` if there are none.
async fn waiting_refunds(
    settings: &Settings,
    parts: &[Part<'_>],
) -> Result<Option<WaitingSummary>> {
    let is_readable = parts.iter().any(|part| {
        matches!(part.place.kind, ComponentKind::Purchases) && part.exists && part.failure.is_none()
    });
    if !is_readable {
        return Ok(None);
    }

    let store = backend::for_purchases(settings).purchases().await?;
    let Some(refunds) = store.port.store.waiting_refunds() else {
        return Ok(None);
    };
    let waiting = read_in_time(refunds.waiting_summary()).await?;
    Ok(Some(waiting).filter(|waiting| waiting.count > 0))
}

/// Waits until `read` ends, at most for [`READ_TIMEOUT`].
async fn read_in_time<T>(read: impl Future<Output = shop_core::Result<T>> + Send) -> Result<T> {
    let ended = timeout(READ_TIMEOUT, read).await;
    Ok(ended.map_err(|_elapsed| CliError::new(format!("not read within {READ_TIMEOUT:?}")))??)
}

/// Requests the health of the service with these settings, which runs on this machine.
async fn health(settings: &Settings, url: &str) -> Result<Health> {
    let client = authorized(healthcheck::client(settings, url)?, settings)?.build()?;
    Ok(client.health().await?)
}

/// A topic, and how far its group has consumed it.
struct TopicStatus<'a> {
    topic: TopicSpec<'a>,
    log: LogInspection,
    partitions: Vec<GroupProgress>,
}

impl<'a> TopicStatus<'a> {
    async fn read(settings: &Settings, topic: TopicSpec<'a>) -> Result<Self> {
        let log = backend::log_admin(settings, topic).await?.port;
        read_in_time(async {
            let partitions = GroupProgress::read(topic.group, &*log).await?;
            Ok(Self {
                topic,
                log: LogInspection::read(&*log).await?,
                partitions,
            })
        })
        .await
    }

    fn json(&self) -> Value {
        let dead_letters = self
            .log
            .dead_letters
            .iter()
            .map(|(reason, count)| (reason.as_str(), *count));
        json!({
            "topic": self.topic.name,
            "group": self.topic.group,
            "lag": self.partitions.iter().map(|at| at.lag).sum::<u64>(),
            "partitions": self.partitions,
            "retention_seconds": self.log.retention.map(|kept| kept.as_secs()),
            "dead_letters": dead_letters.collect::<Value>(),
            "gaps": self.log.gaps,
        })
    }

    fn rows(&self) -> impl Iterator<Item = Value> {
        let retention = self.log.retention.map(human);
        self.partitions.iter().map(move |at| {
            let TopicSpec { name, group, .. } = self.topic;
            let age = age(at).map(human);
            json!([
                group,
                name,
                at.partition,
                at.committed,
                at.end,
                at.lag,
                age,
                retention
            ])
        })
    }

    fn dead_letter_rows(&self) -> impl Iterator<Item = Value> {
        self.log
            .dead_letters
            .iter()
            .map(|(reason, count)| json!([self.topic.name, reason.as_str(), count]))
    }

    /// Adds to `findings` the losses and delays of this topic that need an operator.
    fn find(&self, findings: &mut Vec<String>) {
        findings.extend(
            self.log
                .gaps
                .iter()
                .map(|gap| format!("lost records: {gap}")),
        );
        // The alert ShopRetentionNear uses the same limit.
        if let Some(age) = self.partitions.iter().filter_map(age).max()
            && let Some(retention) = self.log.retention
            && age > retention / 2
        {
            let topic = self.topic.name;
            let age = human(age);
            findings.push(format!(
                "{topic}: records have been unread for {age}, half of the retention"
            ));
        }
    }
}

/// The age of the oldest unread record.
fn age(at: &GroupProgress) -> Option<Duration> {
    Some(SystemClock.now().saturating_since(at.oldest_unread?))
}

/// Adds to `findings` what the service reports and needs an operator.
fn find_of_service(health: &Health, findings: &mut Vec<String>) {
    if ["degraded", "unhealthy"].contains(&&*health.status) {
        findings.push(format!("service: /health is {}", health.status));
    }
    let ingests = [&health.users, &health.orders]
        .into_iter()
        .flatten()
        .filter_map(|entity| entity.events.as_ref())
        .chain(&health.ingest);
    for StuckBody {
        position,
        age_seconds,
        error,
        ..
    } in ingests.filter_map(|ingest| ingest.stuck.as_ref())
    {
        let age = human(Duration::from_secs(*age_seconds));
        findings.push(format!(
            "{position} has been stuck for {age} ({error}): fix the store, or management dlq park {position}"
        ));
    }
}

fn part_row(part: &Part<'_>) -> Value {
    let state = match &part.failure {
        Some(_) => "unavailable",
        None if part.exists => "reachable",
        None => "missing",
    };
    json!([part.place.what, state, part.name])
}

/// The embedded files, and their sizes with their write-ahead logs.
fn files(settings: &Settings) -> impl Iterator<Item = (String, u64)> {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    doctor::files(settings).into_iter().map(move |path| {
        (
            path.display().to_string(),
            bytes(&path) + bytes(&path.with_extension("db-wal")),
        )
    })
}

/// The duration in its largest unit, such as `7d`.
fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (size, unit) = [(86_400, 'd'), (3_600, 'h'), (60, 'm')]
        .into_iter()
        .find(|(size, _)| seconds >= 2 * size)
        .unwrap_or((1, 's'));
    format!("{}{unit}", seconds / size)
}
