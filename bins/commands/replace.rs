//! `management replace`: replaces the programs of an earlier system, and returns to them.
//!
//! It keeps no state: which steps are done is seen in the topics, the groups and the collection, so it can be stopped and
//! run again.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use shop_core::Purchase;
use shop_core::inspect::GroupProgress;
use shop_core::log::{LogAdmin, RecordPosition};
use shop_core::orders::Order;
use shop_core::outbox::Outbox;
use shop_core::ports::PurchaseQueryExt as _;
use shop_core::record::{Record as _, ReplacedSystem, header};
use shop_core::users::User;
use shop_core::verify::VerifyOptions;
use tokio::time::sleep;

use super::output::{print_report, progress};
use super::{convert, verify};
use crate::backend::{self, TopicSpec};
use crate::settings::{ProcessRole, Replace, Settings};
use crate::{CliError, Result};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// The maximum number of kinds that are reported.
const MAX_KINDS: usize = 100;

pub(super) async fn run(settings: &Settings, options: &Replace) -> Result<()> {
    let role = role(settings, options)?;
    let entities = backend::for_entities(settings);
    let (ours, rows) = match role {
        ProcessRole::Purchases => (TopicSpec::purchases(settings), None),
        ProcessRole::Users => {
            let users = entities.users().await?;
            (
                TopicSpec::orders(settings),
                Some((users.name, users.port.outbox)),
            )
        }
        ProcessRole::Orders => {
            let orders = entities.orders().await?;
            (
                TopicSpec::users(settings),
                Some((orders.name, orders.port.outbox)),
            )
        }
    };
    let theirs = TopicSpec {
        name: options.old_topic.as_deref().unwrap_or(ours.name),
        group: options.old_group.as_deref().unwrap_or(ours.group),
        ..ours
    };
    let old = TopicGroup {
        topic: theirs,
        log: backend::log_admin(settings, theirs).await?.port,
    };
    let new = TopicGroup {
        topic: ours,
        log: backend::log_admin(settings, ours).await?.port,
    };
    let replacement = Replacement {
        settings,
        role,
        rows,
        system: options.system,
        settle: Duration::from_secs(options.settle.into()),
        old,
        new,
        first_ends: OnceLock::new(),
    };
    if options.dry_run {
        return replacement.survey().await;
    }
    let end = "done: to return, run `management replace --back` with the same options";
    let (steps, end) = if options.back {
        let (_ours, old) = replacement.old.members(settings).await?;
        if let [member, ..] = &old[..] {
            let text =
                format!("the old consumer runs, as {member}: there is nothing to return from");
            return Err(CliError::finding(text));
        }
        replacement.steps_back()
    } else {
        (replacement.steps(), end)
    };
    replacement.walk(steps, end).await
}

/// The role of ours that replaces a program of the system.
fn role(settings: &Settings, options: &Replace) -> Result<ProcessRole> {
    let role = match (options.system, settings.keeps()) {
        (ReplacedSystem::Ecommerce, (true, false)) => ProcessRole::Users,
        (ReplacedSystem::Ecommerce, (false, true)) => ProcessRole::Orders,
        (ReplacedSystem::Ecommerce, _) => {
            let needs = "replace needs a service of 002: set SHOP_ROLES to users or orders, and its settings";
            return Err(CliError::usage(needs));
        }
        _ => ProcessRole::Purchases,
    };
    let (store, has_store) = match role {
        ProcessRole::Purchases => ("SHOP_MONGODB_URI", settings.mongodb_uri.is_some()),
        _ => ("SHOP_POSTGRES_URL", settings.postgres_url.is_some()),
    };
    if settings.kafka_bootstrap_servers.is_none() || !has_store {
        let needs =
            "replace needs the servers of the old programs: set SHOP_KAFKA_BOOTSTRAP_SERVERS and";
        return Err(CliError::usage(format!("{needs} {store}")));
    }
    Ok(role)
}

/// A topic, and the group that consumes it.
struct TopicGroup<'a> {
    topic: TopicSpec<'a>,
    log: Arc<dyn LogAdmin>,
}

