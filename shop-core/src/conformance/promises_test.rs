//! Checks the ports' documentation against the kit.

use super::promised_test::assert_promised;

const PORTS: [&str; 14] = [
    include_str!("../feed/port.rs"),
    include_str!("../operations/mod.rs"),
    include_str!("../ports/sink.rs"),
    include_str!("../ports/publisher.rs"),
    include_str!("../log/source.rs"),
    include_str!("../ports/store.rs"),
    include_str!("../ports/query.rs"),
    include_str!("../ports/refunds.rs"),
    include_str!("../ports/currency.rs"),
    include_str!("../ports/imported_files.rs"),
    include_str!("../ports/user_names.rs"),
    include_str!("../log/groups.rs"),
    include_str!("../log/info.rs"),
    include_str!("../log/port.rs"),
];

#[test]
fn every_promise_of_a_port_names_its_case() {
    let suites = include_str!("suites.rs");
    assert_promised(&PORTS, suites, &["pipeline", "feed", "decorator"]);
}
