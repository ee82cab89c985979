//! The arguments of management: a command, if there is one, with the settings that it shares with the service.

use std::ffi::OsString;
use std::fmt::Display;
use std::num::NonZeroU32;
use std::time::Duration;

use conf::introspection::ProgramOptionMeta as _;
use conf::{Conf, Subcommands};
use shop_core::log::{RecordPosition, Resolution, ResolveOptions};

use super::command::{Action, Command, DlqCommand, Selection};
use super::erase_arguments::EraseArguments;
use super::file_arguments::{FolderArguments, GroupsArguments};
use super::transfer_arguments::{ExportArguments, ImportArguments};
use super::variables::Variables;
use crate::roles::ProcessRole;

/// Purchase tracking: consumes purchases from the log, stores them and lists them. With nothing set, everything is kept
/// in ./shop-data and served on this machine.
///
/// Every setting is an environment variable or a flag; an empty variable counts as unset. For every secret X,
/// X_FILE names a file to read it from. The names of the replaced systems are accepted too; two names of one setting
/// with different values are rejected, and so are misspelled names.
///
/// The service, --check-config and --healthcheck exit with 0, or with 1 when something is wrong. Each command takes the
/// same settings, and shows more with --help (management dlq --help). A command exits with 0, 1 for a finding, 2 for
/// wrong options or settings, 3 when a server is unavailable or the log or store does not exist.
#[derive(Debug, Conf)]
#[conf(test)]
pub(super) struct Management {
    #[conf(flatten)]
    settings: Variables,
    #[conf(subcommands)]
    command: Option<Subcommand>,
}

