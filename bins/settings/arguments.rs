//! The arguments of management: a command, if there is one, with the settings that it shares with the service.

use std::ffi::OsString;
use std::fmt::Display;
use std::num::NonZeroU32;
use std::time::Duration;

use conf::introspection::ProgramOptionMeta as _;
use conf::{Conf, Subcommands};

use super::command::{Action, Command, DlqCommand, Selection};
use super::variables::Variables;
use crate::roles::ProcessRole;

/// Purchase tracking: consumes purchases from the log, stores them and lists them. With nothing set, everything is kept
/// in ./shop-data and served on this machine.
///
/// Every setting is an environment variable or a flag; an empty variable counts as unset. For every secret X,
/// X_FILE names a file to read it from. Names that other systems use are accepted as said below; two names of one
/// setting with different values are refused, and so are misspelt names.
///
/// The service, --check-config and --healthcheck exit with 0, or with 1 when something is wrong. Each command takes the
/// same settings, and shows more with --help (management dlq --help). A command exits with 0, 1 for a finding, 2 for
/// wrong options or settings, 3 when a server is not reachable or nothing is there.
#[derive(Debug, Conf)]
#[conf(test)]
pub(super) struct Management {
    #[conf(flatten)]
    settings: Variables,
    #[conf(subcommands)]
    command: Option<Subcommand>,
}

#[expect(clippy::large_enum_variant, reason = "a process has one; conf fills it in without a Box")]
#[derive(Debug, Subcommands)]
enum Subcommand {
    /// Converts the documents that older systems left in MongoDB to the current form, in place
    ///
    /// It may be stopped and started again, and runs beside a service. It creates nothing. Exits with 0, 2 for wrong
    /// options or settings, 3 when MongoDB is not reachable.
    Migrate(Variables),
    /// Verifies the store against the log: finds missing, mismatched and duplicate purchases
    ///
    /// Prints `missing 0, twice 0, dead-lettered n` and exits with 0 when the store is clean. Otherwise it names what is
    /// missing, stored with other content than the log's, or there twice, and exits with 1. It changes nothing and runs
    /// beside a service: it waits for what is on its way into the store. Dead letters are accounted for, and so are
    /// those that were replayed or dropped. Conflicts are counted apart from other dead letters, and where the log
    /// begins is printed if its first records are gone. It exits with 2 for wrong options or settings, and with 3 when a
    /// server is not reachable or there is no log or store.
    ///
    /// management verify
    /// management verify --wait 60 --named 1000
    ///
    /// The settings that follow its own options are those of the service: give the same.
    Verify(VerifyArguments),
    /// Replays events into users or orders, from the start of the log
    ///
    /// So what users know of orders, or orders of users, is rebuilt: in a fresh database or in the existing one. It may
    /// be repeated, stopped and started again, and runs beside a service: known events are skipped. It moves no group's
    /// position. It exits with 0, 2 for wrong options or settings, 3 when a server is not reachable or there is no such
    /// topic.
    ///
    /// management replay users --from-beginning    from the topic order_created into what users know of orders
    /// management replay orders --from-beginning   from the topic user_created into what orders know of users
    ///
    /// The settings that follow its own options are those of the service: give the same.
    Replay(ReplayEventsArguments),
    /// Lists, shows, replays and drops dead letters: records that could not be stored, kept as they were
    ///
    /// management dlq ls: one line each: place, time, reason, the beginning of the value.
    /// management dlq show: all of it: key, headers, value.
    /// management dlq replay: publishes the records again, under the ids that their purchases have.
    /// management dlq drop: discards them.
    ///
    /// All of them take places as `ls` prints them, --reason, --since and --until; each shows more with --help, and takes
    /// the settings of the service. They exit with 0, also when dead letters are listed; with 2 for wrong options or
    /// settings, and with 3 when a server is not reachable, or there is no log or no such dead letter.
    Dlq(DlqArguments),
}

#[derive(Debug, Conf)]
struct VerifyArguments {
    /// Seconds in which nothing more turns up before what was not found is missing
    #[conf(long, default_value = "10")]
    wait: u32,
    /// How many findings of each kind are named
    #[conf(long, default_value = "20")]
    named: usize,
    #[conf(flatten)]
    settings: Variables,
}

#[derive(Debug, Conf)]
#[conf(validation_predicate = requires_beginning)]
struct ReplayEventsArguments {
    /// Which role is to consume the events again: users or orders
    #[conf(pos, value_parser = read_consumer)]
    role: ProcessRole,
    /// From the start of the log; there is no other start
    #[conf(long)]
    from_beginning: bool,
    #[conf(flatten)]
    settings: Variables,
}

