//! Operations on dead letters: lists, replays, discards, and parks records.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::Operations;
use crate::log::{
    DeadLetter, DeadLetterFilter, Log, LogExt as _, Reason, RecordPosition, Resolution,
    ResolveOptions, resolve,
};
use crate::ports::Lookup;
use crate::record::Record as _;
use crate::{Error, Purchase, Result};

/// The number of positions whose dead letters are read at once, with their records.
const READ_AT_ONCE: usize = 50;

/// The result of [`Operations::resolve`].
///
/// Its text is a sentence without the problems, such as `3 would be replayed`. Its JSON has the
/// members `dry_run`, and the count under the name of the resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolveReport {
    /// Whether the dead letters were replayed or discarded.
    pub resolution: Resolution,
    /// Whether nothing was changed, only counted.
    pub dry_run: bool,
    /// Whether the dead letters were selected, so that resolving them began.
    pub is_begun: bool,
    /// The number of dead letters that were resolved.
    pub resolved: u64,
    /// The selected positions at which no dead letter is pending.
    pub unknown: BTreeSet<RecordPosition>,
    /// The dead letters that stay pending, because they cannot be replayed, each with the reason.
    pub refused: Vec<(RecordPosition, &'static str)>,
}

impl ResolveReport {
    /// Creates the report of an operation with `options` that resolved nothing yet.
    #[must_use]
    pub const fn new(options: &ResolveOptions) -> Self {
        Self {
            resolution: options.resolution,
            dry_run: options.dry_run,
            is_begun: false,
            resolved: 0,
            unknown: BTreeSet::new(),
            refused: Vec::new(),
        }
    }

    /// Returns a sentence for each position that was selected, but not resolved.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = no_dead_letters_at(&self.unknown);
        for (position, reason) in &self.refused {
            problems.push(format!("{position} {reason}"));
        }
        problems
    }
}

impl fmt::Display for ResolveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let would_be = if self.dry_run { "would be " } else { "" };
        write!(
            f,
            "{} {would_be}{}",
            self.resolved,
            self.resolution.as_str()
        )
    }
}

impl Serialize for ResolveReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(Some(2))?;
        members.serialize_entry("dry_run", &self.dry_run)?;
        members.serialize_entry(self.resolution.as_str(), &self.resolved)?;
        members.end()
    }
}

/// The result of [`Operations::park`]: all records are dead letters now, or, if there are problems,
/// none.
///
/// Its text is a sentence, such as `2 parked`. Its JSON has the member `parked`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct ParkReport {
    /// The number of records that were parked; 0 if there are problems.
    pub parked: usize,
    /// A sentence for each record that cannot be parked: it is not in the log, or it needs no dead
    /// letter.
    #[serde(skip)]
    pub problems: Vec<String>,
}

impl fmt::Display for ParkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} parked", self.parked)
    }
}

