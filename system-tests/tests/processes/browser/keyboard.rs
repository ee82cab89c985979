//! What customers and operators do by keyboard alone, in dark mode.

use thirtyfour::Key;

use super::driver::Browser;
use super::{buy_by_api, dead_letters};
use crate::prelude::*;

/// Presses Tab until an element that matches `selector` has the focus, and shows that it has it. Then types `text`.
async fn type_into(browser: &Browser, selector: &str, text: &str) {
    let script = format!("return document.activeElement.matches('{selector}:focus-visible')");
    until(selector, async || {
        let is_reached = browser.run(&script).await == json!(true);
        if !is_reached {
            browser.press(Key::Tab).await;
        }
        is_reached
    })
    .await;
    browser.press(text).await;
}

/// Presses Enter on the element that matches `selector`.
async fn enter(browser: &Browser, selector: &str) {
    type_into(browser, selector, "\n").await;
}

#[tokio::test]
async fn purchases_are_bought_and_refunded_by_keyboard_with_their_currency() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let euros = ("SHOP_CURRENCY", "EUR");
    let (folder, facing) = Process::fresh(Binary::Facing, &[euros]).await;
    let management = Process::start(Binary::Management, folder.path(), &[euros]).await;
    let two_days_ago = "return new Date(Date.now() - 172800000).toISOString()";
    let time = browser.run(two_days_ago).await;
    let coffee = json!({"item": "coffee", "quantity": 2, "timestamp": time});
    buy_by_api(&facing, "u1", "9.5", coffee).await;

    browser.use_dark_mode().await;
    browser.open(&management.path("/")).await;
    enter(&browser, ".views [href=\"#purchases\"]").await;
    browser.shows("total", "€9.50").await;
    enter(&browser, "#purchases a").await;
    enter(&browser, "#refund-ask").await;
    type_into(&browser, "#amount", "1.5").await;
    type_into(&browser, "#reason", "late\n").await;
    browser.shows("refund-answer", "Refunded €1.50.").await;
    enter(&browser, "#refunded").await;
    browser.says("#purchase dd", "2 × coffee bought").await;
    browser.is_accessible().await;

    // Both pages list it below its purchase, and draw this day below zero.
    let listed = async || {
        browser
            .has("#purchases .amount", &["€9.50", "-€1.50"])
            .await;
        let what = ["2 × coffee\nrefunded €1.50", "Refund of 2 × coffee · late"];
        browser
            .has("#purchases .who:nth-last-child(3)", &what)
            .await;
        let below = "return document.querySelector('.bars .negative').height.baseVal.value > 2";
        browser.returns(below, true).await;
        browser.is_accessible().await;
    };
    browser.go("#purchases").await;
    listed().await;
    browser.open(&facing.path("/")).await;
    type_into(&browser, "#userid", "u1").await;
    type_into(&browser, "#username", "ada\n").await;
    listed().await;
    // Where its purchase is not in the range, the refund names it.
    let today = "const today = new Date().toLocaleDateString('sv'); location.hash = `#purchases?from=${today}&to=${today}`";
    browser.run(today).await;
    browser
        .says("#purchases .who", "Refund of 2 × coffee · late\nbought ")
        .await;

    type_into(&browser, "#price", "2.50").await;
    type_into(&browser, "#item", "tea\n").await;
    enter(&browser, "#buy-now").await;
    browser
        .shows("buy-answer", "Bought for €2.50, and recorded.")
        .await;
    browser.is_accessible().await;
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
