//! The views of management's page: the overview, the search, and the page of a purchase.

use super::{NASTY, buy_by_api, with_both};
use crate::prelude::*;

/// Shows what is folded.
const UNFOLD: &str = "document.querySelectorAll('details').forEach((one) => { one.open = true; })";

#[tokio::test]
async fn the_overview_follows_the_pipeline() {
    let Some((browser, folder, management, facing)) = with_both(&[ALL_ROLES]).await else {
        return;
    };
    for price in ["1.10", "2.20"] {
        buy_by_api(&facing, "u1", price, json!({})).await;
    }
    browser.open(&management.path("/")).await;
    browser.shows("state", "Healthy").await;
    browser
        .shows("well", "All is well: 3 roles run, nothing waits.")
        .await;
    browser.shows("today", "3.30").await;
    browser.shows("dead-letters", "0").await;
    browser.run(UNFOLD).await;
    browser.shows("inserted", "2").await;
    browser.shows("users-phase", "running").await;
    browser.shows("orders-outbox", "0").await;
    browser.says("#topics tbody td.who", "purchases").await;
    // The last hour survives a reload.
    let drawn = "at most 0.2/s in ";
    browser.says("#history .hint", drawn).await;
    browser.reload().await;
    browser.says("#history .hint", drawn).await;
    browser.counts("#history figcaption", 4).await;
    browser.is_accessible().await;

    append(folder.path(), "poison").await;
    browser.shows("dead-letters", "1").await;
    let waiting =
        "Dead letters wait for a decision: 1 of purchases. Replay or discard them Runbook";
    browser.has("#problems li", &[waiting]).await;
    browser.shows("state", "Healthy").await;
    browser.follow("Runbook").await;
    browser
        .has("#runbook h3", &["ShopDeadLettersWaiting"])
        .await;
    browser.follow("ShopDeadLetters").await;
    browser.has("#runbook h3", &["ShopDeadLetters"]).await;
    browser.was_quiet(&management.url).await;
    browser.end().await;
}

#[tokio::test]
async fn users_and_purchases_are_found() {
    let Some((browser, _folder, management, facing)) = with_both(&[]).await else {
        return;
    };
    let mut last = String::new();
    for (userid, username) in [("u5", NASTY), ("u1", "Ada"), ("u2", "Adam"), ("ad", "bob")] {
        let purchase = buy_by_api(&facing, userid, "1195.30", json!({"username": username})).await;
        purchase["id"].as_str().unwrap().clone_into(&mut last);
    }
    browser
        .open(&management.path("/#purchases?range=all"))
        .await;
    browser.shows("count", "4").await;
    let search = async |text: &str| browser.fill(&[("who", &format!("{text}\n"))]).await;

    // The beginning of a name, in another case, and a text that is an id, too.
    search("AD").await;
    browser.has("#found a", &["Ada", "Adam"]).await;
    let beginning = "No user AD; names that begin with it:";
    browser.shows("found-what", beginning).await;
    search("ad").await;
    browser.has("#found a", &["ad", "Ada", "Adam"]).await;
    browser.is_accessible().await;
    browser.follow("Adam").await;
    browser.shows("whose", "All users named Adam").await;
    browser.shows("count", "1").await;
    browser.go_back().await;
    browser.has("#found a", &["ad", "Ada", "Adam"]).await;
    // What is one thing only is shown at once, and the way back does not lead to its search.
    search("u5").await;
    browser.shows("whose", "User u5").await;
    browser.focuses("who").await;
    browser.go_back().await;
    browser.has("#found a", &["ad", "Ada", "Adam"]).await;
    search("zoe").await;
    browser
        .shows(
            "found-what",
            "No user zoe, and no name that begins with it.",
        )
        .await;
    search("").await;
    browser.shows("whose", "Everybody").await;
    browser.shows("count", "4").await;
    browser.follow(NASTY).await;
    browser
        .shows("whose", &format!("All users named {NASTY}"))
        .await;
    browser.counts("main img", 0).await;

    // A purchase has a page, which is printed.
    search(&last).await;
    let facts = "return [...document.querySelectorAll('#purchase dd')].slice(0, 4).map((one) => one.innerText)";
    let expected = json!([last, "ad", "bob", "1,195.30"]);
    browser.returns(facts, expected.clone()).await;
    browser.reload().await;
    browser.returns(facts, expected).await;
    browser.is_accessible().await;
    let printed = "window.print = () => { window.printed = true }; document.getElementById('print').click(); return window.printed";
    browser.returns(printed, true).await;
    browser.follow("ad").await;
    browser.shows("whose", "User ad").await;
    browser.was_quiet(&management.url).await;
    // An id that is not stored, and a text that is part of no path.
    for id in ["0190163d-8694-739b-aea5-966c26f8ad91", ".."] {
        browser.go(&format!("#purchase?id={id}")).await;
        let nothing = format!("No purchase with the ID {id} is stored.");
        browser.shows("purchase", &nothing).await;
    }
    browser.end().await;
}
