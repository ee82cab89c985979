//! Compares the ports' documentation with the kit: the cases that both name.

use std::collections::BTreeSet;

/// Returns the lines of every `# Behavior`, continuations joined.
fn promises(ports: &[&str]) -> Vec<String> {
    let mut promises = Vec::new();
    for port in ports {
        let mut behaviors = port.split("# Behavior").skip(1).peekable();
        assert!(behaviors.peek().is_some(), "every port documents it");
        for behavior in behaviors {
            let end = behavior.find("\n#[").expect("the item of the doc comment");
            let behavior = behavior[..end].replace("///", "");
            promises.extend(behavior.split("\n - ").skip(1).map(str::to_owned));
        }
    }
    promises
}

/// Returns `suite::case` of every case that the macros of `suites` run. The compiler checks that each
/// is a function.
fn cases(suites: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for call in suites.split("conformance_cases!(").skip(1) {
        let (head, cases) = call.split_once(';').expect("the cases of a suite");
        let suite = head.split(", ").nth(2).expect("a suite");
        // The macro itself is recursive.
        if suite != "$suite" {
            let cases = cases.split(");").next().unwrap_or_default();
            let names = cases.split(',').map(str::trim);
            let names = names.filter(|name| !name.is_empty());
            all.extend(names.map(|name| format!("{suite}::{name}")));
        }
    }
    all
}

fn suite_of(case: &str) -> &str {
    case.split("::").next().unwrap_or_default()
}

/// Checks that every line of `# Behavior` in `ports` names a case of the macros in `suites`, and that
/// every case is named, apart from those of `suites_without_port`.
pub(super) fn assert_promised(ports: &[&str], suites: &str, suites_without_port: &[&str]) {
    let mut cases = cases(suites);
    let suites: BTreeSet<String> = cases.iter().map(|case| suite_of(case).to_owned()).collect();
    let mut promised = BTreeSet::new();
    for promise in promises(ports) {
        let names = promise.split('`').filter(|name| name.contains("::"));
        let names = names.filter(|name| suites.contains(suite_of(name)));
        let names: BTreeSet<_> = names.map(str::to_owned).collect();
        assert!(!names.is_empty(), "no case proves: {promise}");
        promised.extend(names);
    }
    cases.retain(|case| !suites_without_port.contains(&suite_of(case)));
    assert_eq!(promised, cases);
}
