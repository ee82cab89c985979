//! `management erase user`: erases a user from the logs, the stores and the dead letters.

use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use shop_core::json::RawPurchase;
use shop_core::log::{DeadLetter, DeadLetterState, LogAdmin, LogRecord, Partition, RecordPosition};
use shop_core::ports::{PurchaseErase, Selector};
use shop_core::record::Record as _;
use shop_core::users::{User, UserNumber};
use shop_core::{ErrorKind, Purchase, PurchaseId, Timestamp, UserId};

use super::open;
use super::output::{Progress, print, print_json};
use crate::Result;
use crate::backend::{self, OpenPort, PurchasesStore, Topic};
use crate::roles::ProcessRole;
use crate::settings::{EraseUser, Settings};

/// The number of purchases or dead letters that are erased at a time.
const BATCH: usize = 500;

/// Erases the purchases of the user, and the user of that number.
pub(super) async fn run(settings: &Settings, command: &EraseUser) -> Result<()> {
    let (keeps_users, _) = settings.keeps();
    let erasure = Erasure { user: &command.user, is_dry_run: command.dry_run, progress: Progress::begin() };
    let mut report = Report::default();
    if settings.roles().has(ProcessRole::Purchases) {
        erasure.purchases(settings, &mut report).await?;
    }
    if let Some(number) = number(&command.user).filter(|_| keeps_users) {
        erasure.user(settings, number, &mut report).await?;
    }
    if command.vacuum && !command.dry_run {
        erasure.progress.show("rewriting the files of purchases and users".to_owned());
        backend::for_purchases(settings).vacuum().await?;
    }
    drop(erasure);
    if !command.dry_run {
        let Report { purchases, user, records, dead_letters, .. } = report;
        tracing::info!(
            target: "audit",
            action = "erase user",
            user.id = %command.user,
            purchases,
            user,
            records,
            dead_letters,
            kept = report.kept.len(),
            "user erased"
        );
    }
    match settings.json {
        true => print_json(&report.json(command)).map(drop),
        false => print(&report.text(command.dry_run)).map(drop),
    }
}

/// What was erased, or would be.
#[derive(Debug, Default)]
struct Report {
    purchases: u64,
    user: bool,
    /// Records of the logs.
    records: u64,
    dead_letters: u64,
    kept: Vec<Kept>,
}

/// Records that the log keeps until its retention deletes them.
#[derive(Debug)]
struct Kept {
    /// The name of the log, and the topic.
    log: String,
    topic: String,
    records: u64,
    /// The last one, and its time.
    last: (RecordPosition, Timestamp),
    /// When the retention ends; `None` if the log deletes nothing.
    until: Option<Timestamp>,
}

/// The administrative port of a log.
type OpenLog = OpenPort<Arc<dyn LogAdmin>>;

struct Erasure<'a> {
    user: &'a UserId,
    is_dry_run: bool,
    progress: Progress,
}

/// Whether a record is about the user.
type IsAbout<'a> = dyn Fn(&LogRecord, &Partition) -> bool + Send + Sync + 'a;

