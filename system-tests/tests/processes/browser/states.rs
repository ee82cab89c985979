//! The pages while a response is pending, without a response, and after errors.

use serde_json::json;

use super::driver::Browser;
use super::{buy_for, open_as, rows, state, until_list_is, with_both, with_facing};
use crate::process::{Binary, Process, buy, until};

/// The displayed texts of the list: its notice, and the text in place of its rows.
async fn texts(browser: &Browser) -> (String, String) {
    (
        browser.texts("#list .notice.bad").await.concat(),
        browser.texts("#list .intro").await.concat(),
    )
}

/// Holds requests for the path until `window.release()`.
pub(super) async fn hold(browser: &Browser, path: &str) {
    let script = format!(
        "const real = window.fetch;
         const held = new Promise((resolve) => {{ window.release = () => {{ window.fetch = real; resolve(); }}; }});
         window.fetch = (path, ...rest) => path.startsWith({path:?}) ? held.then(() => real(path, ...rest)) : real(path, ...rest);"
    );
    browser.run(&script).await;
}

#[tokio::test]
async fn the_list_shows_one_state_at_a_time() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    buy(&facing, r#"{"username":"ada","userid":"u1","price":1}"#).await;
    open_as(&browser, &facing, "u1", "ada").await;
    until_list_is(&browser, "shown").await;
    let go = async |hash: &str| browser.run(&format!("location.hash = '{hash}'")).await;
    let past = "#purchases?from=2020-01-01&to=2020-01-31";

    hold(&browser, "v1/").await;
    go("#purchases?range=7d").await;
    until_list_is(&browser, "loading").await;
    assert_eq!(
        texts(&browser).await,
        (String::new(), "Loading…".to_owned())
    );
    browser.run("window.release()").await;
    until_list_is(&browser, "shown").await;
    assert_eq!(
        (texts(&browser).await, rows(&browser).await),
        (Default::default(), 1)
    );
    go(past).await;
    until_list_is(&browser, "empty").await;
    let nothing = "No purchases in this range. Show all time".to_owned();
    assert_eq!(texts(&browser).await, (String::new(), nothing.clone()));

    browser.driver.back().await.unwrap();
    until_list_is(&browser, "shown").await;
    browser
        .run("window.real = window.fetch; window.fetch = async () => { throw new TypeError('away'); }")
        .await;
    // New requests fail.
    go(past).await;
    until_list_is(&browser, "failed").await;
    let failed =
        "The list cannot be loaded: The service cannot be reached. Trying again…".to_owned();
    assert_eq!(
        (texts(&browser).await, rows(&browser).await),
        ((failed, String::new()), 0)
    );
    // The page retries after the outage.
    browser.run("window.fetch = window.real").await;
    until_list_is(&browser, "empty").await;
    assert_eq!(texts(&browser).await, (String::new(), nothing));
    browser.end().await;
}

#[tokio::test]
async fn an_outage_of_management_is_shown_until_it_is_over() {
    let Some((browser, folder, management, facing)) = with_both().await else {
        return;
    };
    buy(&facing, r#"{"username":"ada","userid":"u1","price":1}"#).await;
    let (_, port) = management.url.rsplit_once(':').unwrap();
    let port = port.to_owned();
    open_as(&browser, &facing, "u1", "ada").await;
    browser.shows("count", "1").await;
    let customers = browser.driver.window().await.unwrap();
    let operators = browser.driver.new_tab().await.unwrap();
    browser
        .driver
        .switch_to_window(operators.clone())
        .await
        .unwrap();
    browser.open(&management.path("/#purchases")).await;
    until_list_is(&browser, "shown").await;

    management.kill().await;
    let failed = "The list cannot be loaded: ";
    let fails = async |pending: usize| {
        until_list_is(&browser, "failed").await;
        let (notice, instead) = texts(&browser).await;
        assert!(
            notice.starts_with(failed) && notice.ends_with(". Trying again…"),
            "{notice}"
        );
        assert_eq!((instead, rows(&browser).await), (String::new(), pending));
    };
    let old = async |count: usize| {
        until("be old", async || {
            texts(&browser).await.0.contains("may be out of date")
        })
        .await;
        assert_eq!(
            (state(&browser).await, rows(&browser).await),
            (json!("shown"), count)
        );
    };
    let go = async |hash: &str| browser.run(&format!("location.hash = '{hash}'")).await;
    old(1).await;
    browser.shows("state", "Unavailable").await;
    go("#purchases?range=all").await;
    fails(0).await;
    for view in ["#dead-letters", "#overview"] {
        go(view).await;
        let notice = async || browser.texts("main .notice.bad").await.concat();
        until("report it", async || {
            notice()
                .await
                .contains("The service cannot be reached. Trying again…")
        })
        .await;
    }
    browser
        .driver
        .switch_to_window(customers.clone())
        .await
        .unwrap();
    // Purchases are accepted meanwhile, and listed later.
    buy_for(&browser, "2").await;
    browser
        .shows("buy-answer", "Bought for 2.00, and recorded.")
        .await;
    old(2).await;
    assert_eq!(browser.texts("#purchases .tag").await, ["pending"]);
    go("#purchases?range=all").await;
    fails(1).await;

    let management = Process::start(Binary::Management, folder.path(), &[("PORT", &port)]).await;
    assert!(management.url.ends_with(&port));
    browser.shows("count", "2").await;
    assert_eq!(
        (texts(&browser).await, rows(&browser).await),
        (Default::default(), 2)
    );
    browser.driver.switch_to_window(operators).await.unwrap();
    browser.shows("state", "Healthy").await;
    until("be over", async || {
        browser.texts("main .notice.bad").await.is_empty()
    })
    .await;
    browser.end().await;
}

#[tokio::test]
async fn a_refused_purchase_is_shown_at_once() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    open_as(&browser, &facing, "u1", "ada").await;
    // The first attempt is rejected, the second one gets no response.
    let refused = "window.sent = 0; window.fetch = (path, options) => {
        if (path.startsWith('health')) return Promise.resolve(new Response(JSON.stringify({ status: 'degraded', parts: { log: false } })));
        if (options?.method !== 'POST' || window.sent++ > 0) return new Promise(() => {});
        const body = JSON.stringify({ title: 'Service unavailable', outcome: 'not_sent' });
        return Promise.resolve(new Response(body, { status: 503, headers: { 'retry-after': '1' } }));
    };";
    browser.run(refused).await;
    buy_for(&browser, "1").await;
    browser
        .shows("buy-problem", "Service unavailable. Trying again…")
        .await;
    until("try again", async || {
        browser.run("return window.sent").await == json!(2)
    })
    .await;
    browser
        .shows("buy-problem", "Service unavailable. Trying again…")
        .await;
    browser.shows("buy-answer", "").await;
    browser
        .shows("service", "Purchases are not accepted at the moment.")
        .await;
    browser.end().await;
}
