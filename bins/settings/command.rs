//! What management does instead of serving.

use std::num::NonZeroU32;
use std::time::Duration;

use conf::Conf;
use shop_core::Timestamp;
use shop_core::log::{DeadLetter, ReasonKind, RecordPosition};

use crate::roles::ProcessRole;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
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
    Replay(ProcessRole),
    /// Look at dead letters, or resolve them.
    Dlq(DlqCommand),
}

/// What is to be done with which dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DlqCommand {
    /// The topic of their records; the purchases' topic without.
    pub(crate) topic: Option<String>,
    pub(crate) selection: Selection,
    pub(crate) action: Action,
}

/// What is to be done with dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    List,
    Show,
    Replay { dry_run: bool, rate: Option<NonZeroU32> },
    Drop { dry_run: bool },
}

/// Some dead letters: those for which all that is said is true.
#[derive(Debug, Clone, PartialEq, Eq, Conf)]
pub(crate) struct Selection {
    /// Places of records, topic-partition-offset as `ls` prints them [default: all]
    #[conf(repeat, pos)]
    pub(crate) places: Vec<RecordPosition>,
    /// Only those that were dead-lettered for this: undecodable, conflict or refused
    #[conf(long)]
    pub(super) reason: Option<ReasonKind>,
    /// Only records that came into the log at this time or later: 2026-03-01 or 2026-03-01T09:00:00Z
    #[conf(long, value_parser = read_time)]
    pub(super) since: Option<Timestamp>,
    /// Only records that came into the log before this time
    #[conf(long, value_parser = read_time)]
    pub(super) until: Option<Timestamp>,
}

impl Selection {
    /// Whether `letter` is one of them. Its places are sorted.
    pub(crate) fn has(&self, letter: &DeadLetter) -> bool {
        let time = letter.record.time;
        self.reason.is_none_or(|reason| reason == letter.reason.kind())
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
            && (self.places.is_empty() || self.places.binary_search(&letter.position()).is_ok())
    }
}

fn read_time(text: &str) -> Result<Timestamp, String> {
    let midnight = || format!("{text}T00:00:00Z").parse();
    let read = text.parse::<Timestamp>().or_else(|error| midnight().map_err(|_no_date| error));
    read.map_err(|error| format!("{error}, or a date such as 2026-03-01"))
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
