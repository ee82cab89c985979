//! Checks the ports' documentation against the kit: every line of `# Behavior` names its test, and
//! every test is named.

use std::collections::BTreeSet;

const PORTS: [&str; 16] = [
    include_str!("../feed/port.rs"),
    include_str!("../operations/mod.rs"),
    include_str!("../ports/sink.rs"),
    include_str!("../ports/publisher.rs"),
    include_str!("../log/source.rs"),
    include_str!("../ports/store.rs"),
    include_str!("../ports/query.rs"),
    include_str!("../ports/refunds.rs"),
    include_str!("../ports/currency.rs"),
    include_str!("../log/dead_letters.rs"),
    include_str!("../log/admin.rs"),
    include_str!("../log/groups.rs"),
    include_str!("../log/port.rs"),
    include_str!("../accounts/users.rs"),
    include_str!("../accounts/entity.rs"),
    include_str!("../accounts/outbox/mod.rs"),
];

/// The lines of every `# Behavior`, continuations joined.
fn promises() -> Vec<String> {
    let mut promises: Vec<String> = Vec::new();
    for port in PORTS {
        let behaviors = port.split("# Behavior").skip(1);
        assert!(
            behaviors.clone().next().is_some(),
            "every port documents its behavior"
        );
        let lines = behaviors
            .flat_map(|behavior| behavior.lines().take_while(|line| !line.starts_with("#[")));
        for line in lines.map(str::trim) {
            let text = line.trim_start_matches("///").trim();
            match text.strip_prefix("- ") {
                Some(promise) => promises.push(promise.to_owned()),
                None => promises
                    .last_mut()
                    .into_iter()
                    .for_each(|promise| promise.push_str(text)),
            }
        }
    }
    promises
}

/// `suite::case` of every name in backticks and parentheses.
fn named(promises: &[String]) -> BTreeSet<String> {
    let suites = [
        "log::",
        "shop::",
        "log_admin::",
        "operations::",
        "record_store::",
        "store::",
        "query::",
        "erase::",
        "refund::",
        "currency::",
        "erase_users::",
        "events::",
        "users::",
        "orders::",
        "outbox::",
    ];
    let of_suite = |name: &&str| suites.iter().any(|suite| name.starts_with(suite));
    promises
        .iter()
        .flat_map(|promise| promise.split('`'))
        .filter(of_suite)
        .map(str::to_owned)
        .collect()
}

fn functions(suite: &str, source: &str) -> BTreeSet<String> {
    let names = source
        .split("\npub async fn ")
        .skip(1)
        .filter_map(|rest| rest.split('(').next());
    names.map(|name| format!("{suite}::{name}")).collect()
}

/// `suite::case` of every function of the kit that tests a port.
fn written() -> BTreeSet<String> {
    let sources = [
        ("log", include_str!("log.rs")),
        ("shop", include_str!("shop.rs")),
        ("log", include_str!("log_batches.rs")),
        ("log", include_str!("log_gaps.rs")),
        ("log", include_str!("log_many.rs")),
        ("log_admin", include_str!("log_admin.rs")),
        ("log_admin", include_str!("log_tail.rs")),
        ("operations", include_str!("operations.rs")),
        ("record_store", include_str!("record_store.rs")),
        ("store", include_str!("store.rs")),
        ("query", include_str!("query.rs")),
        ("query", include_str!("query_names.rs")),
        ("erase", include_str!("erase.rs")),
        ("currency", include_str!("currency.rs")),
        ("refund", include_str!("refund.rs")),
        ("refund", include_str!("refund_model.rs")),
        (
            "erase_users",
            include_str!("../accounts/conformance/erase_users.rs"),
        ),
        ("events", include_str!("events.rs")),
        ("users", include_str!("../accounts/conformance/users.rs")),
        ("orders", include_str!("../accounts/conformance/orders.rs")),
        ("outbox", include_str!("../accounts/conformance/outbox.rs")),
    ];
    sources
        .iter()
        .flat_map(|(suite, source)| functions(suite, source))
        .collect()
}

#[test]
fn every_promise_names_a_function_that_exists() {
    let promises = promises();
    assert!(promises.len() > 30, "{promises:#?}");
    for promise in &promises {
        assert!(
            !named(std::slice::from_ref(promise)).is_empty(),
            "no function proves: {promise}"
        );
    }
    assert_eq!(named(&promises), written());
}

/// `suite::case` of every case that the macros run.
fn run() -> BTreeSet<String> {
    let mut run = BTreeSet::new();
    let suites = concat!(
        include_str!("suites.rs"),
        include_str!("../accounts/conformance/suites.rs")
    );
    for call in suites.split("conformance_cases!(").skip(1) {
        let (head, cases) = call.split_once(';').expect("the cases of a suite");
        let suite = head.split(", ").nth(2).expect("a suite");
        if suite == "$suite" {
            // The macro itself, which is recursive.
            continue;
        }
        let cases = cases.split(");").next().unwrap_or_default();
        run.extend(
            cases
                .split(',')
                .map(str::trim)
                .filter(|case| !case.is_empty())
                .map(|case| format!("{suite}::{case}")),
        );
    }
    run
}

#[test]
fn every_function_is_in_its_suite() {
    let mut written = written();
    written.extend(functions("pipeline", include_str!("pipeline.rs")));
    written.extend(functions("shop", include_str!("shop.rs")));
    written.extend(functions("feed", include_str!("feed.rs")));
    assert_eq!(run(), written);
}
