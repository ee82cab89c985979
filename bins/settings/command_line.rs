//! The command line: help, version, completions, the manual page, and the texts of wrong arguments.

use std::error::Error as _;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, Command, FromArgMatches as _, Subcommand as _};

use super::environment::{Environment, Given, InEffect};
use super::variables::Variables;
use super::{ServiceKind, Settings, command, names};
use crate::version;

/// The settings that `-h` lists; `--help` lists all.
const COMMON: &str = "config check-config json host port data-dir kafka-bootstrap-servers purchases-topic management-url roles log-level";

/// The groups of settings, each with the first of them in [`Variables`].
pub(super) const GROUPS: [(&str, &str); 8] = [
    ("Instead of serving", "check_config"),
    ("HTTP", "host"),
    ("Log: Kafka or embedded", "data_dir"),
    ("Store: MongoDB, PostgreSQL or embedded", "mongodb_uri"),
    ("Facing", "management_url"),
    ("Roles, users and orders", "dialect"),
    ("Logging", "log_level"),
    ("Operation", "config"),
];

/// The origin of a default.
pub(super) const DEFAULT: &str = "default";

/// What the help of management adds to that of facing.
const COMMANDS: &str = "Each command takes the same settings, and shows more with --help (management dlq --help). A \
    command exits with 0, 1 for a finding, 2 for wrong options or settings, 3 when a server is unavailable or the log or \
    store does not exist.";

/// Builds the command line of `service`: its settings, and the commands of management.
///
/// Settings are valid before, between and behind the words of a command.
pub(super) fn command_line(service: ServiceKind) -> Command {
    let is_facing = service == ServiceKind::Facing;
    let mut group = "";
    let line = names::arguments().mut_args(|setting| {
        for (name, first) in GROUPS {
            if setting.get_id() == first {
                group = name;
            }
        }
        let is_common = setting
            .get_long()
            .is_some_and(|long| COMMON.split(' ').any(|common| common == long));
        let setting = readable(setting).global(!is_facing);
        if is_common && (is_facing || group != "Facing") {
            setting
        } else {
            setting.help_heading(group).hide_short_help(true)
        }
    });

    let mut hidden = "Environment variables without a flag:\n".to_owned();
    for setting in line.get_arguments() {
        if setting.is_hide_set()
            && let Some(name) = setting.get_long()
            && let Some(help) = setting.get_help()
        {
            hidden += &format!("  {name}\n          {help}\n");
        }
    }

    let line = line
        .name(service.name())
        .version(version::VERSION)
        .propagate_version(true);
    let [short, long] =
        [line.get_about(), line.get_long_about()].map(|text| text.cloned().unwrap_or_default());
    let line = match service {
        ServiceKind::Facing => line,
        ServiceKind::Management => command::Command::augment_subcommands(line)
            .about(short)
            .long_about(format!("{long}\n\n{COMMANDS}")),
    };
    with_hints(line, &hidden)
}

/// The command and the settings of a process.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) command: Option<command::Command>,
    pub(super) variables: Variables,
    pub(super) in_effect: Vec<InEffect>,
}

/// Why the arguments are wrong, and whether they are those of a command.
type InvalidArguments = (String, bool);