impl Erasure<'_> {
    async fn purchases(&self, settings: &Settings, report: &mut Report) -> Result<()> {
        let topic = Topic::purchases(settings);
        let backend = backend::for_purchases(settings);
        let (log, store) = open::log_and_store(settings, topic, backend.purchases()).await?;
        let erased = self.erase_purchases(&log, topic, &store.port, report).await;
        log.close().await;
        store.close().await;
        erased
    }

    /// The ids in the log are marked before the store is erased, so that a purchase that is not stored yet never is.
    async fn erase_purchases(
        &self,
        log: &OpenLog,
        topic: Topic<'_>,
        store: &PurchasesStore,
        report: &mut Report,
    ) -> Result<()> {
        let marks = (!self.is_dry_run).then_some(&*store.erase);
        let is_about = |record: &LogRecord, partition: &Partition| is_of_user(record, partition, self.user);
        report.add(self.log(log, topic, &is_about, marks).await?);
        report.purchases += self.store(store).await?;
        report.dead_letters += self.dead_letters(&*log.port, topic, &is_about).await?;
        Ok(())
    }

    async fn user(&self, settings: &Settings, number: UserNumber, report: &mut Report) -> Result<()> {
        let topic = Topic::users(settings);
        let store = backend::for_entities(settings);
        report.user = if self.is_dry_run {
            let users = store.users().await?;
            let found = users.port.store.get(number).await;
            users.close().await;
            found?.is_some()
        } else {
            // Before the events: the outbox then publishes no further one.
            store.erase_user(number).await?
        };
        let log = open::log(settings, topic).await?;
        let erased = self.erase_events(&log, topic, number, report).await;
        log.close().await;
        erased
    }

    async fn erase_events(
        &self,
        log: &OpenLog,
        topic: Topic<'_>,
        number: UserNumber,
        report: &mut Report,
    ) -> Result<()> {
        let is_about = |record: &LogRecord, partition: &Partition| match User::decode(record, partition) {
            Ok(user) => user.id == number,
            Err(_) => has_key(record, &number.to_string()),
        };
        report.add(self.log(log, topic, &is_about, None).await?);
        report.dead_letters += self.dead_letters(&*log.port, topic, &is_about).await?;
        Ok(())
    }

    /// Erases the records about the user. Returns their number, and those that the log keeps.
    async fn log(
        &self,
        log: &OpenLog,
        topic: Topic<'_>,
        is_about: &IsAbout<'_>,
        marks: Option<&dyn PurchaseErase>,
    ) -> Result<(u64, Option<Kept>)> {
        let (mut batches, mut scanned, mut erased) = (log.port.scan().await?, 0, 0);
        let mut kept: Option<Kept> = None;
        while let Some(batch) = batches.try_next().await? {
            scanned += batch.records.len();
            self.progress.show(format!("{}: {scanned} records read", topic.name));
            let partition = &batch.partition;
            let about: Vec<_> = batch.records.iter().filter(|record| is_about(record, partition)).collect();
            if let Some(marks) = marks.filter(|_| !about.is_empty()) {
                let purchases = about.iter().filter_map(|record| Purchase::decode(record, partition).ok());
                let ids: Vec<PurchaseId> = purchases.map(|purchase| purchase.id).collect();
                marks.mark_erased(&ids).await?;
            }
            let position = |record: &&LogRecord| {
                RecordPosition::new(Arc::clone(&partition.topic), partition.index, record.offset)
            };
            let positions: Vec<RecordPosition> = about.iter().map(position).collect();
            if let Some(count) = self.erase_records(&*log.port, &positions).await? {
                erased += count;
                continue;
            }
            let Some(last) = about.last() else { continue };
            let kept = kept.get_or_insert_with(|| Kept {
                log: log.name.clone(),
                topic: topic.name.to_owned(),
                records: 0,
                last: (position(last), last.time),
                until: None,
            });
            kept.records += about.len() as u64;
            if last.time >= kept.last.1 {
                kept.last = (position(last), last.time);
            }
        }
        if let Some(kept) = &mut kept {
            let retention = log.port.retention().and_then(|time| i64::try_from(time.as_millis()).ok());
            let until = retention.map(|millis| kept.last.1.as_millis().saturating_add(millis));
            kept.until = until.and_then(|millis| Timestamp::from_millis(millis).ok());
        }
        Ok((erased, kept))
    }

    /// Returns the number of erased records; `None` if this log keeps them.
    async fn erase_records(&self, log: &dyn LogAdmin, records: &[RecordPosition]) -> Result<Option<u64>> {
        // A dry run erases none, which says whether the log can.
        let (records, count) = if self.is_dry_run { (&[][..], records.len()) } else { (records, 0) };
        match log.erase(records).await {
            Ok(erased) => Ok(Some(erased + count as u64)),
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Erases the stored purchases.
    async fn store(&self, store: &PurchasesStore) -> Result<u64> {
        if self.is_dry_run {
            return Ok(store.query.summary(&Selector::User(self.user.clone())).await?.count);
        }
        let mut erased = 0;
        loop {
            match store.erase.erase(self.user, BATCH).await? {
                0 => return Ok(erased),
                batch => erased += batch,
            }
            self.progress.show(format!("{erased} purchases erased"));
        }
    }

    /// Discards the dead letters about the user.
    async fn dead_letters(
        &self,
        log: &dyn LogAdmin,
        topic: Topic<'_>,
        is_about: &IsAbout<'_>,
    ) -> Result<u64> {
        let (mut all, mut count) = (log.scan_dead_letters().await?, 0);
        let mut selected: Vec<DeadLetter> = Vec::new();
        loop {
            let state = all.try_next().await?;
            let is_end = state.is_none();
            let pending = state.and_then(DeadLetterState::into_pending);
            selected.extend(pending.filter(|letter| is_about(&letter.record, &letter.partition)));
            if selected.len() >= BATCH || is_end {
                count += match self.is_dry_run {
                    true => selected.len() as u64,
                    false => log.discard(&selected, topic.record).await?,
                };
                selected.clear();
            }
            if is_end {
                return Ok(count);
            }
        }
    }
}

/// The number that `user` is the text of.
fn number(user: &UserId) -> Option<UserNumber> {
    let number = user.as_str().parse().ok().map(UserNumber::new)?;
    (number.to_string() == user.as_str()).then_some(number)
}

/// Whether a record is a purchase of `user`, or was to be one.
fn is_of_user(record: &LogRecord, partition: &Partition, user: &UserId) -> bool {
    if let Ok(purchase) = Purchase::decode(record, partition) {
        return purchase.user_id == *user;
    }
    let named = || {
        let members = RawPurchase::parse(record.value.as_deref()?).ok()?;
        members.userid?.text_or_integer().map(|text| text == user.as_str())
    };
    has_key(record, user.as_str()) || named().unwrap_or_default()
}

fn has_key(record: &LogRecord, key: &str) -> bool {
    record.key.as_deref() == Some(key.as_bytes())
}

impl Report {
    fn add(&mut self, (records, kept): (u64, Option<Kept>)) {
        self.records += records;
        self.kept.extend(kept);
    }

    fn text(&self, is_dry_run: bool) -> String {
        let would = if is_dry_run { "would be erased" } else { "erased" };
        let Self { purchases, records, dead_letters, .. } = self;
        let user = u64::from(self.user);
        let mut text = format!(
            "purchases {purchases}, users {user}, records of the log {records}, dead letters {dead_letters}: {would}\n"
        );
        for Kept { log, topic, records, last: (position, time), until } in &self.kept {
            // Writing into a String does not fail.
            let _infallible =
                write!(text, "kept: {records} records in {log}, the last {position} of {time}: ");
            let _infallible = match until {
                Some(until) => {
                    writeln!(text, "Kafka deletes them from {until} on, a whole segment at a time")
                }
                None => writeln!(text, "the topic {topic} has no retention, so Kafka never deletes them"),
            };
            let _infallible = writeln!(
                text,
                "discarded dead letters stay in {topic}.dlq, and backups have what they had when they were made"
            );
        }
        text
    }

    fn json(&self, command: &EraseUser) -> Value {
        let kept = |kept: &Kept| {
            json!({
                "log": kept.log,
                "topic": kept.topic,
                "records": kept.records,
                "last": kept.last.0.to_string(),
                "last_time": kept.last.1.to_string(),
                "until": kept.until.map(|until| until.to_string()),
            })
        };
        json!({
            "user": command.user.as_str(),
            "dry_run": command.dry_run,
            "purchases": self.purchases,
            "users": u64::from(self.user),
            "records": self.records,
            "dead_letters": self.dead_letters,
            "kept": self.kept.iter().map(kept).collect::<Vec<_>>(),
        })
    }
}