#[derive(Debug, Conf)]
struct DlqArguments {
    /// For its help: they are moved behind the action.
    #[conf(flatten)]
    _settings: Variables,
    #[conf(subcommands)]
    action: DlqSubcommand,
}

#[derive(Debug, Subcommands)]
enum DlqSubcommand {
    /// Lists dead letters, one line each: place, time, reason, the beginning of the value
    ///
    /// management dlq ls --reason conflict --since 2026-03-01
    ///
    /// What was replayed or dropped is not listed. The settings that follow its own options are those of the service.
    Ls(SelectionArguments),
    /// Shows dead letters whole: place, time, reason, key, headers and value, as text or else as base64
    ///
    /// management dlq show purchases-0-42
    ///
    /// The settings that follow its own options are those of the service.
    Show(SelectionArguments),
    /// Publishes the records of dead letters again, and keeps the dead letters no longer
    ///
    /// Key, headers and value are as they were. A purchase keeps its id, so a replay is safe at any time and however
    /// often: what is stored already is not stored twice. What still cannot be stored is a dead letter again.
    ///
    /// management dlq replay --dry-run
    /// management dlq replay purchases-0-42 purchases-3-7
    /// management dlq replay --reason refused --rate 100
    ///
    /// The settings that follow its own options are those of the service.
    Replay(ReplayArguments),
    /// Discards dead letters: they are not listed any more, and their records count as settled
    ///
    /// The embedded log deletes them. Kafka deletes no single record: a mark behind them says that they were dropped, and
    /// their bytes stay in the topic of the dead letters as long as that keeps them.
    ///
    /// management dlq drop --until 2026-03-01 --dry-run
    /// management dlq drop purchases-0-42
    /// management dlq drop --all
    ///
    /// The settings that follow its own options are those of the service.
    Drop(DropArguments),
}

#[derive(Debug, Conf)]
struct SelectionArguments {
    /// Topic of the records, such as user_created [default: that of the purchases]
    #[conf(long)]
    topic: Option<String>,
    #[conf(flatten)]
    selection: Selection,
    #[conf(flatten)]
    settings: Variables,
}

#[derive(Debug, Conf)]
struct ReplayArguments {
    /// Only list what would be replayed
    #[conf(long)]
    dry_run: bool,
    /// The most records that are replayed in a second [default: no limit]
    #[conf(long)]
    rate: Option<NonZeroU32>,
    #[conf(flatten)]
    which: SelectionArguments,
}

#[derive(Debug, Conf)]
#[conf(validation_predicate = requires_selection)]
struct DropArguments {
    /// Every dead letter that there is
    #[conf(long)]
    all: bool,
    /// Only list what would be dropped
    #[conf(long)]
    dry_run: bool,
    #[conf(flatten)]
    which: SelectionArguments,
}

impl Management {
    /// The command, if there is one, and the settings.
    pub(super) fn into_parts(self) -> (Option<Command>, Variables) {
        let (command, settings) = match self.command {
            None => return (None, self.settings),
            Some(Subcommand::Migrate(settings)) => (Command::Migrate, settings),
            Some(Subcommand::Verify(VerifyArguments { wait, named, settings })) => {
                (Command::Verify { wait: Duration::from_secs(wait.into()), named }, settings)
            }
            Some(Subcommand::Replay(arguments)) => (Command::Replay(arguments.role), arguments.settings),
            Some(Subcommand::Dlq(arguments)) => {
                let (SelectionArguments { topic, mut selection, settings }, action) =
                    arguments.action.into_parts();
                selection.places.sort();
                (Command::Dlq(DlqCommand { topic, selection, action }), settings)
            }
        };
        (Some(command), settings)
    }
}

impl DlqSubcommand {
    fn into_parts(self) -> (SelectionArguments, Action) {
        match self {
            Self::Ls(which) => (which, Action::List),
            Self::Show(which) => (which, Action::Show),
            Self::Replay(ReplayArguments { which, dry_run, rate }) => {
                (which, Action::Replay { dry_run, rate })
            }
            Self::Drop(DropArguments { which, dry_run, .. }) => (which, Action::Drop { dry_run }),
        }
    }
}

/// The settings that are given without a value; all others take the next argument, or what follows `=`.
const SWITCHES: [&str; 8] =
    ["--check-config", "--healthcheck", "--json", "--man", "--help", "-h", "--version", "-V"];

