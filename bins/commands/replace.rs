//! `management replace`: replaces the programs of an earlier system, and returns to them.
//!
//! A replacement is a list of [`Step`]s. This command does some steps, such as to migrate the
//! documents. The others are steps of an operator, such as to stop the old consumer, or of the
//! services. [`Replacement::wait`] waits until the [`Effect`] of such a step has lasted for a
//! while.
//!
//! The command keeps no state. The topics, the groups and the collection show which steps are done,
//! so the command can be stopped and run again.
//!
//! System 002 consists of a service of users and a service of orders, which are replaced one by one
//! on their database. The other systems consist of a facing and a consumer, whose purchases are
//! documents.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use shop_accounts::orders::Order;
use shop_accounts::outbox::Outbox;
use shop_accounts::users::User;
use shop_core::Purchase;
use shop_core::inspect::GroupProgress;
use shop_core::log::{Log, LogExt as _, Offsets, RecordPosition};
use shop_core::ports::PurchaseQueryExt as _;
use shop_core::record::{Record as _, ReplacedSystem, header};
use shop_core::verify::VerifyOptions;
use tokio::time::sleep;

use super::{convert_store, print_report, progress, verify};
use crate::backend::{Backends, TopicSpec};
use crate::settings::{ProcessRole, Replace, Settings};
use crate::{CliError, Result};

/// The pause between two observations of an effect.
const OBSERVATION_PAUSE: Duration = Duration::from_secs(1);
/// The maximum number of kinds of odd entries that are reported by their names.
const MAX_ODD_KINDS: usize = 100;

/// Replaces the programs of an earlier system, returns to them, or only reports the steps.
///
/// # Errors
/// - a usage error if settings are missing
/// - a finding if rows are missing, if the verification has findings, or if there is nothing to
///   return from
/// - the errors of the log, of the store and of standard output
pub(super) async fn run(backends: &Backends<'_>, options: &Replace) -> Result<()> {
    let settings = backends.settings;
    let role = choose_role(settings, options.system)?;
    let mut rows = None;
    let new_topic = match role {
        ProcessRole::Purchases => TopicSpec::purchases(settings),
        ProcessRole::Users => {
            let users = backends.users().await?;
            rows = Some(EntityRows {
                database: users.name,
                outbox: users.port,
            });
            TopicSpec::orders(settings)
        }
        ProcessRole::Orders => {
            let orders = backends.orders().await?;
            rows = Some(EntityRows {
                database: orders.name,
                outbox: orders.port,
            });
            TopicSpec::users(settings)
        }
    };
    let old_topic = TopicSpec {
        name: options.old_topic.as_deref().unwrap_or(new_topic.name),
        group: options.old_group.as_deref().unwrap_or(new_topic.group),
        ..new_topic
    };

    let old_backend = backends.log(old_topic).await?.port;
    let new_backend = backends.log(new_topic).await?.port;
    let replacement = Replacement {
        backends,
        role,
        rows,
        system: options.system,
        settle: Duration::from_secs(options.settle.into()),
        old: TopicGroup {
            topic: old_topic,
            log: Arc::clone(old_backend.require_log()?),
            initial_ends: OnceLock::new(),
        },
        new: TopicGroup {
            topic: new_topic,
            log: Arc::clone(new_backend.require_log()?),
            initial_ends: OnceLock::new(),
        },
    };

    if options.dry_run {
        return replacement.print_survey().await;
    }
    if !options.back {
        let end = "done: to return, run `management replace --back` with the same options";
        return replacement.run_steps(replacement.steps(), end).await;
    }

    let members = replacement.old.read_members(settings).await?;
    if let Some(member) = members.names.get(members.our_count) {
        return Err(CliError::finding(format!(
            "the old consumer runs, as {member}: there is nothing to return from"
        )));
    }
    let end = if replacement.rows.is_some() {
        "done"
    } else {
        "done: start the old consumer in its group, then the old facing"
    };
    replacement.run_steps(replacement.steps_back(), end).await
}

