//! What customers do on their page: they buy, undo a purchase, come back, and wait for the end of an outage.

use super::driver::Browser;
use super::{NASTY, buy_by_api, buy_for, identify, open_as, with_both, with_facing};
use crate::prelude::*;

/// Until the page is reloaded, the time in which a purchase can be undone ends with `window.end()`.
const STOP_TIME: &str = "const real = window.setTimeout;
    window.setTimeout = (call, time, ...rest) => time === 5000 ? void (window.end = () => call(...rest)) : real(call, time, ...rest);";
/// Until the page is reloaded, purchases are processed, but no response arrives.
const LOSE_RESPONSES: &str =
    "const real = window.fetch; window.sent = 0; window.fetch = async (...call) => {
    const answer = await real(...call);
    if (call[1]?.method === 'POST') { window.sent++; throw new TypeError('the answer is lost'); }
    return answer;
};";
/// The first purchase is refused, and the second one gets no response.
const REFUSE: &str = "window.sent = 0; window.fetch = (path, options) => {
    if (path.startsWith('health')) return Promise.resolve(new Response(JSON.stringify({ status: 'degraded', parts: { log: false } })));
    if (options?.method !== 'POST' || window.sent++ > 0) return new Promise(() => {});
    const body = JSON.stringify({ title: 'Service unavailable', outcome: 'not_sent' });
    return Promise.resolve(new Response(body, { status: 503, headers: { 'retry-after': '1' } }));
};";

/// Enters a price with the key Enter.
async fn enter(browser: &Browser, price: &str) {
    browser.fill(&[("price", &format!("{price}\n"))]).await;
}

#[tokio::test]
async fn purchases_are_bought_and_seen() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    browser.open(&facing.path("/")).await;
    browser.counts("#identify", 1).await;
    browser.click("identify-button").await;
    browser.shows("userid-problem", "Enter your user ID.").await;
    browser.shows("username-problem", "Enter your name.").await;
    browser.focuses("userid").await;
    identify(&browser, "u1", NASTY).await;
    browser.list_is("empty").await;

    // An error disappears while its field is edited.
    enter(&browser, "12,50,1").await;
    let no_number = "Enter the amount as a number, such as 29.99.";
    browser.shows("price-problem", no_number).await;
    browser.focuses("price").await;
    browser.fill(&[("price", "5")]).await;
    browser.shows("price-problem", "").await;
    buy_for(&browser, "0,1").await;
    browser
        .shows("buy-answer", "Bought for 0.10, and recorded.")
        .await;

    // Repeated clicks are one purchase, also when the second one follows the response to the first.
    browser
        .fill(&[("price", "1,000,000,000,000.20000001")])
        .await;
    browser.double_click("buy-button").await;
    browser.click("buy-now").await;
    browser.shows("count", "2").await;
    let late =
        "const late = new MouseEvent('click', { detail: 2, bubbles: true, cancelable: true });
        document.getElementById('buy-button').dispatchEvent(late)";
    browser.run(late).await;
    browser.shows("price-problem", "").await;
    browser.shows("total", "1,000,000,000,000.30").await;
    browser.click("exact").await;
    browser.shows("total", "1,000,000,000,000.30000001").await;
    browser.counts("main img", 0).await;
    browser.returns("return document.title", "Purchases").await;

    // The same user buys elsewhere: the page updates. Another customer has another list.
    buy_by_api(&facing, "u1", "5", json!({})).await;
    let amounts = ["5.00", "1,000,000,000,000.20000001", "0.10"];
    browser.has("#purchases .amount", &amounts).await;
    browser.click("change").await;
    identify(&browser, "u2", "eva").await;
    browser.list_is("empty").await;
    browser.was_quiet(&facing.url).await;
    // The service refuses what the page does not.
    buy_for(&browser, "0.123456789").await;
    browser.says("#price-problem", "8 decimals").await;
    browser.counts("[aria-invalid]", 1).await;
    browser.end().await;
}

#[tokio::test]
async fn a_purchase_is_retried_without_a_duplicate() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    open_as(&browser, &facing, "u1", "ada").await;
    browser.run(LOSE_RESPONSES).await;
    buy_for(&browser, "29.99").await;
    browser.says("#buy-problem", "It is not known").await;
    browser.returns("return window.sent", 3).await;
    browser.reload().await;
    browser.says("#buy-problem", "It is not known").await;
    browser.click("buy-button").await;
    browser
        .shows("buy-answer", "Bought for 29.99, and recorded.")
        .await;
    browser.shows("count", "1").await;
    // An intended repetition is another purchase.
    buy_for(&browser, "29.99").await;
    browser.shows("count", "2").await;

    browser.run(REFUSE).await;
    buy_for(&browser, "1").await;
    browser
        .shows("buy-problem", "Service unavailable. Trying again…")
        .await;
    browser.returns("return window.sent", 2).await;
    browser
        .shows("service", "Purchases are not accepted at the moment.")
        .await;
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}

