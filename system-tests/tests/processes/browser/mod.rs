//! The pages of both services in a browser, on the embedded default.

use serde_json::json;
use tempfile::TempDir;

use crate::process::{Binary, Process, buy, stored, until};
use driver::Browser;

mod access;
mod chart;
mod console;
mod customer;
mod dead_letters;
mod driver;
mod entities;
mod finding;
mod importing;
mod keyboard;
mod layout;
mod listing;
mod states;

/// A name that would run as a script if a page inserted it as HTML.
const NASTY: &str = r#"<img src=x onerror="document.title='run'">"#;

/// A browser, and a facing on a new folder.
async fn with_facing() -> Option<(Browser, TempDir, Process)> {
    let browser = Browser::start().await?;
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    Some((browser, folder, facing))
}

/// A browser, and both services on a new folder.
async fn with_both() -> Option<(Browser, TempDir, Process, Process)> {
    let browser = Browser::start().await?;
    let (folder, management) = Process::fresh(Binary::Management, &[]).await;
    let facing = Process::start(
        Binary::Facing,
        folder.path(),
        &[("MANAGEMENT_URL", &management.url)],
    )
    .await;
    Some((browser, folder, management, facing))
}

async fn rows(browser: &Browser) -> usize {
    browser.texts("#purchases tr").await.len()
}

/// The state of the list.
async fn state(browser: &Browser) -> serde_json::Value {
    browser
        .run("return document.getElementById('list').dataset.state")
        .await
}

async fn until_list_is(browser: &Browser, expected: &str) {
    until(expected, async || state(browser).await == expected).await;
}

/// Enters the customer on the page of facing.
async fn identify(browser: &Browser, userid: &str, username: &str) {
    until("ask for the customer", async || {
        !browser.texts("#identify").await.is_empty()
    })
    .await;
    browser
        .fill(&[("userid", userid), ("username", username)])
        .await;
    browser.click("identify-button").await;
    until("show the customer", async || {
        browser.texts("#me").await == [username]
    })
    .await;
}

/// Opens the page of facing as a customer of this user ID and name.
async fn open_as(browser: &Browser, facing: &Process, userid: &str, username: &str) {
    browser.open(&facing.path("/")).await;
    identify(browser, userid, username).await;
}

