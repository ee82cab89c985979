//! The command line: help, version, completions, the manual page, and the texts of wrong arguments.

use std::collections::BTreeSet;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, Command};
use conf::introspection::ProgramOptionMeta as _;
use conf::{Conf, ParsedEnv};

use super::ServiceKind;
use super::arguments::Management;
use super::variables::Variables;

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

/// The command line of `service`.
///
/// # Errors
/// When the definition of the arguments is inconsistent; tests exclude that.
pub(super) fn command(service: ServiceKind) -> Result<Command, conf::Error> {
    let command = match service {
        ServiceKind::Facing => defined::<Variables>()?,
        ServiceKind::Management => defined::<Management>()?,
    };
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let short = about.split("\n\n").next().unwrap_or_default().to_owned();
    let command = command.name(service.name()).version(env!("CARGO_PKG_VERSION")).propagate_version(true);
    Ok(readable(command.about(short).long_about(about), &settings(), true))
}

fn defined<A: Conf>() -> Result<Command, conf::Error> {
    Ok(A::get_parser(&ParsedEnv::default(), A::PROGRAM_OPTIONS.iter().collect())?.into_command())
}

/// The completions or the manual page that `variables` request.
pub(super) fn generated(service: ServiceKind, variables: &Variables) -> std::io::Result<Option<Vec<u8>>> {
    let mut command = command(service).map_err(std::io::Error::other)?;
    let mut text = Vec::new();
    match variables.completions {
        Some(shell) => clap_complete::generate(shell, &mut command, service.name(), &mut text),
        None if variables.man => clap_mangen::Man::new(command).render(&mut text)?,
        None => return Ok(None),
    }
    Ok(Some(text))
}

/// `command` with readable placeholders, and with [`COMMON`] settings only in its short help.
fn readable(command: Command, settings: &[Setting], is_root: bool) -> Command {
    let variables: String = settings
        .iter()
        .filter(|setting| setting.flag.is_none())
        .map(|Setting { variable, meaning, .. }| {
            format!("  {}\n          {meaning}\n", variable.as_deref().unwrap_or_default())
        })
        .collect();
    let more = match is_root {
        true => {
            "MONGODB_URI names MongoDB for purchases, POSTGRES_URL PostgreSQL. `--help` lists all settings and their variables."
        }
        false => "The settings of the service apply too: `--help` lists them.",
    };
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
                Some(setting) if long == "json" || is_root && is_common(setting, &long) => {
                    readable_argument(arg)
                }
                Some(setting) => readable_argument(arg).help_heading(setting.group).hide_short_help(true),
                None => readable_argument(arg),
            }
        })
        .mut_subcommands(|command| readable(command, settings, false))
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
pub(super) fn argument_fault(error: &clap::Error) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string);
    let (what, given, similar) = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            ("command", context(ContextKind::InvalidSubcommand), context(ContextKind::SuggestedSubcommand))
        }
        ErrorKind::UnknownArgument => {
            ("argument", context(ContextKind::InvalidArg), context(ContextKind::SuggestedArg))
        }
        _ => ("", None, None),
    };
    let text = error.to_string();
    match (given, similar) {
        (Some(given), Some(similar)) => format!("unknown {what} `{given}`; did you mean `{similar}`?"),
        (Some(given), None) => format!("unknown {what} `{given}`; `--help` lists all"),
        _ => text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
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
    // A wrong variable is reported for the service and for the command.
    let mut seen = BTreeSet::new();
    faults.iter().map(|fault| value_fault(fault)).filter(|fault| seen.insert(fault.clone())).collect()
}

fn value_fault(fault: &str) -> String {
    if let Some((what, value)) =
        fault.strip_prefix("when parsing ").and_then(|rest| rest.split_once(" value "))
    {
        return match what.trim_start_matches("env ").trim_matches('\'') {
            "" => format!("invalid value {value}"),
            name => format!("{name}: invalid value {value}"),
        };
    }
    if let Some((_, message)) = fault.split_once(" value was invalid: ") {
        return message.to_owned();
    }
    match fault {
        "'<role>' must be provided" => "management replay: name a role: users or orders".to_owned(),
        "'<file>' must be provided" => "management import: name a file, or - for standard input".to_owned(),
        "'<group>' must be provided" => "management groups: name the group".to_owned(),
        "'<folder>' must be provided" => {
            "management backup and restore: name the folder of the backup".to_owned()
        }
        _ if fault.starts_with("A subcommand must be selected") && fault.contains("forget") => {
            "management groups: select ls, forget or reset (--help describes each)".to_owned()
        }
        _ if fault.starts_with("A subcommand must be selected") => {
            "management dlq: select ls, show, replay, drop or park (--help describes each)".to_owned()
        }
        _ => fault.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: [ServiceKind; 2] = [ServiceKind::Facing, ServiceKind::Management];

    fn fault(service: ServiceKind, arguments: &[&str]) -> clap::Error {
        let arguments = [&[service.name()], arguments].concat();
        command(service).unwrap().try_get_matches_from(arguments).unwrap_err()
    }

    #[test]
    fn the_command_lines_are_consistent() {
        for service in SERVICES {
            command(service).unwrap().debug_assert();
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
    fn unknown_words_are_named_with_what_is_similar() {
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
            assert_eq!(argument_fault(&fault(service, arguments)), expected);
        }
    }

    #[test]
    fn wrong_values_are_named_without_types_and_titles() {
        let faults = |arguments: &[&str], values: &[(&str, &str)]| {
            let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let error =
                Management::try_parse_from::<&str, String, String>(arguments.to_vec(), values).unwrap_err();
            value_faults(&error.to_string()).join("|")
        };
        for (arguments, expected) in [
            (&["m", "verify", "--wait", "x"][..], "--wait: invalid value 'x': invalid digit found in string"),
            (
                &["m", "dlq", "ls", "x"],
                "invalid value 'x': must be topic-partition-offset, such as purchases-0-42",
            ),
            (&["m", "dlq"], "management dlq: select ls, show, replay, drop or park (--help describes each)"),
            (&["m", "groups"], "management groups: select ls, forget or reset (--help describes each)"),
            (&["m", "groups", "forget"], "management groups: name the group"),
            (
                &["m", "groups", "reset", "g"],
                "management groups reset: choose one of --to-beginning, --to-end and --to-offset",
            ),
            (&["m", "backup"], "management backup and restore: name the folder of the backup"),
            (&["m", "replay", "--from-beginning"], "management replay: name a role: users or orders"),
            (&["m", "replay", "users"], "management replay: --from-beginning is required"),
        ] {
            assert_eq!(faults(arguments, &[]), expected);
        }
        assert_eq!(
            faults(&["m", "verify"], &[("PORT", "x"), ("KAFKA_REPLICAS", "0")]),
            "KAFKA_REPLICAS: invalid value '0': must be at least 1|PORT: invalid value 'x': invalid digit found in \
             string"
        );
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
