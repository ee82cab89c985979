//! The access key on the pages of services that authenticate requests.

use super::driver::Browser;
use super::{buy_for, identify, open_as, rows, state};
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
    open_as(&browser, &facing, "u1", "ada").await;
    until("ask for a key", async || browser.text("access").await.contains("Access key")).await;

    enter(&browser, "guess").await;
    browser.shows("access-problem", "The token is unknown").await;

    enter(&browser, "secret").await;
    buy_for(&browser, "5").await;
    browser.shows("buy-answer", "Bought for 5.00, and recorded.").await;
    browser.shows("count", "1").await;
    browser.click("change").await;
    identify(&browser, "u2", "ada").await;
    until("fail", async || state(&browser).await == "failed").await;
    assert!(browser.texts("#list .notice").await.concat().contains("purchases:read:any"));
    buy_for(&browser, "5").await;
    browser.shows("buy-problem", "The scope purchases:write:any is required.").await;

    let management = Process::start(Binary::Management, &data, &with_keys).await;
    browser.open(&management.path("/#purchases")).await;
    let problem = async || browser.texts("main .notice.bad").await.concat();
    until("ask for a key", async || problem().await.contains("Authentication is required")).await;
    enter(&browser, "operator").await;
    browser.shows("state", "Healthy").await;
    until("list all users", async || rows(&browser).await == 1).await;
    browser.click("access-forget").await;
    until("forget it", async || problem().await.contains("Authentication is required")).await;
    browser.open(&management.path("/#overview")).await;
    until("require the scope", async || problem().await.contains("scope operate")).await;
    browser.end().await;
}
