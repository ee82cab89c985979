//! The commands of management, as clap parses them.
//!
//! The doc comments of the commands and of their arguments are the texts of the help. The settings
//! are parsed beside the commands: see `command_line`.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use shop_api::files::{
    ColumnNames, CurrencySign, Delimiter, FileZone, Preset, RowFilter, RowFormat, TextEncoding,
    ThousandsSeparator, TimePattern, ZoneAbbreviations,
};
use shop_core::domain::RefundReason;
use shop_core::log::{DeadLetterFilter, ReasonKind, RecordPosition};
use shop_core::{Invalid, Price, PurchaseId, Timestamp, UserId};

use super::roles::ProcessRole;
#[cfg(feature = "compat")]
use crate::backend::ReplacedSystem;

// A command of management. A doc comment would replace the description of the program in its help.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows whether every part is reachable, how far each log is consumed, and what needs an operator
    ///
    /// Per partition: the committed offset, the end, the lag and the age of the oldest unread record. Then pending dead
    /// letters by reason, lost records, a stuck record, and the embedded files. It checks the log and the stores as
    /// --check-config does, changes nothing, and takes a few seconds. Services may run meanwhile, but need not. A stuck
    /// record is known only to the service with these settings on this machine.
    ///
    /// It exits with 0 when nothing needs an operator, 1 when records were lost, are stuck, or have been unread for half
    /// of the retention, or the service reports that it is degraded; 2 for wrong options or settings, and 3 when a part
    /// is unavailable or does not exist.
    ///
    /// management status
    /// management status --json
    ///
    /// It takes the settings of the service: give the same values.
    #[command(verbatim_doc_comment)]
    Status,
    /// Converts documents of the replaced systems in MongoDB
    ///
    /// They are converted in place, and services may run meanwhile. The command can be stopped and run again. Exits with
    /// 0, 2 for wrong options or settings, 3 when MongoDB is unavailable.
    #[cfg(feature = "compat")]
    #[command(verbatim_doc_comment)]
    Migrate,
    /// Replaces the programs of an earlier system, step by step, and returns to them
    ///
    /// It prints each step, waits until the step has taken effect, and continues: the old topic and its group, the
    /// group's members, the documents. Then it migrates and verifies. It keeps no state: if it is stopped and run again,
    /// it continues. Use the settings of the new services, with the old collection. If the new topic differs from the old
    /// one (--old-topic, --old-group), no buy fails. On the same topic and group, the new consumer waits until the old
    /// one has left.
    ///
    /// management replace --system 003 --dry-run
    /// management replace --system 003 --old-topic purchases --old-group purchase-consumer-group
    /// management replace --system 003 --back
    /// SHOP_ROLES=users SHOP_ADOPT_TABLES=on management replace --system 002
    ///
    /// --dry-run counts by kind what would not be listed, prints the steps, and changes nothing. --back converts the
    /// documents for the old programs. 002 is replaced service by service, in any order, each with its own settings. Its
    /// tables and topics stay, and its rows are counted before and after.
    ///
    /// It exits with 0, 1 when the verification has findings or rows are missing, 2 for wrong options or settings, and with
    /// 3 when a server is unavailable or there is no topic, collection or table.
    #[cfg(feature = "compat")]
    #[command(verbatim_doc_comment)]
    Replace(Replace),
    /// Verifies the store against the log: finds missing, mismatched and duplicate purchases
    ///
    /// Prints `missing 0, twice 0, dead-lettered n` and exits with 0 when the store is clean. Otherwise it names the
    /// purchases that are missing, stored with other content than in the log, or duplicated, and exits with 1. It changes
    /// nothing, and a service may run meanwhile: it waits for records in flight. Dead-lettered records are not missing,
    /// nor are those that were replayed or dropped. Conflicts are counted separately. If retention has deleted the first
    /// records, it prints the first offset. It exits with 2 for wrong options or settings, and with 3 when a server is
    /// unavailable, there is no log or store, or the log has no records.
    ///
    /// management verify
    /// management verify --wait 60 --named 1000
    ///
    /// It takes the settings of the service: give the same values.
    #[command(verbatim_doc_comment)]
    Verify {
        /// Seconds without a new purchase after which a purchase that was not found is missing
        #[arg(long, default_value_t = 10)]
        wait: u32,
        /// Maximum number of findings of each kind that are named
        #[arg(long, default_value_t = 20)]
        named: usize,
    },
    /// Finds documents or rows that are not purchases, and damaged files
    ///
    /// Prints one line each, the id and the reason, and exits with 1 when there are any. It reads the whole store, and
    /// every page of the embedded log's and store's files. It changes nothing, and a service may run meanwhile. It exits
    /// with 2 for wrong options or settings, and with 3 when a server is unavailable or there is no store.
    ///
    /// management doctor
    /// management doctor --json
    ///
    /// It takes the settings of the service: give the same values.
    #[command(verbatim_doc_comment)]
    Doctor,
    /// Replays events into users or orders, from the start of the log
    ///
    /// It rebuilds the orders that users have, or the users that orders have, in a new database or in the existing one.
    /// It can be stopped and run again, and a service may run meanwhile: known events are skipped. It commits no offsets.
    /// It exits with 0, 2 for wrong options or settings, 3 when a server is unavailable or the topic does not exist.
    ///
    /// management replay users --from-beginning    order_created into users
    /// management replay orders --from-beginning   user_created into orders
    ///
    /// It takes the settings of the service: give the same values.
    #[command(verbatim_doc_comment)]
    Replay {
        /// Role that consumes the events again: users or orders
        role: ProcessRole,
        /// From the first record of the log; required
        #[arg(long, required = true)]
        from_beginning: bool,
    },
    /// Lists, shows, replays and drops dead-lettered records, and parks a record that the store does not accept
    ///
    /// Dead-lettered records are those that could not be stored, in their original form. All commands take positions as
    /// `ls` prints them and the settings of the service; all but `park` take --reason, --since and --until.
    /// They exit with 0, also when records are listed; with 2 for wrong options or settings, and with 3 when a server
    /// is unavailable, or there is no log or no such record.
    ///
    /// management dlq ls: one line each: position, time, reason, the beginning of the value.
    /// management dlq show: the whole record: key, headers, value.
    /// management dlq replay: publishes the records again, with the ids of their purchases.
    /// management dlq drop: discards them.
    /// management dlq park: dead-letters a stuck record, and ingest continues after it.
    #[command(verbatim_doc_comment)]
    Dlq(OfTopic<DlqAction>),
    /// Lists, resets and forgets the consumer groups of the embedded log
    ///
    /// Kafka has its own tool: kafka-consumer-groups.sh. Exits with 0, 2 for wrong options or settings, 3 when there is
    /// no log or no such group, or the group has an active consumer.
    #[command(verbatim_doc_comment)]
    Groups(OfTopic<GroupsAction>),
    /// Copies the embedded log and stores into a folder
    ///
    /// Services may run meanwhile: it is a copy of one moment, with everything that was acknowledged before the command
    /// began. The folder must not contain a backup yet. Exits with 0, 2 for wrong options or settings, 3 when a folder
    /// cannot be used or a file is damaged.
    ///
    /// management backup /backup/2026-03-01
    /// management backup - | gzip > shop.tar.gz
    ///
    /// With -, the copy is a tar archive on standard output; it needs as much free space in SHOP_DATA_DIR meanwhile. What
    /// is on servers is not in a backup: the output names it.
    ///
    /// It takes the settings of the service.
    #[command(verbatim_doc_comment)]
    Backup {
        /// Folder of the backup; - for standard output
        folder: PathBuf,
    },
    /// Copies a backup into SHOP_DATA_DIR
    ///
    /// The folder must not contain a log or a store. Start the services afterwards; `verify` checks the result. Exits as
    /// `backup` does.
    ///
    /// SHOP_DATA_DIR=./restored management restore /backup/2026-03-01
    /// zcat shop.tar.gz | SHOP_DATA_DIR=./restored management restore -
    ///
    /// It takes the settings of the service.
    #[command(verbatim_doc_comment)]
    Restore {
        /// Folder of the backup; - for an archive on standard input
        folder: PathBuf,
    },
    /// Erases a user: purchases, e-mail address and name, in the stores, the logs and the dead letters
    ///
    /// management erase user: the user of an id, and its purchases.
    ///
    /// It exits with 0, 2 for wrong options or settings, and with 3 when a server is unavailable, or there is no log or
    /// store.
    #[command(verbatim_doc_comment, subcommand)]
    Erase(EraseCommand),
    /// Refunds a purchase, once
    ///
    /// The refund is a further entry with a negative price. It is published to the log, from which a service stores it.
    /// A repetition prints the same refund.
    ///
    /// management refund 0190163d-8694-739b-aea5-966c26f8ad91 --amount 9.99 --reason broken
    ///
    /// It exits with 0, 1 when the purchase was refunded with another amount or reason, 2 for wrong options or settings or
    /// an unknown purchase, 3 when a server is unavailable or there is no log or store. It takes the settings of the
    /// service.
    #[command(verbatim_doc_comment)]
    Refund(Refund),
    /// Imports the purchases and the refunds of a file, each once
    ///
    /// A line of NDJSON is a JSON object, a row of CSV has the columns that its first line names: username, userid, price,
    /// and optionally timestamp, item, quantity, currency, reference, refunded, of, reason, more, id and key. It reads what `export`
    /// writes, in any order of the rows, and files of other systems:
    ///
    /// management import purchases.ndjson
    /// zcat purchases.csv.gz | management import - --format csv
    /// management import orders_export.csv --preset shopify-orders
    /// management import orders.csv --dry-run --columns 'userid=Customer ID,username=Name,price=Total' \
    ///   --encoding windows-1252 --decimal-comma --time-zone Europe/Berlin
    ///
    /// An id stays the purchase's id, as `export` writes it, and a key makes the id as in the HTTP API. A row without
    /// either is identified by its values and by how often the file contains them: a file that was corrected, reordered
    /// or saved by a spreadsheet can be imported again, and only what is new is. The same row in another file, without an
    /// id, a key and a time, is the same purchase, and is counted as repeated.
    ///
    /// A file that was imported before with other options is refused, because its rows may have another meaning and would
    /// be stored a second time; --again imports it nevertheless.
    ///
    /// Each row is checked: one that is not valid is reported with its line, and the others are imported. The command
    /// waits until the rows are stored, and counts each as imported, repeated, rejected or conflicting: its id or key
    /// belongs to another purchase. It can be stopped and run again, from the beginning or with --from-line, and services
    /// may run meanwhile. It needs a log that a service has created, and on Kafka a service that runs ingest.
    ///
    /// It exits with 0, 1 when rows were rejected or conflict, 2 for wrong options or settings, another file or other
    /// options than before, 3 when a server is unavailable or there is no file or log. It takes the settings of the service.
    #[command(verbatim_doc_comment)]
    Import(ImportFile),
    /// Writes the stored purchases to standard output
    ///
    /// In the format that `import` reads. It reads what is stored: purchases that are still in the log are not
    /// exported. Ids, prices with their scale, and times are written exactly.
    ///
    /// management export > purchases.ndjson
    /// management export --userid u1 --format csv
    ///
    /// It exits with 0, 1 when entries of the store cannot be read (management doctor names them), 2 for wrong options
    /// or settings, 3 when a server is unavailable or there is no store. It takes the settings of the service.
    #[command(verbatim_doc_comment)]
    Export {
        /// Only purchases of this user id, oldest first [default: all, in the order of the store]
        #[arg(long = "userid")]
        user: Option<UserId>,
        /// ndjson or csv
        #[arg(long, default_value = "ndjson")]
        format: RowFormat,
    },
}

