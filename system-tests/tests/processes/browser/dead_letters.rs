//! Dead letters on management's page.

use std::path::Path;

use futures_util::TryStreamExt as _;
use rusqlite::Connection;
use serde_json::json;
use shop_core::Timestamp;
use shop_core::log::{
    DeadLetter, Gap, GapCause, Log as _, LogAdmin as _, LogRecord, Partition, Reason,
};
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};
use thirtyfour::By;

use super::driver::Browser;
use super::{rows, until_list_is, with_both};
use crate::dead_letters::fail_over_the_first;
use crate::process::{ALL_ROLES, Binary, Process, get, must_buy, open_file, until};
use crate::commands::{append, manage};

/// Writes `count` dead letters of records that the log of `folder` never had, and one of a gap.
pub(super) async fn put(folder: &Path, count: u64) {
    let partition = || Partition::new("c".into(), "purchases".into(), 0, 0);
    let letter = |offset| {
        let value = format!(r#"{{"username":"kim","userid":"u3","price":{offset}}}"#);
        let record = LogRecord::new(offset, Timestamp::MIN, Some(value.into()));
        DeadLetter::new(record, partition(), Reason::parked("a note"), 2)
    };
    let gap = Gap::new(partition(), 100, 103, GapCause::Deleted).to_dead_letter(Timestamp::MIN);
    let all: Vec<_> = (1_000..1_000 + count).map(letter).chain([gap]).collect();
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default())
        .await
        .unwrap();
    shop_core::log::DeadLetters::put(&log.dead_letters(), &all)
        .await
        .unwrap();
}

async fn letters(browser: &Browser) -> Vec<String> {
    browser.texts("#letters tr a").await
}

async fn lists(browser: &Browser, positions: &[&str]) {
    until(&format!("list {positions:?}"), async || {
        letters(browser).await == positions
    })
    .await;
}

/// Waits for the summary of a resolution or dry run.
async fn outcome(browser: &Browser, id: &str, summary: &str) {
    until(summary, async || {
        browser.texts(&format!("#{id}-outcome > p")).await == [summary]
    })
    .await;
    let focused = browser.run("return document.activeElement.id").await;
    assert_eq!(
        focused,
        json!(format!("{id}-outcome")),
        "the summary has the focus"
    );
}

/// Puts `count` purchases and as many conflicts with them into the log of `folder`.
async fn conflict(folder: &Path, facing: &Process, count: usize) {
    for price in 1..=count {
        let body = format!(r#"{{"username":"ada","userid":"u1","price":{price}}}"#);
        must_buy(facing, &body).await;
    }
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default())
        .await
        .unwrap();
    let batches: Vec<_> = log
        .admin()
        .scan()
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    for record in batches.into_iter().flat_map(|batch| batch.records) {
        let value =
            r#"{"username":"ada","userid":"u1","price":0.5,"timestamp":"2026-03-01T09:00:00Z"}"#;
        let other = LogRecord::new(0, record.time, Some(value.into())).with_headers(record.headers);
        log.append(other).await.unwrap();
    }
}

async fn pending(management: &Process) -> usize {
    get(&management.path("/v1/dead-letters")).await.1["items"]
        .as_array()
        .unwrap()
        .len()
}

