//! Holds the ports' documentation against the kit: no promise without a test, no test without a promise.

use std::collections::BTreeSet;

const PORTS: [&str; 12] = [
    include_str!("../ports/sink.rs"),
    include_str!("../log/source.rs"),
    include_str!("../ports/record_store.rs"),
    include_str!("../ports/store.rs"),
    include_str!("../ports/query.rs"),
    include_str!("../log/dead_letters.rs"),
    include_str!("../log/writer.rs"),
    include_str!("../log/admin.rs"),
    include_str!("../log/port.rs"),
    include_str!("../users/store.rs"),
    include_str!("../orders/store.rs"),
    include_str!("../outbox/mod.rs"),
];

/// The lines of every `# Behavior`, continuations joined.
fn promises() -> Vec<String> {
    let mut promises: Vec<String> = Vec::new();
    for port in PORTS {
        let behavior = port.split("# Behavior").nth(1).expect("every port says how it behaves");
        for line in behavior.lines().map(str::trim).take_while(|line| !line.starts_with("#[")) {
            let text = line.trim_start_matches("///").trim();
            match text.strip_prefix("- ") {
                Some(promise) => promises.push(promise.to_owned()),
                None => promises.last_mut().into_iter().for_each(|promise| promise.push_str(text)),
            }
        }
    }
    promises
}

/// `suite::case` of every name in backticks and parentheses.
fn named(promises: &[String]) -> BTreeSet<String> {
    let suites =
        ["log::", "log_admin::", "record_store::", "store::", "query::", "users::", "orders::", "outbox::"];
    let of_suite = |name: &&str| suites.iter().any(|suite| name.starts_with(suite));
    promises.iter().flat_map(|promise| promise.split('`')).filter(of_suite).map(str::to_owned).collect()
}

fn functions(suite: &str, source: &str) -> BTreeSet<String> {
    let names = source.split("\npub async fn ").skip(1).filter_map(|rest| rest.split('(').next());
    names.map(|name| format!("{suite}::{name}")).collect()
}

#[test]
fn every_promise_names_a_function_that_exists() {
    let promises = promises();
    assert!(promises.len() > 30, "{promises:#?}");
    for promise in &promises {
        assert!(!named(std::slice::from_ref(promise)).is_empty(), "no function proves: {promise}");
    }
    let mut written = functions("log", include_str!("log.rs"));
    written.extend(functions("record_store", include_str!("record_store.rs")));
    written.extend(functions("log", include_str!("log_batches.rs")));
    written.extend(functions("log_admin", include_str!("log_admin.rs")));
    written.extend(functions("store", include_str!("store.rs")));
    written.extend(functions("query", include_str!("query.rs")));
    written.extend(functions("users", include_str!("users.rs")));
    written.extend(functions("orders", include_str!("orders.rs")));
    written.extend(functions("outbox", include_str!("outbox.rs")));
    assert_eq!(named(&promises), written);
}

#[test]
fn every_function_is_in_its_suite() {
    let suites = include_str!("suites.rs");
    for source in [
        include_str!("log.rs"),
        include_str!("record_store.rs"),
        include_str!("log_batches.rs"),
        include_str!("log_admin.rs"),
        include_str!("store.rs"),
        include_str!("query.rs"),
        include_str!("pipeline.rs"),
        include_str!("users.rs"),
        include_str!("orders.rs"),
        include_str!("outbox.rs"),
    ] {
        for name in functions("", source) {
            let case = format!("{},", name.trim_start_matches("::"));
            assert!(suites.contains(&case), "{case} is not run");
        }
    }
}
