//! Services that authenticate requests.

use crate::prelude::*;

/// The keys `secret` of the user u1, and `operator` of facing: `printf %s KEY | sha256sum`.
const KEYS: &str = concat!(
    "ada 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b purchases:write,purchases:read u1\n",
    "facing 06e55b633481f7bb072957eabcf110c972e86691c3cfedabe088024bffe42f23 purchases:read:any,operate\n",
);

/// The status of a listing of `user`.
async fn list_status(process: &Process, user: &str, token: &str) -> u16 {
    let url = process.path(&format!("/v1/purchases?userid={user}"));
    exchange(plain().get(url).bearer_auth(token)).await.0
}

#[tokio::test]
async fn an_issuer_that_is_away_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("SHOP_AUTH", "jwt"),
        ("SHOP_AUTH_JWKS_URL", "http://127.0.0.1:1/secret-path"),
        ("SHOP_AUTH_ISSUER", "https://issuer.example"),
        ("SHOP_AUTH_AUDIENCE", "shop"),
        ("SHOP_ADMIN_ADDR", "127.0.0.1:0"),
        ("SHOP_DATA_DIR", folder.path().to_str().unwrap()),
    ];
    let output = Binary::Facing.run(&["--check-config"], &settings).await;
    let fault = "SHOP_AUTH_JWKS_URL: failed to fetch the keys of the issuer";
    assert_ended(&output, 1, fault);
    assert!(!text(&output.stderr).contains("secret-path"));

    let facing = Process::start(Binary::Facing, folder.path(), &settings).await;
    until("report it", async || {
        let health = get(&facing.admin_path("/health")).await.1;
        health["status"] == "degraded" && health["issuer_keys"]["failing"] == true
    })
    .await;
    let metrics = get(&facing.admin_path("/metrics")).await.1;
    let series = r#"shop_reload_age_seconds{what="issuer_keys"}"#;
    assert!(metrics.as_str().unwrap().contains(series), "{metrics}");
}

#[tokio::test]
async fn facing_calls_management_with_its_own_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, KEYS).unwrap();
    let data = folder.path().join("data");
    let keys = ("SHOP_API_KEYS_FILE", file.to_str().unwrap());
    let management = Process::start(Binary::Management, &data, &[keys]).await;
    let url = ("MANAGEMENT_URL", management.url.as_str());
    let own_key = ("SHOP_SERVICE_TOKEN", "operator");
    let facing = Process::start(Binary::Facing, &data, &[keys, url, own_key]).await;

    let purchase = plain()
        .post(facing.path("/v1/purchases"))
        .bearer_auth("secret")
        .header("content-type", "application/json");
    assert_eq!(exchange(purchase.body(ADA)).await.0, 201);
    // Facing's own key reads all users; its callers do not.
    for (user, token, status) in [
        ("u1", "secret", 200),
        ("u2", "secret", 403),
        ("u1", "guess", 401),
        ("u2", "operator", 200),
    ] {
        for process in [&facing, &management] {
            let found = list_status(process, user, token).await;
            assert_eq!(found, status, "{user} {token} {}", process.url);
        }
    }
    // Details of health are for operators.
    let health = get(&facing.path("/health")).await.1;
    assert_eq!(health.as_object().unwrap().len(), 1, "{health}");

    let without = Process::start(Binary::Facing, &data, &[keys, url]).await;
    assert_eq!(list_status(&without, "u1", "secret").await, 503);
}
