//! Services that authenticate requests by API keys.

use std::fs;
use std::path::Path;

use shop_client::{RetryPolicy, ShopClient};

use crate::process::{Binary, Process, buy, get, plain, until};

/// The keys `secret` of the user u1, and `operator` of facing: `printf %s KEY | sha256sum`.
const ADA: &str = "\
ada 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b purchases:write,purchases:read u1
";
const FACING: &str = "\
facing 06e55b633481f7bb072957eabcf110c972e86691c3cfedabe088024bffe42f23 purchases:read:any,operate
";

fn write(folder: &Path, keys: &[&str]) -> String {
    let file = folder.join("keys");
    // Renamed, so that no reader sees a partial file.
    fs::write(folder.join("keys.new"), keys.concat()).unwrap();
    fs::rename(folder.join("keys.new"), &file).unwrap();
    file.to_str().unwrap().to_owned()
}

fn client(process: &Process, token: &str) -> ShopClient {
    ShopClient::builder(&process.url)
        .http_client(plain())
        .retries(RetryPolicy::none())
        .bearer_token(token)
        .build()
        .unwrap()
}

/// The status of a listing of `user`.
async fn list_status(process: &Process, user: &str, token: &str) -> u16 {
    let url = process.path(&format!("/v1/purchases?userid={user}"));
    plain()
        .get(url)
        .bearer_auth(token)
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
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
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(
        printed.contains("SHOP_AUTH_JWKS_URL: failed to fetch the keys of the issuer"),
        "{printed}"
    );
    assert!(!printed.contains("secret-path"), "{printed}");
    let facing = Process::start(Binary::Facing, folder.path(), &settings).await;
    until("report it", async || {
        let health = get(&facing.admin_path("/health")).await.1;
        (&health["status"], &health["issuer_keys"]["failing"]) == (&"degraded".into(), &true.into())
    })
    .await;
    let metrics = plain()
        .get(facing.admin_path("/metrics"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("shop_reload_age_seconds{what=\"issuer_keys\"}"),
        "{metrics}"
    );
}

#[tokio::test]
async fn facing_calls_management_with_its_own_key() {
    let folder = tempfile::tempdir().unwrap();
    let keys = write(folder.path(), &[ADA, FACING]);
    let data = folder.path().join("data");
    let keys = ("SHOP_API_KEYS_FILE", keys.as_str());
    let management = Process::start(Binary::Management, &data, &[keys]).await;
    let url = ("MANAGEMENT_URL", management.url.as_str());
    let facing = Process::start(
        Binary::Facing,
        &data,
        &[keys, url, ("SHOP_SERVICE_TOKEN", "operator")],
    )
    .await;

    let ada = client(&facing, "secret");
    let bought = ada
        .shop()
        .buy(
            shop_core::NewPurchase::for_user("u1")
                .with_user_name("ada")
                .with_price("5")
                .unwrap(),
        )
        .await
        .unwrap();
    let user = ada.user("u1");
    assert_eq!(
        user.wait_for(&bought.receipt)
            .summary()
            .await
            .unwrap()
            .count,
        1
    );
    assert_eq!(
        ada.get(&bought.purchase.id).await.unwrap(),
        Some(bought.purchase)
    );
    // Facing's own key reads all users; its callers do not.
    for (user, token, status) in [
        ("u1", "secret", 200),
        ("u2", "secret", 403),
        ("u1", "guess", 401),
        ("u2", "operator", 200),
    ] {
        assert_eq!(
            list_status(&facing, user, token).await,
            status,
            "{user} {token}"
        );
        assert_eq!(
            list_status(&management, user, token).await,
            status,
            "{user} {token}"
        );
    }
    assert_eq!(
        get(&facing.path("/health"))
            .await
            .1
            .as_object()
            .unwrap()
            .len(),
        1
    );

    // Without its own key, it cannot list.
    let without = Process::start(Binary::Facing, &data, &[keys, url]).await;
    assert_eq!(list_status(&without, "u1", "secret").await, 503);
    assert_eq!(buy(&facing, "{").await.0, 401);
}
