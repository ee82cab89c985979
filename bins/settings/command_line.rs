//! The command line: help, version, completions, the manual page, and the texts of wrong arguments.
//!
//! [`command_line`] builds the command line of a service from the settings of `variables` and the
//! commands of `command`. [`parse`] parses the arguments twice: first only to find the file of
//! `--config`, then with the values of the file and of the variables as defaults of the flags.

use std::error::Error as _;
use std::ffi::OsString;
use std::num::{IntErrorKind, ParseIntError};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, FromArgMatches as _, Subcommand as _};

use super::environment::{EffectiveSetting, Environment, SettingValue};
use super::variables::{ProcessArgs, Variables};
use super::{ServiceKind, Settings, command, names};
use crate::version;

/// The flags of the settings that `-h` lists; `--help` lists all settings.
const COMMON: &str = "config check-config json host port data-dir kafka-bootstrap-servers purchases-topic management-url roles log-level";

/// The text that only the help of management contains.
const COMMANDS: &str = "Each command takes the same settings, and shows more with --help (management dlq --help). A \
    command exits with 0, 1 for a finding, 2 for wrong options or settings, 3 when a server is unavailable or the log or \
    store does not exist.";

/// Builds the command line of `service`: its settings and, for management, its commands.
///
/// Settings are valid before, between and behind the words of a command.
pub(super) fn command_line(service: ServiceKind) -> Command {
    // Facing has no commands. The settings of facing are common only in its own help.
    let is_facing = service == ServiceKind::Facing;
    let mut line = names::arguments().mut_args(|setting| {
        let flag = setting.get_long().unwrap_or_default();
        let is_common = COMMON.split(' ').any(|common| common == flag);
        let is_of_other_service = !is_facing && setting.get_help_heading() == Some("Facing");
        let setting = with_readable_help(setting).global(!is_facing);
        if is_common && !is_of_other_service {
            // A setting without a heading is listed with --help and --version.
            let no_heading = None::<&str>;
            return setting.help_heading(no_heading);
        }
        setting.hide_short_help(true)
    });

    let mut hidden_settings = "Environment variables without a flag:\n".to_owned();
    for setting in line.get_arguments() {
        if setting.is_hide_set()
            && let Some(name) = setting.get_long()
            && let Some(help) = setting.get_help()
        {
            hidden_settings += &format!("  {name}\n          {help}\n");
        }
    }

    line = line
        .name(service.name())
        .version(version::VERSION)
        .propagate_version(true);
    if !is_facing {
        let about = line.get_long_about().cloned().unwrap_or_default();
        line = command::Command::augment_subcommands(line)
            .long_about(format!("{about}\n\n{COMMANDS}"));
    }
    with_hints(line, &hidden_settings)
}

/// The command and the settings of a process.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) command: Option<command::Command>,
    pub(super) variables: Variables,
    pub(super) in_effect: Vec<EffectiveSetting>,
}

/// Arguments that cannot be parsed.
#[derive(Debug)]
pub(super) struct InvalidArguments {
    /// The error in one sentence.
    pub(super) fault: String,
    /// Whether the arguments are meant to run a command.
    pub(super) is_command: bool,
}

/// Parses the arguments, and the values of `environment` that no flag sets.
///
/// Adds the settings of the file of `--config` to `environment`, and the faults of invalid values.
/// Ends the process when help or the version was requested.
///
/// # Errors
/// The first error in the arguments.
pub(super) fn parse(
    service: ServiceKind,
    arguments: &[OsString],
    environment: &mut Environment,
) -> Result<Arguments, InvalidArguments> {
    let line = command_line(service);
    parse_line(&line, arguments, environment).map_err(|error| {
        // The exit code depends on whether a command was meant, also if an option or the command
        // itself is misspelled.
        let names_command = arguments
            .iter()
            .any(|word| line.find_subcommand(word).is_some());
        InvalidArguments {
            fault: argument_fault(&error, &line),
            is_command: names_command || error.kind() == ErrorKind::InvalidSubcommand,
        }
    })
}

