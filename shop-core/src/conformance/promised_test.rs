//! Compares the ports' documentation with the kit: the names of functions in both.

use std::collections::BTreeSet;

/// The lines of every `# Behavior`, continuations joined.
fn promises(ports: &[&str]) -> Vec<String> {
    let mut promises = Vec::new();
    for port in ports {
        let behaviors = port.split("# Behavior").skip(1).map(|behavior| {
            let end = behavior.find("\n#[").expect("the item of the doc comment");
            behavior[..end].replace("///", "")
        });
        let behaviors: Vec<String> = behaviors.collect();
        assert!(!behaviors.is_empty(), "every port documents its behavior");
        for behavior in behaviors {
            promises.extend(behavior.split("\n - ").skip(1).map(str::to_owned));
        }
    }
    promises
}

/// `suite::case` of every name in backticks and parentheses.
fn named(promises: &[String], suites: &BTreeSet<&str>) -> BTreeSet<String> {
    let of_suite = |name: &&str| {
        name.split_once("::")
            .is_some_and(|(suite, _)| suites.contains(suite))
    };
    promises
        .iter()
        .flat_map(|promise| promise.split('`'))
        .filter(of_suite)
        .map(str::to_owned)
        .collect()
}

pub(super) fn functions(suite: &str, source: &str) -> BTreeSet<String> {
    let names = source
        .split("\npub async fn ")
        .skip(1)
        .filter_map(|rest| rest.split(['(', '<']).next());
    names.map(|name| format!("{suite}::{name}")).collect()
}

/// `suite::case` of every function of the `kit` that tests a port. Each source has the name of its
/// suite.
pub(super) fn written(kit: &[(&str, &str)]) -> BTreeSet<String> {
    kit.iter()
        .flat_map(|(suite, source)| functions(suite, source))
        .collect()
}

/// Every line of `# Behavior` in `ports` names a function of the `kit`, and every function is
/// named.
pub(super) fn assert_promised(ports: &[&str], kit: &[(&str, &str)]) {
    let suites = kit.iter().map(|(suite, _)| *suite).collect();
    let promises = promises(ports);
    assert!(promises.len() > 10, "{promises:#?}");
    for promise in &promises {
        assert!(
            !named(std::slice::from_ref(promise), &suites).is_empty(),
            "no function proves: {promise}"
        );
    }
    assert_eq!(named(&promises, &suites), written(kit));
}

/// `suite::case` of every case that the macros run.
pub(super) fn run(suites: &str) -> BTreeSet<String> {
    let mut run = BTreeSet::new();
    for call in suites.split("conformance_cases!(").skip(1) {
        let (head, cases) = call.split_once(';').expect("the cases of a suite");
        let suite = head.split(", ").nth(2).expect("a suite");
        if suite == "$suite" {
            // The macro itself, which is recursive.
            continue;
        }
        let cases = cases.split(");").next().unwrap_or_default();
        let names = cases
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        run.extend(names.map(|name| format!("{suite}::{name}")));
    }
    run
}
