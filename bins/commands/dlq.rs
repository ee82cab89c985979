//! `management dlq`: lists, shows, replays, drops and parks dead-lettered records.

use std::collections::BTreeSet;
use std::future::ready;
use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use serde_json::json;
use shop_core::log::{DeadLetter, LogAdmin, ReasonKind, RecordPosition, RecordType, Resolution};
use tokio::time::MissedTickBehavior;

use super::output::{Progress, print, print_json};
use super::{park, text};
use crate::backend::{self, Topic};
use crate::settings::{Action, DlqCommand, Selection, Settings};
use crate::{CliError, Result};

/// The maximum number of records resolved in one batch.
const MAX_BATCH: u32 = 500;

pub(super) async fn run(settings: &Settings, command: &DlqCommand) -> Result<()> {
    let DlqCommand { topic, selection, action } = command;
    let topic = named_topic(settings, topic.as_deref())?;
    let log = backend::for_log(settings).log(topic).await?;
    let admin = log.port.log.admin();
    let dead_letters = Resolver { log: &*admin, record_type: topic.record, selection, json: settings.json };
    let done = match action {
        Action::List => dead_letters.list(|dead_letter, _| text::line(dead_letter)).await.map(drop),
        Action::Show => dead_letters.list(text::whole).await.map(drop),
        Action::Replay { dry_run: true, .. } => dead_letters.dry_run(Resolution::Replayed).await,
        Action::Drop { dry_run: true } => dead_letters.dry_run(Resolution::Dropped).await,
        Action::Replay { rate, .. } => dead_letters.resolve(Resolution::Replayed, *rate).await,
        Action::Drop { .. } => dead_letters.resolve(Resolution::Dropped, None).await,
        Action::Park { note } => park::run(settings, &*log.port.log, topic, selection, note).await,
    };
    drop(admin);
    log.close().await;
    done
}

/// The topic `name`; without it, the topic of purchases.
///
/// # Errors
/// When no role uses that topic.
pub(super) fn named_topic<'a>(settings: &'a Settings, name: Option<&str>) -> Result<Topic<'a>> {
    let topics = [Topic::purchases(settings), Topic::users(settings), Topic::orders(settings)];
    let [purchases, users, orders] = topics.map(|topic| topic.name);
    let name = name.unwrap_or(purchases);
    topics.into_iter().find(|topic| topic.name == name).ok_or_else(|| {
        let known = format!("choose {purchases}, {users} or {orders}");
        CliError::new(format!("--topic: unknown topic {name:?}: {known}")).usage()
    })
}

/// Lists and resolves the dead-lettered records of a log.
struct Resolver<'a> {
    log: &'a dyn LogAdmin,
    record_type: RecordType,
    selection: &'a Selection,
    /// Whether to print JSON.
    json: bool,
}

