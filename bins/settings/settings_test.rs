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

use secrecy::ExposeSecret as _;

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

    let mut options = vec![
        format!("{:?}", settings.process),
        format!("{:?}", settings.http_options()),
        format!("{:?}", settings.ingest_options()),
        format!("{:?}", settings.service_calls),
    ];
    match &settings.log {
        Log::Kafka(kafka) => {
            options.push(format!("{:?}", kafka.options));
            options.extend(
                kafka
                    .token_endpoint
                    .iter()
                    .map(|endpoint| format!("{endpoint:?}")),
            );
        }
        Log::Embedded(embedded) => options.push(format!("{:?}", embedded.options())),
    }
    match &settings.store {
        Store::Mongo { purchases, .. } => options.push(format!("{purchases:?}")),
        Store::Postgres { purchases, .. } => options.push(format!("{purchases:?}")),
        Store::Embedded => {}
    }
    lines.extend(options.iter().flat_map(|options| fields_of(options)));
    // The arguments of a part are in its options.
    lines.retain(|line| !line.contains("Args {"));

    lines.extend([
        format!("command: {:?}", settings.command),
        format!("address: {}", settings.url()),
        format!("address of the probes: {}", settings.probe_url()),
        format!(
            "ingests: {}, stores at once: {}",
            settings.ingests,
            settings.stores_on_append()
        ),
        format!("exports traces: {}", settings.exports_traces()),
        format!("store of the log: {:?}", settings.store.address_for_log()),
        format!(
            "database of users and orders: {:?}",
            settings.store.entity_database()
        ),
        format!("users: {:?}, orders: {:?}", settings.users, settings.orders),
        format!("listings: {:?}", settings.management_url),
        format!("order_user_wait: {:?}", settings.order_user_wait()),
        format!("roles: {}", settings.roles.names()),
        format!("data_dir: {}", settings.data_dir.display()),
        format!("auth: {:?}", settings.auth),
        format!("tls: {:?}", settings.tls),
        format!(
            "group of the events of users: {}",
            TopicSpec::users(settings).group
        ),
        format!(
            "group of the events of orders: {}",
            TopicSpec::orders(settings).group
        ),
        format!("dialect: {}", settings.process.dialect_name()),
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
    let token = settings.service_calls.token.unwrap();

    fs::write(file.path(), "second").unwrap();
    assert_eq!(token.current().await.expose_secret(), "second");
}