impl Command {
    /// Returns whether the command needs the right to write to the store. A refund is written to the log.
    pub(crate) const fn writes(&self) -> bool {
        !matches!(
            self,
            Self::Verify { .. } | Self::Doctor | Self::Export { .. } | Self::Refund(_)
        )
    }

    /// Returns whether the command reads, writes or copies amounts. Such a command is refused if the
    /// settings name another currency than the store.
    ///
    /// The match names every command, so that each new command has to decide.
    pub(crate) const fn depends_on_currency(&self) -> bool {
        match self {
            // The status reports another currency as a fault of the store.
            Self::Status => false,
            // Groups have only positions. A restore writes a store where none exists yet.
            Self::Groups(_) | Self::Restore { .. } => false,
            #[cfg(feature = "compat")]
            Self::Migrate | Self::Replace(_) => true,
            Self::Import(_)
            | Self::Verify { .. }
            | Self::Doctor
            | Self::Replay { .. }
            | Self::Dlq(_)
            | Self::Erase(_)
            | Self::Refund(_)
            | Self::Export { .. }
            | Self::Backup { .. } => true,
        }
    }
}

/// The arguments of the replacement of a system.
#[cfg(feature = "compat")]
#[derive(Debug, Args)]
pub(crate) struct Replace {
    /// The system that is replaced: 000, 001, 002, 003 or 004
    #[arg(long)]
    pub(crate) system: ReplacedSystem,
    /// Only print what would be replaced, and the steps
    #[arg(long, conflicts_with = "back")]
    pub(crate) dry_run: bool,
    /// Return to the old programs
    #[arg(long)]
    pub(crate) back: bool,
    /// Topic of the old programs [default: the topic of purchases]
    #[arg(long, value_name = "TOPIC")]
    pub(crate) old_topic: Option<String>,
    /// Group of the old consumer [default: the group of purchases]
    #[arg(long, value_name = "GROUP")]
    pub(crate) old_group: Option<String>,
    /// Seconds for which an effect must last: some old consumers commit only every five seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) settle: u32,
}

