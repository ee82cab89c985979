//! Checks the ports' documentation against the kit: every line of `# Behavior` names its test, and
//! every test is named.

use super::promised_test::{assert_promised, functions, run, written};

const PORTS: [&str; 13] = [
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
];

/// The functions of the kit that test a port, by suite.
const KIT: [(&str, &str); 15] = [
    ("log", include_str!("log.rs")),
    ("shop", include_str!("shop.rs")),
    ("log", include_str!("log_source.rs")),
    ("log", include_str!("log_gaps.rs")),
    ("log_admin", include_str!("log_admin.rs")),
    ("log_admin", include_str!("log_tail.rs")),
    ("operations", include_str!("operations.rs")),
    ("record_store", include_str!("record_store.rs")),
    ("store", include_str!("store.rs")),
    ("query", include_str!("query.rs")),
    ("erase", include_str!("erase.rs")),
    ("currency", include_str!("currency.rs")),
    ("refund", include_str!("refund.rs")),
    ("refund", include_str!("refund_model.rs")),
    ("events", include_str!("events.rs")),
];

#[test]
fn every_promise_names_a_function_that_exists() {
    assert_promised(&PORTS, &KIT);
}

#[test]
fn every_function_is_in_its_suite() {
    let mut written = written(&KIT);
    written.extend(functions("pipeline", include_str!("pipeline.rs")));
    written.extend(functions("feed", include_str!("feed.rs")));
    assert_eq!(run(include_str!("suites.rs")), written);
}
