use super::*;

const SERVICES: [ServiceKind; 2] = [ServiceKind::Facing, ServiceKind::Management];

fn fault(service: ServiceKind, arguments: &[&str]) -> clap::Error {
    let arguments = [&[service.name()], arguments].concat();
    command_line(service)
        .try_get_matches_from(arguments)
        .unwrap_err()
}

#[test]
fn the_command_lines_are_consistent() {
    for service in SERVICES {
        command_line(service).debug_assert();
    }
    let line = names::arguments();
    for flag in COMMON.split(' ') {
        assert!(
            line.get_arguments()
                .any(|setting| setting.get_long() == Some(flag)),
            "{flag}"
        );
    }
}

#[test]
fn version_is_that_of_the_workspace() {
    for arguments in [&["--version"][..], &["-V"]] {
        let version = fault(ServiceKind::Facing, arguments);
        assert_eq!(version.exit_code(), 0);
        let text = version.to_string();
        let build = text
            .strip_prefix(concat!("facing ", env!("CARGO_PKG_VERSION"), " ("))
            .unwrap();
        let (commit, features) = build.strip_suffix(")\n").unwrap().split_once("; ").unwrap();
        let commit = commit.trim_end_matches("-dirty");
        assert!(
            commit == "unknown" || commit.chars().all(|digit| digit.is_ascii_hexdigit()),
            "{text}"
        );
        assert_eq!(
            features.contains("kafka"),
            cfg!(feature = "kafka"),
            "{text}"
        );
    }
    assert_eq!(
        fault(ServiceKind::Management, &["dlq", "ls", "-V"]).kind(),
        ErrorKind::DisplayVersion
    );
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
        assert!(
            !arguments.contains(&"-h") || help.lines().count() < 50,
            "{arguments:?}: {help}"
        );
    }
    for words in ["verify --help", "help verify", "dlq ls --help"] {
        let line = with_short_commands(command_line(ServiceKind::Management));
        let help = line
            .try_get_matches_from(format!("m {words}").split(' '))
            .unwrap_err()
            .to_string();
        assert!(
            help.lines().count() < 75 && !help.contains("SASL"),
            "{words}: {help}"
        );
        assert!(
            help.contains("--data-dir") && help.contains("All settings: `management --help`"),
            "{help}"
        );
    }
    let help = fault(ServiceKind::Facing, &["-h"]).to_string();
    assert!(
        help.contains("--host <HOST>") && !help.contains("SASL_MECHANISM"),
        "{help}"
    );
    let help = fault(ServiceKind::Management, &["-h"]).to_string();
    for name in [
        "migrate", "verify", "doctor", "replay", "dlq", "groups", "backup", "restore",
    ] {
        assert!(help.contains(&format!("\n  {name} ")), "{name}: {help}");
    }
}

#[test]
fn unknown_words_have_suggestions() {
    for (service, arguments, expected) in [
        (
            ServiceKind::Management,
            &["verfy"][..],
            "unknown command `verfy`; did you mean `verify`?",
        ),
        (
            ServiceKind::Management,
            &["dlq", "purge"],
            "unknown command `purge`; `--help` lists all",
        ),
        (
            ServiceKind::Facing,
            &["--hots", "x"],
            "unknown argument `--hots`; did you mean `--host`?",
        ),
        (
            ServiceKind::Facing,
            &["verify"],
            "unknown argument `verify`; `--help` lists all",
        ),
        (
            ServiceKind::Facing,
            &["--port"],
            "a value is required for '--port <PORT>' but none was supplied",
        ),
    ] {
        let line = command_line(service);
        assert_eq!(argument_fault(&fault(service, arguments), &line), expected);
    }
}

fn parsed(
    line: &str,
    values: &[(&str, &str)],
) -> (Result<Arguments, InvalidArguments>, Vec<String>) {
    let values = values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut environment = Environment::from_pairs(values);
    let line = line.replacen("m ", "management ", 1);
    let arguments: Vec<_> = line.split(' ').map(OsString::from).collect();
    (
        parse(ServiceKind::Management, &arguments, &mut environment),
        environment.faults,
    )
}

fn wrong(line: &str) -> InvalidArguments {
    parsed(line, &[]).0.unwrap_err()
}

