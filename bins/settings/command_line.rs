//! The command line: help, version, completions, the manual page, and the texts of wrong arguments.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, Command, FromArgMatches as _, Subcommand as _};
use conf::introspection::ProgramOptionMeta as _;
use conf::{Conf, ParsedEnv};

use super::variables::Variables;
use super::{ServiceKind, command};

/// The settings that `-h` lists; `--help` lists all.
const COMMON: [&str; 10] = [
    "check-config",
    "json",
    "host",
    "port",
    "data-dir",
    "kafka-bootstrap-servers",
    "kafka-topic",
    "management-url",
    "roles",
    "log-level",
];

/// The groups of settings, each with the first of its fields in [`Variables`].
const GROUPS: [(&str, &str); 8] = [
    ("Instead of serving", "check_config"),
    ("HTTP", "host"),
    ("Log: Kafka or embedded", "data_dir"),
    ("Store: MongoDB, PostgreSQL or embedded", "mongodb_uri"),
    ("Facing", "management_url"),
    ("Roles, users and orders", "dialect"),
    ("Logging", "log_level"),
    ("Operation", "dead_letter_limit"),
];

/// What the help of management adds to that of facing.
const COMMANDS: &str = "Each command takes the same settings, and shows more with --help (management dlq --help). A \
    command exits with 0, 1 for a finding, 2 for wrong options or settings, 3 when a server is unavailable or the log or \
    store does not exist.";

/// The documentation of one setting.
pub(super) struct Setting {
    pub(super) group: &'static str,
    pub(super) variable: Option<String>,
    pub(super) flag: Option<String>,
    pub(super) meaning: String,
}

/// All settings, in the order of [`Variables`].
pub(super) fn settings() -> Vec<Setting> {
    let mut group = "";
    let settings = Variables::program_options().map(|option| {
        let id = option.id().to_string();
        group = GROUPS.iter().find(|(_, first)| *first == id).map_or(group, |(group, _)| group);
        Setting {
            group,
            variable: option.env_form().map(ToString::to_string),
            flag: option.long_form().map(ToString::to_string),
            meaning: option.description().map(|text| text.to_string().replace('\n', " ")).unwrap_or_default(),
        }
    });
    settings.collect()
}

/// The command line of `service`: its settings, and the commands of management. Settings are valid before, between and
/// behind the words of a command.
///
/// # Errors
/// When the definition of the settings is inconsistent; tests exclude that.
pub(super) fn command_line(service: ServiceKind) -> Result<Command, conf::Error> {
    let settings = Variables::PROGRAM_OPTIONS.iter().collect();
    let line = Variables::get_parser(&ParsedEnv::default(), settings)?.into_command();
    let about = line.get_about().map(ToString::to_string).unwrap_or_default();
    let short = about.split("\n\n").next().unwrap_or_default().to_owned();
    let line = line.name(service.name()).version(env!("CARGO_PKG_VERSION")).propagate_version(true);
    let (line, about) = match service {
        ServiceKind::Facing => (line, about),
        ServiceKind::Management => {
            let line = line.mut_args(|setting| setting.global(true));
            (command::Command::augment_subcommands(line), format!("{about}\n\n{COMMANDS}"))
        }
    };
    Ok(readable(line.about(short).long_about(about), &self::settings()))
}

/// The command and the settings of a process.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) command: Option<command::Command>,
    pub(super) variables: Variables,
}

/// Why arguments or variables are wrong.
#[derive(Debug)]
pub(super) struct InvalidArguments {
    pub(super) faults: Vec<String>,
    /// Whether they are those of a command.
    pub(super) is_command: bool,
}

