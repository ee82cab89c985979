//! Keeps `docs/settings.md`, the table in `docs/cli.md`, and `deploy/helm/shop/files/settings.json` equal to the
//! definitions of the settings and the commands.

use std::any::TypeId;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, Command};
use serde::Serialize;

use super::command_line::command_line;
use super::conflicts::FACING_SETTINGS;
use super::names::{OURS, aliases, arguments, is_in_groups, variable};
use super::{ServiceKind, old_names};

const INTRODUCTION: &str = "\
# Settings

This page is for operators. It lists every setting of facing and management with its default. The page is generated from `bins/settings/variables.rs` and from `src/args.rs` of `shop-http`, `shop-kafka` and `shop-store`; `facing --help` prints the same settings, and [settings.json](../deploy/helm/shop/files/settings.json) has them for programs.

Without settings, a service stores everything in `./shop-data` and serves on this machine only.

- **Where a setting is given.** A setting can be given as a flag, as an environment variable, or in the TOML file that `--config` names. For example, `--log-level`, `SHOP_LOG_LEVEL` and the key `log_level` are the same setting; in the file, the key `level` in the table `[log]` is also the same. A flag takes precedence over a variable, and a variable over the file.
- **Empty variables.** An empty variable counts as unset, with a warning.
- **Values.** A duration is a whole number with the unit `ms`, `s`, `m`, `h` or `d`. A size is a whole number with `B`, `KiB`, `MiB` or `GiB`.
- **Secrets.** For every secret `X`, the setting `X_FILE` names a file that contains the secret: a regular file, or a symbolic link to one, of at most 64 KiB. Other files that settings name, such as certificates, have at most 1 MiB.
- **Properties of librdkafka.** `SHOP_KAFKA_PROPERTY_CLIENT_RACK` sets the [property](https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md) `client.rack` of librdkafka. Any other property is set in the same way, with `__` for a `_` in its name. A property that would break a guarantee, or that has a setting on this page, is rejected.
- **Other names.** Variables that begin with `KAFKA_`, `MONGODB_` or `POSTGRES_` may omit the prefix `SHOP_`. The names after *also* are those of replaced systems. Two names of one setting with different values are rejected.
- **Mistakes.** A service rejects misspelled names, and settings that it does not read.

This is a file for `--config`:

```toml
data_dir = \"/var/lib/shop\"
drain_timeout = \"30s\"
[kafka]
bootstrap_servers = [\"k1:9092\", \"k2:9092\"]
password_file = \"/etc/shop/kafka-password\"
```
";

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut group = "";
    let settings = arguments();
    for setting in settings.get_arguments() {
        let name = variable(setting);
        let heading = setting.get_help_heading().unwrap();
        if heading != group {
            let kind = if name.is_some() { "variable" } else { "flag" };
            write!(
                page,
                "\n## {heading}\n\n| {kind} | default | meaning |\n|---|---|---|\n"
            )
            .unwrap();
            group = heading;
        }
        let code = |text: &str| format!("`{text}`");
        // Defaults that depend on other settings are in the text.
        let mut meaning = setting.get_help().unwrap().to_string();
        let mut default = setting
            .get_default_values()
            .first()
            .map(|text| code(text.to_str().unwrap()));
        if let Some((before, rest)) = meaning.clone().split_once(" [default: ") {
            let (text, after) = rest.split_once(']').unwrap();
            meaning = format!("{before}{after}");
            default = Some(text.to_owned());
        }
        let is_clear = |alias: &&str| {
            !["KAFKA_", "MONGODB_", "POSTGRES_"].iter().any(|bare| {
                name.as_deref() == Some(&format!("SHOP_{alias}")) && alias.starts_with(bare)
            })
        };
        let aliases: Vec<_> = name
            .iter()
            .flat_map(|name| aliases(name))
            .filter(is_clear)
            .collect();
        if !aliases.is_empty() {
            write!(meaning, "; also {}", aliases.join(", ")).unwrap();
        }
        if setting.is_hide_set() {
            meaning.push_str(" (no flag)");
        }
        let name = code(&name.unwrap_or_else(|| format!("--{}", setting.get_long().unwrap())));
        writeln!(
            page,
            "| {name} | {} | {meaning} |",
            default.unwrap_or_default()
        )
        .unwrap();
    }
    page
}

/// What the value of a setting is.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum ValueKind {
    /// One of the words in `values`.
    Enum,
    /// Such as `20s`.
    Duration,
    /// Such as `2MiB`.
    Size,
    /// A whole number.
    Number,
    /// `on` or `off`.
    Switch,
    /// A file or a folder.
    Path,
    Text,
}

/// A setting in `settings.json`, for programs that check or write settings.
#[derive(Serialize)]
struct SettingEntry {
    /// The variable.
    name: String,
    /// The flag. A secret and a setting of OpenTelemetry have none.
    option: Option<String>,
    /// The services that read the setting.
    programs: Vec<&'static str>,
    /// The heading of the setting in the help.
    group: String,
    value: ValueKind,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
    /// The default, unless it depends on other settings.
    default: Option<String>,
    /// Whether the value is secret. Then each name with `_FILE` names a file that contains the value.
    secret: bool,
    other_names: Vec<String>,
    /// The setting whose address is composed of this variable and of others, if this is no setting of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    part_of: Option<&'static str>,
}

