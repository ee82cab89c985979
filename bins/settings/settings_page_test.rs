//! Keeps `docs/settings.md` equal to the definition of the settings.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use conf::Conf as _;
use conf::introspection::ProgramOptionMeta as _;

use super::command_line::{Setting, settings};
use super::variables::Variables;

const INTRODUCTION: &str = "\
# Settings

For operators: every setting of facing and management, with its variable, its flag and its default.

This page is generated from `bins/settings/variables.rs`; `facing --help` prints the same.

- Every setting is an environment variable or a flag; a flag wins. An empty variable counts as unset. Secrets and `OTEL_*` have no flag.
- With nothing set, everything is kept in `./shop-data` and served on this machine.
- For every secret `X`, `X_FILE` names a file to read it from.
- Names in *also* are those of the replaced systems. Two names of one setting with different values are rejected.
- A misspelled variable that begins like a setting is rejected, with the name that was probably meant.
- `facing --check-config` prints the settings in effect, tries every connection, and exits with 0 or 1. It creates nothing.
";

fn page() -> String {
    let (mut page, mut last) = (INTRODUCTION.to_owned(), "");
    for (Setting { group, variable, flag, meaning }, option) in
        settings().into_iter().zip(Variables::program_options())
    {
        if group != last {
            write!(page, "\n## {group}\n\n| variable | flag | default | meaning |\n|---|---|---|---|\n")
                .unwrap();
            last = group;
        }
        let code = |text: &str| format!("`{text}`");
        // Defaults that depend on other settings are in the text.
        let (mut meaning, mut default) =
            (meaning, option.default_help_str().map(|text| code(&text.to_string())));
        if let Some((before, rest)) = meaning.clone().split_once(" [default: ") {
            let (text, after) = rest.split_once(']').unwrap();
            (meaning, default) = (format!("{before}{after}"), Some(text.to_owned()));
        }
        let meaning = meaning.replace(" [also: ", "; also ").replace(']', "");
        let flag = flag.map(|flag| format!("`--{flag}`"));
        let cells =
            [variable.as_deref().map(code), flag, default, Some(meaning)].map(Option::unwrap_or_default);
        writeln!(page, "| {} |", cells.join(" | ").replace("  ", " ")).unwrap();
    }
    page
}

#[test]
fn settings_page_is_fresh() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.md");
    #[expect(clippy::disallowed_methods, reason = "this is a switch of the test, no setting")]
    if std::env::var_os("SHOP_TEST_WRITE").is_some() {
        fs::write(&file, page()).unwrap();
    }
    assert!(
        fs::read_to_string(&file).unwrap_or_default() == page(),
        "docs/settings.md is out of date: SHOP_TEST_WRITE=1 cargo test -p shop-bins --lib settings_page"
    );
}