/// Returns the role of our service that replaces a program of `system`.
///
/// # Errors
/// A usage error if the settings do not choose one role of system 002, or lack the servers of the
/// old programs.
fn choose_role(settings: &Settings, system: ReplacedSystem) -> Result<ProcessRole> {
    let mut role = ProcessRole::Purchases;
    let mut store_setting = "SHOP_MONGODB_URI";
    let mut has_store = settings.mongodb.mongodb_uri.is_some();
    if system == ReplacedSystem::Ecommerce {
        role = match settings.keeps() {
            (true, false) => ProcessRole::Users,
            (false, true) => ProcessRole::Orders,
            _ => {
                return Err(CliError::usage(
                    "replace needs a service of 002: set SHOP_ROLES to users or orders, and its settings",
                ));
            }
        };
        store_setting = "SHOP_POSTGRES_URL";
        has_store = settings.postgres.postgres_url.is_some();
    }

    if settings.kafka.kafka_bootstrap_servers.is_none() || !has_store {
        return Err(CliError::usage(format!(
            "replace needs the servers of the old programs: set SHOP_KAFKA_BOOTSTRAP_SERVERS and {store_setting}"
        )));
    }
    Ok(role)
}

/// A topic, and the group that consumes the topic.
struct TopicGroup<'a> {
    topic: TopicSpec<'a>,
    log: Arc<dyn Log>,
    /// The ends of the partitions when the progress of the group was first read.
    initial_ends: OnceLock<Offsets>,
}

/// The progress of a group in all partitions of its topic together.
#[derive(Default)]
struct TotalProgress {
    /// The number of records that the group has not read.
    lag: u64,
    /// The number of these records that were there when the progress was first read.
    lag_behind_initial_ends: u64,
    /// The sum of the ends of the partitions.
    end: u64,
}

/// The members of a group.
struct Members {
    /// The client ids of the members, our services first.
    names: Vec<String>,
    /// The number of members that are our services. The others are old programs.
    our_count: usize,
}

impl TopicGroup<'_> {
    /// Reads how far the group has read the topic.
    ///
    /// The first call fixes the initial ends of the partitions, so that a group can catch up with
    /// them while programs write further records.
    async fn read_progress(&self) -> shop_core::Result<TotalProgress> {
        let partitions = GroupProgress::read(self.topic.group, &*self.log).await?;
        let initial_ends = self.initial_ends.get_or_init(|| {
            partitions
                .iter()
                .map(|partition| (partition.partition, partition.end))
                .collect()
        });

        let mut total = TotalProgress::default();
        for partition in partitions {
            total.lag += partition.lag;
            total.end += partition.end;
            if let Some(initial_end) = initial_ends.get(&partition.partition) {
                let next_offset = partition.end - partition.lag;
                total.lag_behind_initial_ends += initial_end.saturating_sub(next_offset);
            }
        }
        Ok(total)
    }

    /// Reads the members of the group.
    async fn read_members(&self, settings: &Settings) -> shop_core::Result<Members> {
        let our_id = settings
            .kafka_client_id
            .as_deref()
            .unwrap_or("shop-management");

        let mut names = self.log.members(self.topic.group).await?;
        names.sort_by_key(|name| name != our_id);
        let our_count = names.partition_point(|name| name == our_id);
        Ok(Members { names, our_count })
    }

    /// Returns whether one of our services wrote the newest record of the topic.
    async fn is_written_by_us(&self) -> shop_core::Result<bool> {
        let mut newest = None;
        for partition in GroupProgress::read(self.topic.group, &*self.log).await? {
            if partition.end > 0
                && let Some((_, record)) = self
                    .log
                    .find(partition.partition, partition.end - 1)
                    .await?
            {
                let is_ours = record.headers.contains(header::SCHEMA);
                newest = newest.max(Some((record.time, is_ours)));
            }
        }
        Ok(newest.is_some_and(|(_, is_ours)| is_ours))
    }
}