#[derive(Debug, Subcommands)]
enum Subcommand {
    /// Converts documents of the replaced systems in MongoDB to the current form, in place; or log.db and store.db of an
    /// earlier version to one file
    ///
    /// Documents are converted beside services; it can be stopped and restarted. Files are converted while no service runs
    /// on the folder; the old ones stay, as log.db.old and store.db.old. Exits with 0, 2 for wrong options or settings or
    /// nothing to convert, 3 when MongoDB or a file is unavailable.
    Migrate(Variables),
    /// Verifies the store against the log: finds missing, mismatched and duplicate purchases
    ///
    /// Prints `missing 0, twice 0, dead-lettered n` and exits with 0 when the store is clean. Otherwise it names the
    /// purchases that are missing, stored with other content than the log's, or duplicated, and exits with 1. It
    /// changes nothing and runs beside a service: it waits for records in flight. Dead-lettered records are not
    /// missing, nor are those that were replayed or dropped. Conflicts are counted separately. If retention has deleted
    /// the first records, it prints the first offset. It exits with 2 for wrong options or settings, and with 3 when a
    /// server is unavailable, there is no log or store, or the log has no records.
    ///
    /// management verify
    /// management verify --wait 60 --named 1000
    ///
    /// It takes the settings of the service: give the same values.
    Verify(VerifyArguments),
    /// Finds what cannot be read: documents or rows that are not purchases, and damaged files
    ///
    /// Prints one line each, the id and the reason, and exits with 1 when there are any. It reads the whole store, and
    /// every page of the embedded log's and store's files. It changes nothing and runs beside a service. It exits with
    /// 2 for wrong options or settings, and with 3 when a server is unavailable or there is no store.
    ///
    /// management doctor
    /// management doctor --json
    ///
    /// It takes the settings of the service: give the same values.
    Doctor(Variables),
    /// Replays events into users or orders, from the start of the log
    ///
    /// It rebuilds the orders that users have, or the users that orders have, in a new database or in the existing one.
    /// It can be stopped and restarted, and runs beside a service: known events are skipped. It commits no offsets. It
    /// exits with 0, 2 for wrong options or settings, 3 when a server is unavailable or the topic does not exist.
    ///
    /// management replay users --from-beginning    order_created into users
    /// management replay orders --from-beginning   user_created into orders
    ///
    /// It takes the settings of the service: give the same values.
    Replay(ReplayEventsArguments),
    /// Lists, shows, replays and drops dead-lettered records, and parks a record that the store does not accept
    ///
    /// management dlq ls: one line each: position, time, reason, the beginning of the value.
    /// management dlq show: the whole record: key, headers, value.
    /// management dlq replay: publishes the records again, with the ids of their purchases.
    /// management dlq drop: discards them.
    /// management dlq park: dead-letters a stuck record, and ingest continues after it.
    ///
    /// Dead-lettered records are those that could not be stored, in their original form. All commands take positions as
    /// `ls` prints them and the settings of the service; all but `park` take --reason, --since and --until.
    /// They exit with 0, also when records are listed; with 2 for wrong options or settings, and with 3 when a server
    /// is unavailable, or there is no log or no such record.
    Dlq(DlqArguments),
    /// Lists, resets and forgets the consumer groups of the embedded log
    ///
    /// Kafka has its own tool: kafka-consumer-groups.sh. Exits with 0, 2 for wrong options or settings, 3 when there is no
    /// log or no such group, or the group has an active consumer.
    Groups(GroupsArguments),
    /// Copies the embedded log and stores into a folder, as of one moment, beside running services
    ///
    /// Everything that was acknowledged before it began is in the copy. The folder must not have a backup yet. Exits
    /// with 0, 2 for wrong options or settings, 3 when a folder cannot be used or a file is damaged.
    ///
    /// management backup /backup/2026-03-01
    ///
    /// It takes the settings of the service.
    Backup(FolderArguments),
    /// Copies a backup into SHOP_DATA_DIR, which must not have a log or a store
    ///
    /// Start the services afterwards; `verify` checks the result. Exits as `backup` does.
    ///
    /// SHOP_DATA_DIR=./restored management restore /backup/2026-03-01
    ///
    /// It takes the settings of the service.
    Restore(FolderArguments),
    /// Erases a user: purchases, e-mail address and name, in the stores, the logs and the dead letters
    ///
    /// management erase user: the user of an id, and its purchases.
    ///
    /// It exits with 0, 2 for wrong options or settings, and with 3 when a server is unavailable, or there is no log or
    /// store.
    Erase(EraseArguments),
    /// Publishes the purchases of a file to the log, each once, however often it is run
    ///
    /// A line of NDJSON is a JSON object, a row of CSV has the columns that its header names: username, userid, price, and
    /// optionally timestamp, id and key. An id stays the purchase's id, as `export` writes it, and a key makes the id as in
    /// the HTTP API. A purchase without either gets an id from its line number and its content: do not insert lines
    /// before it between two runs. Stored purchases are not stored again.
    ///
    /// Each line is checked: one that is not valid is reported with its number, and the others are imported. It can be
    /// stopped and run again, from the beginning or with --from-line, and runs beside services. It needs a log that a
    /// service has created.
    ///
    /// management import purchases.ndjson
    /// zcat purchases.csv.gz | management import - --format csv
    ///
    /// It exits with 0, 1 when lines were rejected, 2 for wrong options or settings or a wrong header, 3 when a server is
    /// unavailable or there is no file or log. It takes the settings of the service.
    Import(ImportArguments),
    /// Writes the stored purchases to standard output, as `import` reads them
    ///
    /// It reads what is stored: purchases that are still in the log are not exported. Ids, prices with their scale, and
    /// times are written exactly.
    ///
    /// management export > purchases.ndjson
    /// management export --userid u1 --format csv
    ///
    /// It exits with 0, 1 when entries of the store cannot be read (management doctor names them), 2 for wrong options or
    /// settings, 3 when a server is unavailable or there is no store. It takes the settings of the service.
    Export(ExportArguments),
}

#[derive(Debug, Conf)]
struct VerifyArguments {
    /// Seconds without a new purchase after which a purchase that was not found is missing
    #[conf(long, default_value = "10")]
    wait: u32,
    /// Maximum number of findings of each kind that are named
    #[conf(long, default_value = "20")]
    named: usize,
    #[conf(flatten)]
    settings: Variables,
}

