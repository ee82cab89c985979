//! The pages of both services in a browser, on the embedded default.

use serde_json::json;

use crate::process::{Binary, Process, buy, stored, until};
use driver::Browser;

mod access;
mod accounts;
mod driver;
mod layout;
mod listing;
mod states;

/// A name that would run as a script if it were taken for HTML anywhere.
const NASTY: &str = r#"<img src=x onerror="document.title='run'">"#;

async fn rows(browser: &Browser) -> usize {
    browser.texts("#purchases tr").await.len()
}

/// The state of the list.
async fn state(browser: &Browser) -> serde_json::Value {
    browser.run("return document.getElementById('list').dataset.state").await
}

#[tokio::test]
async fn two_purchases_are_bought_and_seen() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    browser.open(&facing.path("/")).await;
    browser.shows("state", "Accepting purchases").await;

    browser.fill(&[("username", "ada"), ("userid", "u1"), ("price", ".1")]).await;
    browser.click("buy-button").await;
    browser.shows("buy-answer", "Bought for 0.10, and recorded.").await;
    browser.shows("count", "1").await;

    browser.fill(&[("username", NASTY), ("price", "1000000000000.20000001")]).await;
    // One purchase, however often it is clicked.
    let button = browser.by_id("buy-button").await;
    browser.driver.action_chain().double_click_element(&button).perform().await.unwrap();
    browser.shows("count", "2").await;
    browser.shows("total", "1 000 000 000 000.30000001").await;
    assert_eq!(
        browser.text("buy-answer").await.replace('\u{a0}', " "),
        "Bought for 1 000 000 000 000.20000001, and recorded."
    );
    // Nor when the second click comes after the answer to the first.
    let late = "new MouseEvent('click', { detail: 2, bubbles: true, cancelable: true })";
    browser.run(&format!("document.getElementById('buy-button').dispatchEvent({late})")).await;
    assert_eq!(browser.text("price-problem").await, "", "the second click is no second purchase");
    assert_eq!(browser.texts("#purchases .name").await, [NASTY, "ada"]);
    assert_eq!(browser.texts("#purchases .tag").await, [""; 0], "both are stored");
    assert_eq!(browser.run("return document.querySelectorAll('#list img').length").await, json!(0));
    assert_eq!(browser.run("return document.title").await, json!("Purchases"));
    let axis = browser.run("return document.querySelector('svg.chart .labels text').textContent").await;
    assert_eq!(axis, json!("1\u{a0}500\u{a0}000\u{a0}000\u{a0}000.00"));
    let chart = browser.run("return document.querySelector('svg.chart').getAttribute('aria-label')").await;
    assert!(chart.as_str().unwrap().contains("1\u{a0}000\u{a0}000\u{a0}000\u{a0}000.30000001"), "{chart}");

    // Somebody else buys: the page catches up by itself.
    buy(&facing, r#"{"username":"eva","userid":"u1","price":5}"#).await;
    browser.shows("count", "3").await;
    assert_eq!(browser.texts("#purchases .name").await, ["eva", NASTY, "ada"]);
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}

#[tokio::test]
async fn purchase_with_unknown_outcome_is_retried_without_a_duplicate() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    browser.open(&facing.path("/")).await;
    browser.lose_answers().await;
    browser.fill(&[("username", "ada"), ("userid", "u1"), ("price", "29.99")]).await;
    browser.click("buy-button").await;
    until("show the doubt", async || browser.text("buy-problem").await.contains("It is not known")).await;
    assert_eq!(browser.run("return window.sent").await, json!(3), "it was tried again by itself");

    browser.driver.refresh().await.unwrap();
    until("show the doubt", async || browser.text("buy-problem").await.contains("It is not known")).await;
    browser.click("buy-button").await;
    browser.shows("buy-answer", "Bought for 29.99, and recorded.").await;
    browser.shows("count", "1").await;
    assert_eq!(stored(&facing, "u1").await, 1);

    // The same again, on purpose, is another purchase.
    browser.fill(&[("price", "29.99")]).await;
    browser.click("buy-button").await;
    browser.shows("count", "2").await;
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}