/// The replacement of the programs of an earlier system by one of our services.
struct Replacement<'a> {
    backends: &'a Backends<'a>,
    /// The role of our service.
    role: ProcessRole,
    /// The rows of users or of orders, unless purchases are replaced.
    rows: Option<EntityRows>,
    system: ReplacedSystem,
    /// How long an effect must last.
    settle: Duration,
    /// The topic and the group of the old programs.
    old: TopicGroup<'a>,
    /// The topic and the group of our services.
    new: TopicGroup<'a>,
}

/// The rows of users or of orders.
struct EntityRows {
    /// The name of the database.
    database: String,
    /// The events about the rows that are not published yet.
    outbox: Arc<dyn Outbox>,
}

impl Replacement<'_> {
    /// Prints the state of the topic, the group and the store, and the steps. Changes nothing.
    async fn print_survey(&self) -> Result<()> {
        let started = Instant::now();
        let stored = self.read_store().await?;
        let seconds = started.elapsed().as_secs() + 1;
        let records = self.read_topic().await?;
        let lag = self.old.read_progress().await?.lag;
        let members = self.old.read_members(self.backends.settings).await?.names;
        let group = self.old.topic.group;

        let mut times = String::new();
        let (entries, consumed, form) = match self.role {
            ProcessRole::Purchases => {
                times = format!(", of which `migrate` and `verify` take about {seconds} s each");
                ("purchases", "purchases", "documents")
            }
            // Each of the two services consumes the events of the other.
            ProcessRole::Users => ("users", "orders", "rows"),
            ProcessRole::Orders => ("orders", "users", "rows"),
        };

        let steps: Vec<_> = self.steps().into_iter().map(|step| step.text).collect();
        let mut numbered_steps = String::new();
        for (number, step) in (1..).zip(&steps) {
            numbered_steps += &format!("\n  {number}. {step}");
        }

        let text = format!(
            "topic  {}: {} records, {} are not {consumed} and become dead letters{}\n\
             group  {group}: {lag} records behind, members {members:?}\n\
             store  {}: {} {entries}, {} {form} are not listed{}\n\
             steps{times}:{numbered_steps}",
            records.name,
            records.count,
            records.odd_count,
            records.odd_lines("dead letters"),
            stored.name,
            stored.count,
            stored.odd_count,
            stored.odd_lines("not listed"),
        );
        let report = json!({
            "topic": records.name, "records": records.count, "odd_records": records.odd_json(),
            "group": group, "lag": lag, "members": members,
            "store": stored.name, entries: stored.count, format!("odd_{form}"): stored.odd_json(),
            "seconds": seconds, "steps": steps,
        });
        print_report(self.backends.settings.json, text, &report)
    }

    /// Reads the whole store: the documents of purchases, or the rows of users or of orders. The
    /// odd entries are the entries that are not listed.
    async fn read_store(&self) -> Result<Contents> {
        let progress = progress();
        if let Some(rows) = &self.rows {
            let (count, unreadable) = self.backends.read_rows(self.role).await?;
            let mut contents = Contents {
                name: rows.database.clone(),
                count,
                ..Contents::default()
            };
            for entry in unreadable {
                contents.count_odd_entry(entry.reason, entry.id);
            }
            return Ok(contents);
        }

        let store = self.backends.purchases().await?;
        let mut contents = Contents {
            name: store.name,
            ..Contents::default()
        };
        let query = Arc::clone(store.port.require_query()?);
        let mut batches = pin!(query.scan_batches());
        while let Some(batch) = batches.try_next().await? {
            contents.count += batch.purchases.len() as u64;
            for entry in batch.unreadable {
                contents.count_odd_entry(entry.reason, entry.id);
            }
            progress.set_message(format!("{} purchases read", contents.count));
        }
        Ok(contents)
    }

    /// Reads all records of the old topic. The odd entries are the records that cannot be decoded.
    async fn read_topic(&self) -> Result<Contents> {
        let progress = progress();
        let mut contents = Contents {
            name: self.old.topic.name.to_owned(),
            ..Contents::default()
        };
        let mut batches = self.old.log.scan_all().await?;
        while let Some(batch) = batches.try_next().await? {
            let partition = &batch.partition;
            for record in &batch.records {
                contents.count += 1;
                if record.is_erased() {
                    continue;
                }
                let error = match self.role {
                    ProcessRole::Purchases => Purchase::decode(record, partition).err(),
                    ProcessRole::Users => Order::decode(record, partition).err(),
                    ProcessRole::Orders => User::decode(record, partition).err(),
                };
                if let Some(error) = error {
                    let topic = Arc::clone(&partition.topic);
                    let position = RecordPosition::new(topic, partition.index, record.offset);
                    contents.count_odd_entry(error, position);
                }
            }
            progress.set_message(format!("{} records read", contents.count));
        }
        Ok(contents)
    }

    /// Returns whether our services use another topic than the old programs.
    fn has_new_topic(&self) -> bool {
        self.old.topic.name != self.new.topic.name
    }

    /// Returns the steps of the replacement.
    fn steps(&self) -> Vec<Step> {
        let topic = self.new.topic.name;
        let group = self.new.topic.group;
        if self.rows.is_some() {
            let role = self.backends.settings.role_names();
            let port = self.backends.settings.listen().port;
            return vec![
                Effect::NoOldMember.to_step(format!(
                    "start our {role} beside the old, with these settings and SHOP_ADOPT_TABLES=on \
                     (SHOP_ROLES={role} PORT={port} management), and turn the proxy to it; then \
                     stop the old {role}: every replica"
                )),
                Effect::OurMember.to_step(format!("wait until ours has taken the group {group}")),
                Effect::OldGroupRead.to_step("wait until ours has read what was written"),
                Effect::Counted.to_step("count the rows"),
            ];
        }

        let listings = listings_setting(self.system);
        let start = format!(
            "start our management with topic {topic} and group {group} on the old collection, and \
             point the listings of the old facing to it: {listings}"
        );
        let stop = "stop the old consumer: every replica, and its autoscaler";
        let read = Effect::OldGroupRead.to_step("wait until the old consumer has read everything");
        let facing = Effect::OurRecords.to_step(format!(
            "start our facing on topic {topic}, move the clients to it, and stop the old facing"
        ));
        let migrate = Effect::Migrated.to_step("migrate the documents (management migrate)");
        let verify =
            Effect::Verified.to_step("verify the store against the topics (management verify)");
        if self.has_new_topic() {
            return vec![
                Effect::OurMember.to_step(start),
                facing,
                read,
                Effect::NoOldMember.to_step(stop),
                migrate,
                verify,
            ];
        }
        // On the same topic, our management waits until the last old member leaves the group.
        vec![
            read,
            Effect::NoOldMember.to_step(format!("{start}; then {stop}")),
            Effect::OurMember.to_step("wait until ours has taken the group"),
            facing,
            migrate,
            verify,
        ]
    }

    /// Returns the steps back to the old programs.
    ///
    /// Documents are converted twice: most of the documents while our services run, and the rest
    /// after our services stop.
    fn steps_back(&self) -> Vec<Step> {
        if self.rows.is_some() {
            let role = self.backends.settings.role_names();
            return vec![
                Effect::NoMember.to_step(format!(
                    "let the clients of {role} wait, and stop ours: every replica"
                )),
                Effect::OldMember.to_step(format!(
                    "start the old {role} on the database, and turn the proxy to it"
                )),
                Effect::Counted.to_step("count the rows"),
            ];
        }
        vec![
            Effect::ConvertedBack.to_step("convert the documents back, while our services run"),
            Effect::OurGroupRead
                .to_step("stop our facing, and let the clients wait or use the old facing"),
            Effect::NoMember.to_step("stop our management, every replica"),
            Effect::ConvertedBack.to_step("convert what was written meanwhile"),
        ]
    }

    /// Prints each of `steps`, and does the step or waits for its effect. Prints `end` at the end.
    ///
    /// # Errors
    /// - a finding if rows are missing, or if the verification has findings
    /// - the errors of the log, of the store and of standard output
    async fn run_steps(&self, steps: Vec<Step>, end: &str) -> Result<()> {
        let mut rows_before = 0;
        if self.rows.is_some() {
            rows_before = self.read_store().await?.count;
        }

        for step in steps {
            self.print_step(&step.text)?;
            match step.effect {
                Effect::Migrated => convert_store(self.backends, None).await?,
                Effect::ConvertedBack => convert_store(self.backends, Some(self.system)).await?,
                Effect::Counted => {
                    let rows = self.read_store().await?.count;
                    self.print_step(&format!(
                        "{rows} rows are there, {rows_before} at the beginning"
                    ))?;
                    if rows < rows_before {
                        let missing = rows_before - rows;
                        return Err(CliError::finding(format!("{missing} rows are missing")));
                    }
                }
                Effect::Verified => {
                    self.verify(self.old.topic).await?;
                    if self.has_new_topic() {
                        self.verify(self.new.topic).await?;
                    }
                }
                effect => self.wait(effect).await?,
            }
        }
        self.print_step(end)
    }

    /// Verifies the store against `topic`. Records that are not purchases are no findings.
    async fn verify(&self, topic: TopicSpec<'_>) -> Result<()> {
        let options = VerifyOptions::default()
            .quiet_period(self.settle)
            .skip_undecodable(true);
        verify::run(self.backends, topic, options).await
    }

    /// Prints the text of a step.
    fn print_step(&self, text: &str) -> Result<()> {
        print_report(self.backends.settings.json, text, &json!({ "step": text }))
    }

    /// Waits until `effect` has lasted for the time `settle`.
    ///
    /// # Errors
    /// The errors of an observation that are not retryable.
    async fn wait(&self, effect: Effect) -> Result<()> {
        let progress = progress();
        let mut since = Instant::now();
        let mut last_state = String::new();
        while since.elapsed() < self.settle {
            let Observation { is_there, state } = match self.observe(effect).await {
                // For example, our management has not created its topic yet.
                Err(error) if error.is_retryable() => Observation {
                    is_there: false,
                    state: error.to_string(),
                },
                observed => observed?,
            };

            // Nobody may write records any more. The state tells their number, so that it changes
            // while records are written.
            let must_not_change = effect == Effect::OurGroupRead
                || effect == Effect::OurRecords && self.has_new_topic();
            let has_changed = state != last_state;
            if !is_there || must_not_change && has_changed {
                since = Instant::now();
            }

            if has_changed {
                tracing::info!("{state}");
                last_state.clone_from(&state);
            }
            progress.set_message(state);
            sleep(OBSERVATION_PAUSE).await;
        }
        Ok(())
    }

    /// Observes whether `effect`, of a step that this command does not do, is there now.
    ///
    /// # Errors
    /// The errors of the log and of the outbox.
    async fn observe(&self, effect: Effect) -> shop_core::Result<Observation> {
        let group = match effect {
            Effect::OldGroupRead | Effect::NoOldMember => &self.old,
            _ => &self.new,
        };
        let name = group.topic.group;

        let mut state;
        let is_there = match effect {
            Effect::OldGroupRead | Effect::OurGroupRead => {
                let TotalProgress {
                    lag,
                    lag_behind_initial_ends,
                    end,
                } = group.read_progress().await?;
                // On the same topic, the old facing goes on writing.
                if effect == Effect::OldGroupRead && !self.has_new_topic() {
                    state = format!("group {name} is {lag_behind_initial_ends} records behind");
                    lag_behind_initial_ends == 0
                } else {
                    state = format!("group {name} is {lag} records behind, of {end}");
                    lag == 0
                }
            }
            Effect::OurRecords => {
                let end = self.old.read_progress().await?.end;
                let is_ours = group.is_written_by_us().await?;
                state = format!("topic {} has {end} records", self.old.topic.name);
                is_ours
            }
            // Only the effects on members are left. The other effects belong to steps that this
            // command does itself.
            _ => {
                let Members { names, our_count } =
                    group.read_members(self.backends.settings).await?;
                let no_ours = our_count == 0;
                let no_others = our_count == names.len();
                state = format!("group {name} has the members {names:?}");
                let mut is_there = match effect {
                    Effect::NoOldMember => no_others,
                    Effect::OurMember => no_others && !no_ours,
                    Effect::OldMember => no_ours && !no_others,
                    _ => no_ours && no_others,
                };
                if effect == Effect::NoMember
                    && let Some(rows) = &self.rows
                {
                    let events = rows.outbox.backlog().await?.entries;
                    state += &format!(", {events} events are left: if they stay, start ours again");
                    is_there &= events == 0;
                }
                is_there
            }
        };
        Ok(Observation { is_there, state })
    }
}