/// The arguments of a refund.
#[derive(Debug, Args)]
pub(crate) struct Refund {
    /// Id of the purchase
    pub(crate) purchase: PurchaseId,
    /// Amount that is paid back [default: the price]
    #[arg(long)]
    pub(crate) amount: Option<Price>,
    /// Reason of the refund
    #[arg(long)]
    pub(crate) reason: Option<RefundReason>,
}

/// A file to import, and its format.
#[derive(Debug, Args)]
pub(crate) struct ImportFile {
    /// File with one purchase per line or row; - for standard input
    pub(crate) file: PathBuf,
    /// ndjson or csv [default: csv for a file *.csv, else ndjson]
    #[arg(long)]
    pub(crate) format: Option<RowFormat>,
    /// The first line to import. A stopped import prints where to continue
    #[arg(long, default_value_t = 1)]
    pub(crate) from_line: u64,
    /// Shows the columns and the first five rows as purchases, and imports nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Imports the file although it was imported before with other options
    #[arg(long)]
    pub(crate) again: bool,
    /// Layout of another system: shopify-orders, stripe-payments, woocommerce, paypal or square. Other options override it
    #[arg(long)]
    pub(crate) preset: Option<Preset>,
    /// Names of the columns of CSV, such as 'userid=Customer ID,price=Total'. Other columns are not read
    #[arg(long, value_name = "MEMBER=COLUMN,...")]
    pub(crate) columns: Option<ColumnNames>,
    /// Lines of CSV before the line that names the columns [default: 0]
    #[arg(long, value_name = "LINES")]
    pub(crate) skip_lines: Option<u64>,
    /// Rows of CSV to import, such as 'Status=Completed|Refunded' [default: all]
    #[arg(long, value_name = "COLUMN=VALUE|...")]
    pub(crate) only: Option<RowFilter>,
    /// Separator of the columns of CSV: one of , ; | and tab [default: the one in the first line]
    #[arg(long)]
    pub(crate) delimiter: Option<Delimiter>,
    /// Encoding of the file, such as windows-1252 or utf-16le [default: utf-8; a byte order mark decides]
    #[arg(long)]
    pub(crate) encoding: Option<TextEncoding>,
    /// The decimals of prices follow a comma, as in 12,50
    #[arg(long)]
    pub(crate) decimal_comma: bool,
    /// Separator of the thousands in prices: one of , . ' and space [default: none]
    #[arg(long)]
    pub(crate) thousands: Option<ThousandsSeparator>,
    /// Sign before or after prices, such as $ or EUR [default: none]
    #[arg(long, value_name = "SIGN")]
    pub(crate) currency_sign: Option<CurrencySign>,
    /// How times are written, such as '%d.%m.%Y %H:%M' (strptime) [default: 2024-01-15T23:30:00, also with an offset]
    #[arg(long, value_name = "PATTERN")]
    pub(crate) time_pattern: Option<TimePattern>,
    /// Abbreviations of zones at the end of times, such as PST=-08:00,PDT=-07:00
    #[arg(long, value_name = "NAME=OFFSET,...")]
    pub(crate) zone_abbreviations: Option<ZoneAbbreviations>,
    /// Zone of times without an offset, such as Europe/Berlin [default: they are rejected]
    #[arg(long, value_name = "ZONE")]
    pub(crate) time_zone: Option<FileZone>,
}

