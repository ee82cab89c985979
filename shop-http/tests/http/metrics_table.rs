//! Compares the table of `docs/metrics.md` with the exposed metrics: each name has a line, and each line
//! a name.

use shop_core::inspect::LogInspection;
use shop_core::log::LogUsage;

use crate::entities::Entities;
use crate::metric_rows::exposed_rows;
use crate::prelude::*;
use crate::tls;

/// Returns a row for each line of the table and each service that exposes it: `facing: shop_x counter part reason`.
fn documented_rows() -> BTreeSet<String> {
    let page = include_str!("../../../docs/metrics.md");
    let mut rows = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let line = line.replace(['`', ','], "");
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, on, ..] = cells[..] else {
            panic!("{line} has a name, a type, labels, and a service")
        };
        let mut labels: Vec<_> = labels.split_whitespace().collect();
        labels.sort_unstable();
        let services = match on {
            "both" => "facing management",
            "facing" => "facing",
            // A role of another crate adds them, whose tests compare them.
            "compat" => continue,
            // Exposed by management in this test.
            "ingest" | "roles" | "TLS" | "keys TLS" | "store in MongoDB" | "embedded log" => {
                "management"
            }
            _ => panic!("{on} is no service"),
        };
        for service in services.split(' ') {
            rows.insert(format!("{service}: {name} {kind} {}", labels.join(" ")));
        }
    }
    rows
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
    let management = router(management_parts, HttpOptions::default());
    let facing = router(facing_parts, HttpOptions::default());

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

    let mut exposed = exposed_rows("facing", &get(&facing, "/metrics").await.text);
    exposed.extend(exposed_rows(
        "management",
        &get(&management, "/metrics").await.text,
    ));
    assert_eq!(
        exposed,
        documented_rows(),
        "left is exposed, right is in docs/metrics.md"
    );
}
