//! The commands of management as they are written, each with the settings that it shares with the service.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::time::Duration;

use conf::Conf;
use shop_core::Timestamp;
use shop_core::log::{ReasonKind, RecordPosition};

use super::{Action, Command, LettersCommand, Selection};
use crate::roles::Role;
use crate::variables::Variables;
use crate::{Failure, Result};

/// Settings with the command that they are for, if there is one.
pub(crate) trait Arguments: Conf {
    fn into_parts(self) -> (Option<Command>, Variables);
}

impl Arguments for Variables {
    fn into_parts(self) -> (Option<Command>, Variables) {
        (None, self)
    }
}

/// The words that begin a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Migrate,
    Verify,
    Hear,
    Letters,
    List,
    Show,
    Replay,
    Drop,
}

impl Word {
    /// Takes the words of a command out of `arguments`, if they begin one, and makes them the program's name.
    ///
    /// # Errors
    /// When a command is begun and there is no such one.
    pub(crate) fn take(arguments: &mut Vec<OsString>) -> Result<Option<Self>> {
        let text = |index: usize| arguments.get(index).and_then(|word| word.to_str());
        let (word, count) = match (text(1), text(2)) {
            (Some("migrate"), _) => (Self::Migrate, 1),
            (Some("verify"), _) => (Self::Verify, 1),
            (Some("replay"), _) => (Self::Hear, 1),
            (Some("dlq"), Some("ls")) => (Self::List, 2),
            (Some("dlq"), Some("show")) => (Self::Show, 2),
            (Some("dlq"), Some("replay")) => (Self::Replay, 2),
            (Some("dlq"), Some("drop")) => (Self::Drop, 2),
            (Some("dlq"), Some("--help" | "-h")) => (Self::Letters, 1),
            (Some("dlq"), _) => {
                let message = "management dlq: say what: ls, show, replay or drop (--help tells of each)";
                return Err(Failure::new(message));
            }
            (Some(word), _) if !word.starts_with('-') => {
                let known = "migrate, verify, replay and dlq (--help tells of each)";
                return Err(Failure::new(format!(
                    "management {word}: there is no such command, only {known}"
                )));
            }
            _ => return Ok(None),
        };
        // The first one is the program itself, whose name the help shows.
        arguments.splice(0..=count, [word.name().into()]);
        Ok(Some(word))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Migrate => "management migrate",
            Self::Verify => "management verify",
            Self::Hear => "management replay",
            Self::Letters => "management dlq",
            Self::List => "management dlq ls",
            Self::Show => "management dlq show",
            Self::Replay => "management dlq replay",
            Self::Drop => "management dlq drop",
        }
    }
}

/// Brings the documents that older systems left in MongoDB to our form, in place.
///
/// It may be stopped and begun again, and runs beside a service. It creates nothing. Exits with 0, 2 for wrong options or
/// settings, 3 when MongoDB is not reachable.
#[derive(Debug, Conf)]
#[conf(test)]
pub(crate) struct MigrateArguments {
    #[conf(flatten)]
    settings: Variables,
}

impl Arguments for MigrateArguments {
    fn into_parts(self) -> (Option<Command>, Variables) {
        (Some(Command::Migrate), self.settings)
    }
}

/// Holds the store to the log: looks for every record that the log holds now, and for ids that the store has twice.
///
/// Prints `missing 0, twice 0, dead-lettered n` and exits with 0 when it is clean. Else it names what is missing,
/// stored with other content than the log's, or there twice, and exits with 1. It changes nothing and runs beside a
/// service: what is on its way into the store is waited for. Dead letters are accounted for, and so are those that were
/// replayed or dropped. Conflicts are counted apart from other dead letters, and where the log begins is printed if its
/// first records are gone. It exits with 2 for wrong options or
/// settings, and with 3 when a server is not reachable or there is no log or store.
///
/// management verify
/// management verify --wait 60 --named 1000
///
/// The settings that follow its own options are those of the service: give the same.
#[derive(Debug, Conf)]
#[conf(test)]
pub(crate) struct VerifyArguments {
    /// Seconds in which nothing more turns up before what was not found is missing
    #[conf(long, default_value = "10")]
    wait: u32,
    /// How many findings of each kind are named
    #[conf(long, default_value = "20")]
    named: usize,
    #[conf(flatten)]
    settings: Variables,
}

