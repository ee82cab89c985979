//! Checks `docs/promises.md`: every promise has a row, and every row names a test that exists, with its level.
//!
//! Other tests compare the rest of the documentation with the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The levels of the tests in these places. The first place that is a part of the path decides.
const LEVELS: [(&str, &str); 11] = [
    // Tests of what the process tests are made of.
    ("_test.rs", "unit"),
    ("system-tests/tests/processes/browser/", "browser"),
    ("system-tests/", "process"),
    ("shop-core/tests/model/", "simulation"),
    ("shop-http/tests/page/", "node"),
    ("shop-http/tests/", "HTTP"),
    ("shop-compat/tests/", "HTTP"),
    ("shop-client/tests/", "HTTP"),
    ("shop-accounts/tests/http/", "HTTP"),
    ("shop-accounts/tests/client/", "HTTP"),
    ("", "unit"),
];

/// The macros that run the functions of the kit.
const KIT: [&str; 2] = [
    "shop-core/src/conformance/suites.rs",
    "shop-accounts/src/conformance/suites.rs",
];

/// A row of `docs/promises.md`.
struct Row {
    /// The heading of its section, without `##`.
    section: String,
    promise: String,
    test: String,
    level: String,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Returns the cells of a row of a table, and none for another line.
fn cells(line: &str) -> Vec<&str> {
    let row = line
        .strip_prefix("| ")
        .map(|row| row.trim_end_matches(" |"));
    row.map(|row| row.split(" | ").collect())
        .unwrap_or_default()
}

/// Returns the rows of the tables with the columns promise, test and level.
fn rows() -> Vec<Row> {
    let page = read("docs/promises.md");
    let mut section = "";
    let mut rows = Vec::new();
    for line in page.lines() {
        section = line.strip_prefix("## ").unwrap_or(section);
        if let [promise, test, level] = cells(line)[..]
            && level != "level"
        {
            rows.push(Row {
                section: section.to_owned(),
                promise: promise.to_owned(),
                test: test.trim_matches('`').to_owned(),
                level: level.to_owned(),
            });
        }
    }
    rows
}

/// Returns the tests that the page of guarantees names, which are its code spans such as `suite::function`.
fn tests_of_guarantees() -> BTreeSet<String> {
    let page = read("docs/guarantees.md");
    let spans = code_spans(&page).filter(|span| span.contains("::") && !span.ends_with('…'));
    spans.map(str::to_owned).collect()
}

/// Returns the names of the tests in a source of Rust or JavaScript.
fn names_of_tests(source: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut has_attribute = false;
    for line in source.lines() {
        let code = line.trim_start();
        if code.starts_with("#[test]") || code.starts_with("#[tokio::test") {
            has_attribute = true;
        } else if let Some((_, function)) = code.split_once("fn ")
            && has_attribute
        {
            names.extend(function.split('(').next());
            has_attribute = false;
        } else if let Some(call) = line.strip_prefix("test(\"") {
            names.extend(call.split('"').next());
        }
    }
    names
}

/// Returns the name of a file without its endings, or the name of its folder for `mod.rs` and `main.rs`.
fn stem(path: &Path) -> String {
    let file = path.file_name().unwrap().to_string_lossy();
    if file == "mod.rs" || file == "main.rs" {
        return stem(path.parent().unwrap());
    }
    file.split('.').next().unwrap().to_owned()
}

/// Adds the tests below a folder as `stem::name`, each with its level.
fn add_tests(folder: &Path, tests: &mut BTreeMap<String, &'static str>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            add_tests(&path, tests);
        }
        let text = path.to_string_lossy();
        let (_, level) = LEVELS
            .iter()
            .find(|(place, _)| text.contains(place))
            .unwrap();

        if name.ends_with(".http") {
            tests.insert(format!("{}::{}", stem(folder), stem(&path)), level);
        } else if name.ends_with(".rs") || name.ends_with(".test.mjs") {
            for test in names_of_tests(&fs::read_to_string(&path).unwrap()) {
                tests.insert(format!("{}::{test}", stem(&path)), level);
            }
        }
    }
}

/// Returns the tests of the workspace by their names in the documentation, each with its level.
fn tests() -> BTreeMap<String, &'static str> {
    let mut tests = BTreeMap::new();
    add_tests(&workspace(), &mut tests);

    for suites in KIT.map(read) {
        // conformance_cases!(name, fixture = (…), suite, (…); function, function);
        for call in suites.split("conformance_cases!(").skip(1) {
            let (head, functions) = call.split_once(';').unwrap();
            let suite = head.split(", ").nth(2).unwrap_or_default();
            let functions = functions.split(");").next().unwrap();
            for function in functions.split(',').map(str::trim) {
                tests.insert(format!("{suite}::{function}"), "kit");
            }
        }
    }
    tests
}