/// Parses the arguments, and the values of `environment` that no flag sets; it gets the settings of the file, and the
/// faults of invalid values. Ends the process when help or the version was requested.
pub(super) fn parse(
    service: ServiceKind,
    arguments: &[OsString],
    environment: &mut Environment,
) -> Result<Arguments, InvalidArguments> {
    let plain = command_line(service);
    let invalid = |error: clap::Error| {
        // A misspelled option or command must not hide that there is one: the exit code depends on it.
        let is_name = |word: &OsString| {
            plain
                .get_subcommands()
                .any(|command| command.get_name() == word)
        };
        let is_command =
            error.kind() == ErrorKind::InvalidSubcommand || arguments.iter().any(is_name);
        (argument_fault(&error, &plain), is_command)
    };
    let flags = match plain.clone().try_get_matches_from(arguments) {
        // Help shows the defaults, rather than the values of variables.
        Err(requested) if requested.exit_code() == 0 => with_short_commands(plain)
            .try_get_matches_from(arguments)
            .err()
            .unwrap_or(requested)
            .exit(),
        parsed => parsed.map_err(invalid)?,
    };
    let flag = flags
        .get_one::<PathBuf>("config")
        .map(|path| path.display().to_string());
    let variable = environment
        .values
        .get("SHOP_CONFIG")
        .map(|given| given.text.clone());
    if let Some(path) = flag.or(variable) {
        environment.add_file(&path);
    }
    let Environment { values, faults, .. } = environment;
    let given = |setting: &Arg| values.get(&names::variable(setting)?);
    let line = plain.clone().mut_args(|setting| match given(&setting) {
        Some(given) => match value_fault(&setting, given) {
            None => setting.default_value(&given.text),
            Some(fault) => {
                faults.push(fault);
                setting
            }
        },
        None => setting,
    });
    let matches = line.try_get_matches_from(arguments).map_err(invalid)?;
    let is_flag = |setting: &Arg| {
        matches.value_source(setting.get_id().as_str()) == Some(ValueSource::CommandLine)
    };
    for setting in plain.get_arguments() {
        if setting.is_hide_set()
            && is_flag(setting)
            && let Some(name) = setting.get_long()
        {
            faults.push(format!("{name} has no flag: set the variable"));
        }
    }
    let command = matches
        .subcommand_name()
        .map(|_| command::Command::from_arg_matches(&matches));
    let command = command.transpose().map_err(invalid)?;
    let variables = Variables::from_arg_matches(&matches).map_err(invalid)?;
    let in_effect = plain.get_arguments().filter_map(|setting| {
        let name = names::variable(setting)?;
        let is_flag = is_flag(setting);
        if let Some(given) = given(setting).filter(|_| !is_flag) {
            return Some(InEffect::given(&name, setting.is_hide_set(), given));
        }
        let value = match matches.get_raw(setting.get_id().as_str()) {
            Some(values) => values
                .map(|value| Settings::address(&value.to_string_lossy()))
                .collect::<Vec<_>>()
                .join(","),
            None => words_of_default(setting).unwrap_or_else(|| "none".to_owned()),
        };
        let origin = if is_flag { "flag" } else { DEFAULT };
        Some(InEffect {
            name,
            value,
            origin,
            alias: None,
        })
    });
    Ok(Arguments {
        command,
        variables,
        in_effect: in_effect.collect(),
    })
}

/// The words for a default that depends on other settings.
pub(super) fn words_of_default(setting: &Arg) -> Option<String> {
    let help = setting.get_help()?.to_string();
    Some(
        help.split_once("[default: ")?
            .1
            .split_once(']')?
            .0
            .to_owned(),
    )
}

/// Why a value is invalid for `setting`.
fn value_fault(setting: &Arg, Given { text, name, .. }: &Given) -> Option<String> {
    let flag = format!("--{}={text}", setting.get_long().unwrap_or_default());
    let line = Command::new("").no_binary_name(true).arg(setting.clone());
    let error = line.try_get_matches_from([flag]).err()?;
    Some(format!(
        "{name}: invalid value '{text}': {}",
        reason(&error)?
    ))
}

/// Why a value is invalid.
fn reason(error: &clap::Error) -> Option<String> {
    match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(cause), _) => Some(match cause.to_string() {
            // The words of the standard library are those of its types.
            cause if cause.contains("digit") || cause.contains("empty string") => {
                "must be a whole number of 0 or more".to_owned()
            }
            cause if cause.contains("non-zero type") => "must be 1 or more".to_owned(),
            cause if cause.contains("target type") => "is too large".to_owned(),
            cause => cause,
        }),
        (None, Some(ContextValue::Strings(choices))) if !choices.is_empty() => {
            Some(format!("must be one of {}", choices.join(", ")))
        }
        _ => None,
    }
}

/// The completions or the manual page that `variables` request.
pub(super) fn generated(
    service: ServiceKind,
    variables: &Variables,
) -> std::io::Result<Option<Vec<u8>>> {
    let mut command = command_line(service);
    let mut text = Vec::new();
    match variables.completions {
        Some(shell) => clap_complete::generate(shell, &mut command, service.name(), &mut text),
        None if variables.man => clap_mangen::Man::new(command).render(&mut text)?,
        None => return Ok(None),
    }
    Ok(Some(text))
}

/// `command` and those below it, with what their help does not list.
fn with_hints(command: Command, hidden: &str) -> Command {
    let more = "SHOP_MONGODB_URI names MongoDB for purchases, SHOP_POSTGRES_URL PostgreSQL. `--help` lists all settings and their variables.";
    // A missing word is an error that lists the choices, rather than the help.
    let command = command
        .after_help(more)
        .after_long_help(hidden.to_owned())
        .arg_required_else_help(false);
    command.mut_subcommands(|command| with_hints(command, hidden))
}

