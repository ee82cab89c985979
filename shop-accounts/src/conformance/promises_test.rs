//! Checks the ports' documentation against the kit.

use super::promised_test::assert_promised;

const PORTS: [&str; 3] = [
    include_str!("../users.rs"),
    include_str!("../entity.rs"),
    include_str!("../outbox/mod.rs"),
];

#[test]
fn every_promise_of_a_port_names_its_case() {
    assert_promised(&PORTS, include_str!("suites.rs"), &[]);
}