#[test]
fn wrong_values_are_reported_without_types_and_titles() {
    for (line, expected) in [
        (
            "m verify --wait x",
            "invalid value 'x' for '--wait <WAIT>': must be a whole number of 0 or more",
        ),
        (
            "m --port 99999",
            "invalid value '99999' for '--port <PORT>': 99999 is not in 0..=65535",
        ),
        (
            "m dlq replay --rate 0",
            "invalid value '0' for '--rate <RATE>': must be 1 or more",
        ),
        (
            "m --auth x",
            "invalid value 'x' for '--auth <AUTH>': must be one of off, jwt, keys",
        ),
        (
            "m --completions tcsh",
            "invalid value 'tcsh' for '--completions <COMPLETIONS>': must be one of bash, elvish, fish, powershell, zsh",
        ),
        (
            "m version",
            "unknown command `version`; did you mean `--version`?",
        ),
        (
            "m dlq ls x",
            "invalid value 'x' for '[POSITIONS]...': the position must be topic-partition-offset, such as purchases-0-42",
        ),
        (
            "m dlq",
            "management dlq: select one of ls, show, replay, drop, park (--help describes each)",
        ),
        (
            "m groups",
            "management groups: select one of ls, forget, reset (--help describes each)",
        ),
    ] {
        let is_command = !line.starts_with("m --");
        let InvalidArguments {
            fault,
            is_command: names_command,
        } = wrong(line);
        assert_eq!((&*fault, names_command), (expected, is_command), "{line}");
    }
    for (line, owners) in [
        (
            "m dlq --all drop",
            "`--all` is an option of `dlq replay`, `dlq drop`: it follows that",
        ),
        (
            "m erase --dry-run user u1",
            "`--dry-run` is an option of `replace`, `dlq replay`, `dlq drop`, `erase user`, `import`: it follows that",
        ),
    ] {
        assert_eq!(wrong(line).fault, owners, "{line}");
    }
    for (line, missing) in [
        ("m groups forget", "<GROUP> is missing"),
        (
            "m groups reset",
            "<--to-beginning|--to-end|--to-offset <TO_OFFSET>> and <GROUP> are missing",
        ),
        (
            "m groups reset g",
            "<--to-beginning|--to-end|--to-offset <TO_OFFSET>> is missing",
        ),
        ("m backup", "<FOLDER> is missing"),
        ("m replay --from-beginning", "<ROLE> is missing"),
        ("m replay users", "--from-beginning is missing"),
        ("m erase user u1", "--confirm is missing"),
        ("m dlq drop", "--all is missing"),
        ("m dlq park", "<POSITIONS>... is missing"),
    ] {
        let text = wrong(line).fault;
        assert!(
            text.starts_with(missing) && text.contains(": management "),
            "{line}: {text}"
        );
    }
    for line in [
        "m dlq drop --all --reason conflict",
        "m erase user u1 --dry-run --confirm",
    ] {
        let text = wrong(line).fault;
        assert!(text.contains("cannot be used with"), "{line}: {text}");
    }
}

#[test]
fn all_invalid_variables_are_named_and_secrets_have_no_flag() {
    let values = [
        ("PORT", "x"),
        ("KAFKA_REPLICAS", "0"),
        ("LOG_FORMAT", "JSON"),
        ("SHOP_AUTH", "x"),
    ];
    let (parsed, faults) = parsed(
        "m --SHOP_KAFKA_PASSWORD=x --purchases-topic=y verify",
        &values,
    );
    let expected = [
        "PORT: invalid value 'x': must be a whole number of 0 or more",
        "KAFKA_REPLICAS: invalid value '0': 0 is not in 1..=4294967295",
        "SHOP_AUTH: invalid value 'x': must be one of off, jwt, keys",
        "SHOP_KAFKA_PASSWORD has no flag: set the variable",
    ];
    assert_eq!(faults, expected);
    let Arguments {
        command, variables, ..
    } = parsed.unwrap();
    assert!(command.is_some() && variables.log_format.is_some() && variables.port.is_none());
}

#[test]
fn settings_may_be_anywhere_in_a_command() {
    for line in [
        "m --purchases-topic x --json dlq drop --all --topic y",
        "m dlq --topic y --purchases-topic=x drop --json --all",
        "m dlq drop --all --topic y --purchases-topic x --json",
    ] {
        let Arguments {
            command, variables, ..
        } = parsed(line, &[("KAFKA_TOPIC", "z")]).0.unwrap();
        assert_eq!(
            (variables.purchases_topic.as_str(), variables.json),
            ("x", true),
            "{line}"
        );
        let Some(command::Command::Dlq(dlq)) = command else {
            panic!("{command:?}")
        };
        assert_eq!(dlq.topic.as_deref(), Some("y"), "{line}");
    }
    for (line, is_command) in [
        ("m --kafka-topik verify", true),
        ("m --purchases-topic x verfy", true),
        ("m dlq --dry-run drop --all", true),
        ("m --kafka-topik x", false),
    ] {
        assert_eq!(wrong(line).is_command, is_command, "{line}");
    }
    assert_eq!(
        parsed("m --host verify", &[]).0.unwrap().variables.host,
        "verify"
    );
}

#[test]
fn completions_and_the_manual_page_have_the_commands() {
    let generated =
        |service, line: &str| generated(service, &parsed(line, &[]).0.unwrap().variables).unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let text = generated(ServiceKind::Management, &format!("m --completions {shell}")).unwrap();
        assert!(
            String::from_utf8(text).unwrap().contains("verify"),
            "{shell}"
        );
    }
    let page = String::from_utf8(generated(ServiceKind::Management, "m --man").unwrap()).unwrap();
    assert!(
        page.contains(".TH management 1") && page.contains("dlq"),
        "{page}"
    );
    assert!(generated(ServiceKind::Facing, "m --json").is_none());
}