/// Parses `arguments` by the command line `line`, as [`parse`] describes.
fn parse_line(
    line: &Command,
    arguments: &[OsString],
    environment: &mut Environment,
) -> clap::error::Result<Arguments> {
    // The values of variables come from `environment`, and not from clap. clap would take an empty
    // variable for a value, and knows no other names, no files of secrets and no TOML file.
    let flag_line = line.clone().mut_args(|setting| setting.env(None));
    let flags = match flag_line.clone().try_get_matches_from(arguments) {
        // Help or the version was requested. This call prints it, and ends the process. The help
        // shows the defaults, rather than the values of variables.
        Err(requested) if requested.exit_code() == 0 => {
            with_short_commands(flag_line).get_matches_from(arguments)
        }
        result => result?,
    };

    let path_in_flag = flags
        .get_one::<PathBuf>("config")
        .map(|path| path.display().to_string());
    let path_in_variable = environment
        .values
        .get("SHOP_CONFIG")
        .map(|value| value.text.clone());
    if let Some(path) = path_in_flag.or(path_in_variable) {
        environment.add_file(&path);
    }

    let line_with_values = with_values_as_defaults(line, &flags, environment);
    let matches = line_with_values.try_get_matches_from(arguments)?;

    let mut in_effect = Vec::new();
    for setting in line.get_arguments() {
        let Some(name) = names::variable(setting) else {
            continue;
        };
        let is_flag =
            matches.value_source(setting.get_id().as_str()) == Some(ValueSource::CommandLine);
        if is_flag && setting.is_hide_set() {
            environment
                .faults
                .push(format!("{name} has no flag: set the variable"));
        }
        in_effect.push(effective_setting(setting, name, &matches, environment));
    }

    let command = matches
        .subcommand_name()
        .map(|_name| command::Command::from_arg_matches(&matches));
    Ok(Arguments {
        command: command.transpose()?,
        variables: Variables::from_arg_matches(&matches)?,
        in_effect,
    })
}

/// Returns the command line `line` with the values of `environment` as the defaults of its settings.
/// Adds a fault to `environment` for each value that is not valid.
fn with_values_as_defaults(
    line: &Command,
    flags: &ArgMatches,
    environment: &mut Environment,
) -> Command {
    let Environment { values, faults, .. } = environment;
    line.clone().mut_args(|setting| {
        let name = names::variable(&setting).unwrap_or_default();
        let setting = setting.env(None);
        let Some(value) = values.get(&name) else {
            return setting;
        };
        // A value that a flag replaces is not in effect, so it need not be valid.
        if flags.value_source(setting.get_id().as_str()) == Some(ValueSource::CommandLine) {
            return setting;
        }
        if let Some(fault) = value_fault(&setting, value) {
            faults.push(fault);
            return setting;
        }
        setting.default_value(&value.text)
    })
}

