//! The commands of management.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use conf::Conf;
use shop_core::api::RowFormat;
use shop_core::log::{DeadLetterFilter, ReasonKind, RecordPosition, ResolveOptions};
use shop_core::{Timestamp, UserId};

use crate::roles::ProcessRole;

/// A command of management.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Convert the documents of the replaced systems.
    Migrate,
    /// Verify the store against the log.
    Verify {
        /// The time without a new purchase after which a purchase that was not found is missing.
        wait: Duration,
        /// The maximum number of findings of each kind that are named.
        named: usize,
    },
    /// Find what cannot be read.
    Doctor,
    /// Replay all events into a role.
    Replay(ProcessRole),
    /// List or resolve dead-lettered records.
    Dlq(DlqCommand),
    /// List or change the groups of the embedded log.
    Groups(GroupsCommand),
    /// Copy the embedded files into a folder.
    Backup(PathBuf),
    /// Copy the files of a backup into the data folder.
    Restore(PathBuf),
    /// Erase a user.
    EraseUser(EraseUser),
    /// Publish the purchases of a file.
    Import(Import),
    /// Write the stored purchases to standard output.
    Export(Export),
}

/// An import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// The file; `-` for standard input.
    pub(crate) file: PathBuf,
    pub(crate) format: RowFormat,
    /// The first line to import, from 1.
    pub(crate) from_line: u64,
}

/// An export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Export {
    /// The user; `None` for all.
    pub(crate) user: Option<UserId>,
    pub(crate) format: RowFormat,
}

/// The erasure of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EraseUser {
    pub(crate) user: UserId,
    /// Whether to count only.
    pub(crate) dry_run: bool,
    /// Whether to rewrite the embedded files afterwards.
    pub(crate) vacuum: bool,
}

/// An action on the groups of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupsCommand {
    /// The topic; `None` for the topic of purchases.
    pub(crate) topic: Option<String>,
    pub(crate) action: GroupsAction,
}

/// An action on groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GroupsAction {
    List,
    Forget(String),
    Reset { group: String, to: ResetTo },
}

/// The position to which a group is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResetTo {
    Beginning,
    End,
    Offset(u64),
}

/// An action on selected dead-lettered records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DlqCommand {
    /// The topic of the records; `None` for the topic of purchases.
    pub(crate) topic: Option<String>,
    pub(crate) selection: Selection,
    pub(crate) action: Action,
}

/// An action on dead-lettered records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    List,
    Show,
    Resolve(ResolveOptions),
    /// Dead-letter the records at the selected positions.
    Park {
        note: String,
    },
}

/// Selects the dead-lettered records that match all criteria.
#[derive(Debug, Clone, PartialEq, Eq, Conf)]
pub(crate) struct Selection {
    /// Positions of records, topic-partition-offset as `ls` prints them [default: all]
    #[conf(repeat, pos)]
    pub(crate) places: Vec<RecordPosition>,
    /// Only records with this reason: undecodable, conflict, refused, parked or gap
    #[conf(long)]
    pub(super) reason: Option<ReasonKind>,
    /// Only records with this timestamp or a later one: 2026-03-01 or 2026-03-01T09:00:00Z
    #[conf(long, value_parser = read_time)]
    pub(super) since: Option<Timestamp>,
    /// Only records with an earlier timestamp
    #[conf(long, value_parser = read_time)]
    pub(super) until: Option<Timestamp>,
}

impl Selection {
    /// The positions; none for all.
    pub(crate) fn positions(&self) -> BTreeSet<RecordPosition> {
        self.places.iter().cloned().collect()
    }

    /// The other criteria.
    pub(crate) fn filter(&self) -> DeadLetterFilter {
        DeadLetterFilter::default().reason(self.reason).since(self.since).until(self.until)
    }
}

fn read_time(text: &str) -> Result<Timestamp, String> {
    let midnight = || format!("{text}T00:00:00Z").parse();
    let read = text.parse::<Timestamp>().or_else(|error| midnight().map_err(|_no_date| error));
    read.map_err(|error| format!("{error}, or a date such as 2026-03-01"))
}