fn assert_empty(wrong: &BTreeSet<String>, what_to_do: &str) {
    assert!(wrong.is_empty(), "{what_to_do}: {wrong:#?}");
}

#[test]
fn every_named_test_exists_at_its_level() {
    let tests = tests();
    let mut wrong = tests_of_guarantees();
    wrong.retain(|test| !tests.contains_key(test));
    for Row { test, level, .. } in rows() {
        match tests.get(&test) {
            Some(place) if *place == level => {}
            Some(place) => drop(wrong.insert(format!("{test} is at the level {place}"))),
            None => drop(wrong.insert(test)),
        }
    }
    assert_empty(
        &wrong,
        "name in promises.md and guarantees.md the tests that exist",
    );
}

/// Returns each operation of `docs/openapi.json` with each of its statuses, as `METHOD /path STATUS`.
fn documented_statuses() -> BTreeSet<String> {
    let document: Value = serde_json::from_str(&read("docs/openapi.json")).unwrap();
    let mut statuses = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            for status in operation["responses"].as_object().unwrap().keys() {
                statuses.insert(format!("{} {path} {status}", method.to_uppercase()));
            }
        }
    }
    statuses
}

/// Returns whether a row proves `METHOD /path STATUS`. It begins with code spans of operations or methods, or with
/// "Every operation", and with the statuses.
fn proves_status(row: &Row, documented: &str) -> bool {
    let (operation, status) = documented.rsplit_once(' ').unwrap();
    let subject = row.promise.split(": ").next().unwrap();
    let is_of_operation = subject.starts_with("Every operation")
        || code_spans(subject)
            .any(|span| span == operation || operation.split(' ').next() == Some(span));
    is_of_operation && subject.split([' ', ',']).any(|word| word == status)
}

/// Returns the first code span of each row of the tables whose first column has this head.
fn names_below(page: &str, head: &str) -> Vec<String> {
    let mut is_below = false;
    let mut names = Vec::new();
    for line in read(page).lines() {
        let first_cell = cells(line).first().copied().unwrap_or_default();
        is_below = first_cell == head || is_below && line.starts_with('|');
        if is_below {
            names.extend(code_spans(first_cell).next().map(str::to_owned));
        }
    }
    assert!(!names.is_empty(), "{page} has no table of the {head}s");
    names
}

#[test]
fn every_promise_has_a_row() {
    let rows = rows();
    let proves = |section: &str, is_proven: &dyn Fn(&Row) -> bool| {
        rows.iter()
            .any(|row| row.section == section && is_proven(row))
    };
    let mut missing = BTreeSet::new();
    for documented in documented_statuses() {
        if !proves("HTTP API", &|row| proves_status(row, &documented)) {
            missing.insert(format!("HTTP API: {documented}"));
        }
    }

    for (section, page, head) in [
        ("Commands", "docs/cli.md", "command"),
        ("Commands", "docs/settings.md", "flag"),
        ("Settings", "docs/settings.md", "variable"),
    ] {
        for name in names_below(page, head) {
            let is_named = |row: &Row| code_spans(&row.promise).any(|span| span == name);
            if !proves(section, &is_named) {
                missing.insert(format!("{section}: {name}"));
            }
        }
    }

    let console = read("shop-http/page/management.js");
    for rest in console.split("title: \"").skip(1) {
        let view = rest.split('"').next().unwrap();
        if !proves("Pages", &|row| row.promise.split(": ").next() == Some(view)) {
            missing.insert(format!("Pages: {view}"));
        }
    }
    assert_empty(&missing, "add a row to promises.md");
}

#[test]
fn every_test_of_processes_and_pages_proves_a_promise() {
    let mut named = tests_of_guarantees();
    named.extend(rows().into_iter().map(|row| row.test));
    let mut unnamed = BTreeSet::new();
    for (test, level) in tests() {
        if ["process", "browser"].contains(&level) && !named.contains(&test) {
            unnamed.insert(test);
        }
    }
    assert_empty(&unnamed, "delete these tests, or name them in promises.md");
}

#[test]
fn counts_are_those_of_the_rows() {
    let page = read("docs/promises.md");
    let mut counts = BTreeMap::new();
    for row in rows() {
        *counts.entry(row.level).or_insert(0) += 1;
    }
    for (level, count) in counts {
        let cells = format!("\n| {level} | {count} |");
        assert!(page.contains(&cells), "docs/promises.md must count {cells}");
    }
}
