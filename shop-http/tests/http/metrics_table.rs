//! Compares the table of `docs/metrics.md` with the exposed metrics: each name has a line, and each line
//! a name.

use std::collections::{BTreeMap, BTreeSet};

use shop_core::conformance::fault::{Call, Fault};

use crate::dialects::shop_in_dialect;
use crate::metrics::Measured;
use crate::shop::{get, post};
use crate::tls;

/// Type, labels, and the services that expose it.
type Line = (String, BTreeSet<String>, BTreeSet<&'static str>);

/// The lines of the table, by name.
fn documented() -> BTreeMap<String, Line> {
    let text = include_str!("../../../docs/metrics.md");
    let lines = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut table = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line
            .trim_end_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        let [name, kind, labels, on, meaning, _before] = cells[..] else {
            panic!("six cells in {line}")
        };
        let labels = labels
            .split(',')
            .map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        let on = match on {
            "both" => ["facing", "management"].into(),
            "facing" => ["facing"].into(),
            // Exposed by management in this test.
            "ingest" | "roles" | "TLS" | "keys, TLS" | "store in MongoDB" | "embedded log" => {
                ["management"].into()
            }
            other => panic!("{other} is no service"),
        };
        assert!(meaning.len() > 10, "{name} means something");
        let name = name.trim_end_matches('`').to_owned();
        assert!(
            table.insert(name, (kind.to_owned(), labels, on)).is_none(),
            "{line} is duplicated"
        );
    }
    table
}

/// Adds the metrics in `text`, exposed by `service`.
fn add(exposed: &mut BTreeMap<String, Line>, service: &'static str, text: &str) {
    let mut current = String::new();
    let mut helped = "";
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            helped = rest.split(' ').next().unwrap();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, helped, "it has no help");
            current = name.to_owned();
            let entry = exposed.entry(current.clone()).or_default();
            entry.0 = kind.to_owned();
            assert!(entry.2.insert(service), "{name} has two types");
        } else {
            let (series, _value) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with(&current), "{line} is below {current}");
            let labels = series
                .split_once('{')
                .map_or("", |(_, labels)| labels.trim_end_matches('}'));
            let names = labels
                .split("\",")
                .filter_map(|label| label.split_once("=\""))
                .map(|(name, _)| name);
            let entry = exposed.get_mut(&current).unwrap();
            entry
                .1
                .extend(names.filter(|name| *name != "le").map(str::to_owned));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn exposed_metrics_match_the_table() {
    let mut shop = Measured::new();
    tls::valid().await.expose(&shop.metrics);
    let monitor = shop.start();
    shop.faults.always(Call::Insert, Fault::unavailable());
    let buy = || {
        post(
            &shop.facing,
            "/buy",
            r#"{"username":"ada","userid":"u1","price":1}"#,
        )
    };
    buy().await;
    monitor.wait_for(|status| !status.errors.is_empty()).await;
    // A record is stuck only if the store accepts another one.
    shop.faults.clear(Call::Insert);
    buy().await;
    monitor
        .wait_for(|status| status.counters.inserted == 1)
        .await;
    shop.faults.always(Call::Insert, Fault::unavailable());
    monitor.wait_for(|status| status.stuck.is_some()).await;
    let while_stuck = get(&shop.management, "/metrics").await.text;
    let stuck = while_stuck
        .lines()
        .filter(|line| line.contains("shop_ingest_stuck_seconds"));
    let stuck = stuck.collect::<Vec<_>>().join("\n");
    shop.faults.clear(Call::Insert);
    monitor
        .wait_for(|status| status.counters.inserted == 2)
        .await;
    get(&shop.management, "/purchases/u1").await;
    let mut exposed = BTreeMap::new();
    for (service, router) in [("facing", &shop.facing), ("management", &shop.management)] {
        add(&mut exposed, service, &get(router, "/metrics").await.text);
    }
    let dialect = shop_in_dialect("purchase-tracking");
    for (service, router) in [
        ("facing", &dialect.facing),
        ("management", &dialect.management),
    ] {
        get(router, "/healthz").await;
        let text = get(router, "/metrics").await.text;
        let durations = text
            .lines()
            .filter(|line| line.contains("flask_http_request_duration_seconds"));
        add(
            &mut exposed,
            service,
            &durations.collect::<Vec<_>>().join("\n"),
        );
    }
    // Absent when the record is no longer stuck.
    add(&mut exposed, "management", &stuck);
    let documented = documented();
    let names = |of: &BTreeMap<String, Line>| of.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(
        names(&exposed),
        names(&documented),
        "left is exposed, right is in docs/metrics.md"
    );
    assert_eq!(
        exposed, documented,
        "left is exposed, right is in docs/metrics.md"
    );
    assert!(documented.len() > 25, "{documented:#?}");
}