fn entry(setting: &Arg, name: String) -> SettingEntry {
    let reads_facing_alone = is_in_groups(&name, &FACING_SETTINGS);
    let value = value_kind(setting);
    let mut values = Vec::new();
    if matches!(value, ValueKind::Enum) {
        let possible = setting.get_possible_values();
        values.extend(possible.iter().map(|value| value.get_name().to_owned()));
    }
    let option = setting.get_long().filter(|_| !setting.is_hide_set());
    let default = setting.get_default_values().first();
    SettingEntry {
        option: option.map(|long| format!("--{long}")),
        programs: match reads_facing_alone {
            true => vec!["facing"],
            false => vec!["facing", "management"],
        },
        group: setting.get_help_heading().unwrap().to_owned(),
        value,
        values,
        default: default.map(|text| text.to_str().unwrap().to_owned()),
        secret: setting.is_hide_env_values_set(),
        other_names: aliases(&name).into_iter().map(str::to_owned).collect(),
        part_of: None,
        name,
    }
}

/// Returns the entries of the parts of which the address of `setting` may be composed.
fn parts_of(setting: &SettingEntry) -> Vec<SettingEntry> {
    let addresses = old_names::ADDRESSES.iter();
    let address = addresses.filter(|address| address.setting == setting.name);
    let parts =
        address.flat_map(|address| address.parts.iter().map(|part| (*part, address.setting)));
    let entries = parts.map(|(part, address)| SettingEntry {
        name: part.to_owned(),
        option: None,
        programs: setting.programs.clone(),
        group: setting.group.clone(),
        value: ValueKind::Text,
        values: Vec::new(),
        default: None,
        secret: old_names::is_secret_part(part),
        other_names: vec![format!("{OURS}{part}")],
        part_of: Some(address),
    });
    entries.collect()
}

/// Returns what the value of `setting` is, by the type and by the values that clap accepts.
fn value_kind(setting: &Arg) -> ValueKind {
    let accepts = |value: &str| {
        let flag = format!("--{}={value}", setting.get_long().unwrap());
        let line = Command::new("").no_binary_name(true).arg(setting);
        line.try_get_matches_from([flag]).is_ok()
    };
    let value = setting.get_value_parser().type_id();
    if value == TypeId::of::<bool>() {
        ValueKind::Switch
    } else if !setting.get_possible_values().is_empty() {
        ValueKind::Enum
    } else if value == TypeId::of::<Duration>() {
        ValueKind::Duration
    } else if value == TypeId::of::<PathBuf>() {
        ValueKind::Path
    } else if accepts("word") {
        ValueKind::Text
    } else if accepts("2MiB") {
        ValueKind::Size
    } else if accepts("12") {
        ValueKind::Number
    } else {
        ValueKind::Text
    }
}

/// Returns the array of all settings, with a line for each.
fn settings_json() -> String {
    let mut lines = Vec::new();
    for setting in arguments().get_arguments() {
        // A flag without a variable, such as `--man`, is no setting.
        let Some(name) = variable(setting) else {
            continue;
        };
        let entry = entry(setting, name);
        let parts = parts_of(&entry);
        for entry in [entry].into_iter().chain(parts) {
            lines.push(format!("  {}", serde_json::to_string(&entry).unwrap()));
        }
    }
    format!("[\n{}\n]\n", lines.join(",\n"))
}

/// A row for each command below `command`, which is `path`.
fn rows(command: &Command, path: &str, table: &mut String) {
    for command in command.get_subcommands() {
        let path = format!("{path} {}", command.get_name());
        match command.has_subcommands() {
            true => rows(command, &path, table),
            false => writeln!(
                table,
                "| `{}` | {} |",
                path.trim(),
                command.get_about().unwrap()
            )
            .unwrap(),
        }
    }
}

/// Fails if `file` of the repository is not what `page` makes of it, unless the test is to write it.
fn assert_fresh(file: &str, page: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let page = page(&fs::read_to_string(&path).unwrap_or_default());
    #[expect(
        clippy::disallowed_methods,
        reason = "this is a switch of the test, no setting"
    )]
    if std::env::var_os("SHOP_TEST_WRITE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == page,
        "{file} is out of date: SHOP_TEST_WRITE=1 cargo test -p shop-bins --lib settings_page"
    );
}

#[test]
fn settings_page_is_fresh() {
    assert_fresh("docs/settings.md", |_| page());
}

#[test]
fn settings_json_is_fresh() {
    assert_fresh("deploy/helm/shop/files/settings.json", |_| settings_json());
}

#[test]
fn table_of_commands_is_fresh() {
    const HEAD: &str = "| command | what it does |\n|---|---|\n";
    assert_fresh("docs/cli.md", |page| {
        let (before, rest) = page.split_once(HEAD).unwrap();
        let (_, after) = rest.split_once("\n\n").unwrap();
        let mut table = HEAD.to_owned();
        rows(&command_line(ServiceKind::Management), "", &mut table);
        format!("{before}{table}\n{after}")
    });
}