/// Parses the arguments and the `values` of variables. Ends the process when help or the version was requested.
pub(super) fn parse(
    service: ServiceKind,
    arguments: &[OsString],
    values: &BTreeMap<String, String>,
) -> Result<Arguments, InvalidArguments> {
    let wrong = |error: conf::Error, is_command| InvalidArguments {
        faults: value_faults(&error.to_string()),
        is_command,
    };
    let line = command_line(service).map_err(|error| wrong(error, false))?;
    let parsed = line.clone().try_get_matches_from(arguments).and_then(|matches| {
        let command = matches.subcommand_name().map(|_| command::Command::from_arg_matches(&matches));
        Ok((command.transpose()?, matches))
    });
    let (command, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(requested) if requested.exit_code() == 0 => requested.exit(),
        Err(error) => {
            // A misspelled option or command must not hide that there is one: the exit code depends on it.
            let is_name = |word: &OsString| line.get_subcommands().any(|command| command.get_name() == word);
            let is_command = error.kind() == ErrorKind::InvalidSubcommand || arguments.iter().any(is_name);
            return Err(InvalidArguments { faults: vec![argument_fault(&error, &line)], is_command });
        }
    };
    let mut flags = vec![OsString::from(service.name())];
    for setting in line.get_arguments() {
        let (id, long) = (setting.get_id().as_str(), setting.get_long().unwrap_or_default());
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let mut flag = OsString::from(format!("--{long}"));
        if let Some(value) = matches.get_raw(id).and_then(Iterator::last)
            && setting.get_action().takes_values()
        {
            flag.push("=");
            flag.push(value);
        }
        flags.push(flag);
    }
    match Variables::try_parse_from::<OsString, String, String>(flags, values.clone()) {
        Ok(variables) => Ok(Arguments { command, variables }),
        Err(error) => Err(wrong(error, command.is_some())),
    }
}

/// The completions or the manual page that `variables` request.
pub(super) fn generated(service: ServiceKind, variables: &Variables) -> std::io::Result<Option<Vec<u8>>> {
    let mut command = command_line(service).map_err(std::io::Error::other)?;
    let mut text = Vec::new();
    match variables.completions {
        Some(shell) => clap_complete::generate(shell, &mut command, service.name(), &mut text),
        None if variables.man => clap_mangen::Man::new(command).render(&mut text)?,
        None => return Ok(None),
    }
    Ok(Some(text))
}

/// `command` with readable placeholders of settings, and with the [`COMMON`] ones only in its short help.
fn readable(command: Command, settings: &[Setting]) -> Command {
    let variables: String = settings
        .iter()
        .filter(|setting| setting.flag.is_none())
        .map(|Setting { variable, meaning, .. }| {
            format!("  {}\n          {meaning}\n", variable.as_deref().unwrap_or_default())
        })
        .collect();
    let more = "MONGODB_URI names MongoDB for purchases, POSTGRES_URL PostgreSQL. `--help` lists all settings and their variables.";
    // Management has subcommands.
    let is_facing = !command.has_subcommands();
    let is_common =
        |setting: &Setting, long: &str| COMMON.contains(&long) && (is_facing || setting.group != "Facing");
    command
        .after_help(more)
        .after_long_help(format!("Environment variables without a flag:\n{variables}"))
        .mut_args(|arg| {
            let long = arg.get_long().unwrap_or_default().to_owned();
            match settings.iter().find(|setting| setting.flag.as_ref() == Some(&long)) {
                Some(setting) if is_common(setting, &long) => readable_argument(arg),
                Some(setting) => readable_argument(arg).help_heading(setting.group).hide_short_help(true),
                None => arg,
            }
        })
        // A missing word is an error that lists the choices, rather than the help.
        .mut_subcommands(|command| readable(command.arg_required_else_help(false), settings))
}