impl Operations {
    /// Returns a stream of the pending dead letters that `filter` selects, each once.
    ///
    /// The stream yields only dead letters that were in the log at the time of the call.
    ///
    /// # Errors
    /// The errors of the log. An error in the stream ends it.
    pub async fn dead_letters(
        &self,
        filter: DeadLetterFilter,
    ) -> Result<BoxStream<'static, Result<DeadLetter>>> {
        let log = self.backend.require_log()?;
        log.select_dead_letters(filter).await
    }

    /// Returns a stream of the pending dead letters that `filter` selects, at the first `limit`
    /// positions and in the order of the positions.
    ///
    /// To continue behind the last dead letter of the stream, set the `after` of the filter to the
    /// position of this dead letter. The stream reads 50 positions at a time while it is polled.
    ///
    /// A log finds the dead letters in its index. So this function is faster than
    /// [`dead_letters`](Self::dead_letters), which reads the resolved dead letters, too.
    ///
    /// # Errors
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) without a log
    /// - in the stream, the errors of the log. An error ends it.
    pub fn dead_letters_by_position(
        &self,
        filter: DeadLetterFilter,
        limit: usize,
    ) -> Result<BoxStream<'static, Result<DeadLetter>>> {
        let log = Arc::clone(self.backend.require_log()?);
        let pages = stream::try_unfold((filter, limit), move |(mut filter, positions_left)| {
            let log = Arc::clone(&log);
            async move {
                if positions_left == 0 {
                    return Ok(None);
                }
                let page_size = positions_left.min(READ_AT_ONCE);
                let page = log.dead_letters(&filter, page_size).await?;
                // A position can have several dead letters.
                let positions: BTreeSet<_> = page.iter().map(DeadLetter::position).collect();
                let is_last_page = positions.len() < page_size;
                let positions_left = if is_last_page {
                    0
                } else {
                    positions_left - page_size
                };
                filter.after = positions.into_iter().next_back();
                let dead_letters = stream::iter(page.into_iter().map(Ok));
                Ok::<_, Error>(Some((dead_letters, (filter, positions_left))))
            }
        });
        Ok(pages.try_flatten().boxed())
    }

    /// Returns the first pending dead letter at `position`, if there is one.
    ///
    /// # Errors
    /// - the errors of the log
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) without a log
    pub async fn dead_letter(&self, position: &RecordPosition) -> Result<Option<DeadLetter>> {
        let filter = DeadLetterFilter::default().positions(BTreeSet::from([position.clone()]));
        let position_limit = 1;
        let mut dead_letters = self.dead_letters_by_position(filter, position_limit)?;
        dead_letters.try_next().await
    }

    /// Returns the reason why ingest would dead-letter the record of `dead_letter` again if the
    /// record was replayed now. Returns `None` if no such reason is known.
    ///
    /// A reason is known for purchases only: the record does not decode, or the store contains a
    /// purchase with its id and other content. Without a store, only the first one is checked.
    ///
    /// # Errors
    /// - the errors of the store
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) without a log
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn forecast_replay(&self, dead_letter: &DeadLetter) -> Result<Option<Reason>> {
        self.backend.require_log()?;
        if self.backend.record_type.name != Purchase::TYPE.name {
            return Ok(None);
        }
        let decoders = &self.backend.decoders;
        let purchase = match decoders.decode(&dead_letter.record, &dead_letter.partition) {
            Ok(purchase) => purchase,
            Err(error) => return Ok(Some(error.into())),
        };
        let Some(query) = &self.backend.query else {
            return Ok(None);
        };
        Ok(match query.look_up(&purchase.id).await? {
            Lookup::Stored(stored) if !stored.same_content(&purchase) => {
                Some(Reason::conflict(Purchase::TYPE))
            }
            // The store inserts or keeps the purchase, or passes over the repetition.
            _ => None,
        })
    }

    /// Replays or discards the pending dead letters that `filter` selects, and counts them in
    /// `report`, also if the call fails later.
    ///
    /// Calls `on_resolved` with each dead letter that was resolved, or in a dry run would be. The
    /// call ends early, without an error, when it returns `false`. See [`resolve`](resolve()) for
    /// the batches and the limit of the rate.
    ///
    /// # Errors
    /// The errors of the log. Some of the dead letters may be resolved by then; the others are
    /// unchanged. Repeating the call is safe.
    ///
    /// # Cancel safety
    /// Dropping the future may leave some of the dead letters resolved; the others stay pending.
    pub async fn resolve(
        &self,
        filter: DeadLetterFilter,
        options: &ResolveOptions,
        report: &mut ResolveReport,
        mut on_resolved: impl FnMut(DeadLetter) -> bool + Send,
    ) -> Result<()> {
        let log = self.backend.require_log()?;
        // A position stays unknown until one of its dead letters is read.
        report.unknown.clone_from(&filter.positions);
        let selected_dead_letters = log.select_dead_letters(filter).await?;
        report.is_begun = true;
        resolve(
            &**log,
            self.backend.record_type,
            selected_dead_letters,
            options,
            |dead_letter, refusal| {
                let position = dead_letter.position();
                report.unknown.remove(&position);
                if let Some(reason) = refusal {
                    report.refused.push((position, reason));
                    return true;
                }
                report.resolved += 1;
                on_resolved(dead_letter)
            },
        )
        .await
    }

    /// Parks the records at `positions`: dead-letters them by hand, because the store keeps failing
    /// over them, so that ingest continues behind them. `note` tells the readers of the dead letters
    /// why.
    ///
    /// A record is not parked if it is dead-lettered already, if its purchase is stored with this
    /// content or erased, or if the group has committed a position behind it. Without a store, as
    /// for events, purchases are not looked up.
    ///
    /// # Errors
    /// The errors of the log and of the store.
    ///
    /// Some records may be parked after an error of writing the dead letters into the log. A repeated
    /// call reports these records as problems, so repeat it with the other positions. After any
    /// other error, no record is parked.
    ///
    /// # Cancel safety
    /// Dropping the future leaves either all of the records parked, or some, or none.
    pub async fn park(&self, positions: &[RecordPosition], note: &str) -> Result<ParkReport> {
        let (dead_letters, mut report) = self.prepare_to_park(positions, note).await?;
        if report.problems.is_empty() {
            let log = self.backend.require_log()?;
            log.put_dead_letters(&dead_letters).await?;
            report.parked = dead_letters.len();
        }
        Ok(report)
    }

    /// Returns the report that [`park`](Self::park) would return now. Parks nothing.
    ///
    /// # Errors
    /// The errors of the log and of the store.
    pub async fn forecast_park(&self, positions: &[RecordPosition]) -> Result<ParkReport> {
        // The dead letters are not written, so they need no note.
        let note = "";
        let (dead_letters, mut report) = self.prepare_to_park(positions, note).await?;
        if report.problems.is_empty() {
            report.parked = dead_letters.len();
        }
        Ok(report)
    }

    /// Creates the dead letters of the records at `positions` that can be parked, and a report with
    /// a problem for each other position.
    ///
    /// # Errors
    /// The errors of the log and of the store.
    async fn prepare_to_park(
        &self,
        positions: &[RecordPosition],
        note: &str,
    ) -> Result<(Vec<DeadLetter>, ParkReport)> {
        let log = self.backend.require_log()?;
        let committed_offsets = log.positions(self.backend.require_group()?).await?;
        let mut report = ParkReport::default();
        let mut dead_letters = Vec::new();
        for position in positions {
            // A position of another topic has no record in this log.
            let is_of_topic = *position.topic == *self.backend.topic;
            let dead_letter = if is_of_topic {
                log.parked_dead_letter(position, note).await?
            } else {
                None
            };
            let Some(dead_letter) = dead_letter else {
                report
                    .problems
                    .push(format!("there is no record at {position}"));
                continue;
            };

            let is_processed = committed_offsets
                .get(&position.partition)
                .is_some_and(|next_offset| position.offset < *next_offset);
            let known_state = self.reason_not_to_park(&**log, &dead_letter).await?;
            let problem = known_state.or(is_processed.then_some("processed"));
            match problem {
                Some(problem) => report.problems.push(format!("{position} is {problem}")),
                None => dead_letters.push(dead_letter),
            }
        }
        Ok((dead_letters, report))
    }

    /// Returns the reason why the record of `dead_letter` needs no dead letter, as the end of a
    /// sentence such as `purchases-0-7 is erased`.
    ///
    /// Returns `None` if the record is not dead-lettered, and not known to be erased or stored with
    /// the same content.
    ///
    /// # Errors
    /// The errors of the log and of the store.
    async fn reason_not_to_park(
        &self,
        log: &dyn Log,
        dead_letter: &DeadLetter,
    ) -> Result<Option<&'static str>> {
        let DeadLetter {
            record, partition, ..
        } = dead_letter;
        if log.contains_dead_letter(record, partition).await? {
            return Ok(Some("dead-lettered already, or was replayed or dropped"));
        }

        let Some(query) = &self.backend.query else {
            return Ok(None);
        };
        let Ok(purchase) = self.backend.decoders.decode(record, partition) else {
            return Ok(None);
        };
        Ok(match query.look_up(&purchase.id).await? {
            Lookup::Stored(stored) if stored.same_content(&purchase) => Some("stored"),
            Lookup::Waiting(waiting) if waiting.same_content(&purchase) => {
                Some("stored, waiting for its purchase")
            }
            Lookup::Erased => Some("erased"),
            // The purchase is missing, or its id is stored with other content.
            _ => None,
        })
    }
}

/// Returns a sentence for each of `positions`, at which no dead letter is pending.
#[must_use]
pub fn no_dead_letters_at(positions: &BTreeSet<RecordPosition>) -> Vec<String> {
    positions
        .iter()
        .map(|position| format!("there is no dead-lettered record at {position}"))
        .collect()
}
