//! Dead letters on management's page.

use futures_util::TryStreamExt as _;
use shop_core::Timestamp;
use shop_core::log::{DeadLetter, Gap, GapCause, Log as _, LogAdmin as _, Partition, Reason};
use thirtyfour::By;

use super::driver::Browser;
use super::{buy_by_api, with_both};
use crate::dead_letters::fail_over_the_first;
use crate::prelude::*;

async fn open_log(folder: &Path) -> EmbeddedLog {
    let options = EmbeddedLogOptions::default();
    EmbeddedLog::open(folder, options).await.unwrap()
}

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
    let letters = open_log(folder).await.dead_letters();
    shop_core::log::DeadLetters::put(&letters, &all)
        .await
        .unwrap();
}

/// Appends a record with the id of the last purchase in the log of `folder`.
async fn append_conflict(folder: &Path) {
    let log = open_log(folder).await;
    let batches = log.admin().scan().await.unwrap();
    let batches: Vec<_> = batches.try_collect().await.unwrap();
    let last = batches.last().unwrap().records.last().unwrap();
    let value =
        r#"{"username":"ann","userid":"u2","price":0.5,"timestamp":"2026-03-01T09:00:00Z"}"#;
    let other = LogRecord::new(0, last.time, Some(value.into()));
    log.append(other.with_headers(last.headers.clone()))
        .await
        .unwrap();
}

/// Waits for the summary of a resolution or dry run, which gets the focus.
async fn outcome(browser: &Browser, id: &str, summary: &str) {
    browser.has(&format!("#{id}-outcome > p"), &[summary]).await;
    browser.focuses(&format!("{id}-outcome")).await;
}

