//! The routes of the replaced systems beside those of shop-http: their documents, groups, scopes and metrics.

use shop_http::RouteGroup;

use crate::document::{check_operations, documented_outside_v1, paths_by_group};
use crate::metric_rows::exposed_rows;
use crate::prelude::*;
use crate::take_roles;
use crate::tokens::required_scopes;

#[tokio::test]
async fn every_route_of_v1_is_documented() {
    let mut of_replaced_systems = String::new();
    for dialect in ["default", "user-buy-list", "ecommerce", "shopping-system"] {
        let outside_v1 = documented_outside_v1(&format!("dialect={dialect}")).await;
        of_replaced_systems.push_str(&outside_v1.replace("dialect=", ""));
    }
    insta::assert_snapshot!(of_replaced_systems);
}

#[tokio::test]
async fn every_operation_is_complete() {
    for dialect in ["default", "ecommerce", "shopping-system"] {
        check_operations(&format!("dialect={dialect}")).await;
    }
}

#[tokio::test]
async fn each_group_of_routes_can_be_left_out() {
    let facing = || {
        let mut parts = AllRoles::default().facing();
        parts.roles.extend(take_roles(&mut Vec::new()));
        shop_http::routes(parts)
    };
    insta::assert_snapshot!(paths_by_group(facing).await);
}

#[tokio::test(start_paused = true)]
async fn every_route_requires_its_scope() {
    let roles = take_roles(&mut Vec::new());
    insta::assert_snapshot!(required_scopes(&roles).await);
}

#[tokio::test]
async fn metrics_without_short_paths_have_none_of_flask() {
    let mut parts = AllRoles::default().facing();
    parts.roles.extend(take_roles(&mut Vec::new()));
    let metrics = parts.metrics.clone();
    let routes = shop_http::routes(parts)
        .without([RouteGroup::ShortPaths])
        .build();
    let mounted = Router::new().nest("/shop", routes);
    get(&mounted, "/shop/livez").await;
    let text = metrics.text().await;
    let series = r#"http_requests_total{method="GET",route="/shop/livez",status="200"} 1"#;
    assert!(text.contains(series), "{text}");
    assert!(!text.contains("process_"), "{text}");
    assert!(!text.contains("flask_"), "{text}");
}

/// The rows of `docs/metrics.md` whose metrics this crate adds.
fn documented_rows() -> BTreeSet<String> {
    let page = include_str!("../../../docs/metrics.md");
    let mut rows = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let line = line.replace(['`', ','], "");
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, "compat", ..] = cells[..] else {
            continue;
        };
        let mut labels: Vec<_> = labels.split_whitespace().collect();
        labels.sort_unstable();
        for service in ["facing", "management"] {
            rows.insert(format!("{service}: {name} {kind} {}", labels.join(" ")));
        }
    }
    rows
}

#[tokio::test(start_paused = true)]
async fn exposed_metrics_match_the_table() {
    let roles = AllRoles::default();
    let mut exposed = BTreeSet::new();
    for (service, mut parts) in [
        ("facing", roles.facing()),
        ("management", roles.management()),
    ] {
        parts
            .roles
            .extend(take_roles(&mut vec!["dialect=purchase-tracking"]));
        let service_router = router(parts, HttpOptions::default());
        get(&service_router, "/v1/summary?userid=u1").await;
        let metrics = get(&service_router, "/metrics").await.text;
        let rows = exposed_rows(service, &metrics);
        exposed.extend(rows.into_iter().filter(|row| row.contains(": flask_")));
    }
    assert_eq!(
        exposed,
        documented_rows(),
        "left is exposed, right is in docs/metrics.md"
    );
}
