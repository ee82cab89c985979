//! Compares the table of `docs/metrics.md` with the exposed metrics: each name has a line, and each line
//! a name.

use shop_core::inspect::LogInspection;
use shop_core::log::LogUsage;
use shop_http::Dialect;

use crate::entities::Entities;
use crate::prelude::*;
use crate::tls;

/// What the table and a response say about a metric.
#[derive(Debug, Default, PartialEq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
    services: BTreeSet<&'static str>,
}

/// The lines of the table, by name.
fn documented() -> BTreeMap<String, Metric> {
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
            .map(|label| label.trim().trim_matches('`').to_owned())
            .filter(|label| !label.is_empty());
        let services = match on {
            "both" => ["facing", "management"].into(),
            "facing" => ["facing"].into(),
            // Exposed by management in this test.
            "ingest" | "roles" | "TLS" | "keys, TLS" | "store in MongoDB" | "embedded log" => {
                ["management"].into()
            }
            other => panic!("{other} is no service"),
        };
        assert!(meaning.len() > 10, "{name} means something");
        let metric = Metric {
            kind: kind.to_owned(),
            labels: labels.collect(),
            services,
        };
        let name = name.trim_end_matches('`').to_owned();
        let duplicate = table.insert(name, metric);
        assert_eq!(duplicate, None, "{line} is duplicated");
    }
    table
}

/// Adds the metrics in `text`, exposed by `service`.
fn add(exposed: &mut BTreeMap<String, Metric>, service: &'static str, text: &str) {
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
            entry.kind = kind.to_owned();
            assert!(entry.services.insert(service), "{name} has two types");
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
                .labels
                .extend(names.filter(|name| *name != "le").map(str::to_owned));
        }
    }
}

/// What programs, logs and stores tell the metrics of both services.
fn note_metrics_of_programs(metrics: &Metrics) {
    metrics.count_dropped_lines(Arc::default(), Arc::default());
    metrics.note_build(&[("commit", "0123456789ab"), ("features", "embedded")]);
}

/// What they tell the metrics of management alone.
fn note_metrics_of_stores(metrics: &Metrics) {
    metrics.note_retention("purchases", None);
    let usage = Some(LogUsage::new(1, 1, None, 0));
    let inspection = LogInspection {
        usage,
        ..LogInspection::default()
    };
    metrics.note_log("purchases", inspection);
    metrics.count_unreadable(Arc::default());
    metrics.count_expired(Arc::default());
}

#[tokio::test(start_paused = true)]
async fn exposed_metrics_match_the_table() {
    let mut roles = AllRoles::default();
    let entities = Entities::new();
    let mut management_parts = roles.management();
    management_parts.roles = vec![Arc::new(entities.accounts())];
    note_metrics_of_programs(&management_parts.metrics);
    note_metrics_of_stores(&management_parts.metrics);
    tls::valid().await.expose(&management_parts.metrics);
    let mut facing_parts = roles.facing();
    facing_parts.roles.clear();
    note_metrics_of_programs(&facing_parts.metrics);
    let mut options = HttpOptions::default();
    // It has metrics of its own.
    options.dialect = Dialect::from_name("purchase-tracking").unwrap();
    let management = router(management_parts, options.clone());
    let facing = router(facing_parts, options);

    // A record is stuck only if the store accepts another one.
    let body = r#"{"username":"ada","userid":"u1","price":1}"#;
    let monitor = roles.start();
    roles.faults.always(Call::Insert, Fault::unavailable());
    post(&facing, "/v1/purchases", body).await;
    monitor.wait_for(|status| !status.errors.is_empty()).await;
    roles.faults.clear(Call::Insert);
    post(&facing, "/v1/purchases", body).await;
    monitor
        .wait_for(|status| status.counters.inserted == 1)
        .await;
    roles.faults.always(Call::Insert, Fault::unavailable());
    monitor.wait_for(|status| status.stuck.is_some()).await;
    get(&management, "/v1/summary?userid=u1").await;

    let mut exposed = BTreeMap::new();
    for (service, router) in [("facing", &facing), ("management", &management)] {
        add(&mut exposed, service, &get(router, "/metrics").await.text);
    }
    let documented = documented();
    let names = |of: &BTreeMap<String, Metric>| of.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(
        names(&exposed),
        names(&documented),
        "left is exposed, right is in docs/metrics.md"
    );
    assert_eq!(
        exposed, documented,
        "left is exposed, right is in docs/metrics.md"
    );
}
