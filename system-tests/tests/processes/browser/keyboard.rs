//! What customers and operators do by keyboard alone, in dark mode.

use serde_json::json;
use thirtyfour::Key;

use super::driver::Browser;
use super::{dead_letters, open_as, with_facing};
use crate::process::{Binary, Process, post, stored, until};

/// Presses Tab until an element that matches `selector` has the focus, and shows it.
async fn tab_to(browser: &Browser, selector: &str) {
    let is_reached = format!("return document.activeElement.matches('{selector}:focus-visible')");
    for _ in 0..80 {
        if browser.run(&is_reached).await == json!(true) {
            return;
        }
        browser.press(Key::Tab).await;
    }
    panic!("{selector} is not reached");
}

#[tokio::test]
async fn a_purchase_is_bought_by_keyboard() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    browser.set_dark(true).await;
    browser.open(&facing.path("/")).await;
    until("ask for the customer", async || {
        !browser.texts("#identify").await.is_empty()
    })
    .await;
    tab_to(&browser, "#userid").await;
    browser.press("u1").await;
    tab_to(&browser, "#username").await;
    browser.press("ada\n").await;
    browser.shows("me", "ada").await;
    tab_to(&browser, "#price").await;
    browser.press("2.50").await;
    tab_to(&browser, "#item").await;
    browser.press("tea\n").await;
    browser.shows("buy-answer", "Buying for 2.50.").await;
    tab_to(&browser, "#buy-now").await;
    browser.press(Key::Enter).await;
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
    let bought = post(&facing.path("/v1/purchases"), &coffee.to_string()).await;
    assert_eq!(bought.0, 201);
    until("store it", async || stored(&management, "u1").await == 1).await;

    browser.set_dark(true).await;
    browser.open(&management.path("/")).await;
    browser
        .shows("well", "All is well: 1 role runs, nothing waits.")
        .await;
    browser.shows("lag", "0").await;
    browser.shows("freshness", "up to date").await;
    tab_to(&browser, ".views [href=\"#purchases\"]").await;
    browser.press(Key::Enter).await;
    browser.shows("total", "€9.50").await;
    tab_to(&browser, "#purchases a").await;
    browser.press(Key::Enter).await;
    until("show it", async || {
        !browser.texts("#refund-ask").await.is_empty()
    })
    .await;
    tab_to(&browser, "#refund-ask").await;
    browser.press(Key::Enter).await;
    tab_to(&browser, "#amount").await;
    browser.press("1.5").await;
    tab_to(&browser, "#reason").await;
    browser.press("late\n").await;
    browser.shows("refund-answer", "Refunded €1.50.").await;
    tab_to(&browser, "#refunded").await;
    browser.press(Key::Enter).await;
    let facts = async || browser.texts("#purchase dd").await.concat();
    until("name what it is of", async || {
        facts().await.contains("2 × coffee bought")
    })
    .await;
    browser.is_accessible().await;

    // Both pages list it below its purchase, and draw this day below zero.
    let listed = async || {
        until("list both", async || {
            browser.texts("#purchases tr").await.len() == 2
        })
        .await;
        let what = browser.texts("#purchases .who:nth-last-child(3)").await;
        assert_eq!(
            what,
            ["2 × coffee\nrefunded €1.50", "Refund of 2 × coffee · late"]
        );
        let amounts = browser.texts("#purchases .amount").await;
        assert_eq!(amounts, ["€9.50", "-€1.50"]);
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
    browser.set_dark(true).await;
    browser.open(&management.path("/")).await;
    browser.shows("dead-letters", "2").await;
    tab_to(&browser, "#dead-letters a").await;
    browser.press(Key::Enter).await;
    until("list them", async || {
        browser.texts("#letters tr").await.len() == 2
    })
    .await;
    tab_to(&browser, "#select-purchases-0-1000").await;
    browser.press(" ").await;
    tab_to(&browser, "#selected-replay").await;
    browser.press(Key::Enter).await;
    dead_letters::outcome(&browser, "selected", "1 would be replayed.").await;
    tab_to(&browser, "#selected-confirm").await;
    browser.press(Key::Enter).await;
    dead_letters::outcome(&browser, "selected", "1 replayed.").await;
    browser.shows("selected-fates", "1 stored.").await;
    browser.is_accessible().await;
    browser.end().await;
}