/// An action on the log of a topic, with the topic.
#[derive(Debug, Args)]
pub(crate) struct OfTopic<A: Subcommand> {
    /// Topic, such as user_created [default: the topic of purchases]
    #[arg(long, global = true)]
    pub(crate) topic: Option<String>,
    #[command(subcommand)]
    pub(crate) action: A,
}

/// An action on dead-lettered records.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqAction {
    /// Lists dead letters: position, time, reason, the beginning of the value
    ///
    /// management dlq ls --reason conflict --since 2026-03-01
    ///
    /// Records that were replayed or dropped are not listed. It takes the settings of the service.
    #[command(verbatim_doc_comment)]
    Ls(Selection),
    /// Shows dead letters with key, headers and value
    ///
    /// Content that is not text is shown as base64.
    ///
    /// management dlq show purchases-0-42
    ///
    /// It takes the settings of the service.
    #[command(verbatim_doc_comment)]
    Show(Selection),
    /// Publishes dead letters again
    ///
    /// Key, headers and value are unchanged. A purchase keeps its id, so a replay is safe at any time and any number of
    /// times: a stored purchase is not duplicated. A record that still cannot be stored is dead-lettered again.
    ///
    /// management dlq replay --dry-run
    /// management dlq replay purchases-0-42 purchases-3-7
    /// management dlq replay --reason refused --rate 100
    ///
    /// It takes the settings of the service.
    #[command(verbatim_doc_comment)]
    Replay {
        /// Only list the records that would be replayed
        #[arg(long)]
        dry_run: bool,
        /// Maximum records per second [default: no limit]
        #[arg(long)]
        rate: Option<NonZeroU32>,
        /// Replay all dead letters, as without a selection
        #[arg(long, conflicts_with_all = CRITERIA)]
        all: bool,
        #[command(flatten)]
        selection: Selection,
    },
    /// Discards dead letters
    ///
    /// They are not listed any more, and count as resolved. The embedded log deletes them. Kafka deletes no single
    /// record: a marker says that they were dropped, and their bytes stay in the dead-letter topic until its retention
    /// ends.
    ///
    /// management dlq drop --until 2026-03-01 --dry-run
    /// management dlq drop purchases-0-42
    /// management dlq drop --all
    ///
    /// It takes the settings of the service.
    #[command(verbatim_doc_comment)]
    Drop {
        /// Only list the records that would be dropped
        #[arg(long)]
        dry_run: bool,
        /// Drop all dead letters, which requires this option instead of a selection
        #[arg(long, required_unless_present_any = CRITERIA, conflicts_with_all = CRITERIA)]
        all: bool,
        #[command(flatten)]
        selection: Selection,
    },
    /// Dead-letters records that the store does not accept
    ///
    /// Their reason is `parked`. A record is stuck when the store keeps failing over it although it accepts others:
    /// /health and the log of ingest name its position. Ingest looks for it among the dead letters before it retries,
    /// and continues after it, without a restart. `replay` publishes it again. A record that is not stuck is stored
    /// nevertheless.
    ///
    /// management dlq park purchases-0-42 --note "rejected by the validator of the collection"
    ///
    /// It takes the settings of the service.
    #[command(verbatim_doc_comment)]
    Park {
        /// Positions of the records, topic-partition-offset
        #[arg(required = true)]
        positions: Vec<RecordPosition>,
        /// Note in the dead letter, such as why it was parked
        #[arg(long, default_value = "parked by an operator")]
        note: String,
    },
}

