//! Signing in on the pages of services that authenticate requests, and the views of each key and role.

use super::buy_for;
use super::driver::Browser;
use crate::prelude::*;

/// The keys `secret`, `analyst`, `observer` and `operator`, by `printf %s KEY | sha256sum`.
const KEYS: &str = "\
ada 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b purchases:write,purchases:read u1
analyst f44ceb062e35dfeea6ed7f8524d53bb0bff19f553e25cae7ef4850e4185ccbba purchases:read:any
observer e41f1d834710df8c7bc2befedb7b92339973a92288d8581b3696604c0d04c5f7 observe
operator 06e55b633481f7bb072957eabcf110c972e86691c3cfedabe088024bffe42f23 operate,purchases:read:any
";
const INVALID: &str = "This access key is not valid.";

/// Waits until the page asks for a key, without any alarm.
async fn is_asked(browser: &Browser) {
    browser.focuses("access-key").await;
    let alarms = "[role=alert]:not(:empty), .notice.bad, .state[data-state=bad]:not([hidden])";
    browser.counts(alarms, 0).await;
}

/// Signs in by `key`, and waits until the page is loaded with it.
async fn sign_in(browser: &Browser, key: &str) {
    is_asked(browser).await;
    browser.run("window.former = true").await;
    browser.fill(&[("access-key", &format!("{key}\n"))]).await;
    browser
        .returns("return window.former ?? false", false)
        .await;
}

async fn sign_out(browser: &Browser) {
    browser.counts("#holder:not(:empty)", 1).await;
    browser.click("sign-out").await;
    is_asked(browser).await;
}

#[tokio::test]
async fn each_key_sees_what_it_may() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, KEYS).unwrap();
    let with_keys = [("SHOP_API_KEYS_FILE", keys.to_str().unwrap())];
    let data = folder.path().join("data");
    let facing = Process::start(Binary::Facing, &data, &with_keys).await;
    browser.open(&facing.path("/")).await;
    sign_in(&browser, "guess").await;
    browser.shows("access-key-problem", INVALID).await;
    browser.is_accessible().await;

    // The key of a user says the user id.
    sign_in(&browser, "secret").await;
    browser.counts("#userid[readonly]", 1).await;
    browser
        .returns("return document.getElementById('userid').value", "u1")
        .await;
    browser.fill(&[("username", "ada")]).await;
    browser.click("identify-button").await;
    browser.shows("me", "ada").await;
    buy_for(&browser, "5").await;
    browser.shows("count", "1").await;
    browser.shows("holder-name", "ada").await;

    let management = Process::start(Binary::Management, &data, &with_keys).await;
    browser.open(&management.path("/")).await;
    sign_in(&browser, "secret").await;
    browser.says("main .notice", "observe").await;
    browser.counts(".views a", 0).await;
    sign_out(&browser).await;
    let all = ["Overview", "Purchases", "Dead letters", "Import"];
    for (key, views) in [
        ("analyst", &all[1..2]),
        ("observer", &all[..3]),
        ("operator", &all),
    ] {
        sign_in(&browser, key).await;
        browser.has(".views a", views).await;
        browser.go("#purchases").await;
        if key == "analyst" {
            browser.fill(&[("who", "u1\n")]).await;
        }
        browser.counts("#purchases tr", 1).await;
        browser.is_accessible().await;
        sign_out(&browser).await;
    }

    // A key that is withdrawn signs out.
    sign_in(&browser, "operator").await;
    browser.shows("state", "Healthy").await;
    std::fs::write(&keys, KEYS.lines().next().unwrap()).unwrap();
    is_asked(&browser).await;
    browser.shows("access-key-problem", INVALID).await;
    browser.end().await;
}

#[tokio::test]
async fn the_console_follows_the_roles() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = [("SHOP_ROLES", "users")];
    let service = Process::start(Binary::Management, folder.path(), &settings).await;
    browser.open(&service.path("/")).await;
    let views = ["Overview", "Dead letters", "Users and orders"];
    browser.has(".views a", &views).await;
    browser.go("#entities").await;
    browser.has("#entities h2", &["Users"]).await;
    browser.was_quiet(&service.url).await;
    browser.end().await;
}