async fn pending(management: &Process) -> usize {
    let listed = get(&management.path("/v1/dead-letters")).await.1;
    listed["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_dead_letter_is_shown_and_replayed() {
    let Some((browser, folder, management, facing)) = with_both(&[]).await else {
        return;
    };
    let folder = folder.path();
    browser.open(&management.path("/")).await;
    browser.shows("state", "Healthy").await;
    // The number on the overview links to them.
    browser.click_on(By::Css("#dead-letters a")).await;
    browser.shows("dead-letter-list", "No dead letters.").await;

    // A record that the store rejects is stuck if the store accepts another one afterwards. It is parked.
    let store = open_file(folder);
    let rule = "CREATE TRIGGER rule BEFORE INSERT ON buyers WHEN NEW.username = 'eve'
        BEGIN SELECT RAISE(ABORT, 'none'); END";
    store.execute_batch(rule).unwrap();
    buy_by_api(&facing, "u1", "5.50", json!({"username": "eve"})).await;
    fail_over_the_first(&management).await;
    buy_by_api(&facing, "u2", "2", json!({"username": "ann"})).await;
    browser.says("#stuck-records", "purchases-0-1 ").await;
    browser.click("stuck-purchases-0-1-park").await;
    outcome(&browser, "stuck-purchases-0-1", "1 would be parked.").await;
    browser.is_accessible().await;
    browser
        .fill(&[("stuck-purchases-0-1-reason", "later\n")])
        .await;
    browser.has("#letters tr a", &["purchases-0-1"]).await;
    append_conflict(folder).await;
    let both = ["purchases-0-1", "purchases-0-3"];
    browser.has("#letters tr a", &both).await;
    browser.says("#reasons", "conflict 1").await;

    // A dead letter has a URL. A conflict is shown beside the stored purchase.
    browser.follow("purchases-0-1").await;
    browser.says("#value", "\"username\":\"eve\"").await;
    browser
        .says("main .facts", "parked by an operator\nDetail\nlater")
        .await;
    browser.go("#dead-letters?position=purchases-0-3").await;
    browser.has("#compared mark", &["2.00"]).await;
    browser.reload().await;
    browser.says("#compared", "Price, differs").await;
    browser.is_accessible().await;
    browser.click("back").await;
    browser.has("#letters tr a", &both).await;

    // A dry run changes nothing.
    store.execute_batch("DROP TRIGGER rule").unwrap();
    browser.click("select-purchases-0-1").await;
    browser.click("selected-replay").await;
    outcome(&browser, "selected", "1 would be replayed.").await;
    assert_eq!(pending(&management).await, 2);
    browser.click("selected-confirm").await;
    outcome(&browser, "selected", "1 replayed.").await;
    browser.shows("selected-fates", "1 stored.").await;
    browser.has("#letters tr a", &["purchases-0-3"]).await;
    // A conflict comes back.
    browser.click("select-purchases-0-3").await;
    browser.click("selected-replay").await;
    outcome(&browser, "selected", "1 would come back.").await;
    browser.click("selected-anyway").await;
    browser
        .shows("selected-fates", "1 came back: conflict.")
        .await;
    browser.counts("#letters tr", 1).await;

    // It is discarded on its own page, with a reason.
    browser.click_on(By::Css("#letters a")).await;
    browser.counts("#one-discard", 1).await;
    browser.click("one-discard").await;
    outcome(&browser, "one", "1 would be discarded.").await;
    browser.click("one-cancel").await;
    browser.click("one-discard").await;
    outcome(&browser, "one", "1 would be discarded.").await;
    browser.click("one-confirm").await;
    browser.shows("one-reason-problem", "Enter a reason.").await;
    browser.focuses("one-reason").await;
    assert_eq!(pending(&management).await, 1);
    browser.is_accessible().await;
    browser.fill(&[("one-reason", "no purchase\n")]).await;
    outcome(&browser, "one", "1 discarded.").await;
    assert_eq!(pending(&management).await, 0);
    browser.was_quiet(&management.url).await;
    browser.end().await;
}

#[tokio::test]
async fn dead_letters_are_filtered_paged_and_resolved_together() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), 59).await;
    let management = Process::start(Binary::Management, folder.path(), &[ALL_ROLES]).await;
    browser.open(&management.path("/#dead-letters")).await;
    browser.counts("#letters tr", 50).await;
    browser.click("more").await;
    browser.counts("#letters tr", 60).await;
    browser.counts("#more", 0).await;

    // The filter is in the URL.
    let choose = async |field: &str, value: &str| {
        let choice = format!("document.getElementById({field:?}).value = {value:?}");
        browser.run(&choice).await;
        browser.click("filter-button").await;
    };
    choose("reason", "gap").await;
    browser.says("#letters", "3 records lost").await;
    browser.reload().await;
    browser.has("#letters tr a", &["purchases-0-102"]).await;
    choose("since", "2020-01-01T00:00").await;
    browser.list_is("empty").await;
    let nothing = "No dead letters of this kind. Show all";
    browser.shows("dead-letter-list", nothing).await;
    browser.go_back().await;
    browser.has("#letters tr a", &["purchases-0-102"]).await;
    browser.go_back().await;
    browser.counts("#letters tr", 50).await;

    // A gap cannot be replayed; the others can. What is done with them is in sight, however long the list is.
    browser.click("select-all").await;
    let place = "const place = document.getElementById('selected-replay').getBoundingClientRect();
        return [scrollY < 100, place.top >= 0 && place.bottom <= innerHeight]";
    browser.returns(place, json!([true, true])).await;
    browser.click("selected-replay").await;
    outcome(&browser, "selected", "49 would be replayed, 1 refused.").await;
    browser.click("selected-confirm").await;
    outcome(&browser, "selected", "49 replayed.").await;
    browser.counts("#letters tr", 11).await;
    browser.click("select-all").await;
    browser.click("selected-discard").await;
    outcome(&browser, "selected", "11 would be discarded.").await;
    browser.fill(&[("selected-reason", "not needed")]).await;
    browser.click("selected-confirm").await;
    outcome(&browser, "selected", "11 discarded.").await;
    browser.list_is("empty").await;
    browser.go("#purchases?range=all").await;
    browser.shows("count", "49").await;
    browser.was_quiet(&management.url).await;
    browser.end().await;
}
