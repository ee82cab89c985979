//! What customers and operators do by keyboard alone, in dark mode.

use serde_json::json;
use thirtyfour::Key;

use super::driver::Browser;
use super::{dead_letters, open_as, with_facing};
use crate::process::{Binary, Process, post, stored, until};

/// Presses Tab until an element that matches `selector` has the focus, and shows that it has it.
async fn tab_to(browser: &Browser, selector: &str) {
    let script = format!("return document.activeElement.matches('{selector}:focus-visible')");
    until(selector, async || {
        let is_reached = browser.run(&script).await == json!(true);
        if !is_reached {
            browser.press(Key::Tab).await;
        }
        is_reached
    })
    .await;
}

/// Presses Enter on the element that matches `selector`.
async fn enter(browser: &Browser, selector: &str) {
    tab_to(browser, selector).await;
    browser.press(Key::Enter).await;
}

/// Types into the input that matches `selector`.
async fn type_into(browser: &Browser, selector: &str, text: &str) {
    tab_to(browser, selector).await;
    browser.press(text).await;
}

#[tokio::test]
async fn a_purchase_is_bought_by_keyboard() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    browser.use_dark_mode().await;
    browser.open(&facing.path("/")).await;
    type_into(&browser, "#userid", "u1").await;
    type_into(&browser, "#username", "ada\n").await;
    type_into(&browser, "#price", "2.50").await;
    type_into(&browser, "#item", "tea\n").await;
    enter(&browser, "#buy-now").await;
    browser
        .shows("buy-answer", "Bought for 2.50, and recorded.")
        .await;
    browser.shows("count", "1").await;
    browser.is_accessible().await;
    browser.end().await;
}

#[tokio::test]
async fn a_refund_by_keyboard_stands_beside_its_purchase_with_its_currency() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let euros = ("SHOP_CURRENCY", "EUR");
    let (folder, facing) = Process::fresh(Binary::Facing, &[euros]).await;
    let management = Process::start(Binary::Management, folder.path(), &[euros]).await;
    let two_days_ago = "return new Date(Date.now() - 172800000).toISOString()";
    let time = browser.run(two_days_ago).await;
    let coffee = json!({"username": "ada", "userid": "u1", "price": 9.5, "item": "coffee", "quantity": 2, "timestamp": time});
    post(&facing.path("/v1/purchases"), &coffee.to_string()).await;
    until("store it", async || stored(&management, "u1").await == 1).await;

    browser.use_dark_mode().await;
    browser.open(&management.path("/")).await;
    let well = "All is well: 1 role runs, nothing waits.";
    browser.shows("well", well).await;
    browser.shows("freshness", "up to date").await;
    enter(&browser, ".views [href=\"#purchases\"]").await;
    browser.shows("total", "€9.50").await;
    enter(&browser, "#purchases a").await;
    enter(&browser, "#refund-ask").await;
    type_into(&browser, "#amount", "1.5").await;
    type_into(&browser, "#reason", "late\n").await;
    browser.shows("refund-answer", "Refunded €1.50.").await;
    enter(&browser, "#refunded").await;
    until("name what it is of", async || {
        let facts = browser.texts("#purchase dd").await.concat();
        facts.contains("2 × coffee bought")
    })
    .await;
    browser.is_accessible().await;

    // Both pages list it below its purchase, and draw this day below zero.
    let listed = async || {
        let amounts = async || browser.texts("#purchases .amount").await;
        until("list both", async || amounts().await == ["€9.50", "-€1.50"]).await;
        let what = browser.texts("#purchases .who:nth-last-child(3)").await;
        let refund = "Refund of 2 × coffee · late";
        assert_eq!(what, ["2 × coffee\nrefunded €1.50", refund]);
        let below = "return document.querySelector('.bars .negative').height.baseVal.value > 2";
        assert_eq!(browser.run(below).await, json!(true));
        browser.is_accessible().await;
    };
    browser.run("location.hash = '#purchases'").await;
    listed().await;
    open_as(&browser, &facing, "u1", "ada").await;
    listed().await;

    // Where its purchase is not in the range, the refund names it.
    let today = "const today = new Date().toLocaleDateString('sv'); location.hash = `#purchases?from=${today}&to=${today}`";
    browser.run(today).await;
    until("look for the purchase", async || {
        let what = browser.texts("#purchases .who").await.concat();
        what.starts_with("Refund of 2 × coffee · late\nbought ") && what.ends_with(" for €9.50")
    })
    .await;
    browser.end().await;
}

#[tokio::test]
async fn a_dead_letter_is_replayed_by_keyboard() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    dead_letters::put(folder.path(), 1).await;
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    browser.use_dark_mode().await;
    browser.open(&management.path("/")).await;
    enter(&browser, "#dead-letters a").await;
    type_into(&browser, "#select-purchases-0-1000", " ").await;
    enter(&browser, "#selected-replay").await;
    enter(&browser, "#selected-confirm").await;
    browser.shows("selected-fates", "1 stored.").await;
    browser.is_accessible().await;
    browser.end().await;
}
