//! Services that authenticate requests.

use crate::prelude::*;

/// The keys `secret` of the user u1, and `operator` of facing: `printf %s KEY | sha256sum`.
const KEYS: &str = concat!(
    "ada 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b purchases:write,purchases:read u1\n",
    "facing 06e55b633481f7bb072957eabcf110c972e86691c3cfedabe088024bffe42f23 purchases:read:any,operate\n",
);

#[tokio::test]
async fn an_issuer_that_is_away_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("SHOP_AUTH", "jwt"),
        ("SHOP_AUTH_JWKS_URL", "http://127.0.0.1:1/secret-path"),
        ("SHOP_AUTH_ISSUER", "https://issuer.example"),
        ("SHOP_AUTH_AUDIENCE", "shop"),
        ("SHOP_ADMIN_ADDR", "127.0.0.1:0"),
    ];
    let mut terminal = Terminal::on(folder.path(), &settings);
    terminal.run("facing --check-config").await;
    terminal.assert_shown("issuer");

    let facing = Process::start(Binary::Facing, folder.path(), &settings).await;
    until("report it", async || {
        let health = get(&facing.admin_path("/health")).await.1;
        health["status"] == "degraded" && health["issuer_keys"]["failing"] == true
    })
    .await;
}

#[tokio::test]
async fn facing_calls_management_with_its_own_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, KEYS).unwrap();
    let keys = ("SHOP_API_KEYS_FILE", file.to_str().unwrap());
    let management = Process::start(Binary::Management, folder.path(), &[keys]).await;
    let url = ("MANAGEMENT_URL", management.url.as_str());
    // Facing's own key reads all users; its callers do not.
    for (own_key, user, status) in [
        ("operator", "u1", 200),
        ("operator", "u2", 403),
        ("", "u1", 503),
    ] {
        let settings = [keys, url, ("SHOP_SERVICE_TOKEN", own_key)];
        let facing = Process::start(Binary::Facing, folder.path(), &settings).await;
        let listing = facing.path(&format!("/v1/purchases?userid={user}"));
        let response = exchange(plain().get(listing).bearer_auth("secret")).await;
        assert_eq!(response.0, status, "{own_key} {user}");
    }
}
