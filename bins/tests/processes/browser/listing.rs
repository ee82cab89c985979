//! The list of purchases: what changes it, and what does not.

use serde_json::json;

use super::driver::Browser;
use super::{rows, state};
use crate::process::{Binary, Process, buy, until};

const LISTING: &str = "/v1/purchases";
/// Notes the first row, and answers the ids of all, with what the chart says of them.
const NOTED: &str = "
    window.first ??= document.querySelector('#purchases tr');
    return [
        [...document.querySelectorAll('#purchases tr')].map((one) => one.dataset.id),
        document.querySelector('figcaption').textContent,
        document.querySelector('svg.chart').getAttribute('aria-label'),
        window.first.isConnected,
    ]";

async fn caption(browser: &Browser) -> String {
    browser.texts("figcaption").await.concat()
}

async fn names(browser: &Browser) -> Vec<String> {
    browser.texts("#purchases .name").await
}

/// Buys as `name` for each of the `prices`.
async fn buy_all(facing: &Process, name: &str, id: &str, prices: std::ops::Range<u32>) {
    for price in prices {
        let body = format!(r#"{{"username":"{name}","userid":"{id}","price":{price}}}"#);
        assert_eq!(buy(facing, &body).await.0, 201);
    }
}

#[tokio::test]
async fn list_of_all_users_is_unchanged_until_a_purchase_is_stored() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    let facing = Process::start(Binary::Facing, folder.path(), &[("MANAGEMENT_URL", &management.url)]).await;
    buy_all(&facing, "ada", "u1", 0..60).await;
    browser.open(&management.path("/")).await;
    browser.shows("inserted", "60").await;
    until("list a page", async || rows(&browser).await == 25).await;
    let noted = browser.run(NOTED).await;
    browser.polls(LISTING, 4).await;
    assert_eq!(browser.run(NOTED).await, noted);
    assert!(caption(&browser).await.ends_with(". Only the newest 25 purchases, which are listed below."));

    // Something is: it comes on top, and the list stays as long as it is.
    buy_all(&facing, "eva", "u2", 1..2).await;
    until("show the new one", async || names(&browser).await.first().is_some_and(|name| name == "eva")).await;
    assert_eq!(rows(&browser).await, 25);

    // More is shown when it is asked for. What is read then does not move.
    browser.click("more").await;
    until("list another page", async || rows(&browser).await == 50).await;
    let noted = browser.run(NOTED).await;
    buy_all(&facing, "kim", "u3", 1..2).await;
    until("offer the new one", async || browser.by_id("newest").await.is_displayed().await.unwrap()).await;
    browser.polls(LISTING, 4).await;
    assert_eq!(browser.run(NOTED).await, noted);
    browser.click("newest").await;
    until("show the new one", async || names(&browser).await.first().is_some_and(|name| name == "kim")).await;
    assert_eq!(rows(&browser).await, 25);
    assert!(!browser.by_id("newest").await.is_displayed().await.unwrap());

    // No request asks for more than the others, or for what the service does not know.
    for query in browser.requests(LISTING).await {
        assert!(query.starts_with("?everyone=true&limit=25"), "{query}");
    }
    browser.was_quiet(&management.url).await;
    browser.end().await;
}

#[tokio::test]
async fn a_new_purchase_adds_one_row() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    buy_all(&facing, "ada", "u1", 0..30).await;
    browser.open(&facing.path("/#of=u1")).await;
    browser.shows("count", "30").await;
    assert_eq!(rows(&browser).await, 25);
    let noted = browser.run(NOTED).await;
    browser.polls("/v1/summary", 4).await;
    assert_eq!(browser.run(NOTED).await, noted);

    let listed = |count: &str| format!("Only the newest {count} purchases, which are listed below.");
    for (count, listed_of) in [(31, "26 of 31"), (32, "27 of 32")] {
        buy_all(&facing, "ada", "u1", 7..8).await;
        browser.shows("count", &count.to_string()).await;
        assert_eq!(rows(&browser).await, count - 5);
        assert!(caption(&browser).await.ends_with(&listed(listed_of)));
    }
    // So does one that is bought here.
    browser.fill(&[("username", "eva"), ("userid", "u1"), ("price", "5")]).await;
    browser.click("buy-button").await;
    browser.shows("count", "33").await;
    assert_eq!((rows(&browser).await, &*names(&browser).await[0]), (28, "eva"));
    browser.click("more").await;
    until("list them all", async || rows(&browser).await == 33).await;
    assert!(caption(&browser).await.ends_with(". All 33 purchases."), "{}", caption(&browser).await);
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}

#[tokio::test]
async fn the_back_button_and_the_address_lead_to_lists() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    buy_all(&facing, "ada", "u1", 1..2).await;
    buy_all(&facing, "eva", "u2", 1..3).await;
    browser.open(&facing.path("/")).await;
    let shows = async |who: &str, count: &str| {
        browser.shows("count", count).await;
        assert_eq!(browser.run("return document.getElementById('who').value").await, json!(who));
        assert_eq!(browser.run("return location.hash").await, json!(format!("#of={who}")));
    };
    browser.fill(&[("who", "u1\n")]).await;
    shows("u1", "1").await;
    browser.fill(&[("who", "u2\n")]).await;
    shows("u2", "2").await;
    browser.fill(&[("username", "kim"), ("userid", "u3"), ("price", "5")]).await;
    browser.click("buy-button").await;
    shows("u3", "1").await;

    browser.driver.back().await.unwrap();
    shows("u2", "2").await;
    browser.driver.back().await.unwrap();
    shows("u1", "1").await;
    browser.driver.back().await.unwrap();
    until("ask for nothing", async || state(&browser).await == "idle").await;
    assert_eq!(browser.run("return location.hash + document.getElementById('who').value").await, json!(""));
    browser.driver.forward().await.unwrap();
    shows("u1", "1").await;

    // An address that is edited.
    browser.run("location.hash = '#of=u2'").await;
    shows("u2", "2").await;
    // The link that skips to the list leads to no other list.
    browser.run("document.querySelector('.skip').click()").await;
    browser.polls("/v1/summary", 1).await;
    assert_eq!(browser.texts("#list h3").await, ["User u2"]);
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}

#[tokio::test]
async fn an_id_does_not_hide_the_users_of_that_name() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    buy_all(&facing, "ada", "grace", 1..2).await;
    buy_all(&facing, "grace", "u2", 1..3).await;
    buy_all(&facing, "eva", "eva", 1..2).await;
    browser.open(&facing.path("/")).await;
    let named = async || browser.by_id("named").await.is_displayed().await.unwrap();
    browser.fill(&[("who", "grace\n")]).await;
    browser.shows("count", "1").await;
    assert_eq!(browser.texts("#list h3").await, ["User grace"]);
    assert!(named().await);
    assert_eq!(
        browser.texts(".offer:not([hidden]) span").await,
        ["“grace” is also a user name, with 2 purchases."]
    );
    browser.click("named").await;
    browser.shows("count", "2").await;
    assert_eq!(browser.texts("#list h3").await, ["All users named grace"]);
    assert_eq!(browser.run("return location.hash").await, json!("#of=grace&by=username"));
    assert!(!named().await);
    browser.driver.back().await.unwrap();
    browser.shows("count", "1").await;

    // A user whose ID is the name has one list.
    browser.fill(&[("who", "eva\n")]).await;
    until("show it", async || browser.texts("#list h3").await == ["User eva"]).await;
    assert!(!named().await);
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}
