//! Command lines and variables: the options that they become, or their faults.
//!
//! A case is a command line as in a shell, with the variables before the service, and below it the
//! lines of a file that is called `@file`. `␣` is a space in a value:
//!
//! ```text
//! SHOP_CONFIG=@file SHOP_PORT=80 facing --log-level debug
//!     | [log]
//!     | level = "info"
//! ```

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::backend::TopicSpec;

/// Reads the settings of a case without the lines of its file, which is at `path`.
pub(crate) fn read(line: &str, path: &str) -> Result<Settings> {
    let mut variables = Vec::new();
    let mut arguments = Vec::new();
    for word in line.split(' ') {
        let word = word.replace("@file", path).replace('␣', " ");
        match word.split_once('=') {
            Some((name, value)) if arguments.is_empty() => {
                variables.push((name.to_owned(), value.to_owned()));
            }
            _ => arguments.push(OsString::from(word)),
        }
    }

    let service = if arguments[0] == "facing" {
        ServiceKind::Facing
    } else {
        ServiceKind::Management
    };
    Settings::from_parts(service, &arguments, Environment::from_pairs(variables))
}

/// Returns the fields of a struct in its `Debug` form, each as `Struct.field: value`.
fn fields_of(debug: &str) -> Vec<String> {
    let (name, fields) = debug.split_once(" { ").unwrap();
    let mut depth = 0;
    let mut is_in_text = false;
    let mut lines = vec![format!("{name}.")];
    for char in fields.strip_suffix(" }").unwrap().chars() {
        match char {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '"' => is_in_text = !is_in_text,
            _ => {}
        }
        match char {
            ',' if depth == 0 && !is_in_text => lines.push(format!("{name}.")),
            ' ' if lines.last().unwrap().ends_with('.') => {}
            char => lines.last_mut().unwrap().push(char),
        }
    }
    lines
}

/// Returns the values of all settings as they are shown, the options of all parts, and what follows
/// from several settings.
fn lines_of(settings: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    for setting in &settings.in_effect {
        let EffectiveSetting {
            name,
            value,
            origin,
            alias,
        } = setting;
        let alias = alias.as_deref().unwrap_or(name);
        lines.push(format!("{name} is {value} ({origin}: {alias})"));
    }

    let kafka = settings.kafka.options();
    let mongodb = settings.mongodb.options();
    let postgres = settings.postgres.options();
    for options in [
        Some(format!("{:?}", settings.variables)),
        Some(format!("{:?}", settings.http_options())),
        Some(format!("{:?}", settings.ingest_options())),
        Some(format!("{:?}", settings.embedded.options())),
        kafka.map(|options| format!("{options:?}")),
        mongodb.map(|options| format!("{options:?}")),
        postgres.map(|options| format!("{options:?}")),
    ] {
        lines.extend(options.iter().flat_map(|options| fields_of(options)));
    }
    // The arguments of a part are in its options.
    lines.retain(|line| !line.contains("Args {"));

    lines.extend([
        format!("command: {:?}", settings.command),
        format!("address: {}", settings.url()),
        format!("address of the probes: {}", settings.probe_url()),
        format!(
            "ingests: {}, stores at once: {}",
            settings.ingests(),
            settings.stores_at_once()
        ),
        format!("exports traces: {}", settings.exports_traces()),
        format!("store of the log: {:?}", settings.fed_store()),
        format!(
            "group of the events of users: {}",
            TopicSpec::users(settings).group
        ),
        format!(
            "group of the events of orders: {}",
            TopicSpec::orders(settings).group
        ),
        format!("properties: {:?}", settings.kafka_properties.keys()),
        format!("dialect: {}", settings.dialect_name()),
    ]);
    lines.extend(
        settings
            .warnings()
            .map(|warning| format!("warning: {warning}")),
    );
    lines
}

/// Returns the cases, each with its faults, or with the lines that neither a service has of which
/// nothing is set, nor one whose servers alone are.
fn outcomes(cases: &str) -> String {
    let mut usual_lines = BTreeSet::new();
    for line in [
        "facing",
        "management",
        "KAFKA_BROKERS=kafka:9092 MONGODB_URI=mongodb://h management",
        "KAFKA_BROKERS=kafka:9092 POSTGRES_URL=postgresql://h/db management",
    ] {
        usual_lines.extend(lines_of(&read(line, "").unwrap()));
    }

    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let mut outcomes = String::new();
    for case in cases.replace("\n    | ", "\0").lines() {
        outcomes += &case.replace('\0', "\n    | ");
        outcomes.push('\n');
        if case.is_empty() || case.starts_with('#') {
            continue;
        }

        let (line, content) = case.split_once('\0').unwrap_or((case, ""));
        fs::write(path, content.replace('\0', "\n")).unwrap();
        let outcome = match read(line, path) {
            Ok(settings) => {
                assert!(!format!("{settings:?}").contains("hunter2"), "{line}");
                let mut lines = lines_of(&settings);
                lines.retain(|line| !usual_lines.contains(line));
                lines.join("\n")
            }
            Err(error) if error == error.clone().for_command() => {
                format!("command is refused: {error}")
            }
            Err(error) => format!("service is refused: {error}"),
        };
        assert!(!outcome.contains("hunter2"), "{line}: {outcome}");
        for line in outcome.replace(path, "@file").lines() {
            outcomes += &format!("    {line}\n");
        }
    }
    outcomes
}

#[test]
fn wrong_settings_are_faults_that_say_what_to_do() {
    insta::assert_snapshot!(outcomes(include_str!("cases/faults.txt")));
}

#[test]
fn each_setting_reaches_its_option() {
    insta::assert_snapshot!(outcomes(include_str!("cases/effects.txt")));
}

#[tokio::test]
async fn secrets_are_read_again_from_their_files() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "first").unwrap();
    let path = file.path().to_str().unwrap();
    let settings = read("SHOP_SERVICE_TOKEN_FILE=@file facing", path).unwrap();
    let service_token = settings.service_token.as_ref().unwrap();

    let token = settings.secret("SHOP_SERVICE_TOKEN", service_token);
    fs::write(file.path(), "second").unwrap();
    assert_eq!(token.current().await.expose_secret(), "second");
}