/// Buys a purchase that the store of `folder` rejects, finds it as stuck, and parks it. Returns the store.
async fn park_one(
    browser: &Browser,
    folder: &Path,
    facing: &Process,
    management: &Process,
) -> Connection {
    let store = open_file(folder);
    let rule = "CREATE TRIGGER rule BEFORE INSERT ON buyers WHEN NEW.username = 'eve'
        BEGIN SELECT RAISE(ABORT, 'none'); END";
    store.execute_batch(rule).unwrap();
    must_buy(facing, r#"{"username":"eve","userid":"u1","price":5.50}"#).await;
    // It is stuck only if the store accepts another one afterwards.
    fail_over_the_first(management).await;
    must_buy(facing, r#"{"username":"ann","userid":"u2","price":0}"#).await;
    until("show the stuck record", async || {
        let stuck = browser.texts("#stuck-records").await.concat();
        stuck.contains("purchases-0-1 ") && stuck.contains("Park…")
    })
    .await;
    browser.click("stuck-purchases-0-1-park").await;
    outcome(browser, "stuck-purchases-0-1", "1 would be parked.").await;
    browser.is_accessible().await;
    browser
        .fill(&[("stuck-purchases-0-1-reason", "later\n")])
        .await;
    until("go on", async || {
        browser.texts("#stuck-records").await.is_empty()
    })
    .await;
    store
}

#[tokio::test]
async fn a_dead_letter_is_shown_and_replayed() {
    let Some((browser, folder, management, facing)) = with_both().await else {
        return;
    };
    let folder = folder.path();
    browser.open(&management.path("/")).await;
    browser.shows("state", "Healthy").await;
    // The number on the overview links to them.
    browser.click_on(By::Css("#dead-letters a")).await;
    browser.shows("dead-letter-list", "No dead letters.").await;

    let store = park_one(&browser, folder, &facing, &management).await;
    append(folder, "\u{1b}[2J").await;
    lists(&browser, &["purchases-0-1", "purchases-0-3"]).await;

    // A dead letter has a URL.
    browser.follow("purchases-0-1").await;
    until("show it", async || {
        browser
            .texts("#value")
            .await
            .concat()
            .contains("\"username\":\"eve\"")
    })
    .await;
    let facts = browser.texts("main .facts").await.concat();
    assert!(
        facts.contains("parked by an operator\nDetail\nlater")
            && facts.contains("Header purchase-id"),
        "{facts}"
    );
    browser
        .run("location.hash = '#dead-letters?position=purchases-0-3'")
        .await;
    until("show the other", async || {
        browser.texts("#value").await == ["base64: G1sySg=="]
    })
    .await;
    browser.driver.refresh().await.unwrap();
    until("show it again", async || {
        browser.texts("#value").await == ["base64: G1sySg=="]
    })
    .await;
    browser.click("back").await;
    lists(&browser, &["purchases-0-1", "purchases-0-3"]).await;

    store.execute_batch("DROP TRIGGER rule").unwrap();
    browser.click("select-purchases-0-1").await;
    browser.click("selected-replay").await;
    outcome(&browser, "selected", "1 would be replayed.").await;
    assert_eq!(pending(&management).await, 2, "a dry run changes nothing");
    browser.click("selected-confirm").await;
    outcome(&browser, "selected", "1 replayed.").await;
    browser.shows("selected-fates", "1 stored.").await;
    until("list the other one", async || {
        letters(&browser).await == ["purchases-0-3"]
    })
    .await;
    browser.follow("Purchases").await;
    browser.shows("total", "5.50").await;
    assert_eq!(browser.texts("#purchases .name").await, ["ann", "eve"]);

    discard_on_its_page(&browser, &management).await;
    browser.was_quiet(&management.url).await;
    browser.end().await;
}

/// Discards the only dead letter that is left, on its own page, which asks for a reason.
async fn discard_on_its_page(browser: &Browser, management: &Process) {
    browser
        .run("location.hash = '#dead-letters?position=purchases-0-3'")
        .await;
    until("show it", async || {
        !browser.texts("#one-discard").await.is_empty()
    })
    .await;
    browser.click("one-discard").await;
    outcome(browser, "one", "1 would be discarded.").await;
    browser.click("one-cancel").await;
    assert_eq!(pending(management).await, 1, "a dry run changes nothing");
    browser.click("one-discard").await;
    outcome(browser, "one", "1 would be discarded.").await;
    browser.click("one-confirm").await;
    browser.shows("one-reason-problem", "Enter a reason.").await;
    assert_eq!(
        browser.run("return document.activeElement.id").await,
        json!("one-reason")
    );
    assert_eq!(pending(management).await, 1, "a reason is required");
    browser.is_accessible().await;
    browser.fill(&[("one-reason", "no purchase\n")]).await;
    outcome(browser, "one", "1 discarded.").await;
    assert_eq!(pending(management).await, 0);
}

#[tokio::test]
async fn dead_letters_are_filtered_paged_and_resolved_together() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), 59).await;
    let management = Process::start(Binary::Management, folder.path(), &[ALL_ROLES]).await;
    let list = "return document.getElementById('dead-letter-list').dataset.state";
    browser.open(&management.path("/#dead-letters")).await;
    until("list a page", async || letters(&browser).await.len() == 50).await;
    browser.click("more").await;
    until("list all", async || letters(&browser).await.len() == 60).await;
    assert!(browser.texts("#more").await.is_empty());
    until("offer the topics", async || {
        browser
            .texts("#topic option")
            .await
            .contains(&"user_created".to_owned())
    })
    .await;

    // The filter is in the URL.
    let choose = async |reason: &str, since: &str| {
        browser.run(&format!("document.getElementById('reason').value = '{reason}'; document.getElementById('since').value = '{since}'")).await;
        browser.click("filter-button").await;
    };
    choose("gap", "").await;
    until("list the gap", async || {
        letters(&browser).await == ["purchases-0-102"]
    })
    .await;
    assert!(
        browser
            .texts("#letters")
            .await
            .concat()
            .contains("3 records lost")
    );
    browser.driver.refresh().await.unwrap();
    until("list it again", async || {
        letters(&browser).await == ["purchases-0-102"]
    })
    .await;
    choose("", "2020-01-01T00:00").await;
    until("be empty", async || {
        browser.run(list).await == json!("empty")
    })
    .await;
    browser
        .shows("dead-letter-list", "No dead letters of this kind. Show all")
        .await;
    browser.driver.back().await.unwrap();
    until("list the gap", async || {
        letters(&browser).await == ["purchases-0-102"]
    })
    .await;
    browser.driver.back().await.unwrap();
    until("list a page", async || letters(&browser).await.len() == 50).await;

    // A gap cannot be replayed; the others can.
    browser.click("select-all").await;
    browser.click("selected-replay").await;
    outcome(&browser, "selected", "49 would be replayed, 1 refused.").await;
    browser.click("selected-confirm").await;
    outcome(&browser, "selected", "49 replayed.").await;
    until("list what is left", async || {
        letters(&browser).await.len() == 11
    })
    .await;
    browser.click("select-all").await;
    browser.click("selected-discard").await;
    outcome(&browser, "selected", "11 would be discarded.").await;
    browser.fill(&[("selected-reason", "not needed")]).await;
    browser.click("selected-confirm").await;
    outcome(&browser, "selected", "11 discarded.").await;
    until("be empty", async || {
        browser.run(list).await == json!("empty")
    })
    .await;
    browser
        .open(&management.path("/#purchases?range=all"))
        .await;
    until_list_is(&browser, "shown").await;
    browser.shows("count", "49").await;
    assert_eq!(rows(&browser).await, 25);
    browser.was_quiet(&management.url).await;
    browser.end().await;
}