impl TopicGroup<'_> {
    /// The number of records that the group has not read, and the end of the topic.
    async fn lag(&self) -> shop_core::Result<(u64, u64)> {
        let partitions = GroupProgress::read(self.topic.group, &*self.log).await?;
        let lag = partitions.iter().map(|at| at.lag);
        let end = partitions.iter().map(|at| at.end);
        Ok((lag.sum(), end.sum()))
    }

    /// The members by whether they are ours.
    async fn members(&self, settings: &Settings) -> shop_core::Result<(Vec<String>, Vec<String>)> {
        let ours = settings
            .kafka_client_id
            .as_deref()
            .unwrap_or("shop-management");
        Ok(self
            .log
            .members(self.topic.group)
            .await?
            .into_iter()
            .partition(|member| member == ours))
    }

    /// Whether the newest record was written by one of our services.
    async fn is_written_by_us(&self) -> shop_core::Result<bool> {
        let mut newest = None;
        for at in GroupProgress::read(self.topic.group, &*self.log)
            .await?
            .iter()
            .filter(|at| at.end > 0)
        {
            let found = self.log.find(at.partition, at.end - 1).await?;
            newest = newest.max(
                found.map(|(_, record)| (record.time, record.headers.contains(header::SCHEMA))),
            );
        }
        Ok(newest.is_some_and(|(_, is_ours)| is_ours))
    }
}

struct Replacement<'a> {
    settings: &'a Settings,
    role: ProcessRole,
    /// The name of the database of users or of orders, and its events that are not published.
    rows: Option<(String, Arc<dyn Outbox>)>,
    system: ReplacedSystem,
    /// How long what is waited for must last.
    settle: Duration,
    old: TopicGroup<'a>,
    new: TopicGroup<'a>,
    /// The ends of the partitions of the old topic when they were first looked at.
    first_ends: OnceLock<BTreeMap<u32, u64>>,
}

/// The entries that are not purchases, users or orders: by kind, their number and one of them.
#[derive(Default)]
struct OddEntries(BTreeMap<String, (u64, String)>);

impl OddEntries {
    fn add(&mut self, kind: impl Display, example: impl Display) {
        let mut kind = kind.to_string().replace(char::is_control, " ");
        if self.0.len() >= MAX_KINDS && !self.0.contains_key(&kind) {
            kind = "others".to_owned();
        }

        let entry = self.0.entry(kind);
        entry.or_insert_with(|| (0, example.to_string())).0 += 1;
    }

    fn count(&self) -> u64 {
        self.0.values().map(|(count, _)| count).sum()
    }

    fn lines(&self, what: &str) -> String {
        let mut lines = String::new();
        for (kind, (count, example)) in &self.0 {
            lines += &format!("\n  {what} {count}: {kind} (for example {example})");
        }
        lines
    }

    fn json(&self) -> Value {
        self.0
            .iter()
            .map(|(kind, (count, example))| json!({ "kind": kind, "count": count, "example": example }))
            .collect()
    }
}