/// Enters a price and buys, without the time in which that can be undone.
async fn buy_for(browser: &Browser, price: &str) {
    browser.fill(&[("price", price)]).await;
    browser.click("buy-button").await;
    let now = "const now = document.getElementById('buy-now'); now?.click(); return now !== null";
    until("hold or refuse it", async || {
        browser.run(now).await == json!(true) || !browser.text("price-problem").await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn purchases_are_bought_and_seen() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    open_as(&browser, &facing, "u1", NASTY).await;
    until_list_is(&browser, "empty").await;
    buy_for(&browser, "0,1").await;
    browser
        .shows("buy-answer", "Bought for 0.10, and recorded.")
        .await;
    browser.shows("count", "1").await;

    browser
        .fill(&[("price", "1,000,000,000,000.20000001")])
        .await;
    // Repeated clicks are one purchase.
    browser.double_click("buy-button").await;
    browser
        .shows("buy-answer", "Buying for 1,000,000,000,000.20000001.")
        .await;
    browser.click("buy-now").await;
    browser.shows("count", "2").await;
    browser.shows("total", "1,000,000,000,000.30").await;
    browser
        .shows(
            "buy-answer",
            "Bought for 1,000,000,000,000.20000001, and recorded.",
        )
        .await;
    // Also when the second click follows the response to the first.
    let late = "new MouseEvent('click', { detail: 2, bubbles: true, cancelable: true })";
    browser
        .run(&format!(
            "document.getElementById('buy-button').dispatchEvent({late})"
        ))
        .await;
    assert_eq!(
        browser.text("price-problem").await,
        "",
        "the second click is no second purchase"
    );
    assert_eq!(
        browser.texts("#purchases .amount").await,
        ["1,000,000,000,000.20", "0.10"]
    );
    browser.click("exact").await;
    browser.shows("total", "1,000,000,000,000.30000001").await;
    assert_eq!(
        browser.texts("#purchases .amount").await,
        ["1,000,000,000,000.20000001", "0.10"]
    );
    browser.shows("exact", "Show rounded amounts").await;
    assert_eq!(
        browser.texts("#purchases .tag").await,
        [""; 0],
        "both are stored"
    );
    assert_eq!(
        browser
            .run("return document.querySelectorAll('main img').length")
            .await,
        json!(0)
    );
    assert_eq!(
        browser.run("return document.title").await,
        json!("Purchases")
    );
    let ticks = "return [...document.querySelectorAll('svg.chart .labels text')].map((one) => one.textContent).slice(0, 4)";
    assert_eq!(browser.run(ticks).await, json!(["0", "500B", "1T", "1.5T"]));
    let chart = browser
        .run("return document.querySelector('svg.chart').getAttribute('aria-label')")
        .await;
    assert!(
        chart
            .as_str()
            .unwrap()
            .contains("the maximum is 1,000,000,000,000.30000001"),
        "{chart}"
    );

    // The same user buys elsewhere: the page updates.
    buy(&facing, r#"{"username":"eva","userid":"u1","price":5}"#).await;
    browser.shows("count", "3").await;
    assert_eq!(browser.texts("#purchases .amount").await[0], "5.00");
    // Another customer has another list.
    browser.click("change").await;
    identify(&browser, "u2", "eva").await;
    until_list_is(&browser, "empty").await;
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}

#[tokio::test]
async fn purchase_with_unknown_outcome_is_retried_without_a_duplicate() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    open_as(&browser, &facing, "u1", "ada").await;
    browser.lose_responses().await;
    buy_for(&browser, "29.99").await;
    until("report the unknown outcome", async || {
        browser
            .text("buy-problem")
            .await
            .contains("It is not known")
    })
    .await;
    assert_eq!(
        browser.run("return window.sent").await,
        json!(3),
        "it was retried automatically"
    );

    browser.driver.refresh().await.unwrap();
    let in_doubt = async || {
        browser
            .texts("#buy-problem")
            .await
            .concat()
            .contains("It is not known")
    };
    until("report the unknown outcome", in_doubt).await;
    browser.click("buy-button").await;
    browser
        .shows("buy-answer", "Bought for 29.99, and recorded.")
        .await;
    browser.shows("count", "1").await;
    assert_eq!(stored(&facing, "u1").await, 1);

    // An intended repetition is another purchase.
    buy_for(&browser, "29.99").await;
    browser.shows("count", "2").await;
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}

#[tokio::test]
async fn forms_show_errors_by_field() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    let focus = "return document.activeElement.id";
    browser.open(&facing.path("/")).await;
    until("ask for the customer", async || {
        !browser.texts("#identify").await.is_empty()
    })
    .await;
    browser.click("identify-button").await;
    browser.shows("userid-problem", "Enter your user ID.").await;
    browser.shows("username-problem", "Enter your name.").await;
    assert_eq!(
        browser.run(focus).await,
        json!("userid"),
        "the first invalid field has the focus"
    );
    identify(&browser, "u1", "ada").await;
    for (price, problem) in [
        ("", "Enter an amount, such as 29.99."),
        ("12,50,1", "Enter the amount as a number, such as 29.99."),
        (
            "1,000",
            "Is this 1000 or 1.000? Enter it without a mark for thousands.",
        ),
    ] {
        buy_for(&browser, price).await;
        browser.shows("price-problem", problem).await;
        assert_eq!(browser.run(focus).await, json!("price"));
    }
    // An error disappears while its field is edited.
    browser.fill(&[("price", "5")]).await;
    browser.shows("price-problem", "").await;
    // The service reports other errors.
    buy_for(&browser, "0.123456789").await;
    until("show the price", async || {
        browser.text("price-problem").await.contains("8 decimals")
    })
    .await;
    let marked = browser
        .run("return [...document.querySelectorAll('[aria-invalid]')].map((one) => one.id)")
        .await;
    assert_eq!(marked, json!(["price"]));
    assert_eq!(stored(&facing, "u1").await, 0);
    browser.end().await;
}