/// `arg` with the last word of its name as its placeholder, and with a short help of one line.
fn readable_argument(arg: Arg) -> Arg {
    let help = arg.get_help().map(StyledStr::to_string).unwrap_or_default().replace("=]", "]");
    let name = arg.get_id().as_str().rsplit(['.', '_']).next().unwrap_or_default().to_uppercase();
    let name = if help.contains("on or off") { "ON|OFF".to_owned() } else { name };
    let without_aliases =
        help.split_once(" [also:").and_then(|(help, rest)| Some((help, rest.split_once(']')?.1)));
    let short =
        without_aliases.map_or(help.clone(), |(help, more)| help.to_owned() + more).replace('\n', " ");
    let arg = if arg.get_action().takes_values() { arg.value_name(name) } else { arg };
    arg.help(short).long_help(help)
}

/// The error of the arguments, in one sentence.
fn argument_fault(error: &clap::Error, line: &Command) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string);
    let list = |kind| match error.get(kind) {
        Some(ContextValue::Strings(all)) => all.clone(),
        _ => Vec::new(),
    };
    let (what, given, similar) = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            ("command", context(ContextKind::InvalidSubcommand), context(ContextKind::SuggestedSubcommand))
        }
        ErrorKind::UnknownArgument => {
            ("argument", context(ContextKind::InvalidArg), context(ContextKind::SuggestedArg))
        }
        ErrorKind::MissingSubcommand => {
            let command = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            let mut choices = list(ContextKind::ValidSubcommand);
            choices.retain(|choice| choice != "help");
            return format!("{command}: select one of {} (--help describes each)", choices.join(", "));
        }
        ErrorKind::MissingRequiredArgument => {
            let usage = context(ContextKind::Usage).unwrap_or_default();
            let usage = usage.trim_start_matches("Usage: ").lines().next().unwrap_or_default().to_owned();
            return format!("{} is missing: {usage}", list(ContextKind::InvalidArg).join(" and "));
        }
        _ => ("", None, None),
    };
    if let Some(given) = given.as_deref().filter(|given| given.starts_with("--")) {
        let mut owners = Vec::new();
        find_owners(line, "", given.trim_start_matches('-'), &mut owners);
        if !owners.is_empty() {
            return format!("`{given}` is an option of `{}`: it follows that", owners.join("`, `"));
        }
    }
    let text = error.to_string();
    match (given, similar) {
        (Some(given), Some(similar)) => format!("unknown {what} `{given}`; did you mean `{similar}`?"),
        (Some(given), None) => format!("unknown {what} `{given}`; `--help` lists all"),
        _ => text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}

/// Finds the commands below `command`, which is `path`, that have the option `long`.
fn find_owners(command: &Command, path: &str, long: &str, owners: &mut Vec<String>) {
    for command in command.get_subcommands() {
        let path = format!("{path} {}", command.get_name()).trim().to_owned();
        find_owners(command, &path, long, owners);
        if command.get_arguments().any(|argument| argument.get_long() == Some(long)) {
            owners.push(path);
        }
    }
}

/// The errors of values, from the text of `conf`: a title, then a line for each error, which begins with two spaces and
/// may continue in lines that begin with four. The help of the option is omitted.
pub(super) fn value_faults(text: &str) -> Vec<String> {
    let mut faults: Vec<String> = Vec::new();
    for line in text.lines().take_while(|line| *line != "Help:") {
        match (line.strip_prefix("  "), faults.last_mut()) {
            (Some(more), Some(fault)) if more.starts_with("  ") => {
                *fault = format!("{} {}", fault.trim(), more.trim());
            }
            (Some(fault), _) => faults.push(fault.to_owned()),
            (None, _) => {}
        }
    }
    faults.iter().map(|fault| value_fault(fault)).collect()
}

