//! Services that authenticate requests by API keys.

use std::fs;
use std::path::Path;

use shop_client::{BearerToken, RetryPolicy, ShopClient};

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
    let token = BearerToken::new(token).unwrap();
    ShopClient::builder(&process.url).retries(RetryPolicy::none()).bearer_token(token).build().unwrap()
}

/// The status of a listing of `user`.
async fn list_status(process: &Process, user: &str, token: &str) -> u16 {
    let url = process.path(&format!("/v1/purchases?userid={user}"));
    plain().get(url).bearer_auth(token).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_public_address_requires_a_choice() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let settings = [("SHOP_DATA_DIR", data.to_str().unwrap()), ("HOST", "0.0.0.0"), ("PORT", "0")];
    for (binary, arguments) in
        [(Binary::Facing, [].as_slice()), (Binary::Management, &[]), (Binary::Facing, &["--check-config"])]
    {
        let output = binary.run(arguments, &settings).await;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let parts = ["0.0.0.0", "SHOP_AUTH=jwt", "SHOP_AUTH=keys", "SHOP_AUTH=off"];
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(!data.exists(), "nothing is created");
    }
    let facing = Process::start(Binary::Facing, &data, &[("HOST", "0.0.0.0"), ("SHOP_AUTH", "off")]).await;
    assert_eq!(buy(&facing, r#"{"username":"ada","userid":"u1","price":1}"#).await.0, 201);
    assert!(facing.terminate().await.success());
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
    assert!(printed.contains("SHOP_AUTH_JWKS_URL: failed to fetch the keys of the issuer"), "{printed}");
    assert!(!printed.contains("secret-path"), "{printed}");
    let facing = Process::start(Binary::Facing, folder.path(), &settings).await;
    until("report it", async || {
        let health = get(&facing.admin_path("/health")).await.1;
        (&health["status"], &health["issuer_keys"]["failing"]) == (&"degraded".into(), &true.into())
    })
    .await;
    let metrics = plain().get(facing.admin_path("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("shop_reload_age_seconds{what=\"issuer_keys\"}"), "{metrics}");
    assert!(facing.terminate().await.success());
}

#[tokio::test]
async fn facing_calls_management_with_its_own_key() {
    let folder = tempfile::tempdir().unwrap();
    let keys = write(folder.path(), &[ADA, FACING]);
    let data = folder.path().join("data");
    let keys = ("SHOP_API_KEYS_FILE", keys.as_str());
    let management = Process::start(Binary::Management, &data, &[keys]).await;
    let url = ("MANAGEMENT_URL", management.url.as_str());
    let facing =
        Process::start(Binary::Facing, &data, &[keys, url, ("SHOP_SERVICE_TOKEN", "operator")]).await;

    let ada = client(&facing, "secret");
    let bought =
        ada.shop().buy(shop_core::NewPurchase::of("u1").named("ada").priced("5").unwrap()).await.unwrap();
    let user = ada.user("u1");
    assert_eq!(user.waiting_for(&bought.receipt).summary().await.unwrap().count, 1);
    assert_eq!(ada.get(&bought.purchase.id).await.unwrap(), Some(bought.purchase));
    // Facing's own key reads all users; its callers do not.
    for (user, token, status) in
        [("u1", "secret", 200), ("u2", "secret", 403), ("u1", "guess", 401), ("u2", "operator", 200)]
    {
        assert_eq!(list_status(&facing, user, token).await, status, "{user} {token}");
        assert_eq!(list_status(&management, user, token).await, status, "{user} {token}");
    }
    assert_eq!(get(&facing.path("/health")).await.1.as_object().unwrap().len(), 1);

    // Without its own key, it cannot list.
    let without = Process::start(Binary::Facing, &data, &[keys, url]).await;
    assert_eq!(list_status(&without, "u1", "secret").await, 503);
    assert_eq!(buy(&facing, "{").await.0, 401);
    assert!(without.terminate().await.success() && facing.terminate().await.success());
}

#[tokio::test]
async fn keys_are_replaced_while_serving() {
    let folder = tempfile::tempdir().unwrap();
    let keys = write(folder.path(), &[ADA]);
    let data = folder.path().join("data");
    let facing = Process::start(Binary::Facing, &data, &[("SHOP_API_KEYS_FILE", &keys)]).await;
    assert_eq!(
        [list_status(&facing, "u1", "secret").await, list_status(&facing, "u1", "operator").await],
        [200, 401]
    );
    write(folder.path(), &[FACING]);
    until("use the new keys", async || {
        [list_status(&facing, "u1", "secret").await, list_status(&facing, "u1", "operator").await]
            == [401, 200]
    })
    .await;
    // An invalid file changes nothing.
    write(folder.path(), &["ada"]);
    for _ in 0..20 {
        assert_eq!(list_status(&facing, "u1", "operator").await, 200);
        crate::process::pause().await;
    }
    assert!(facing.terminate().await.success());
}
