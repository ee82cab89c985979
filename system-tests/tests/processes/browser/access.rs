//! Signing in on the pages of services that authenticate requests, and the views of each key and role.

use serde_json::json;

use super::driver::Browser;
use super::{buy_for, rows};
use crate::process::{ALL_ROLES, Binary, Process, until};

/// The keys `secret`, `analyst`, `observer` and `operator`, by `printf %s KEY | sha256sum`.
const KEYS: &str = "\
ada 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b purchases:write,purchases:read u1
analyst f44ceb062e35dfeea6ed7f8524d53bb0bff19f553e25cae7ef4850e4185ccbba purchases:read:any
observer e41f1d834710df8c7bc2befedb7b92339973a92288d8581b3696604c0d04c5f7 observe
operator 06e55b633481f7bb072957eabcf110c972e86691c3cfedabe088024bffe42f23 operate,purchases:read:any
";
const FOCUS: &str = "return document.activeElement.id";

/// Waits until the page asks for a key, without any alarm.
async fn asked(browser: &Browser) {
    until("ask for a key", async || {
        browser.run(FOCUS).await == json!("access-key")
    })
    .await;
    let alarms = "[role=alert]:not(:empty), .notice.bad, .state[data-state=bad]:not([hidden])";
    assert_eq!(browser.texts(alarms).await, [""; 0]);
}

/// Signs in by `key`, and waits until the page is loaded with it.
async fn sign_in(browser: &Browser, key: &str) {
    asked(browser).await;
    browser.run("window.former = true").await;
    browser.fill(&[("access-key", &format!("{key}\n"))]).await;
    until("load the page", async || {
        browser.run("return window.former ?? null").await.is_null()
    })
    .await;
}

async fn sign_out(browser: &Browser) {
    until("say who is signed in", async || {
        !browser.text("holder").await.is_empty()
    })
    .await;
    browser.click("sign-out").await;
    asked(browser).await;
}

async fn views(browser: &Browser) -> Vec<String> {
    browser.texts(".views a").await
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
    browser
        .shows("access-key-problem", "This access key is not valid.")
        .await;
    browser.is_accessible().await;

    // The key of a user says the user id.
    sign_in(&browser, "secret").await;
    until("show the user id", async || {
        browser.texts("#identify").await.len() == 1
    })
    .await;
    assert_eq!(
        browser
            .run("return document.getElementById('userid').value")
            .await,
        json!("u1")
    );
    assert_eq!(
        browser
            .run("return document.getElementById('userid').readOnly")
            .await,
        json!(true)
    );
    browser.fill(&[("username", "ada")]).await;
    browser.click("identify-button").await;
    until("show the customer", async || {
        browser.texts("#me").await == ["ada"]
    })
    .await;
    buy_for(&browser, "5").await;
    browser
        .shows("buy-answer", "Bought for 5.00, and recorded.")
        .await;
    browser.shows("count", "1").await;
    browser.shows("holder-name", "ada").await;

    let management = Process::start(Binary::Management, &data, &with_keys).await;
    browser.open(&management.path("/")).await;
    sign_in(&browser, "secret").await;
    until("open nothing", async || {
        browser
            .texts("main .notice")
            .await
            .concat()
            .contains("observe")
    })
    .await;
    assert_eq!(views(&browser).await, [""; 0]);
    sign_out(&browser).await;
    sign_in(&browser, "analyst").await;
    until("show the search", async || {
        views(&browser).await == ["Purchases"]
    })
    .await;
    browser.fill(&[("who", "u1\n")]).await;
    until("list the user", async || rows(&browser).await == 1).await;
    sign_out(&browser).await;
    let all = ["Overview", "Purchases", "Dead letters", "Import"];
    for (key, expected) in [("observer", &all[..3]), ("operator", &all)] {
        sign_in(&browser, key).await;
        browser.shows("state", "Healthy").await;
        until("know the roles", async || views(&browser).await == expected).await;
        browser.run("location.hash = '#purchases'").await;
        until("list all users", async || rows(&browser).await == 1).await;
        browser.is_accessible().await;
        sign_out(&browser).await;
    }

    // A key that is withdrawn signs out.
    sign_in(&browser, "operator").await;
    browser.shows("state", "Healthy").await;
    std::fs::write(&keys, KEYS.lines().next().unwrap()).unwrap();
    asked(&browser).await;
    browser
        .shows("access-key-problem", "This access key is not valid.")
        .await;
    browser.end().await;
}

#[tokio::test]
async fn the_console_follows_the_roles() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    for (roles, expected) in [
        (
            "users,orders",
            &["Overview", "Dead letters", "Users and orders"][..],
        ),
        ("users", &["Overview", "Dead letters", "Users and orders"]),
        (
            "purchases",
            &["Overview", "Purchases", "Dead letters", "Import"],
        ),
        (
            ALL_ROLES.1,
            &[
                "Overview",
                "Purchases",
                "Dead letters",
                "Users and orders",
                "Import",
            ],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let service =
            Process::start(Binary::Management, folder.path(), &[(ALL_ROLES.0, roles)]).await;
        browser.open(&service.path("/")).await;
        until("show the views", async || views(&browser).await == expected).await;
        browser.shows("state", "Healthy").await;
        if roles == "users" {
            browser.run("location.hash = '#entities'").await;
            until("show users alone", async || {
                browser.texts("#entities h2").await == ["Users"]
            })
            .await;
        }
        browser.was_quiet(&service.url).await;
        browser.open("about:blank").await;
    }
    browser.end().await;
}
