//! Checks that the tests which docs/guarantees.md names exist.
//!
//! Other tests compare the rest of the documentation with the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The macros that run the functions of the kit.
const KIT: [&str; 2] = [
    "shop-core/src/conformance/suites.rs",
    "shop-accounts/src/conformance/suites.rs",
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the tests that the page of guarantees names, which are its code spans such as `suite::function`.
fn named_tests() -> BTreeSet<String> {
    let page = read("docs/guarantees.md");
    let spans = page.split('`').skip(1).step_by(2);
    spans
        .filter(|span| span.contains("::") && !span.ends_with('…'))
        .map(str::to_owned)
        .collect()
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

/// Adds the tests below a folder as `stem::name`. A scenario is the test of its file.
fn add_tests(folder: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            add_tests(&path, tests);
        }
        if name.ends_with(".http") {
            tests.insert(format!("{}::{}", stem(folder), stem(&path)));
        } else if name.ends_with(".rs") || name.ends_with(".test.mjs") {
            for test in names_of_tests(&fs::read_to_string(&path).unwrap()) {
                tests.insert(format!("{}::{test}", stem(&path)));
            }
        }
    }
}

/// Returns the tests of the workspace by their names in the documentation.
fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    add_tests(&workspace(), &mut tests);

    for suites in KIT.map(read) {
        // conformance_cases!(name, fixture = (…), suite, (…); function, function);
        for call in suites.split("conformance_cases!(").skip(1) {
            let (head, functions) = call.split_once(';').unwrap();
            let suite = head.split(", ").nth(2).unwrap_or_default();
            let functions = functions.split(");").next().unwrap();
            for function in functions.split(',').map(str::trim) {
                tests.insert(format!("{suite}::{function}"));
            }
        }
    }
    tests
}

#[test]
fn the_tests_that_guarantees_name_exist() {
    let tests = tests();
    let mut missing = named_tests();
    assert!(!missing.is_empty(), "the page names tests");
    missing.retain(|test| !tests.contains(test));
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}
