//! What customers do on their page: they undo a purchase, come back, and read amounts.

use serde_json::json;

use super::driver::Browser;
use super::{buy_for, open_as, rows, until_list_is, with_both, with_facing};
use crate::process::{Binary, Process, buy, must_buy, stored, until, until_stored};

const FOCUS: &str = "return document.activeElement.id";

/// Until the page is reloaded, the time in which a purchase can be undone ends with `window.end()`.
async fn stop_time(browser: &Browser) {
    let script = "const real = window.setTimeout;
        window.setTimeout = (call, time, ...rest) => time === 5000 ? void (window.end = () => call(...rest)) : real(call, time, ...rest);";
    browser.run(script).await;
}

/// Enters a price with the key Enter.
async fn enter(browser: &Browser, price: &str) {
    browser.fill(&[("price", &format!("{price}\n"))]).await;
}

#[tokio::test]
async fn a_purchase_can_be_undone_until_it_is_sent() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    open_as(&browser, &facing, "u1", "ada").await;
    stop_time(&browser).await;
    enter(&browser, "3.20").await;
    browser.shows("buy-answer", "Buying for 3.20.").await;
    browser.is_accessible().await;
    browser.click("buy-undo").await;
    browser.shows("buy-answer", "Nothing was recorded.").await;
    assert_eq!(
        browser
            .run("return document.getElementById('price').value")
            .await,
        json!("3.20")
    );
    assert_eq!(browser.run(FOCUS).await, json!("price"));

    // A key that is pressed twice is one purchase; after some time it is sent.
    enter(&browser, "1").await;
    browser.shows("buy-answer", "Buying for 1.00.").await;
    browser.by_id("price").await.send_keys("\n").await.unwrap();
    browser
        .run("document.getElementById('buy-undo').focus(); window.end()")
        .await;
    browser
        .shows("buy-answer", "Bought for 1.00, and recorded.")
        .await;
    browser.shows("count", "1").await;
    assert_eq!(stored(&facing, "u1").await, 1);
    assert_eq!(
        browser.run(FOCUS).await,
        json!("buy-button"),
        "the focus stays in the form"
    );

    // Another purchase sends what is held, and so does leaving the page.
    enter(&browser, "2").await;
    browser.shows("buy-answer", "Buying for 2.00.").await;
    enter(&browser, "3").await;
    browser.shows("buy-answer", "Buying for 3.00.").await;
    browser.shows("count", "2").await;
    browser.driver.refresh().await.unwrap();
    browser
        .shows("buy-answer", "Bought for 3.00, and recorded.")
        .await;
    browser.shows("count", "3").await;
    assert_eq!(stored(&facing, "u1").await, 3);
    stop_time(&browser).await;
    enter(&browser, "4").await;
    browser.shows("buy-answer", "Buying for 4.00.").await;
    browser.open("about:blank").await;
    until_stored(&facing, "u1", 4).await;
    browser.end().await;
}

#[tokio::test]
async fn a_price_of_zero_is_confirmed() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    open_as(&browser, &facing, "u1", "ada").await;
    for leave in [
        "document.getElementById('buy-undo').click()",
        "location.reload()",
    ] {
        enter(&browser, "0").await;
        browser
            .shows("buy-answer", "Record a purchase for 0.00?")
            .await;
        browser.run(leave).await;
        until("forget it", async || {
            browser.texts("#price").await.len() == 1 && browser.texts("#buy-undo").await.is_empty()
        })
        .await;
    }
    assert_eq!(stored(&facing, "u1").await, 0);
    buy_for(&browser, "0.0").await;
    browser
        .shows("buy-answer", "Bought for 0.00, and recorded.")
        .await;
    assert_eq!(stored(&facing, "u1").await, 1);
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}

#[tokio::test]
async fn customers_are_remembered_and_asked_for_their_name() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    must_buy(&facing, r#"{"username":"Eva","userid":"u5","price":1}"#).await;
    open_as(&browser, &facing, "u9", "x").await;
    assert_eq!(browser.run(FOCUS).await, json!("price"));
    until_list_is(&browser, "empty").await;
    assert_eq!(
        browser.texts("#list").await,
        ["No purchases yet for user ID u9. Is the ID right? Change"]
    );
    browser.is_accessible().await;
    browser
        .run("document.querySelector('#list button').click()")
        .await;
    until("ask again", async || {
        browser.run(FOCUS).await == json!("userid")
    })
    .await;

    // The same user under another name.
    browser.fill(&[("userid", "u5"), ("username", "x")]).await;
    browser.click("identify-button").await;
    browser.shows("asked", "u5 bought as Eva before.").await;
    assert_eq!(
        browser.texts("#identify button").await,
        ["Continue as Eva", "Continue as x"]
    );
    let first = "return document.activeElement.textContent";
    until("ask for one", async || {
        browser.run(first).await == json!("Continue as Eva")
    })
    .await;
    browser.is_accessible().await;
    browser.run("document.activeElement.click()").await;
    browser.shows("me", "Eva").await;

    // Other tabs know the customer, until another one signs in with a key.
    let first = browser.driver.window().await.unwrap();
    let second = browser.driver.new_tab().await.unwrap();
    browser.driver.switch_to_window(second).await.unwrap();
    browser.open(&facing.path("/")).await;
    browser.shows("me", "Eva").await;
    until("list it", async || rows(&browser).await == 1).await;
    browser
        .run("sessionStorage.setItem('access-key', 'other'); sessionStorage.removeItem('identity')")
        .await;
    browser.driver.refresh().await.unwrap();
    until("ask again", async || {
        !browser.texts("#identify").await.is_empty()
    })
    .await;
    assert_eq!(browser.run("return localStorage.length").await, json!(0));
    browser.driver.switch_to_window(first).await.unwrap();
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}

