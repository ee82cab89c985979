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
    let mut short_helps = String::new();
    for arguments in ["-h", "verify -h", "dlq -h", "dlq ls --help"] {
        let line = with_short_commands(command_line(ServiceKind::Management));
        let arguments = format!("management {arguments}");
        let help = line.try_get_matches_from(arguments.split(' ')).unwrap_err();
        short_helps += &format!("{arguments}\n\n{help}\n\n");
    }
    let help = fault(ServiceKind::Facing, &["-h"]);
    insta::assert_snapshot!(format!("{short_helps}facing -h\n\n{help}"));

    let help = fault(ServiceKind::Management, &["--help"]).to_string();
    for internal in ["ettings.", "=]", "election."] {
        assert!(!help.contains(internal), "{help}");
    }
}

#[test]
fn completions_and_the_manual_page_have_the_commands() {
    for (flags, expected) in [
        ("--completions bash", Some("verify")),
        ("--completions zsh", Some("verify")),
        ("--completions fish", Some("verify")),
        ("--man", Some(".TH management 1")),
        ("--man", Some("dlq")),
        ("--json", None),
    ] {
        let arguments: Vec<_> = flags.split(' ').map(OsString::from).collect();
        let arguments = [&["management".into()], &arguments[..]].concat();
        let parsed = parse(
            ServiceKind::Management,
            &arguments,
            &mut Environment::default(),
        );
        let text =
            completions_or_man_page(ServiceKind::Management, &parsed.unwrap().variables.process)
                .unwrap();
        let text = text.map(|text| String::from_utf8(text).unwrap());
        assert_eq!(
            text.is_some_and(|text| text.contains(expected.unwrap_or_default())),
            expected.is_some(),
            "{flags}"
        );
    }
}