/// Returns the value of `setting`, whose variable is `name`, and where the value is from: a flag in
/// `matches`, the `environment`, or the default.
fn effective_setting(
    setting: &Arg,
    name: String,
    matches: &ArgMatches,
    environment: &Environment,
) -> EffectiveSetting {
    let id = setting.get_id().as_str();
    let is_flag = matches.value_source(id) == Some(ValueSource::CommandLine);
    if !is_flag && let Some(value) = environment.values.get(&name) {
        return EffectiveSetting::from_value(name, setting.is_hide_set(), value);
    }

    let value = match matches.get_raw(id) {
        Some(raw_values) => raw_values
            .map(|raw_value| Settings::address(&raw_value.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(","),
        None => describe_default(setting).unwrap_or_else(|| "none".to_owned()),
    };
    EffectiveSetting {
        name,
        value,
        origin: if is_flag { "flag" } else { "default" },
        alias: None,
    }
}

/// Returns the words with which the help of `setting` describes a default that depends on other
/// settings.
fn describe_default(setting: &Arg) -> Option<String> {
    let help = setting.get_help()?.to_string();
    let (_, rest) = help.split_once("[default: ")?;
    let (words, _) = rest.split_once(']')?;
    Some(words.to_owned())
}

/// Returns why `value` is invalid for `setting`, with the name by which the value is set.
fn value_fault(setting: &Arg, value: &SettingValue) -> Option<String> {
    let SettingValue { text, name, .. } = value;
    let flag = format!("--{}={text}", setting.get_long().unwrap_or_default());
    let line = Command::new("").no_binary_name(true).arg(setting);
    let error = line.try_get_matches_from([flag]).err()?;
    let reason = invalid_value_reason(&error)?;
    Some(format!("{name}: invalid value '{text}': {reason}"))
}

/// Returns why a value is invalid, without the value. `None` if `error` is not about a value.
fn invalid_value_reason(error: &clap::Error) -> Option<String> {
    let Some(cause) = error.source() else {
        let choices = context_list(error, ContextKind::ValidValue);
        return (!choices.is_empty()).then(|| format!("must be one of {}", choices.join(", ")));
    };

    // The standard library describes its own types.
    let Some(number) = cause.downcast_ref::<ParseIntError>() else {
        return Some(cause.to_string());
    };
    let reason = match number.kind() {
        IntErrorKind::Zero => "must be 1 or more",
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "is too large",
        _ => "must be a whole number of 0 or more",
    };
    Some(reason.to_owned())
}

/// Returns the shell completions or the manual page, whichever `process_args` request, or `None` if
/// they request neither.
///
/// # Errors
/// An error if the manual page cannot be rendered.
pub(super) fn completions_or_man_page(
    service: ServiceKind,
    process_args: &ProcessArgs,
) -> std::io::Result<Option<Vec<u8>>> {
    let mut command = command_line(service);
    let mut output = Vec::new();
    match process_args.completions {
        Some(shell) => clap_complete::generate(shell, &mut command, service.name(), &mut output),
        None if process_args.man => clap_mangen::Man::new(command).render(&mut output)?,
        None => return Ok(None),
    }
    Ok(Some(output))
}

/// Adds to the short help of `command` and of its subcommands a hint, and to the long help
/// `hidden_settings`, the settings without a flag.
fn with_hints(command: Command, hidden_settings: &str) -> Command {
    let hint = "SHOP_MONGODB_URI names MongoDB for purchases, SHOP_POSTGRES_URL PostgreSQL. `--help` lists all settings and their variables.";
    // A missing word is an error that lists the choices, rather than the help.
    let command = command
        .after_help(hint)
        .after_long_help(hidden_settings.to_owned())
        .arg_required_else_help(false);
    command.mut_subcommands(|subcommand| with_hints(subcommand, hidden_settings))
}

/// Shortens the help of the subcommands of `root`, which inherit all settings: it lists only the
/// common ones.
///
/// A subcommand gets a hidden copy of each other setting, which takes the place of the inherited
/// one.
fn with_short_commands(root: Command) -> Command {
    let mut uncommon_settings = Vec::new();
    for setting in root.get_arguments() {
        if setting.is_hide_short_help_set() {
            uncommon_settings.push(setting.clone().hide(true));
        }
    }
    with_short_subcommands(root, &uncommon_settings)
}

/// Hides `uncommon_settings` in the help of the subcommands of `command`.
fn with_short_subcommands(command: Command, uncommon_settings: &[Arg]) -> Command {
    command.mut_subcommands(|subcommand| {
        let subcommand = subcommand
            .args(uncommon_settings)
            .after_long_help("All settings: `management --help`.");
        with_short_subcommands(subcommand, uncommon_settings)
    })
}

/// Adds the variable and, in the long help, the other names of `setting` to its help.
///
/// The last word of the variable becomes the placeholder of the value.
fn with_readable_help(mut setting: Arg) -> Arg {
    let help = setting
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    if setting.get_action().takes_values() {
        let placeholder = if help.contains("on or off") {
            "ON|OFF"
        } else {
            let id = setting.get_id().as_str();
            id.rsplit('_').next().unwrap_or_default()
        };
        let placeholder = placeholder.to_uppercase();
        setting = setting.value_name(placeholder).hide_possible_values(true);
    }

    let Some(variable) = names::variable(&setting) else {
        return setting;
    };
    let mut other_names = names::aliases(&variable).join(", ");
    if !other_names.is_empty() {
        other_names = format!(" [also: {other_names}]");
    }
    if setting.is_hide_set() {
        return setting.help(help + &other_names);
    }
    setting
        .help(format!("{help} [env: {variable}]"))
        .long_help(format!("{help}{other_names} [env: {variable}]"))
}

/// Returns the error of the arguments of `root` in one sentence.
fn argument_fault(error: &clap::Error, root: &Command) -> String {
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = context_text(error, ContextKind::InvalidSubcommand);
            let suggestion = error.get(ContextKind::SuggestedSubcommand);
            unknown_word_fault("command", &word, suggestion, root)
        }
        ErrorKind::UnknownArgument => {
            let word = context_text(error, ContextKind::InvalidArg);
            let suggestion = error.get(ContextKind::SuggestedArg);
            unknown_word_fault("argument", &word, suggestion, root)
        }
        ErrorKind::MissingSubcommand => {
            // clap names the incomplete command in this context.
            let command = context_text(error, ContextKind::InvalidSubcommand);
            let mut choices = context_list(error, ContextKind::ValidSubcommand);
            choices.retain(|choice| choice != "help");
            let choices = choices.join(", ");
            format!("{command}: select one of {choices} (--help describes each)")
        }
        ErrorKind::MissingRequiredArgument => {
            let usage = context_text(error, ContextKind::Usage);
            let usage = usage.trim_start_matches("Usage: ");
            let usage = usage.lines().next().unwrap_or_default();
            let missing_arguments = context_list(error, ContextKind::InvalidArg);
            let verb = if missing_arguments.len() == 1 {
                "is"
            } else {
                "are"
            };
            let names = missing_arguments.join(" and ");
            format!("{names} {verb} missing: {usage}")
        }
        _ => {
            let text = error.to_string();
            let text = text.trim_start_matches("error: ");
            let text = text.lines().next().unwrap_or_default();
            let Some(reason) = invalid_value_reason(error) else {
                return text.to_owned();
            };
            match error.source() {
                // The text ends with the cause as its type prints it. The reason is easier to read.
                Some(cause) => text.replace(&cause.to_string(), &reason),
                None => format!("{text}: {reason}"),
            }
        }
    }
}