/// The ids of the arguments of [`Selection`].
const CRITERIA: [&str; 4] = ["positions", "reason", "since", "until"];

/// Selects the dead-lettered records that match all criteria.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Positions of records, topic-partition-offset as `ls` prints them [default: all]
    positions: Vec<RecordPosition>,
    /// Only records with this reason: undecodable, conflict, refused, parked or gap
    #[arg(long)]
    reason: Option<ReasonKind>,
    /// Only records with this timestamp or a later one: 2026-03-01 or 2026-03-01T09:00:00Z
    #[arg(long, value_parser = read_time)]
    since: Option<Timestamp>,
    /// Only records with an earlier timestamp
    #[arg(long, value_parser = read_time)]
    until: Option<Timestamp>,
}

impl Selection {
    /// Returns the filter of dead letters with these criteria.
    pub(crate) fn filter(&self) -> DeadLetterFilter {
        DeadLetterFilter::default()
            .reason(self.reason)
            .since(self.since)
            .until(self.until)
            .positions(self.positions.iter().cloned().collect())
    }
}

/// An action on consumer groups.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupsAction {
    /// Lists the groups of the embedded log
    ///
    /// A line has the name, the next offset and the number of records behind the end. The last line has the size of the
    /// log and its oldest record. It takes the settings of the service.
    #[command(verbatim_doc_comment)]
    Ls,
    /// Deletes the position of an unused group
    ///
    /// The log keeps every record that a group has not consumed. After this, the services delete the records that the
    /// other groups have consumed and that are older than SHOP_LOG_RETENTION. A consumer of the group would start again
    /// at the first record. It fails while the group has an active consumer.
    ///
    /// management groups forget rehearsal
    ///
    /// It takes the settings of the service.
    #[command(verbatim_doc_comment)]
    Forget {
        /// Name of the group
        group: String,
    },
    /// Sets the position of a group
    ///
    /// Records are consumed again from there; stored purchases are not duplicated. Records before the position are
    /// skipped. It fails while the group has an active consumer.
    ///
    /// management groups reset purchase-group --to-beginning
    ///
    /// It takes the settings of the service.
    #[command(verbatim_doc_comment)]
    Reset {
        /// Name of the group
        group: String,
        #[command(flatten)]
        to: ResetTo,
    },
}

