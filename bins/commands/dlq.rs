//! `management dlq`: dead letters, listed, shown, replayed, dropped.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt};
use shop_core::log::{DeadLetter, LogAdmin, RecordPosition, RecordType, Resolution};
use tokio::time::MissedTickBehavior;

use super::progress::Progress;
use super::{Action, DlqCommand, Selection, print, text};
use crate::resolve;
use crate::settings::Settings;
use crate::{Failure, Result};

/// The most letters that are settled together.
const TOGETHER: u32 = 500;

pub(super) async fn run(settings: &Settings, command: &DlqCommand) -> Result<()> {
    let DlqCommand { topic, selection, action } = command;
    let (log, of) = resolve::log_admin(settings, topic.as_deref()).await?;
    let letters = Letters { log: &*log.port, of, selection };
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

/// Dead letters of a log, and the type of their records.
struct Letters<'a> {
    log: &'a dyn LogAdmin,
    of: RecordType,
    selection: &'a Selection,
}

/// The letters of `selection`, as they are met.
struct Selected<'a, S> {
    all: S,
    selection: &'a Selection,
    /// The places that were named and not met.
    unmet: BTreeSet<&'a RecordPosition>,
}

impl<S: Stream<Item = shop_core::Result<DeadLetter>> + Send + Unpin> Selected<'_, S> {
    async fn next(&mut self) -> Result<Option<DeadLetter>> {
        while let Some(letter) = self.all.try_next().await? {
            if self.selection.has(&letter) {
                self.unmet.remove(&letter.position());
                return Ok(Some(letter));
            }
        }
        Ok(None)
    }

    /// # Errors
    /// When a place was named at which no selected letter stands.
    fn end(self) -> Result<()> {
        let unmet = self.unmet.iter();
        Failure::if_any(unmet.map(|place| format!("no such dead letter stands at {place}")).collect())
    }
}

impl Letters<'_> {
    async fn select(
        &self,
    ) -> Result<Selected<'_, impl Stream<Item = shop_core::Result<DeadLetter>> + Send + Unpin + use<>>> {
        let all = self.log.scan_dead_letters().await?;
        let all = all.try_filter_map(|state| std::future::ready(Ok(state.into_pending())));
        Ok(Selected { all, selection: self.selection, unmet: self.selection.places.iter().collect() })
    }

    /// Prints what `show` makes of each letter; returns how many there are.
    async fn list(&self, show: fn(&DeadLetter, RecordType) -> String) -> Result<u64> {
        let progress = Progress::begin();
        progress.tell("reading the dead letters".to_owned());
        let mut selected = self.select().await?;
        let mut count = 0;
        while let Some(letter) = selected.next().await? {
            count += 1;
            if !progress.aside(|| print(&show(&letter, self.of)))? {
                return Ok(count);
            }
        }
        selected.end()?;
        Ok(count)
    }

    async fn dry_run(&self, resolution: Resolution) -> Result<()> {
        let count = self.list(|letter, _| text::line(letter)).await?;
        print(&format!("{count} would be {}\n", resolution.as_str())).map(drop)
    }

    async fn resolve(&self, resolution: Resolution, rate: Option<NonZeroU32>) -> Result<()> {
        let done = resolution.as_str();
        let progress = Progress::begin();
        progress.tell("reading the dead letters".to_owned());
        let mut selected = self.select().await?;
        let mut pace = Pace::of(rate);
        let mut count = 0;
        loop {
            let mut letters = Vec::new();
            while letters.len() < pace.together
                && let Some(letter) = selected.next().await?
            {
                letters.push(letter);
            }
            if letters.is_empty() {
                break;
            }
            pace.wait().await;
            let resolved = match resolution {
                Resolution::Replayed => self.log.replay(&letters, self.of).await,
                _ => self.log.discard(&letters, self.of).await,
            };
            count += resolved.map_err(|error| {
                let chain = error.chain();
                Failure::new(format!("{count} {done}, then: {chain}. The others are kept: begin again"))
            })?;
            progress.tell(format!("{count} {done}"));
        }
        drop(progress);
        print(&format!("{count} {done}\n"))?;
        selected.end()
    }
}

/// How many are settled together, and how often.
struct Pace {
    together: usize,
    beat: Option<tokio::time::Interval>,
}

impl Pace {
    /// At most `rate` in a second, ten times in a second at the most.
    fn of(rate: Option<NonZeroU32>) -> Self {
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
            let mut pace = Pace::of(NonZeroU32::new(rate));
            let begun = tokio::time::Instant::now();
            let mut settled = 0;
            while begun.elapsed() < Duration::from_secs(10) {
                pace.wait().await;
                settled += pace.together;
            }
            let most = usize::try_from(rate).unwrap() * 10 + pace.together * 2;
            assert!((most / 2..=most).contains(&settled), "{rate}: {settled} in 10 s");
        }
        assert_eq!(Pace::of(None).together, 500);
    }
}