#[derive(Debug, Conf)]
#[conf(validation_predicate = requires_beginning)]
struct ReplayEventsArguments {
    /// Role that consumes the events again: users or orders
    #[conf(pos, value_parser = read_consumer)]
    role: ProcessRole,
    /// From the first record of the log; required
    #[conf(long)]
    from_beginning: bool,
    #[conf(flatten)]
    settings: Variables,
}

#[derive(Debug, Conf)]
struct DlqArguments {
    /// For the help: [`move_behind_command`] moves them behind the action.
    #[conf(flatten)]
    _settings: Variables,
    #[conf(subcommands)]
    action: DlqSubcommand,
}

#[derive(Debug, Subcommands)]
enum DlqSubcommand {
    /// Lists dead-lettered records, one line each: position, time, reason, the beginning of the value
    ///
    /// management dlq ls --reason conflict --since 2026-03-01
    ///
    /// Records that were replayed or dropped are not listed. It takes the settings of the service.
    Ls(SelectionArguments),
    /// Shows whole dead-lettered records: position, time, reason, key, headers and value, as text or as base64
    ///
    /// management dlq show purchases-0-42
    ///
    /// It takes the settings of the service.
    Show(SelectionArguments),
    /// Publishes dead-lettered records again, and resolves them
    ///
    /// Key, headers and value are unchanged. A purchase keeps its id, so a replay is safe at any time and any number of
    /// times: a stored purchase is not duplicated. A record that still cannot be stored is dead-lettered again.
    ///
    /// management dlq replay --dry-run
    /// management dlq replay purchases-0-42 purchases-3-7
    /// management dlq replay --reason refused --rate 100
    ///
    /// It takes the settings of the service.
    Replay(ReplayArguments),
    /// Discards dead-lettered records: they are not listed any more, and count as resolved
    ///
    /// The embedded log deletes them. Kafka deletes no single record: a marker says that they were dropped, and their
    /// bytes stay in the dead-letter topic until its retention ends.
    ///
    /// management dlq drop --until 2026-03-01 --dry-run
    /// management dlq drop purchases-0-42
    /// management dlq drop --all
    ///
    /// It takes the settings of the service.
    Drop(DropArguments),
    /// Dead-letters records that the store does not accept, with the reason `parked`
    ///
    /// A record is stuck when the store keeps failing over it although it accepts others: /health and the log of ingest
    /// name its position. Ingest looks for it among the dead letters before it retries, and continues after it, without
    /// a restart. `replay` publishes it again. A record that is not stuck is stored nevertheless.
    ///
    /// management dlq park purchases-0-42 --note "rejected by the validator of the collection"
    ///
    /// It takes the settings of the service.
    Park(ParkArguments),
}

#[derive(Debug, Conf)]
#[conf(validation_predicate = requires_position)]
struct ParkArguments {
    /// Positions of the records, topic-partition-offset
    #[conf(repeat, pos)]
    places: Vec<RecordPosition>,
    /// Why, for the readers of the dead letter
    #[conf(long, default_value = "parked by an operator")]
    note: String,
    /// Topic of the records, such as user_created [default: the topic of purchases]
    #[conf(long)]
    topic: Option<String>,
    #[conf(flatten)]
    settings: Variables,
}

#[derive(Debug, Conf)]
struct SelectionArguments {
    /// Topic of the records, such as user_created [default: the topic of purchases]
    #[conf(long)]
    topic: Option<String>,
    #[conf(flatten)]
    selection: Selection,
    #[conf(flatten)]
    settings: Variables,
}

#[derive(Debug, Conf)]
struct ReplayArguments {
    /// Only list the records that would be replayed
    #[conf(long)]
    dry_run: bool,
    /// Maximum records per second [default: no limit]
    #[conf(long)]
    rate: Option<NonZeroU32>,
    #[conf(flatten)]
    which: SelectionArguments,
}