/// The words that begin a command.
const COMMANDS: [&str; 4] = ["migrate", "verify", "replay", "dlq"];

/// Moves settings that stand before a command behind it: a command parses the settings that follow it. Answers whether
/// there is a command.
pub(super) fn move_behind_command(arguments: &mut [OsString]) -> bool {
    let Some(given) = arguments.get_mut(1..) else { return false };
    let is_command = move_options_back(given);
    if let Some((command, given)) = given.split_first_mut()
        && is_command
        && command == "dlq"
    {
        move_options_back(given);
    }
    is_command
}

/// Moves options behind the word that they stand before. Answers whether there is one.
fn move_options_back(given: &mut [OsString]) -> bool {
    let text = |index: usize| given.get(index).map(|argument: &OsString| argument.to_string_lossy());
    let mut before = 0;
    while let Some(argument) = text(before).filter(|argument| argument.starts_with('-')) {
        // A misspelt option does not hide the command, by which the exit code is chosen.
        let is_command = text(before + 1).is_some_and(|next| COMMANDS.contains(&&*next));
        let takes_next = !SWITCHES.contains(&&*argument)
            && !argument.contains('=')
            && (!is_command || is_setting(&argument));
        before += 1 + usize::from(takes_next);
    }
    let is_command = before < given.len();
    if is_command {
        given.rotate_left(before);
    }
    is_command
}

fn is_setting(argument: &str) -> bool {
    let is_long = |long: &dyn Display| argument == format!("--{long}");
    Variables::program_options().any(|option| option.long_form().is_some_and(is_long))
}

fn read_consumer(text: &str) -> Result<ProcessRole, String> {
    let consumer = [ProcessRole::Users, ProcessRole::Orders].into_iter().find(|role| role.as_str() == text);
    consumer.ok_or_else(|| format!("{text:?} consumes no events: choose users or orders"))
}

fn requires_beginning(arguments: &ReplayEventsArguments) -> Result<(), &'static str> {
    let said = arguments.from_beginning;
    said.then_some(()).ok_or("management replay: say where to begin: --from-beginning")
}

/// A forgotten option must not drop everything.
fn requires_selection(arguments: &DropArguments) -> Result<(), &'static str> {
    let Selection { places, reason, since, until } = &arguments.which.selection;
    let narrowed = !places.is_empty() || reason.is_some() || since.is_some() || until.is_some();
    if narrowed == arguments.all {
        return Err(
            "management dlq drop: say which letters: places, --reason, --since or --until; or --all alone",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn moved(line: &str) -> (bool, String) {
        let mut arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let is_command = move_behind_command(&mut arguments);
        (is_command, arguments.join(OsStr::new(" ")).into_string().unwrap())
    }

    #[test]
    fn settings_may_stand_before_a_command() {
        for (line, expected) in [
            ("m verify --wait 1", "m verify --wait 1"),
            ("m --host x --port=1 --check-config dlq ls", "m dlq ls --host x --port=1 --check-config"),
            ("m --help verify", "m verify --help"),
            ("m --host x dlq --port 1 drop --all", "m dlq drop --all --host x --port 1"),
            ("m dlq --help", "m dlq --help"),
            ("m --kafka-topik verify", "m verify --kafka-topik"),
        ] {
            assert_eq!(moved(line), (true, expected.to_owned()));
        }
        for line in ["m", "m --host verify", "m --check-config", "m --host"] {
            assert_eq!(moved(line), (false, line.to_owned()));
        }
        let line = ["m", "--kafka-topic", "x", "dlq", "drop", "--all", "--topic", "y"].map(OsString::from);
        let mut arguments = line.to_vec();
        move_behind_command(&mut arguments);
        let parsed = Management::try_parse_from::<_, String, String>(arguments, []).unwrap();
        let (command, settings) = parsed.into_parts();
        assert_eq!(settings.kafka_topic, "x");
        let Some(Command::Dlq(DlqCommand { topic, action, .. })) = command else { panic!("{command:?}") };
        assert_eq!((topic.as_deref(), action), (Some("y"), Action::Drop { dry_run: false }));
    }

    #[test]
    fn every_setting_but_the_switches_takes_a_value() {
        for option in Variables::program_options() {
            let Some(long) = option.long_form() else { continue };
            let flag = format!("--{long}");
            let parsed = Variables::try_parse_from::<_, String, String>(["m".to_owned(), flag.clone()], []);
            assert_eq!(parsed.is_ok(), SWITCHES.contains(&flag.as_str()), "{flag}");
        }
    }
}
