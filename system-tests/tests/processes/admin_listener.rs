//! The listener for probes, metrics and operators.

use serde_json::json;

use crate::process::{Binary, Process, get, plain, soon};

const ADMIN: (&str, &str) = ("SHOP_ADMIN_ADDR", "127.0.0.1:0");
const OPERATIONS: [&str; 6] = [
    "/readyz",
    "/health",
    "/ready",
    "/-/healthy",
    "/-/ready",
    "/metrics",
];

async fn status(url: &str) -> u16 {
    soon("answer", plain().get(url).send())
        .await
        .unwrap()
        .status()
        .as_u16()
}

async fn post_status(url: &str) -> u16 {
    let request = plain().post(url).header("content-type", "application/json");
    let body = r#"{"username":"ada","userid":"u1","price":1}"#;
    soon("answer", request.body(body).send())
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test]
async fn probes_and_metrics_are_only_on_the_admin_listener() {
    let folder = tempfile::tempdir().unwrap();
    for binary in [Binary::Facing, Binary::Management] {
        let process = Process::start(binary, folder.path(), &[ADMIN]).await;
        for path in OPERATIONS {
            assert_eq!(
                status(&process.admin_path(path)).await,
                200,
                "{binary:?} {path}"
            );
            assert_eq!(status(&process.path(path)).await, 404, "{binary:?} {path}");
        }
        for path in ["/healthz", "/livez"] {
            assert_eq!(
                status(&process.admin_path(path)).await,
                200,
                "{binary:?} {path}"
            );
            assert_eq!(status(&process.path(path)).await, 200, "{binary:?} {path}");
        }
        process.stop().await;
    }
}

#[tokio::test]
async fn operator_routes_are_only_on_the_admin_listener_of_management() {
    let (folder, management) = Process::fresh(Binary::Management, &[ADMIN]).await;
    for path in ["/v1/purchases", "/purchases"] {
        assert_eq!(post_status(&management.path(path)).await, 403, "{path}");
        assert_eq!(
            post_status(&management.admin_path(path)).await,
            201,
            "{path}"
        );
    }
    for path in [
        "/v1/purchases?everyone=true",
        "/v1/summary?everyone=true",
        "/purchases",
    ] {
        assert_eq!(status(&management.path(path)).await, 403, "{path}");
        assert_eq!(status(&management.admin_path(path)).await, 200, "{path}");
    }
    let own = get(&management.path("/v1/summary?userid=u1")).await;
    assert_eq!(own, (200, json!({"count": 2, "total_spent": 2})));
    let facing = Process::start(Binary::Facing, folder.path(), &[ADMIN]).await;
    assert_eq!(post_status(&facing.path("/buy")).await, 201);
    assert_eq!(post_status(&facing.admin_path("/buy")).await, 404);
}

#[tokio::test]
async fn a_public_admin_address_requires_a_choice() {
    let admin = ("SHOP_ADMIN_ADDR", "0.0.0.0:0");
    let output = Binary::Facing.run(&[], &[admin]).await;
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && printed.contains("SHOP_ADMIN_ADDR 0.0.0.0"),
        "{printed}"
    );
    let (_folder, process) = Process::fresh(Binary::Facing, &[admin, ("SHOP_AUTH", "off")]).await;
    let port = process
        .admin
        .as_ref()
        .and_then(|url| url.rsplit_once(':'))
        .unwrap()
        .1
        .to_owned();
    let settings = [("SHOP_ADMIN_ADDR", format!("0.0.0.0:{port}"))];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    assert!(
        Binary::Facing
            .run(&["--healthcheck"], &settings)
            .await
            .status
            .success()
    );
}
