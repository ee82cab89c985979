//! Checks the ports' documentation against the kit: every line of `# Behavior` names its test, and
//! every test is named.

use super::promised_test::{assert_promised, run, written};

const PORTS: [&str; 3] = [
    include_str!("../users.rs"),
    include_str!("../entity.rs"),
    include_str!("../outbox/mod.rs"),
];

/// The functions of the kit that test a port, by suite.
const KIT: [(&str, &str); 5] = [
    ("entity", include_str!("entity.rs")),
    ("erase_users", include_str!("erase_users.rs")),
    ("users", include_str!("users.rs")),
    ("orders", include_str!("orders.rs")),
    ("outbox", include_str!("outbox.rs")),
];

#[test]
fn every_promise_names_a_function_that_exists() {
    assert_promised(&PORTS, &KIT);
}

#[test]
fn every_function_is_in_its_suite() {
    assert_eq!(run(include_str!("suites.rs")), written(&KIT));
}
