//! The health of parts whose checks succeed while their writes fail, at each listener.

use shop_core::ingest::Phase;
use shop_http::PartReport;

use crate::prelude::*;

const ADA: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

/// The routers of `parts`: one for clients, and one for operators, which may be the same.
fn listeners(parts: Parts, has_admin: bool) -> (Router, Router) {
    let builder = routes(parts);
    if has_admin {
        return builder.build_with_admin();
    }
    let single = builder.build();
    (single.clone(), single)
}

/// Returns the status, the part and the reasons of `/health`.
async fn health(router: &Router, part: &str) -> (Value, Value, Value) {
    let health = get(router, "/health").await.json();
    (
        health["status"].clone(),
        health["parts"][part].clone(),
        health["reasons"][part]["writes"].clone(),
    )
}

#[tokio::test(start_paused = true)]
async fn failing_writes_are_seen_at_each_listener_until_one_succeeds() {
    for (is_facing, has_admin) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut roles = AllRoles::default();
        let ingest = roles.start();
        ingest
            .wait_for(|status| status.phase == Phase::Running)
            .await;
        let (parts, part, call, degraded) = if is_facing {
            (roles.facing(), "log", Call::Publish, "degraded")
        } else {
            (roles.management(), "store", Call::Insert, "unhealthy")
        };
        let (public, admin) = listeners(parts, has_admin);
        // Beside an admin listener, the one for clients refuses writes into the store.
        let writer = if is_facing { &public } else { &admin };
        let works = ("healthy".into(), true.into(), Value::Null);
        assert_eq!(health(&admin, part).await, works, "{part}, {has_admin}");

        roles.faults.always(call, Fault::unavailable());
        let response = post(writer, "/v1/purchases", ADA).await;
        assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
        let (status, works_now, reason) = health(&admin, part).await;
        assert_eq!(
            (&status, &works_now),
            (&degraded.into(), &false.into()),
            "{part}"
        );
        assert!(reason.as_str().unwrap().contains("unavailable"), "{reason}");

        roles.faults.clear(call);
        post(writer, "/v1/purchases", ADA).await;
        assert_eq!(health(&admin, part).await, works, "{part}, {has_admin}");
    }
}

#[tokio::test]
async fn a_report_of_the_program_degrades_the_service_or_only_tells() {
    for (report, status, works) in [
        (PartReport::Works, "healthy", Value::Null),
        (
            PartReport::Unknown("by hand".to_owned()),
            "healthy",
            Value::Null,
        ),
        (
            PartReport::Fails("by hand".to_owned()),
            "degraded",
            false.into(),
        ),
    ] {
        let parts = AllRoles::default().facing();
        let said = report.clone();
        parts.reports.add("reader", "unread", move || said.clone());
        let facing = router(parts, HttpOptions::default());

        let health = get(&facing, "/health").await.json();
        assert_eq!(
            (&health["status"], &health["parts"]["reader"]),
            (&status.into(), &works)
        );
        let reason = health["reasons"]["reader"]["unread"].as_str();
        assert_eq!(reason.is_some(), report != PartReport::Works, "{health}");
        // A service that nobody reads still accepts purchases.
        assert_eq!(get(&facing, "/-/ready").await.status, StatusCode::OK);
    }
}