/// The position to which a group is reset: exactly one of the arguments.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ResetTo {
    /// To the first record of the log
    #[arg(long)]
    to_beginning: bool,
    /// Behind the last record of the log
    #[arg(long)]
    pub(crate) to_end: bool,
    /// To this offset
    #[arg(long)]
    pub(crate) to_offset: Option<u64>,
}

/// The subject to erase.
#[derive(Debug, Subcommand)]
pub(crate) enum EraseCommand {
    /// Erases a user and its purchases
    ///
    /// It erases the purchases of a user id; if it is a number, the user of that number, too. The store deletes them, and
    /// keeps their ids, so that they are not stored again. The row of the user loses its address, name and key, and its
    /// number is not used again. The embedded log erases its records, and dead letters about the user are dropped. Kafka
    /// deletes no single record: the command prints what it keeps, and until when. Orders stay: they have no name and no
    /// address, only the number of a user who is not known any more.
    ///
    /// The embedded files overwrite what is deleted, but unused parts of them may have copies of rows that were moved.
    /// --vacuum rewrites the files afterwards and removes these, which takes seconds for a million purchases. Meanwhile
    /// registrations and ingest wait, and so do buys if the log is embedded too, because it is in the file of the store.
    /// A write that has waited for 4 seconds fails with a 503, and can be sent again. With the log on Kafka, buying
    /// continues. It takes free disk space of twice the largest file.
    ///
    /// Purchases that are made after it began are not erased. Backups are not changed. It can be stopped and run again,
    /// and services may run meanwhile. Choose one of --dry-run and --confirm.
    ///
    /// management erase user u1 --dry-run
    /// management erase user u1 --confirm
    /// management erase user u1 --confirm --vacuum
    ///
    /// It takes the settings of the service.
    #[command(verbatim_doc_comment)]
    User {
        /// Id of the user
        user: UserId,
        /// Erase the user, which cannot be undone
        #[arg(long, required_unless_present = "dry_run", conflicts_with = "dry_run")]
        confirm: bool,
        /// Only count what would be erased
        #[arg(long)]
        dry_run: bool,
        /// Rewrite the embedded files afterwards
        #[arg(long)]
        vacuum: bool,
    },
}

/// Reads a time or a date, which stands for the beginning of the day in UTC.
fn read_time(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|error: Invalid| format!("{error}, or a date such as 2026-03-01"))
}
