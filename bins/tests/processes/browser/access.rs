//! The access key on the pages of services that authenticate requests.

use super::driver::Browser;
use super::rows;
use crate::process::{Binary, Process, until};

/// The keys `secret` and `operator`, by `printf %s KEY | sha256sum`.
const KEYS: &str = "\
ada 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b purchases:write,purchases:read u1
operator 06e55b633481f7bb072957eabcf110c972e86691c3cfedabe088024bffe42f23 operate,purchases:read:any
";

/// Enters a key, and waits until the page is loaded with it.
async fn enter(browser: &Browser, key: &str) {
    browser.run("window.former = true").await;
    browser.fill(&[("access-key", &format!("{key}\n"))]).await;
    until("load the page", async || browser.run("return window.former ?? null").await.is_null()).await;
}

#[tokio::test]
async fn a_key_is_used_until_it_is_forgotten() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, KEYS).unwrap();
    let with_keys = [("SHOP_API_KEYS_FILE", keys.to_str().unwrap())];
    let data = folder.path().join("data");
    let facing = Process::start(Binary::Facing, &data, &with_keys).await;
    browser.open(&facing.path("/")).await;
    until("ask for a key", async || browser.text("access").await.contains("Access key")).await;

    enter(&browser, "guess").await;
    browser.fill(&[("username", "ada"), ("userid", "u1"), ("price", "5")]).await;
    browser.click("buy-button").await;
    browser.shows("access-problem", "The token is unknown").await;

    enter(&browser, "secret").await;
    browser.fill(&[("username", "ada"), ("userid", "u1"), ("price", "5")]).await;
    browser.click("buy-button").await;
    browser.shows("buy-answer", "Bought for 5.00, and recorded.").await;
    browser.shows("count", "1").await;
    browser.fill(&[("userid", "u2"), ("price", "5")]).await;
    browser.click("buy-button").await;
    browser.shows("buy-problem", "The scope purchases:write:any is required.").await;

    let management = Process::start(Binary::Management, &data, &with_keys).await;
    browser.open(&management.path("/")).await;
    until("require the scope", async || browser.text("problems").await.contains("scope operate")).await;
    enter(&browser, "operator").await;
    browser.shows("state", "Healthy").await;
    until("list all users", async || rows(&browser).await == 1).await;
    browser.click("access-forget").await;
    until("forget it", async || browser.text("problems").await.contains("scope operate")).await;
    browser.end().await;
}