/// A step of a replacement.
struct Step {
    /// The instruction to the operator, or the task of this command.
    text: String,
    effect: Effect,
}

/// The state of an effect at one moment.
struct Observation {
    is_there: bool,
    /// A text for the operator about what the observation read.
    state: String,
}

/// The effect that shows that a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// The old group read everything that was in its topic when the step began, or everything if
    /// our services use another topic.
    OldGroupRead,
    /// Our group read everything, and nothing more is written.
    OurGroupRead,
    /// The old group contains no member but ours.
    NoOldMember,
    /// Our service is the only member of our group.
    OurMember,
    /// Our group is empty, and no event of ours is left to publish.
    NoMember,
    /// Old programs are the only members of our group.
    OldMember,
    /// The newest record is one of ours, and the old facing writes none.
    OurRecords,
    /// This command migrated the documents to our form.
    Migrated,
    /// This command converted the documents to the form of the old programs.
    ConvertedBack,
    /// This command verified the store against the topics.
    Verified,
    /// This command counted the rows, and none is missing.
    Counted,
}

impl Effect {
    /// Returns the step with this effect and this text.
    fn to_step(self, text: impl Into<String>) -> Step {
        Step {
            text: text.into(),
            effect: self,
        }
    }
}

/// The contents of a store or of a topic.
#[derive(Default)]
struct Contents {
    /// The name of the store or of the topic.
    name: String,
    /// The number of purchases, of rows or of records.
    count: u64,
    /// The number of entries that are not purchases, users or orders.
    odd_count: u64,
    /// These odd entries by what is wrong with them.
    odd_kinds: BTreeMap<String, OddKind>,
}