/// `line` for help: the help of its commands has no settings but the common ones.
fn with_short_commands(line: Command) -> Command {
    fn shorten(command: Command, hidden: &[Arg]) -> Command {
        let command = command
            .args(hidden)
            .after_long_help("All settings: `management --help`.");
        command.mut_subcommands(|command| shorten(command, hidden))
    }
    let uncommon = line
        .get_arguments()
        .filter(|setting| setting.is_hide_short_help_set());
    let hidden: Vec<Arg> = uncommon.map(|setting| setting.clone().hide(true)).collect();
    line.mut_subcommands(|command| shorten(command, &hidden))
}

/// `setting` with its variable and, in the long help, other names; the last word of the variable is its placeholder.
fn readable(setting: Arg) -> Arg {
    let id = setting.get_id().to_string();
    let help = setting
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let name = if help.contains("on or off") {
        "ON|OFF"
    } else {
        id.rsplit('_').next().unwrap_or_default()
    };
    let name = name.to_uppercase();
    let setting = if setting.get_action().takes_values() {
        setting.value_name(name).hide_possible_values(true)
    } else {
        setting
    };
    let variable = names::variable(&setting);
    let aliases = variable
        .iter()
        .flat_map(|name| names::aliases(name))
        .collect::<Vec<_>>()
        .join(", ");
    let also = if aliases.is_empty() {
        aliases
    } else {
        format!(" [also: {aliases}]")
    };
    match variable.filter(|_| !setting.is_hide_set()) {
        Some(name) => setting
            .help(format!("{help} [env: {name}]"))
            .long_help(format!("{help}{also} [env: {name}]")),
        None => setting.help(help + &also),
    }
}

/// The error of the arguments, in one sentence.
fn argument_fault(error: &clap::Error, line: &Command) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string);
    let list = |kind| match error.get(kind) {
        Some(ContextValue::Strings(all)) => all.clone(),
        _ => Vec::new(),
    };
    let (what, given, similar) = match error.kind() {
        ErrorKind::InvalidSubcommand => (
            "command",
            context(ContextKind::InvalidSubcommand),
            context(ContextKind::SuggestedSubcommand),
        ),
        ErrorKind::UnknownArgument => (
            "argument",
            context(ContextKind::InvalidArg),
            context(ContextKind::SuggestedArg),
        ),
        ErrorKind::MissingSubcommand => {
            let command = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            let mut choices = list(ContextKind::ValidSubcommand);
            choices.retain(|choice| choice != "help");
            return format!(
                "{command}: select one of {} (--help describes each)",
                choices.join(", ")
            );
        }
        ErrorKind::MissingRequiredArgument => {
            let usage = context(ContextKind::Usage).unwrap_or_default();
            let usage = usage
                .trim_start_matches("Usage: ")
                .lines()
                .next()
                .unwrap_or_default();
            let missing = list(ContextKind::InvalidArg);
            let verb = if missing.len() == 1 { "is" } else { "are" };
            return format!("{} {verb} missing: {usage}", missing.join(" and "));
        }
        _ => ("", None, None),
    };
    if let Some(given) = given.as_deref().filter(|given| given.starts_with("--")) {
        let mut owners = Vec::new();
        find_owners(line, "", given.trim_start_matches('-'), &mut owners);
        if !owners.is_empty() {
            return format!(
                "`{given}` is an option of `{}`: it follows that",
                owners.join("`, `")
            );
        }
    }
    let text = error.to_string();
    let text = text
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    match (given, similar) {
        (Some(given), _) if given == "version" => {
            format!("unknown {what} `{given}`; did you mean `--version`?")
        }
        (Some(given), Some(similar)) => {
            format!("unknown {what} `{given}`; did you mean `{similar}`?")
        }
        (Some(given), None) => format!("unknown {what} `{given}`; `--help` lists all"),
        _ => match (error.source(), reason(error)) {
            (Some(cause), Some(why)) => text.replace(&cause.to_string(), &why),
            (None, Some(why)) => format!("{text}: {why}"),
            (_, None) => text.to_owned(),
        },
    }
}

/// Finds the commands below `command`, which is `path`, that have the option `long`.
fn find_owners(command: &Command, path: &str, long: &str, owners: &mut Vec<String>) {
    for command in command.get_subcommands() {
        let path = format!("{path} {}", command.get_name()).trim().to_owned();
        find_owners(command, &path, long, owners);
        if command
            .get_arguments()
            .any(|argument| argument.get_long() == Some(long))
        {
            owners.push(path);
        }
    }
}

#[cfg(test)]
#[path = "command_line_test.rs"]
mod command_line_test;