#[derive(Debug, Conf)]
#[conf(validation_predicate = requires_selection)]
struct DropArguments {
    /// All dead-lettered records of the topic
    #[conf(long)]
    all: bool,
    /// Only list the records that would be dropped
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
            Some(Subcommand::Doctor(settings)) => (Command::Doctor, settings),
            Some(Subcommand::Groups(arguments)) => arguments.into_parts(),
            Some(Subcommand::Backup(arguments)) => arguments.into_parts(Command::Backup),
            Some(Subcommand::Restore(arguments)) => arguments.into_parts(Command::Restore),
            Some(Subcommand::Erase(arguments)) => arguments.into_parts(),
            Some(Subcommand::Import(arguments)) => arguments.into_parts(),
            Some(Subcommand::Export(arguments)) => arguments.into_parts(),
            Some(Subcommand::Replay(arguments)) => (Command::Replay(arguments.role), arguments.settings),
            Some(Subcommand::Dlq(arguments)) => {
                let (SelectionArguments { topic, selection, settings }, action) =
                    arguments.action.into_parts();
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
                let options = ResolveOptions::new(Resolution::Replayed).dry_run(dry_run).rate(rate);
                (which, Action::Resolve(options))
            }
            Self::Drop(DropArguments { which, dry_run, .. }) => {
                (which, Action::Resolve(ResolveOptions::new(Resolution::Dropped).dry_run(dry_run)))
            }
            Self::Park(ParkArguments { places, note, topic, settings }) => {
                let selection = Selection { places, reason: None, since: None, until: None };
                (SelectionArguments { topic, selection, settings }, Action::Park { note })
            }
        }
    }
}

/// The flags without a value. All others take the next argument, or the text after `=`.
const SWITCHES: [&str; 8] =
    ["--check-config", "--healthcheck", "--json", "--man", "--help", "-h", "--version", "-V"];

/// The names of the commands.
const COMMANDS: [&str; 11] = [
    "migrate", "verify", "doctor", "replay", "dlq", "groups", "backup", "restore", "erase", "import",
    "export",
];

/// Moves settings before a command behind it: a command parses the settings that follow it. Returns whether there is a
/// command.
pub(super) fn move_behind_command(arguments: &mut [OsString]) -> bool {
    let Some(given) = arguments.get_mut(1..) else { return false };
    let is_command = move_options_back(given);
    if let Some((command, given)) = given.split_first_mut()
        && is_command
        && (command == "dlq" || command == "groups" || command == "erase")
    {
        move_options_back(given);
    }
    is_command
}

/// Moves options behind the first word that is not an option. Returns whether there is one.
fn move_options_back(given: &mut [OsString]) -> bool {
    let text = |index: usize| given.get(index).map(|argument: &OsString| argument.to_string_lossy());
    let mut before = 0;
    while let Some(argument) = text(before).filter(|argument| argument.starts_with('-')) {
        // A misspelled option must not hide the command: the exit code depends on it.
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
    let is_given = arguments.from_beginning;
    is_given.then_some(()).ok_or("management replay: --from-beginning is required")
}

/// Without a selection, `--all` is required: a forgotten option must not drop all records.
fn requires_selection(arguments: &DropArguments) -> Result<(), &'static str> {
    let Selection { places, reason, since, until } = &arguments.which.selection;
    let narrowed = !places.is_empty() || reason.is_some() || since.is_some() || until.is_some();
    if narrowed == arguments.all {
        return Err(
            "management dlq drop: select records by positions, --reason, --since or --until, or --all alone",
        );
    }
    Ok(())
}

fn requires_position(arguments: &ParkArguments) -> Result<(), &'static str> {
    let is_given = !arguments.places.is_empty();
    is_given
        .then_some(())
        .ok_or("management dlq park: name the positions of the records, such as purchases-0-42")
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
    fn settings_before_a_command_are_moved_behind_it() {
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
        assert_eq!(
            (topic.as_deref(), action),
            (Some("y"), Action::Resolve(ResolveOptions::new(Resolution::Dropped)))
        );
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
