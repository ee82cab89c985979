//! Keeps `docs/settings.md` and the table in `docs/cli.md` equal to the definitions of the settings and the commands.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::Command;

use super::ServiceKind;
use super::command_line::command_line;
use super::names::{aliases, arguments, variable};

const INTRODUCTION: &str = "\
# Settings

This page is for operators. It lists every setting of facing and management with its default. The page is generated from `bins/settings/variables.rs` and from `src/args.rs` of `shop-http`, `shop-kafka` and `shop-store`; `facing --help` prints the same settings.

With nothing set, a service keeps everything in `./shop-data` and serves on this machine only.

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

/// Fails if `file` of the documentation is not what `page` makes of it, unless the test is to write it.
fn assert_fresh(file: &str, page: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(file);
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
        "docs/{file} is out of date: SHOP_TEST_WRITE=1 cargo test -p shop-bins --lib settings_page"
    );
}

#[test]
fn settings_page_is_fresh() {
    assert_fresh("settings.md", |_| page());
}

#[test]
fn table_of_commands_is_fresh() {
    const HEAD: &str = "| command | what it does |\n|---|---|\n";
    assert_fresh("cli.md", |page| {
        let (before, rest) = page.split_once(HEAD).unwrap();
        let (_, after) = rest.split_once("\n\n").unwrap();
        let mut table = HEAD.to_owned();
        rows(&command_line(ServiceKind::Management), "", &mut table);
        format!("{before}{table}\n{after}")
    });
}