#[tokio::test]
async fn form_shows_errors_by_field() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    browser.open(&facing.path("/")).await;
    browser.fill(&[("price", "12,50")]).await;
    browser.click("buy-button").await;
    browser.shows("username-problem", "Enter the name of the buyer.").await;
    browser.shows("userid-problem", "Enter the user ID of the buyer.").await;
    browser.shows("price-problem", "Enter the price as a number, such as 29.99.").await;
    let focus = "return document.activeElement.id";
    assert_eq!(browser.run(focus).await, json!("username"), "the first that is wrong has the focus");

    // What only the service knows.
    browser.fill(&[("username", "ada"), ("userid", "u1"), ("price", "0.123456789")]).await;
    browser.click("buy-button").await;
    until("show the price", async || browser.text("price-problem").await.contains("8 decimals")).await;
    assert_eq!(browser.run(focus).await, json!("price"));
    let marked =
        browser.run("return [...document.querySelectorAll('[aria-invalid]')].map((one) => one.id)").await;
    assert_eq!(marked, json!(["price"]));
    assert_eq!(stored(&facing, "u1").await, 0);
    browser.end().await;
}

#[tokio::test]
async fn management_shows_the_pipeline_and_pages_of_purchases() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    // So that management carries all of it.
    let facing = Process::start(Binary::Facing, folder.path(), &[("MANAGEMENT_URL", &management.url)]).await;
    for number in 0..30 {
        let body = format!(r#"{{"username":"ada","userid":"u{}","price":{number}.10}}"#, number % 2);
        assert_eq!(buy(&facing, &body).await.0, 201);
    }
    browser.open(&management.path("/")).await;
    browser.shows("state", "Healthy").await;
    browser.shows("inserted", "30").await;
    browser.shows("dead-letters", "0").await;
    browser.shows("lag", "0").await;
    until("report how fresh it is", async || browser.text("freshness").await.ends_with("s")).await;
    browser.shows("phase", "running").await;

    // Everybody's, the newest first, and the rest of them.
    until("list a page", async || rows(&browser).await == 25).await;
    browser.click("more").await;
    until("list them all", async || rows(&browser).await == 30).await;
    assert!(!browser.by_id("more").await.is_displayed().await.unwrap());

    // By id, and as there is no such id by name.
    for (who, count, total) in [("u1", "15", "226.50"), ("ada", "30", "438.00")] {
        browser.fill(&[("who", who)]).await;
        browser.driver.active_element().await.unwrap().send_keys("\n").await.unwrap();
        browser.shows("count", count).await;
        browser.shows("total", total).await;
    }
    assert_eq!(browser.texts("#list h3").await, ["All users named ada"]);
    let link = browser.run("return document.querySelector('#as-json a').href").await;
    assert_eq!(link, json!(management.path("/purchases/ada?by=username")));
    browser.was_quiet(&management.url).await;
    browser.end().await;
}

#[tokio::test]
async fn money_stays_exact_in_the_browser() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    browser.open(&facing.path("/")).await;
    let script = r#"
        return import("/page/exact.js").then(({ parseExact, sum, forPeople, isDecimal }) => [
            parseExact('{"price":999999999999999.12345678,"name":"\\"price\\":1.10 \\\\","more":[1e2,null,-0.5]}'),
            sum(["0.1", "0.2"]), sum(["999999999999999.12345678", "0.00000001"]), sum([]), sum(["5", "7"]),
            forPeople("1234567.5"), forPeople("0.12345678"), forPeople("12"),
            ["1", "1.5", ".5", "", "1,5", "1e3", "-1", "0x10", "1 000"].filter(isDecimal),
        ])"#;
    let expected = json!([
        {"price": "999999999999999.12345678", "name": "\"price\":1.10 \\", "more": ["1e2", null, "-0.5"]},
        "0.3", "999999999999999.12345679", "0", "12",
        "1\u{a0}234\u{a0}567.50", "0.12345678", "12.00",
        ["1", "1.5", ".5"],
    ]);
    assert_eq!(browser.run(script).await, expected);
    browser.end().await;
}