#[tokio::test]
async fn a_purchase_can_be_undone_until_it_is_sent() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    open_as(&browser, &facing, "u1", "ada").await;
    browser.run(STOP_TIME).await;
    enter(&browser, "3.20").await;
    browser.shows("buy-answer", "Buying for 3.20.").await;
    browser.is_accessible().await;
    browser.click("buy-undo").await;
    browser.shows("buy-answer", "Nothing was recorded.").await;
    browser
        .returns("return document.getElementById('price').value", "3.20")
        .await;
    browser.focuses("price").await;

    // A key that is pressed twice is one purchase; after some time it is sent. The focus stays in the form.
    enter(&browser, "1").await;
    browser.shows("buy-answer", "Buying for 1.00.").await;
    browser.press("\n").await;
    browser
        .run("document.getElementById('buy-undo').focus(); window.end()")
        .await;
    browser
        .shows("buy-answer", "Bought for 1.00, and recorded.")
        .await;
    browser.focuses("buy-button").await;

    // Another purchase sends what is held, and so does leaving the page.
    enter(&browser, "2").await;
    browser.shows("buy-answer", "Buying for 2.00.").await;
    enter(&browser, "3").await;
    browser.shows("count", "2").await;
    browser.shows("buy-answer", "Buying for 3.00.").await;
    browser.reload().await;
    browser
        .shows("buy-answer", "Bought for 3.00, and recorded.")
        .await;

    // A price of zero is confirmed.
    enter(&browser, "0").await;
    browser
        .shows("buy-answer", "Record a purchase for 0.00?")
        .await;
    browser.click("buy-undo").await;
    browser.shows("buy-answer", "Nothing was recorded.").await;
    browser.run(STOP_TIME).await;
    enter(&browser, "4").await;
    browser.shows("buy-answer", "Buying for 4.00.").await;
    browser.open("about:blank").await;
    until_stored(&facing, "u1", 4).await;
    browser.end().await;
}

#[tokio::test]
async fn customers_are_remembered_and_asked_for_their_name() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    buy_by_api(&facing, "u5", "1", json!({})).await;
    open_as(&browser, &facing, "u9", "x").await;
    browser.focuses("price").await;
    let nothing = "No purchases yet for user ID u9. Is the ID right? Change";
    browser.shows("list", nothing).await;
    browser.is_accessible().await;
    browser
        .run("document.querySelector('#list button').click()")
        .await;
    browser.focuses("userid").await;

    // The same user under another name.
    browser.fill(&[("userid", "u5"), ("username", "x")]).await;
    browser.click("identify-button").await;
    browser.shows("asked", "u5 bought as ada before.").await;
    let names = ["Continue as ada", "Continue as x"];
    browser.has("#identify button", &names).await;
    let focused = "return document.activeElement.textContent";
    browser.returns(focused, names[0]).await;
    browser.is_accessible().await;
    browser.press("\n").await;
    browser.shows("me", "ada").await;

    // Other tabs know the customer, until another one signs in with a key.
    let second = browser.driver.new_tab().await.unwrap();
    browser.driver.switch_to_window(second).await.unwrap();
    browser.open(&facing.path("/")).await;
    browser.shows("me", "ada").await;
    browser
        .run("sessionStorage.setItem('access-key', 'other'); sessionStorage.removeItem('identity')")
        .await;
    browser.reload().await;
    browser.counts("#identify", 1).await;
    browser.returns("return localStorage.length", 0).await;
    browser.end().await;
}

/// Facing in a tab of a phone's size, and management in another one.
#[tokio::test]
async fn an_outage_is_shown_until_it_is_over() {
    let Some((browser, folder, management, facing)) = with_both(&[]).await else {
        return;
    };
    let (_, port) = management.url.rsplit_once(':').unwrap();
    let port = port.to_owned();
    let customers = browser.driver.window().await.unwrap();
    let operators = browser.driver.new_tab().await.unwrap();
    let turn_to = async |tab| browser.driver.switch_to_window(tab).await.unwrap();
    turn_to(operators.clone()).await;
    browser.open(&management.path("/#purchases")).await;
    browser.list_is("empty").await;
    turn_to(customers.clone()).await;
    browser.set_size(390, 844).await;
    open_as(&browser, &facing, "u1", "ada").await;
    buy_for(&browser, "3").await;
    browser.shows("count", "1").await;

    let place = "const { x, y, width, height } = document.getElementById('buy-button').getBoundingClientRect();
        return [x, y, width, height, document.getElementById('from').getBoundingClientRect().y]";
    let before = browser.run(place).await;
    management.kill().await;
    // Purchases are accepted meanwhile, and listed later. Nothing moves.
    buy_for(&browser, "4").await;
    browser
        .shows("buy-answer", "Bought for 4.00, and recorded.")
        .await;
    browser.has("#purchases .pending .amount", &["4.00"]).await;
    browser
        .says("#list .notice.bad", "may be out of date")
        .await;
    assert_eq!(browser.run(place).await, before);
    browser.reload().await;
    browser.list_is("failed").await;
    browser.has("#purchases .pending .amount", &["4.00"]).await;
    browser.is_accessible().await;

    turn_to(operators.clone()).await;
    browser.shows("state", "Unavailable").await;
    for view in ["#purchases?range=all", "#dead-letters", "#overview"] {
        browser.go(view).await;
        let unreachable = "The service cannot be reached. Trying again…";
        browser.says("main .notice.bad", unreachable).await;
    }

    let _management = Process::start(Binary::Management, folder.path(), &[("PORT", &port)]).await;
    browser.shows("state", "Healthy").await;
    browser.counts("main .notice.bad", 0).await;
    turn_to(customers).await;
    browser.shows("count", "2").await;
    browser.counts("#purchases .pending", 0).await;
    browser.counts("#list .notice.bad", 0).await;
    assert_eq!(stored(&facing, "u1").await, 2);
    browser.end().await;
}
