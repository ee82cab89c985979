//! `management dlq`: dead letters, listed, shown, replayed, dropped.

use std::collections::BTreeSet;
use std::future::ready;
use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use serde_json::json;
use shop_core::log::{DeadLetter, LogAdmin, RecordPosition, RecordType, Resolution};
use tokio::time::MissedTickBehavior;

use super::output::{Progress, print, print_json};
use super::{open, text};
use crate::backend::Topic;
use crate::settings::{Action, DlqCommand, Selection, Settings};
use crate::{CliError, Result};

/// The most letters that are settled together.
const TOGETHER: u32 = 500;

pub(super) async fn run(settings: &Settings, command: &DlqCommand) -> Result<()> {
    let DlqCommand { topic, selection, action } = command;
    let topic = named_topic(settings, topic.as_deref())?;
    let log = open::log(settings, topic).await?;
    let letters = Resolver { log: &*log.port, of: topic.record, selection, json: settings.json };
    let done = match *action {
        Action::List => letters.list(|letter, _| text::line(letter)).await.map(drop),
        Action::Show => letters.list(text::whole).await.map(drop),
        Action::Replay { dry_run: true, .. } => letters.dry_run(Resolution::Replayed).await,
        Action::Drop { dry_run: true } => letters.dry_run(Resolution::Dropped).await,
        Action::Replay { rate, .. } => letters.resolve(Resolution::Replayed, rate).await,
        Action::Drop { .. } => letters.resolve(Resolution::Dropped, None).await,
    };
    log.close().await;
    done
}

/// The topic `name`, that of the purchases without.
///
/// # Errors
/// When the settings name no such topic.
fn named_topic<'a>(settings: &'a Settings, name: Option<&str>) -> Result<Topic<'a>> {
    let topics = [Topic::purchases(settings), Topic::users(settings), Topic::orders(settings)];
    let [purchases, users, orders] = topics.map(|topic| topic.name);
    let name = name.unwrap_or(purchases);
    topics.into_iter().find(|topic| topic.name == name).ok_or_else(|| {
        let known = format!("choose {purchases}, {users} or {orders}");
        CliError::new(format!("--topic: nothing is known of {name:?}: {known}")).usage()
    })
}

/// Dead letters of a log, and the type of their records.
struct Resolver<'a> {
    log: &'a dyn LogAdmin,
    of: RecordType,
    selection: &'a Selection,
    /// Whether to print JSON.
    json: bool,
}

impl Resolver<'_> {
    /// The letters that were selected, and the places that were named: those that are left unmet are no dead letters'.
    async fn select(
        &self,
    ) -> Result<(impl Stream<Item = shop_core::Result<DeadLetter>> + Send + Unpin, BTreeSet<&RecordPosition>)>
    {
        let selected = |letter: &DeadLetter| self.selection.has(letter);
        let all = self.log.scan_dead_letters().await?;
        let all = all.try_filter_map(move |state| ready(Ok(state.into_pending().filter(selected))));
        Ok((all.fuse(), self.selection.places.iter().collect()))
    }

    /// Prints what `show` makes of each letter; returns how many there are.
    async fn list(&self, show: fn(&DeadLetter, RecordType) -> String) -> Result<u64> {
        let progress = Progress::begin();
        progress.show("reading the dead letters".to_owned());
        let (mut selected, mut unmet) = self.select().await?;
        let mut count = 0;
        while let Some(letter) = selected.try_next().await? {
            unmet.remove(&letter.position());
            count += 1;
            let show = if self.json { text::json } else { show };
            if !progress.aside(|| print(&show(&letter, self.of)))? {
                return Ok(count);
            }
        }
        refuse(&unmet)?;
        Ok(count)
    }

    async fn dry_run(&self, resolution: Resolution) -> Result<()> {
        let count = self.list(|letter, _| text::line(letter)).await?;
        let done = resolution.as_str();
        match self.json {
            true => print_json(&json!({ "dry_run": true, done: count })).map(drop),
            false => print(&format!("{count} would be {done}\n")).map(drop),
        }
    }

    async fn resolve(&self, resolution: Resolution, rate: Option<NonZeroU32>) -> Result<()> {
        let done = resolution.as_str();
        let progress = Progress::begin();
        progress.show("reading the dead letters".to_owned());
        let (mut selected, mut unmet) = self.select().await?;
        let mut pace = RateLimiter::new(rate);
        let mut count = 0;
        loop {
            let letters: Vec<_> = selected.by_ref().take(pace.together).try_collect().await?;
            if letters.is_empty() {
                break;
            }
            unmet.retain(|place| !letters.iter().any(|letter| letter.position() == **place));
            pace.wait().await;
            let resolved = match resolution {
                Resolution::Replayed => self.log.replay(&letters, self.of).await,
                _ => self.log.discard(&letters, self.of).await,
            };
            count += resolved.map_err(|error| {
                let chain = error.chain();
                CliError::new(format!("{count} {done}, then: {chain}. The others are kept: begin again"))
            })?;
            progress.show(format!("{count} {done}"));
        }
        drop(progress);
        match self.json {
            true => print_json(&json!({ "dry_run": false, done: count }))?,
            false => print(&format!("{count} {done}\n"))?,
        };
        refuse(&unmet)
    }
}

fn refuse(unmet: &BTreeSet<&RecordPosition>) -> Result<()> {
    CliError::if_any(unmet.iter().map(|place| format!("no such dead letter stands at {place}")).collect())
}

/// How many are settled together, and how often.
struct RateLimiter {
    together: usize,
    beat: Option<tokio::time::Interval>,
}

impl RateLimiter {
    /// At most `rate` in a second, ten times in a second at the most.
    fn new(rate: Option<NonZeroU32>) -> Self {
        let most = rate.map_or(TOGETHER, |rate| (rate.get() / 10).clamp(1, TOGETHER));
        let beat = rate.map(|rate| {
            let mut beat = tokio::time::interval(Duration::from_secs(1) * most / rate.get());
            // Lost time is not made up for: no second may have more than the rate.
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beat
        });
        Self { together: usize::try_from(most).unwrap_or(1), beat }
    }

    async fn wait(&mut self) {
        if let Some(beat) = &mut self.beat {
            beat.tick().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_rate_in_a_second() {
        for rate in [1, 7, 10, 250, 100_000] {
            let mut pace = RateLimiter::new(NonZeroU32::new(rate));
            let begun = tokio::time::Instant::now();
            let mut settled = 0;
            while begun.elapsed() < Duration::from_secs(10) {
                pace.wait().await;
                settled += pace.together;
            }
            let most = usize::try_from(rate).unwrap() * 10 + pace.together * 2;
            assert!((most / 2..=most).contains(&settled), "{rate}: {settled} in 10 s");
        }
        assert_eq!(RateLimiter::new(None).together, 500);
    }
}