fn value_fault(fault: &str) -> String {
    let named = fault.strip_prefix("when parsing ").and_then(|rest| rest.split_once(" value "));
    let Some((name, value)) = named else { return fault.to_owned() };
    format!("{}: invalid value {value}", name.trim_start_matches("env ").trim_matches('\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: [ServiceKind; 2] = [ServiceKind::Facing, ServiceKind::Management];

    fn fault(service: ServiceKind, arguments: &[&str]) -> clap::Error {
        let arguments = [&[service.name()], arguments].concat();
        command_line(service).unwrap().try_get_matches_from(arguments).unwrap_err()
    }

    #[test]
    fn the_command_lines_are_consistent() {
        for service in SERVICES {
            command_line(service).unwrap().debug_assert();
        }
        let fields: Vec<_> = Variables::program_options().map(|option| option.id().to_string()).collect();
        for (group, first) in GROUPS {
            assert!(fields.iter().any(|field| field == first), "{group}");
        }
        assert!(
            COMMON.iter().all(|flag| settings().iter().any(|setting| setting.flag.as_deref() == Some(flag)))
        );
    }

    #[test]
    fn version_is_that_of_the_workspace() {
        for arguments in [&["--version"][..], &["-V"]] {
            let version = fault(ServiceKind::Facing, arguments);
            assert_eq!(version.exit_code(), 0);
            assert_eq!(version.to_string(), concat!("facing ", env!("CARGO_PKG_VERSION"), "\n"));
        }
        assert_eq!(fault(ServiceKind::Management, &["dlq", "ls", "-V"]).kind(), ErrorKind::DisplayVersion);
    }

    #[test]
    fn help_names_no_fields_and_short_help_is_short() {
        for arguments in [
            &["--help"][..],
            &["-h"],
            &["help", "verify"],
            &["verify", "-h"],
            &["dlq", "ls", "--help"],
            &["dlq", "-h"],
        ] {
            let help = fault(ServiceKind::Management, arguments).to_string();
            assert!(
                !help.contains("ettings.") && !help.contains("=]") && !help.contains("election."),
                "{help}"
            );
            assert!(!arguments.contains(&"-h") || help.lines().count() < 45, "{arguments:?}: {help}");
        }
        let help = fault(ServiceKind::Facing, &["-h"]).to_string();
        assert!(help.contains("--host <HOST>") && !help.contains("KAFKA_SASL_MECHANISM"), "{help}");
        let help = fault(ServiceKind::Management, &["-h"]).to_string();
        for name in ["migrate", "verify", "doctor", "replay", "dlq", "groups", "backup", "restore"] {
            assert!(help.contains(&format!("\n  {name} ")), "{name}: {help}");
        }
    }

    #[test]
    fn unknown_words_have_suggestions() {
        for (service, arguments, expected) in [
            (ServiceKind::Management, &["verfy"][..], "unknown command `verfy`; did you mean `verify`?"),
            (ServiceKind::Management, &["dlq", "purge"], "unknown command `purge`; `--help` lists all"),
            (ServiceKind::Facing, &["--hots", "x"], "unknown argument `--hots`; did you mean `--host`?"),
            (ServiceKind::Facing, &["verify"], "unknown argument `verify`; `--help` lists all"),
            (
                ServiceKind::Facing,
                &["--port"],
                "a value is required for '--port <PORT>' but none was supplied",
            ),
        ] {
            let line = command_line(service).unwrap();
            assert_eq!(argument_fault(&fault(service, arguments), &line), expected);
        }
    }

    fn parsed(line: &str, values: &[(&str, &str)]) -> Result<Arguments, InvalidArguments> {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let line = line.replacen("m ", "management ", 1);
        let arguments: Vec<_> = line.split(' ').map(OsString::from).collect();
        parse(ServiceKind::Management, &arguments, &values)
    }

    #[test]
    fn wrong_values_are_reported_without_types_and_titles() {
        for (line, expected) in [
            ("m verify --wait x", "invalid value 'x' for '--wait <WAIT>': invalid digit found in string"),
            (
                "m dlq ls x",
                "invalid value 'x' for '[POSITIONS]...': must be topic-partition-offset, such as purchases-0-42",
            ),
            ("m dlq", "management dlq: select one of ls, show, replay, drop, park (--help describes each)"),
            ("m groups", "management groups: select one of ls, forget, reset (--help describes each)"),
        ] {
            let wrong = parsed(line, &[]).unwrap_err();
            assert_eq!((wrong.faults.join("|").as_str(), wrong.is_command), (expected, true), "{line}");
        }
        for (line, owners) in [
            ("m dlq --all drop", "`--all` is an option of `dlq drop`: it follows that"),
            (
                "m erase --dry-run user u1",
                "`--dry-run` is an option of `dlq replay`, `dlq drop`, `erase user`: it follows that",
            ),
        ] {
            assert_eq!(parsed(line, &[]).unwrap_err().faults, [owners], "{line}");
        }
        for (line, missing) in [
            ("m groups forget", "<GROUP> is missing"),
            ("m groups reset g", "<--to-beginning|--to-end|--to-offset <TO_OFFSET>> is missing"),
            ("m backup", "<FOLDER> is missing"),
            ("m replay --from-beginning", "<ROLE> is missing"),
            ("m replay users", "--from-beginning is missing"),
            ("m erase user u1", "--confirm is missing"),
            ("m dlq drop", "--all is missing"),
            ("m dlq park", "<POSITIONS>... is missing"),
        ] {
            let text = parsed(line, &[]).unwrap_err().faults.join("|");
            assert!(text.starts_with(missing) && text.contains(": management "), "{line}: {text}");
        }
        for line in ["m dlq drop --all --reason conflict", "m erase user u1 --dry-run --confirm"] {
            let text = parsed(line, &[]).unwrap_err().faults.join("|");
            assert!(text.contains("cannot be used with"), "{line}: {text}");
        }
        let wrong = parsed("m --host= verify", &[("PORT", "x"), ("KAFKA_REPLICAS", "0")]).unwrap_err();
        let expected = [
            "KAFKA_REPLICAS: invalid value '0': must be at least 1",
            "PORT: invalid value 'x': invalid digit found in string",
        ];
        assert_eq!((&wrong.faults[..], wrong.is_command), (&expected.map(str::to_owned)[..], true));
    }

    #[test]
    fn settings_may_be_anywhere_in_a_command() {
        for line in [
            "m --kafka-topic x --json dlq drop --all --topic y",
            "m dlq --topic y --kafka-topic=x drop --json --all",
            "m dlq drop --all --topic y --kafka-topic x --json",
        ] {
            let Arguments { command, variables } = parsed(line, &[("KAFKA_TOPIC", "z")]).unwrap();
            assert_eq!((variables.kafka_topic.as_str(), variables.json), ("x", true), "{line}");
            let Some(command::Command::Dlq(dlq)) = command else { panic!("{command:?}") };
            assert_eq!(dlq.topic.as_deref(), Some("y"), "{line}");
        }
        for (line, is_command) in [
            ("m --kafka-topik verify", true),
            ("m --kafka-topic x verfy", true),
            ("m dlq --dry-run drop --all", true),
            ("m --kafka-topik x", false),
        ] {
            assert_eq!(parsed(line, &[]).unwrap_err().is_command, is_command, "{line}");
        }
        assert_eq!(parsed("m --host verify", &[]).unwrap().variables.host, "verify");
    }

    #[test]
    fn completions_and_the_manual_page_have_the_commands() {
        let variables = |flags: &[&str]| {
            Variables::try_parse_from::<&str, String, String>([&["m"], flags].concat(), []).unwrap()
        };
        for shell in ["bash", "zsh", "fish"] {
            let text =
                generated(ServiceKind::Management, &variables(&["--completions", shell])).unwrap().unwrap();
            assert!(String::from_utf8(text).unwrap().contains("verify"), "{shell}");
        }
        let page = generated(ServiceKind::Management, &variables(&["--man"])).unwrap().unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains(".TH management 1") && page.contains("dlq"), "{page}");
        assert!(generated(ServiceKind::Facing, &variables(&[])).unwrap().is_none());
    }
}