/// Returns the fault of `word`, which is an unknown command or argument, as `word_kind` says. The
/// fault names the commands that have this option, or `suggestion`, which was probably meant.
fn unknown_word_fault(
    word_kind: &str,
    word: &str,
    suggestion: Option<&ContextValue>,
    root: &Command,
) -> String {
    if word.starts_with("--") {
        let root_path = "";
        let owners = find_owners(root, root_path, word.trim_start_matches('-'));
        if !owners.is_empty() {
            let owners = owners.join("`, `");
            return format!("`{word}` is an option of `{owners}`: it follows that");
        }
    }

    match suggestion {
        _ if word == "version" => {
            format!("unknown {word_kind} `{word}`; did you mean `--version`?")
        }
        Some(suggestion) => format!("unknown {word_kind} `{word}`; did you mean `{suggestion}`?"),
        None => format!("unknown {word_kind} `{word}`; `--help` lists all"),
    }
}

/// Returns the commands below `command` that accept the option `option_name`. `path` contains the
/// words that lead to `command`.
fn find_owners(command: &Command, path: &str, option_name: &str) -> Vec<String> {
    let mut owners = Vec::new();
    for subcommand in command.get_subcommands() {
        let path = format!("{path} {}", subcommand.get_name());
        owners.extend(find_owners(subcommand, &path, option_name));
        if subcommand
            .get_arguments()
            .any(|argument| argument.get_long() == Some(option_name))
        {
            owners.push(path.trim().to_owned());
        }
    }
    owners
}

/// Returns the context `kind` of `error` as text, or an empty text without this context.
fn context_text(error: &clap::Error, kind: ContextKind) -> String {
    error.get(kind).map(ToString::to_string).unwrap_or_default()
}

/// Returns the words in the context `kind` of `error`, or no words without this context.
fn context_list(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::Strings(words)) => words.clone(),
        // clap gives the error no such list.
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "command_line_test.rs"]
mod command_line_test;
