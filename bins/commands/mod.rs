//! What management does instead of serving: `migrate`, `verify`, `dlq`, `replay`.

pub(crate) mod arguments;
mod dlq;
mod progress;
mod replay;
mod text;
mod verify;

use std::io::Write;
use std::num::NonZeroU32;
use std::time::Duration;

use conf::Conf;
use shop_core::Timestamp;
use shop_core::log::{DeadLetter, ReasonKind, RecordPosition};

use crate::resolve;
use crate::roles::Role;
use crate::settings::Settings;
use crate::signal::Shutdown;
use crate::{Failure, Result};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Convert the documents that older systems left.
    Migrate,
    /// Verify the store against the log.
    Verify {
        /// How long nothing more turns up before what was not found is missing.
        wait: Duration,
        /// The most findings of each kind that are named.
        named: usize,
    },
    /// Replay all events into a role.
    Replay(Role),
    /// Look at dead letters, or resolve them.
    Dlq(DlqCommand),
}

/// What is to be done with which dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DlqCommand {
    /// The topic of their records; the purchases' topic without.
    topic: Option<String>,
    selection: Selection,
    action: Action,
}

/// Some dead letters: those for which all that is said is true.
#[derive(Debug, Clone, PartialEq, Eq, Conf)]
struct Selection {
    /// Places of records, topic-partition-offset as `ls` prints them [default: all]
    #[conf(repeat, pos)]
    places: Vec<RecordPosition>,
    /// Only those that were dead-lettered for this: undecodable, conflict or refused
    #[conf(long)]
    reason: Option<ReasonKind>,
    /// Only records that came into the log at this time or later: 2026-03-01 or 2026-03-01T09:00:00Z
    #[conf(long, value_parser = arguments::read_time)]
    since: Option<Timestamp>,
    /// Only records that came into the log before this time
    #[conf(long, value_parser = arguments::read_time)]
    until: Option<Timestamp>,
}

impl Selection {
    /// Whether `letter` is one of them. Its places are sorted.
    fn has(&self, letter: &DeadLetter) -> bool {
        let time = letter.record.time;
        self.reason.is_none_or(|reason| reason == letter.reason.kind())
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
            && (self.places.is_empty() || self.places.binary_search(&letter.position()).is_ok())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    List,
    Show,
    Replay { dry_run: bool, rate: Option<NonZeroU32> },
    Drop { dry_run: bool },
}

/// Does what `command` says, unless `shutdown` begins before.
///
/// # Errors
/// What cannot be opened or has gone wrong; what a verification has found; that it was stopped.
pub async fn run(command: &Command, settings: &Settings, shutdown: &Shutdown) -> Result<()> {
    let done = match command {
        // It goes on where it was stopped.
        Command::Migrate => shutdown.before(resolve::migrate(settings)).await.or(Some(Ok(()))),
        Command::Verify { wait, named } => {
            shutdown.before(Box::pin(verify::run(settings, *wait, *named))).await
        }
        Command::Replay(role) => shutdown.before(Box::pin(replay::run(settings, *role))).await,
        Command::Dlq(command) => shutdown.before(Box::pin(dlq::run(settings, command))).await,
    };
    let done = done.unwrap_or_else(|| Err(Failure::new("stopped before the end: begin it again")));
    done.map_err(Failure::of_command)
}

/// Writes to standard output. Answers whether it is still read.
fn print(text: &str) -> Result<bool> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(format!("standard output cannot be written: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use shop_core::Purchase;
    use shop_core::log::{LogRecord, Partition, Reason};
    use shop_core::record::Record as _;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_selection_has_what_all_of_it_is_true_of() {
        let record = LogRecord::new(7, at("2026-03-01T09:00:00Z"), None);
        let partition = Partition::new("c".into(), "purchases".into(), 0, 0);
        let letter = DeadLetter::new(record, partition, Reason::conflict(Purchase::TYPE), 1);
        let all = Selection { places: Vec::new(), reason: None, since: None, until: None };
        assert!(all.has(&letter));
        let place = |text: &str| vec![text.parse().unwrap()];
        let (day, next) = (at("2026-03-01T00:00:00Z"), at("2026-03-02T00:00:00Z"));
        let whole = Selection {
            places: place("purchases-0-7"),
            reason: Some(ReasonKind::Conflict),
            since: Some(letter.record.time),
            until: Some(next),
        };
        assert!(whole.has(&letter));
        for other in [
            Selection { places: place("purchases-0-8"), ..whole.clone() },
            Selection { reason: Some(ReasonKind::Refused), ..whole.clone() },
            Selection { since: Some(next), ..whole.clone() },
            Selection { until: Some(letter.record.time), ..whole.clone() },
            Selection { until: Some(day), ..all },
        ] {
            assert!(!other.has(&letter), "{other:?}");
        }
    }
}