#[tokio::test]
async fn nothing_moves_and_nothing_is_lost_in_an_outage() {
    let Some((browser, folder, management, facing)) = with_both().await else {
        return;
    };
    let (_, port) = management.url.rsplit_once(':').unwrap();
    let port = port.to_owned();
    browser.set_size(390, 844).await;
    open_as(&browser, &facing, "u1", "ada").await;
    until_list_is(&browser, "empty").await;
    let place =
        "const { x, y, width, height } = document.getElementById('buy-button').getBoundingClientRect();
        return [x, y, width, height, document.getElementById('from').getBoundingClientRect().y]";
    let before = browser.run(place).await;
    // The first request fails, and its repetition is answered.
    let away = "window.real = window.fetch;
        window.fetch = (path, options) => {
            const isLost = options.method === 'POST' && !window.isOver;
            window.isOver ||= isLost;
            return isLost || path.startsWith('health') ? Promise.reject(new TypeError('away')) : window.real(path, options);
        };";
    browser.run(away).await;
    buy_for(&browser, "3").await;
    browser
        .shows("service", "The service is unavailable.")
        .await;
    browser.is_accessible().await;
    browser
        .shows("buy-answer", "Bought for 3.00, and recorded.")
        .await;
    assert_eq!(browser.run(place).await, before);

    // A purchase that is not listed yet is shown after a reload, too, until it is listed.
    browser.shows("count", "1").await;
    management.kill().await;
    buy_for(&browser, "4").await;
    browser
        .shows("buy-answer", "Bought for 4.00, and recorded.")
        .await;
    let pending = async || browser.texts("#purchases .pending .amount").await;
    until("be pending", async || pending().await == ["4.00"]).await;
    browser.driver.refresh().await.unwrap();
    until_list_is(&browser, "failed").await;
    assert_eq!(pending().await, ["4.00"]);
    let _management = Process::start(Binary::Management, folder.path(), &[("PORT", &port)]).await;
    browser.shows("count", "2").await;
    until("be listed", async || pending().await.is_empty()).await;
    let kept = "return sessionStorage.getItem('bought')";
    until("forget it", async || browser.run(kept).await == json!("[]")).await;
    browser.end().await;
}

#[tokio::test]
async fn a_wrong_range_is_said_and_an_export_is_cancelled() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    buy(
        &facing,
        r#"{"username":"ada","userid":"u1","price":"0.125"}"#,
    )
    .await;
    open_as(&browser, &facing, "u1", "ada").await;
    browser.shows("total", "0.12").await;
    browser
        .run("location.hash = '#purchases?from=2026-02-30&to=2026-03-01'")
        .await;
    let said = async || browser.texts(".ledger > .notice").await;
    let wrong = "This range is not valid; the last 30 days are shown.";
    until("say it", async || said().await == [wrong]).await;
    browser.run("location.hash = '#purchases?range=7d'").await;
    until("be valid", async || said().await.is_empty()).await;
    browser.shows("total", "0.12").await;

    let endless =
        "window.fetch = async (path, { signal }) => new Response(new ReadableStream({ start: (stream) => {
        stream.enqueue(new Uint8Array(50000));
        signal.addEventListener('abort', () => stream.error(new Error('cancelled')));
    } }), { headers: { 'content-type': 'text/csv' } })";
    browser.run(endless).await;
    browser.click("export-csv").await;
    browser.shows("export-size", "50 kB").await;
    browser.shows("export-csv", "Cancel").await;
    browser.is_accessible().await;
    browser.click("export-csv").await;
    browser
        .shows("export-answer", "Nothing was exported.")
        .await;
    browser.shows("export-csv", "CSV").await;
    assert_eq!(browser.run(FOCUS).await, json!("export-csv"));
    browser.end().await;
}