impl Resolver<'_> {
    /// The selected dead-lettered records, and the positions that were given. The caller removes each position it
    /// finds; the rest are unknown.
    async fn select(
        &self,
    ) -> Result<(impl Stream<Item = shop_core::Result<DeadLetter>> + Send + Unpin, BTreeSet<&RecordPosition>)>
    {
        let selected = |dead_letter: &DeadLetter| self.selection.has(dead_letter);
        let all = self.log.scan_dead_letters().await?;
        let all = all.try_filter_map(move |state| ready(Ok(state.into_pending().filter(selected))));
        Ok((all.fuse(), self.selection.places.iter().collect()))
    }

    /// Prints `show` of each selected record; returns their number.
    async fn list(&self, show: fn(&DeadLetter, RecordType) -> String) -> Result<u64> {
        self.list_for(None, show).await
    }

    /// The same, of records that are to be resolved. A replay refuses gaps.
    async fn list_for(
        &self,
        resolution: Option<Resolution>,
        show: fn(&DeadLetter, RecordType) -> String,
    ) -> Result<u64> {
        let progress = Progress::begin();
        progress.show("reading dead-lettered records".to_owned());
        let (mut selected, mut unknown) = self.select().await?;
        let (mut count, mut gaps) = (0, Vec::new());
        while let Some(dead_letter) = selected.try_next().await? {
            unknown.remove(&dead_letter.position());
            if resolution == Some(Resolution::Replayed) && is_gap(&dead_letter) {
                gaps.push(dead_letter);
                continue;
            }
            count += 1;
            let show = if self.json { text::json } else { show };
            if !progress.suspend(|| print(&show(&dead_letter, self.record_type)))? {
                return Ok(count);
            }
        }
        refuse(&unknown, &gaps)?;
        Ok(count)
    }

    async fn dry_run(&self, resolution: Resolution) -> Result<()> {
        let count = self.list_for(Some(resolution), |dead_letter, _| text::line(dead_letter)).await?;
        let done = resolution.as_str();
        match self.json {
            true => print_json(&json!({ "dry_run": true, done: count })).map(drop),
            false => print(&format!("{count} would be {done}\n")).map(drop),
        }
    }

    async fn resolve(&self, resolution: Resolution, rate: Option<NonZeroU32>) -> Result<()> {
        let done = resolution.as_str();
        let progress = Progress::begin();
        progress.show("reading dead-lettered records".to_owned());
        let (mut selected, mut unknown) = self.select().await?;
        let mut pace = RateLimiter::new(rate);
        let (mut count, mut gaps) = (0, Vec::new());
        loop {
            let mut dead_letters: Vec<_> = selected.by_ref().take(pace.batch_size).try_collect().await?;
            if dead_letters.is_empty() {
                break;
            }
            unknown.retain(|place| !dead_letters.iter().any(|dead_letter| dead_letter.position() == **place));
            if resolution == Resolution::Replayed {
                gaps.extend(dead_letters.extract_if(.., |dead_letter| is_gap(dead_letter)));
            }
            pace.wait().await;
            let resolved = match resolution {
                Resolution::Replayed => self.log.replay(&dead_letters, self.record_type).await,
                _ => self.log.discard(&dead_letters, self.record_type).await,
            };
            count += resolved.map_err(|error| {
                let chain = error.chain();
                CliError::new(format!(
                    "{count} {done}, then: {chain}. The others are unchanged: run it again"
                ))
            })?;
            progress.show(format!("{count} {done}"));
        }
        drop(progress);
        match self.json {
            true => print_json(&json!({ "dry_run": false, done: count }))?,
            false => print(&format!("{count} {done}\n"))?,
        };
        refuse(&unknown, &gaps)
    }
}

/// Reports the positions that are `unknown`, and the gaps that were to be replayed.
fn refuse(unknown: &BTreeSet<&RecordPosition>, gaps: &[DeadLetter]) -> Result<()> {
    let unknown = unknown.iter().map(|place| format!("there is no dead-lettered record at {place}"));
    let gap = |gap: &DeadLetter| {
        format!("{} is a gap: its records are gone and cannot be replayed, only dropped", gap.position())
    };
    CliError::if_any(unknown.chain(gaps.iter().map(gap)).collect())
}

fn is_gap(dead_letter: &DeadLetter) -> bool {
    dead_letter.reason.kind() == ReasonKind::Gap
}

/// The size of a batch, and the interval between batches.
struct RateLimiter {
    batch_size: usize,
    interval: Option<tokio::time::Interval>,
}

impl RateLimiter {
    /// At most `rate` records per second, in at most ten batches per second.
    fn new(rate: Option<NonZeroU32>) -> Self {
        let batch = rate.map_or(MAX_BATCH, |rate| (rate.get() / 10).clamp(1, MAX_BATCH));
        let interval = rate.map(|rate| {
            let mut interval = tokio::time::interval(Duration::from_secs(1) * batch / rate.get());
            // Without bursts after a delay: no second may exceed the rate.
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        Self { batch_size: usize::try_from(batch).unwrap_or(1), interval }
    }

    async fn wait(&mut self) {
        if let Some(interval) = &mut self.interval {
            interval.tick().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rate_limiter_does_not_exceed_the_rate() {
        for rate in [1, 7, 10, 250, 100_000] {
            let mut pace = RateLimiter::new(NonZeroU32::new(rate));
            let begun = tokio::time::Instant::now();
            let mut settled = 0;
            while begun.elapsed() < Duration::from_secs(10) {
                pace.wait().await;
                settled += pace.batch_size;
            }
            let most = usize::try_from(rate).unwrap() * 10 + pace.batch_size * 2;
            assert!((most / 2..=most).contains(&settled), "{rate}: {settled} in 10 s");
        }
        assert_eq!(RateLimiter::new(None).batch_size, 500);
    }
}