impl Replacement<'_> {
    /// Reports what there is, and the steps. Changes nothing.
    async fn survey(&self) -> Result<()> {
        let started = Instant::now();
        let [events, entries, stored] = match self.role {
            ProcessRole::Purchases => ["purchases", "purchases", "documents"],
            ProcessRole::Users => ["orders", "users", "rows"],
            ProcessRole::Orders => ["users", "orders", "rows"],
        };
        let (store, count, odd_entries) = self.stored().await?;
        let seconds = started.elapsed().as_secs() + 1;
        let (records, odd_records) = self.records().await?;
        let (lag, _) = self.old.lag().await?;
        let (ours, theirs) = self.old.members(self.settings).await?;
        let members = [&*ours, &*theirs].concat();
        let TopicSpec { name, group, .. } = self.old.topic;
        let steps: Vec<_> = self.steps().into_iter().map(|step| step.0).collect();
        let times = match &self.rows {
            None => format!(", of which `migrate` and `verify` take about {seconds} s each"),
            Some(_) => String::new(),
        };
        let mut numbered_steps = String::new();
        for (number, step) in (1..).zip(&steps) {
            numbered_steps += &format!("\n  {number}. {step}");
        }
        let text = format!(
            "topic  {name}: {records} records, {} are not {events} and become dead letters{}\n\
             group  {group}: {lag} records behind, members {members:?}\n\
             store  {store}: {count} {entries}, {} {stored} are not listed{}\n\
             steps{times}:{numbered_steps}",
            odd_records.count(),
            odd_records.lines("dead letters"),
            odd_entries.count(),
            odd_entries.lines("not listed"),
        );
        let report = json!({
            "topic": name, "records": records, "odd_records": odd_records.json(),
            "group": group, "lag": lag, "members": members,
            "store": store, entries: count, format!("odd_{stored}"): odd_entries.json(),
            "seconds": seconds, "steps": steps,
        });
        print_report(self.settings.json, &[], text, &report)
    }

    /// Returns the name of the store, the number of its purchases or rows, and the entries that are not listed.
    async fn stored(&self) -> Result<(String, u64, OddEntries)> {
        let progress = progress();
        let mut odd = OddEntries::default();
        let mut purchases = 0;
        if let Some((name, _)) = &self.rows {
            let (count, unreadable) = backend::for_entities(self.settings)
                .read_rows(self.role)
                .await?;
            for entry in unreadable {
                odd.add(entry.reason, entry.id);
            }
            return Ok((name.clone(), count, odd));
        }
        let store = backend::for_purchases(self.settings).purchases().await?;
        let mut batches = pin!(store.port.store.scan_batches());
        while let Some(batch) = batches.try_next().await? {
            purchases += batch.purchases.len() as u64;
            for entry in batch.unreadable {
                odd.add(entry.reason, entry.id);
            }
            progress.set_message(format!("{purchases} purchases read"));
        }
        Ok((store.name, purchases, odd))
    }

    /// Returns the number of records in the old topic, and the records that cannot be decoded.
    async fn records(&self) -> Result<(u64, OddEntries)> {
        let progress = progress();
        let mut odd = OddEntries::default();
        let mut records = 0;
        let mut batches = self.old.log.scan().await?;
        while let Some(batch) = batches.try_next().await? {
            records += batch.records.len() as u64;
            for record in batch.records.iter().filter(|record| !record.is_erased()) {
                let error = match self.role {
                    ProcessRole::Purchases => Purchase::decode(record, &batch.partition).err(),
                    ProcessRole::Users => Order::decode(record, &batch.partition).err(),
                    ProcessRole::Orders => User::decode(record, &batch.partition).err(),
                };
                if let Some(error) = error {
                    let topic = Arc::clone(&batch.partition.topic);
                    odd.add(
                        error,
                        RecordPosition::new(topic, batch.partition.index, record.offset),
                    );
                }
            }
            progress.set_message(format!("{records} records read"));
        }
        Ok((records, odd))
    }

    fn is_by_new_topic(&self) -> bool {
        self.old.topic.name != self.new.topic.name
    }

    /// Returns the steps, each with the observation that shows that it is done.
    fn steps(&self) -> Vec<(String, Seen)> {
        let TopicSpec {
            name: topic, group, ..
        } = self.new.topic;
        if self.rows.is_some() {
            let role = self.settings.role_names();
            let port = self.settings.listen().port;
            let start = format!(
                "start our {role} beside the old, with these settings and SHOP_ADOPT_TABLES=on (SHOP_ROLES={role} \
                 PORT={port} management), and turn the proxy to it; then stop the old {role}: every replica"
            );
            return vec![
                (start, Seen::NoOldMember),
                (
                    format!("wait until ours has taken the group {group}"),
                    Seen::OurMember,
                ),
                (
                    "wait until ours has read what was written".to_owned(),
                    Seen::Read,
                ),
                ("count the rows".to_owned(), Seen::Counted),
            ];
        }
        let listings = listings(self.system);
        let start = format!(
            "start our management with topic {topic} and group {group} on the old collection, and point the listings of \
             the old facing to it: {listings}"
        );
        let facing = format!(
            "start our facing on topic {topic}, move the clients to it, and stop the old facing"
        );
        let stop = "stop the old consumer: every replica, and its autoscaler".to_owned();
        let read = "wait until the old consumer has read everything".to_owned();
        let migrate = "migrate the documents (management migrate)".to_owned();
        let verify = "verify the store against the topics (management verify)".to_owned();
        let mut steps = if self.is_by_new_topic() {
            vec![
                (start, Seen::OurMember),
                (facing, Seen::OurRecords),
                (read, Seen::Read),
                (stop, Seen::NoOldMember),
            ]
        } else {
            // Ours waits until the last old member has left the group.
            let taken = "wait until ours has taken the group".to_owned();
            vec![
                (read, Seen::Read),
                (format!("{start}; then {stop}"), Seen::NoOldMember),
                (taken, Seen::OurMember),
                (facing, Seen::OurRecords),
            ]
        };
        steps.push((migrate, Seen::Migrated));
        steps.push((verify, Seen::Verified));
        steps
    }

    /// The steps back, and what remains to do. The documents are converted while ours serves, and the rest when it has
    /// stopped.
    fn steps_back(&self) -> (Vec<(String, Seen)>, &'static str) {
        if self.rows.is_some() {
            let role = self.settings.role_names();
            let stop = format!("let the clients of {role} wait, and stop ours: every replica");
            let start = format!("start the old {role} on the database, and turn the proxy to it");
            let count = "count the rows".to_owned();
            return (
                vec![
                    (stop, Seen::NoMember),
                    (start, Seen::OldMember),
                    (count, Seen::Counted),
                ],
                "done",
            );
        }
        let steps = [
            (
                "convert the documents back, while our services run",
                Seen::ConvertedBack,
            ),
            (
                "stop our facing, and let the clients wait or use the old facing",
                Seen::ReadByUs,
            ),
            ("stop our management, every replica", Seen::NoMember),
            ("convert what was written meanwhile", Seen::ConvertedBack),
        ];
        let steps = steps.map(|(step, seen)| (step.to_owned(), seen)).into();
        (
            steps,
            "done: start the old consumer in its group, then the old facing",
        )
    }

    async fn walk(&self, steps: Vec<(String, Seen)>, end: &str) -> Result<()> {
        let before = if self.rows.is_some() {
            self.stored().await?.1
        } else {
            0
        };
        for (step, seen) in steps {
            self.say(&step)?;
            match seen {
                Seen::Migrated => convert(self.settings, None).await?,
                Seen::ConvertedBack => convert(self.settings, Some(self.system)).await?,
                Seen::Counted => {
                    let rows = self.stored().await?.1;
                    self.say(&format!("{rows} rows are there, {before} at the beginning"))?;
                    if rows < before {
                        return Err(CliError::finding(format!(
                            "{} rows are missing",
                            before - rows
                        )));
                    }
                }
                Seen::Verified => {
                    self.verify(self.old.topic).await?;
                    if self.is_by_new_topic() {
                        self.verify(self.new.topic).await?;
                    }
                }
                seen => self.wait(seen).await?,
            }
        }
        self.say(end)
    }

    async fn verify(&self, topic: TopicSpec<'_>) -> Result<()> {
        let options = VerifyOptions::default()
            .quiet_period(self.settle)
            .skip_undecodable(true);
        verify::run(self.settings, topic, options).await
    }

    fn say(&self, step: &str) -> Result<()> {
        print_report(self.settings.json, &[], step, &json!({ "step": step }))
    }

    /// Waits until `seen` has lasted.
    async fn wait(&self, seen: Seen) -> Result<()> {
        let progress = progress();
        let mut since = Instant::now();
        let mut last = String::new();
        while since.elapsed() < self.settle {
            let (is_seen, state) = match self.look(seen).await {
                // Such as a topic that our management is to create.
                Err(error) if error.is_retryable() => (false, error.to_string()),
                looked => looked?,
            };
            let ends = seen == Seen::ReadByUs || seen == Seen::OurRecords && self.is_by_new_topic();
            let still_written = ends && state != last;
            if !is_seen || still_written {
                since = Instant::now();
            }
            if state != last {
                tracing::info!("{state}");
                last.clone_from(&state);
            }
            progress.set_message(state);
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Returns whether `seen` holds now, and a text about the present state.
    async fn look(&self, seen: Seen) -> shop_core::Result<(bool, String)> {
        let old = &self.old;
        let new = &self.new;
        Ok(match seen {
            // The old facing goes on writing.
            Seen::Read if !self.is_by_new_topic() => {
                let consumed = GroupProgress::read(old.topic.group, &*old.log).await?;
                let first_ends = self
                    .first_ends
                    .get_or_init(|| consumed.iter().map(|at| (at.partition, at.end)).collect());
                let mut behind = 0;
                for at in consumed {
                    if let Some(first_end) = first_ends.get(&at.partition) {
                        behind += first_end.saturating_sub(at.end - at.lag);
                    }
                }
                (
                    behind == 0,
                    format!("group {} is {behind} records behind", old.topic.group),
                )
            }
            Seen::Read | Seen::ReadByUs => {
                let group = if seen == Seen::Read { old } else { new };
                let (lag, end) = group.lag().await?;
                let group = group.topic.group;
                (
                    lag == 0,
                    format!("group {group} is {lag} records behind, of {end}"),
                )
            }
            Seen::NoOldMember | Seen::OurMember | Seen::NoMember | Seen::OldMember => {
                let group = if seen == Seen::NoOldMember { old } else { new };
                let (ours, theirs) = group.members(self.settings).await?;
                let members = [&*ours, &*theirs].concat();
                let mut state = format!("group {} has the members {members:?}", group.topic.group);
                let mut is_seen = match seen {
                    Seen::NoOldMember => theirs.is_empty(),
                    Seen::OurMember => theirs.is_empty() && !ours.is_empty(),
                    Seen::OldMember => ours.is_empty() && !theirs.is_empty(),
                    _ => members.is_empty(),
                };
                if seen == Seen::NoMember
                    && let Some((_, outbox)) = &self.rows
                {
                    let events = outbox.backlog().await?.entries;
                    is_seen &= events == 0;
                    state += &format!(", {events} events are left: if they stay, start ours again");
                }
                (is_seen, state)
            }
            Seen::OurRecords => {
                let (_, end) = old.lag().await?;
                let is_ours = new.is_written_by_us().await?;
                (
                    is_ours,
                    format!("topic {} has {end} records", old.topic.name),
                )
            }
            // The steps of this command itself end with it.
            _ => (true, String::new()),
        })
    }
}

/// The observation that shows that a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The old group has read everything.
    Read,
    /// Our group has read everything, and nothing is written.
    ReadByUs,
    /// The old group has no member but ours.
    NoOldMember,
    /// Our service is the only member of our group.
    OurMember,
    /// Our group has no member, and no event of ours is left to publish.
    NoMember,
    /// Old programs are the only members of our group.
    OldMember,
    /// The newest record is one of ours, and the old facing writes none.
    OurRecords,
    /// Done by this command.
    Migrated,
    /// Done by this command.
    ConvertedBack,
    /// Done by this command.
    Verified,
    /// Done by this command.
    Counted,
}

/// The setting of the old facing that names where it lists from.
const fn listings(system: ReplacedSystem) -> &'static str {
    match system {
        ReplacedSystem::ScalableShop => "CM_API_HOST=host:port",
        ReplacedSystem::UserBuyList => {
            "CUSTOMER_MANAGEMENT_URL=http://host:port, with SHOP_DIALECT=user-buy-list"
        }
        ReplacedSystem::PurchaseTracking => {
            "CUSTOMER_MGMT_API_URL=http://host:port, with SHOP_DIALECT=purchase-tracking"
        }
        _ => "MANAGEMENT_API_ENDPOINT=host:port",
    }
}