/// The odd entries of one kind.
struct OddKind {
    count: u64,
    /// The id or the position of one of the entries.
    example: String,
}

impl Contents {
    /// Counts an odd entry. A kind that would exceed [`MAX_ODD_KINDS`] is counted as `others`.
    fn count_odd_entry(&mut self, kind: impl Display, example: impl Display) {
        let mut kind = kind.to_string().replace(char::is_control, " ");
        if self.odd_kinds.len() >= MAX_ODD_KINDS && !self.odd_kinds.contains_key(&kind) {
            kind = "others".to_owned();
        }

        let entry = self.odd_kinds.entry(kind);
        let odd_kind = entry.or_insert_with(|| OddKind {
            count: 0,
            example: example.to_string(),
        });
        odd_kind.count += 1;
        self.odd_count += 1;
    }

    /// Returns a line for each kind of odd entries, which begins with `label`.
    fn odd_lines(&self, label: &str) -> String {
        let mut lines = String::new();
        for (kind, OddKind { count, example }) in &self.odd_kinds {
            lines += &format!("\n  {label} {count}: {kind} (for example {example})");
        }
        lines
    }

    /// Returns the kinds of odd entries as JSON.
    fn odd_json(&self) -> Value {
        let kinds = self.odd_kinds.iter();
        kinds
            .map(|(kind, OddKind { count, example })| {
                json!({ "kind": kind, "count": count, "example": example })
            })
            .collect()
    }
}

/// Returns the setting of the old facing for the address at which it lists purchases.
const fn listings_setting(system: ReplacedSystem) -> &'static str {
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
