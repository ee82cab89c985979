//! The search of the console, and the page of a purchase.

use serde_json::json;
use tempfile::TempDir;

use super::driver::Browser;
use super::{NASTY, with_both};
use crate::process::{Process, post, until};

/// The links in a row.
const LINKS: &str = "return [...document.querySelectorAll('#purchases tr:last-child a')].map((one) => decodeURIComponent(one.hash))";

/// A console that lists the purchases of six users.
struct Console {
    browser: Browser,
    management: Process,
    _facing: Process,
    _folder: TempDir,
    ids: Vec<String>,
}

impl Console {
    async fn open() -> Option<Self> {
        let (browser, folder, management, facing) = with_both().await?;
        let mut ids = Vec::new();
        for (username, userid) in [
            (NASTY, "u5"),
            ("Ada", "u1"),
            ("ada", "u2"),
            ("Adam", "u3"),
            ("kim", "u4"),
            ("bob", "ad"),
        ] {
            let body = json!({"username": username, "userid": userid, "price": "1195.30"});
            let (status, answer) = post(&facing.path("/v1/purchases"), &body.to_string()).await;
            assert_eq!(status, 201);
            ids.push(answer["purchase"]["id"].as_str().unwrap().to_owned());
        }
        browser
            .open(&management.path("/#purchases?range=all"))
            .await;
        browser.shows("count", "6").await;
        Some(Self {
            browser,
            management,
            _facing: facing,
            _folder: folder,
            ids,
        })
    }

    async fn search(&self, text: &str) {
        self.browser.fill(&[("who", &format!("{text}\n"))]).await;
    }

    async fn back(&self) {
        self.browser.driver.back().await.unwrap();
    }

    async fn finds(&self, choices: &[&str]) {
        let found = async || self.browser.texts("#found a").await == choices;
        until(&format!("find {choices:?}"), found).await;
    }

    async fn lists(&self, whose: &str, count: &str) {
        until(&format!("list {whose}"), async || {
            self.browser.texts("#whose").await == [whose]
        })
        .await;
        self.browser.shows("count", count).await;
    }

    /// Waits until the page of this purchase is shown.
    async fn shows(&self, id: &str, userid: &str, username: &str) {
        until("show the purchase", async || {
            let facts = self.browser.texts("#purchase dd").await;
            facts.len() > 3 && facts[..4] == [id, userid, username, "1,195.30"]
        })
        .await;
        assert_eq!(
            self.browser.texts(".views [aria-current]").await,
            ["Purchases"]
        );
    }
}

#[tokio::test]
async fn users_are_found_by_id_and_beginning_of_a_name() {
    let Some(console) = Console::open().await else {
        return;
    };
    let browser = &console.browser;
    // The beginning of a name, in another case.
    console.search("AD").await;
    console.finds(&["Ada", "Adam", "ada"]).await;
    browser
        .shows("found-what", "No user AD; names that begin with it:")
        .await;
    console.browser.follow("ada").await;
    console.lists("All users named ada", "1").await;
    console.back().await;
    console.finds(&["Ada", "Adam", "ada"]).await;
    // A text that is both.
    console.search("ad").await;
    console.finds(&["ad", "Ada", "Adam", "ada"]).await;
    browser.shows("found-what", "These match:").await;
    browser.is_accessible().await;
    console.browser.follow("ad").await;
    console.lists("User ad", "1").await;
    console.back().await;
    // What is one thing only is shown at once, and the way back does not lead to its search.
    console.search("u4").await;
    console.lists("User u4", "1").await;
    assert_eq!(
        browser.run("return document.activeElement.id").await,
        json!("who")
    );
    console.back().await;
    console.finds(&["ad", "Ada", "Adam", "ada"]).await;
    console.search("zoe").await;
    browser
        .shows(
            "found-what",
            "No user zoe, and no name that begins with it.",
        )
        .await;
    console.search("").await;
    console.lists("Everybody", "6").await;

    // All that a row has is a link.
    let by = |by: &str, who: &str| format!("#purchases?range=all&by={by}&who={who}");
    let page = format!("#purchase?id={}", console.ids[0]);
    let links = browser.run(LINKS).await;
    let links: Vec<_> = links
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap().replace('+', " "))
        .collect();
    assert_eq!(
        links,
        [
            page.clone(),
            by("username", NASTY),
            by("userid", "u5"),
            page
        ]
    );
    console.browser.follow(NASTY).await;
    console
        .lists(&format!("All users named {NASTY}"), "1")
        .await;
    browser.was_quiet(&console.management.url).await;
    console.browser.end().await;
}

#[tokio::test]
async fn a_purchase_has_a_page() {
    let Some(console) = Console::open().await else {
        return;
    };
    let browser = &console.browser;
    let ids = &console.ids;
    console.browser.follow(&ids[4]).await;
    console.shows(&ids[4], "u4", "kim").await;
    assert_eq!(
        browser
            .run("return document.activeElement.textContent")
            .await,
        json!("Purchase")
    );
    browser.driver.refresh().await.unwrap();
    console.shows(&ids[4], "u4", "kim").await;
    browser.is_accessible().await;
    let printed = "window.print = () => { window.printed = true }; document.getElementById('print').click(); return window.printed";
    assert_eq!(browser.run(printed).await, json!(true));
    console.back().await;
    console.lists("Everybody", "6").await;
    console.search(&ids[5]).await;
    console.shows(&ids[5], "ad", "bob").await;
    console.browser.follow("ad").await;
    console.lists("User ad", "1").await;
    for _ in 0..2 {
        console.back().await;
    }
    console.lists("Everybody", "6").await;
    browser.was_quiet(&console.management.url).await;

    // An id that is not stored, and a text that is part of no path.
    let unknown = "0190163d-8694-739b-aea5-966c26f8ad91";
    console.search(unknown).await;
    let nothing = format!("No purchase and no user {unknown}, and no name that begins with it.");
    browser.shows("found-what", &nothing).await;
    for id in [unknown, ".."] {
        browser
            .run(&format!("location.hash = '#purchase?id={id}'"))
            .await;
        let nothing = format!("No purchase with the ID {id} is stored.");
        until(&nothing, async || {
            browser.texts("#purchase").await == [&*nothing]
        })
        .await;
    }
    console.browser.end().await;
}