/// Lets a role hear again of everything that was ever told, from the start of the log: users of orders, or orders of
/// users. So what it knows of the others is rebuilt, in a fresh database or in the one that it has.
///
/// It may be repeated, stopped and begun again, and runs beside a service: what is known already is not heard twice. No
/// group's position is moved. It exits with 0, 2 for wrong options or settings, 3 when a server is not reachable or there is
/// no such topic.
///
/// management replay users --from-beginning    from the topic order_created into what users know of orders
/// management replay orders --from-beginning   from the topic user_created into what orders know of users
///
/// The settings that follow its own options are those of the service: give the same.
#[derive(Debug, Conf)]
#[conf(test)]
#[conf(validation_predicate = says_from_where)]
pub(crate) struct HearArguments {
    /// Who is to hear again: users or orders
    #[conf(pos, value_parser = read_hearing)]
    who: Role,
    /// From the start of the log; there is nothing else to begin at
    #[conf(long)]
    from_beginning: bool,
    #[conf(flatten)]
    settings: Variables,
}

fn read_hearing(text: &str) -> Result<Role, String> {
    let hearing = [Role::Users, Role::Orders].into_iter().find(|role| role.as_str() == text);
    hearing.ok_or_else(|| format!("{text:?} hears of nobody: choose users or orders"))
}

fn says_from_where(arguments: &HearArguments) -> Result<(), &'static str> {
    let said = arguments.from_beginning;
    said.then_some(()).ok_or("management replay: say where to begin: --from-beginning")
}

impl Arguments for HearArguments {
    fn into_parts(self) -> (Option<Command>, Variables) {
        (Some(Command::Replay(self.who)), self.settings)
    }
}

impl Arguments for VerifyArguments {
    fn into_parts(self) -> (Option<Command>, Variables) {
        let (wait, named) = (Duration::from_secs(u64::from(self.wait)), self.named);
        (Some(Command::Verify { wait, named }), self.settings)
    }
}

/// Dead letters: records that could not be stored, kept as they were.
///
/// management dlq ls: one line each: place, time, reason, the beginning of the value.
/// management dlq show: all of it: key, headers, value.
/// management dlq replay: publishes the records again, under the ids that their purchases have.
/// management dlq drop: lets them go.
///
/// All of them take places as `ls` prints them, --reason, --since and --until; each tells more with --help, and takes
/// the settings of the service. They exit with 0, also when letters are listed; with 2 for wrong options or settings, and with
/// 3 when a server is not reachable, or there is no log or no such letter.
#[derive(Debug, Conf)]
#[conf(test)]
pub(crate) struct LettersArguments {
    #[conf(flatten)]
    settings: Variables,
}

impl Arguments for LettersArguments {
    fn into_parts(self) -> (Option<Command>, Variables) {
        (None, self.settings)
    }
}

/// Which letters.
#[derive(Debug, Conf)]
pub(crate) struct SelectionArguments {
    /// Places of records, topic-partition-offset as `ls` prints them [default: all]
    #[conf(repeat, pos)]
    places: Vec<RecordPosition>,
    /// Topic of the records, such as user_created [default: that of the purchases]
    #[conf(long)]
    topic: Option<String>,
    /// Only those that were put aside for this: undecodable, conflict or refused
    #[conf(long)]
    reason: Option<ReasonKind>,
    /// Only records that came into the log at this time or later: 2026-03-01 or 2026-03-01T09:00:00Z
    #[conf(long, value_parser = read_time)]
    since: Option<Timestamp>,
    /// Only records that came into the log before this time
    #[conf(long, value_parser = read_time)]
    until: Option<Timestamp>,
}

impl From<SelectionArguments> for Selection {
    fn from(arguments: SelectionArguments) -> Self {
        let SelectionArguments { places, topic: _, reason, since, until } = arguments;
        Self { places: places.into_iter().collect(), reason, since, until }
    }
}

fn read_time(text: &str) -> Result<Timestamp, String> {
    let midnight = || format!("{text}T00:00:00Z").parse();
    let read = text.parse::<Timestamp>().or_else(|error| midnight().map_err(|_no_date| error));
    read.map_err(|error| format!("{error}, or a date such as 2026-03-01"))
}