#[tokio::test]
async fn conflicts_that_are_replayed_come_back() {
    let Some((browser, folder, management, facing)) = with_both().await else {
        return;
    };
    conflict(folder.path(), &facing, 50).await;
    browser.open(&management.path("/#dead-letters")).await;
    until("list all", async || letters(&browser).await.len() == 50).await;
    browser.shows("reasons", "All\nconflict 50").await;

    // The list has the purchases, and a conflict the stored one too.
    assert!(browser.texts("#letters tr").await[0].contains("0.50 ada"));
    browser.click_on(By::Css("#letters a")).await;
    until("compare them", async || {
        !browser.texts("#compared").await.is_empty()
    })
    .await;
    let compared = browser.texts("#compared tr").await;
    assert!(
        compared[2].starts_with("User ID") && compared[3].starts_with("Price, differs"),
        "{compared:?}"
    );
    assert_eq!(browser.texts("#compared mark").await, ["1.00"]);
    browser.is_accessible().await;
    browser.click("back").await;

    // What is done with them is in sight, however long the list is.
    browser.click("select-all").await;
    let place = "const place = document.getElementById('selected-replay').getBoundingClientRect();
        return [scrollY < 100, place.top >= 0 && place.bottom <= innerHeight]";
    until("show the actions", async || {
        browser.run(place).await == json!([true, true])
    })
    .await;
    browser.is_accessible().await;
    browser.click("selected-replay").await;
    outcome(&browser, "selected", "50 would come back.").await;
    assert!(browser.texts("#selected-outcome li").await[0].contains("conflict: the id is taken"));
    browser.is_accessible().await;
    browser.click("selected-anyway").await;
    outcome(&browser, "selected", "50 replayed.").await;
    browser
        .shows("selected-fates", "50 came back: conflict.")
        .await;
    until("list them again", async || {
        letters(&browser).await.len() == 50
    })
    .await;
    browser.shows("reasons", "All\nconflict 50").await;

    // A selection stays while the list is read again; so does the focus, unless its row vanishes.
    let all = letters(&browser).await;
    let focused = async |id: &str| {
        browser
            .run("return document.activeElement.id || document.activeElement.className")
            .await
            == json!(id)
    };
    browser.click(&format!("select-{}", all[0])).await;
    assert!(
        manage(folder.path(), &["dlq", "drop", &all[0]])
            .await
            .status
            .success()
    );
    until("list the others", async || {
        letters(&browser).await == all[1..]
    })
    .await;
    until("keep the focus", async || focused("ledger").await).await;
    let second = format!("select-{}", all[1]);
    browser.click(&second).await;
    append(folder.path(), "poison").await;
    until("list another one", async || {
        letters(&browser).await.len() == 50
    })
    .await;
    assert_eq!(letters(&browser).await[..49], all[1..]);
    browser
        .shows("reasons", "All\nundecodable 1\nconflict 49")
        .await;
    assert!(focused(&second).await);
    assert_eq!(browser.texts("#selected-replay").await.len(), 1);
    browser.was_quiet(&management.url).await;
    browser.end().await;
}