fn command(selection: SelectionArguments, action: Action) -> Option<Command> {
    let topic = selection.topic.clone();
    Some(Command::Letters(LettersCommand { topic, selection: selection.into(), action }))
}

/// Lists dead letters, one line each: place, time, reason, the beginning of the value.
///
/// management dlq ls --reason conflict --since 2026-03-01
///
/// What was replayed or dropped is not listed. The settings that follow its own options are those of the service.
#[derive(Debug, Conf)]
#[conf(test)]
pub(crate) struct ListArguments {
    #[conf(flatten)]
    selection: SelectionArguments,
    #[conf(flatten)]
    settings: Variables,
}

impl Arguments for ListArguments {
    fn into_parts(self) -> (Option<Command>, Variables) {
        (command(self.selection, Action::List), self.settings)
    }
}

/// Shows dead letters whole: place, time, reason, key, headers and value, as text or, where they are none, as base64.
///
/// management dlq show purchases-0-42
///
/// The settings that follow its own options are those of the service.
#[derive(Debug, Conf)]
#[conf(test)]
pub(crate) struct ShowArguments {
    #[conf(flatten)]
    selection: SelectionArguments,
    #[conf(flatten)]
    settings: Variables,
}

impl Arguments for ShowArguments {
    fn into_parts(self) -> (Option<Command>, Variables) {
        (command(self.selection, Action::Show), self.settings)
    }
}

/// Publishes the records of dead letters again, and keeps these no longer.
///
/// Key, headers and value are as they were. A purchase keeps its id, so a replay is safe at any time and however
/// often: what is stored already is not stored twice. What still cannot be stored is a dead letter again.
///
/// management dlq replay --dry-run
/// management dlq replay purchases-0-42 purchases-3-7
/// management dlq replay --reason refused --rate 100
///
/// The settings that follow its own options are those of the service.
#[derive(Debug, Conf)]
#[conf(test)]
pub(crate) struct ReplayArguments {
    #[conf(flatten)]
    selection: SelectionArguments,
    /// Only list what would be replayed
    #[conf(long)]
    dry_run: bool,
    /// The most records that are replayed in a second [default: no limit]
    #[conf(long)]
    rate: Option<NonZeroU32>,
    #[conf(flatten)]
    settings: Variables,
}

impl Arguments for ReplayArguments {
    fn into_parts(self) -> (Option<Command>, Variables) {
        let action = Action::Replay { dry_run: self.dry_run, rate: self.rate };
        (command(self.selection, action), self.settings)
    }
}

/// Lets dead letters go: they are not listed any more, and their records count as settled.
///
/// The embedded log deletes them. Kafka deletes no single record: a mark behind them says that they were dropped, and
/// their bytes stay in the topic of the dead letters as long as that keeps them.
///
/// management dlq drop --until 2026-03-01 --dry-run
/// management dlq drop purchases-0-42
/// management dlq drop --all
///
/// The settings that follow its own options are those of the service.
#[derive(Debug, Conf)]
#[conf(test)]
#[conf(validation_predicate = names_what)]
pub(crate) struct DropArguments {
    #[conf(flatten)]
    selection: SelectionArguments,
    /// Every dead letter that there is
    #[conf(long)]
    all: bool,
    /// Only list what would be dropped
    #[conf(long)]
    dry_run: bool,
    #[conf(flatten)]
    settings: Variables,
}

/// Nobody is to drop everything by having forgotten to say what.
fn names_what(arguments: &DropArguments) -> Result<(), &'static str> {
    let SelectionArguments { places, reason, since, until, .. } = &arguments.selection;
    let narrowed = !places.is_empty() || reason.is_some() || since.is_some() || until.is_some();
    if narrowed == arguments.all {
        return Err(
            "management dlq drop: say which letters: places, --reason, --since or --until; or --all alone",
        );
    }
    Ok(())
}

impl Arguments for DropArguments {
    fn into_parts(self) -> (Option<Command>, Variables) {
        (command(self.selection, Action::Drop { dry_run: self.dry_run }), self.settings)
    }
}
