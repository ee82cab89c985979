//! The views of management's page.

use std::time::Duration;

use serde_json::json;

use super::driver::Browser;
use super::states::{hold, texts};
use super::{rows, state, with_both};
use crate::postgres::cluster;
use crate::process::{ALL_ROLES, Binary, Process, buy, get, stored, until};
use crate::verify::append;

const LISTING: &str = "/v1/purchases";
const PIPELINE: &str = "return document.getElementById('pipeline').dataset.state";

async fn problems(browser: &Browser) -> String {
    browser.texts("main .notice.bad").await.concat()
}

/// Shows what is folded.
const UNFOLD: &str = "document.querySelectorAll('details').forEach((one) => { one.open = true; })";

/// Opens a view by its link.
async fn go(browser: &Browser, view: &str) {
    browser.follow(view).await;
    until("show the view", async || {
        browser.texts("h2.title").await == [view]
    })
    .await;
}

#[tokio::test]
async fn the_overview_follows_the_pipeline() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (folder, management) = Process::fresh(Binary::Management, &[ALL_ROLES]).await;
    // Without ingest in facing, management ingests everything.
    let facing = Process::start(
        Binary::Facing,
        folder.path(),
        &[("MANAGEMENT_URL", &management.url)],
    )
    .await;
    for number in 0..3 {
        let body = format!(r#"{{"username":"ada","userid":"u1","price":{number}.10}}"#);
        assert_eq!(buy(&facing, &body).await.0, 201);
    }
    browser.open(&management.path("/")).await;
    browser.shows("state", "Healthy").await;
    browser
        .shows("well", "All is well: 3 roles run, nothing waits.")
        .await;
    browser.shows("dead-letters", "0").await;
    browser.shows("lag", "0").await;
    assert_eq!(browser.text("inserted").await, "", "it is folded");
    browser.run(UNFOLD).await;
    browser.shows("inserted", "3").await;
    browser.shows("users-phase", "running").await;
    browser.shows("orders-outbox", "0").await;
    until("report how fresh it is", async || {
        browser.text("freshness").await.ends_with("s")
    })
    .await;
    until("list the topics", async || {
        browser
            .texts("#topics tbody td.who")
            .await
            .contains(&"purchases".to_owned())
    })
    .await;

    append(folder.path(), "poison").await;
    browser.shows("dead-letters", "1").await;
    let causes = async || browser.texts("#problems li").await;
    let waiting =
        "Dead letters wait for a decision: 1 of purchases. Replay or discard them Runbook";
    until("name the dead letter", async || causes().await == [waiting]).await;
    assert!(problems(&browser).await.is_empty(), "it is not bad");
    let health = get(&management.path("/health")).await.1;
    assert_eq!(
        (&health["status"], &health["ingest"]["dead_lettered"]),
        (&json!("healthy"), &json!(1))
    );
    browser.shows("state", "Healthy").await;
    browser.follow("Runbook").await;
    until("show the runbook", async || {
        browser.texts("#runbook h3").await == ["ShopDeadLettersWaiting"]
    })
    .await;
    browser.follow("ShopDeadLetters").await;
    until("follow its link", async || {
        browser.texts("#runbook h3").await == ["ShopDeadLetters"]
    })
    .await;
    browser.was_quiet(&management.url).await;
    browser.end().await;
}

#[tokio::test]
async fn an_import_is_fresh_and_an_outage_of_the_store_is_one_sentence() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let Some(cluster) = cluster() else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = cluster.url();
    let management = Process::start(
        Binary::Management,
        folder.path(),
        &[ALL_ROLES, ("POSTGRES_URL", &url)],
    )
    .await;
    let file = folder.path().join("old.ndjson");
    let old = |number| {
        format!(
            "{{\"username\":\"ada\",\"userid\":\"u1\",\"price\":{number},\"timestamp\":\"2025-03-01T00:00:00Z\"}}\n"
        )
    };
    std::fs::write(&file, (0..50).map(old).collect::<String>()).unwrap();
    let settings = [
        ("SHOP_DATA_DIR", folder.path().to_str().unwrap()),
        ("POSTGRES_URL", &url),
    ];
    let output = Binary::Management
        .run(&["import", file.to_str().unwrap()], &settings)
        .await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    until("store them", async || stored(&management, "u1").await == 50).await;
    browser.open(&management.path("/")).await;
    let well = "All is well: 3 roles run, nothing waits.";
    browser.shows("well", well).await;
    // The purchases are old, their records are not.
    until("be fresh", async || {
        browser.text("freshness").await.ends_with("s")
    })
    .await;
    browser.shows("today", "0.00").await;

    cluster.ctl("kill");
    let outage = "The store is unavailable: records wait in the log until it is back. Check the database server and its \
         disk. Runbook";
    until("name the outage once", async || {
        browser.texts("#problems li").await == [outage]
    })
    .await;
    browser.shows("state", "Degraded").await;
    browser.is_accessible().await;
    browser.follow("Runbook").await;
    until("show the runbook", async || {
        browser.texts("#runbook h3").await == ["ShopIngestWaiting"]
    })
    .await;
    cluster.ctl("start");
    go(&browser, "Overview").await;
    browser.shows("well", well).await;
    browser.shows("state", "Healthy").await;
    browser.end().await;
}

#[tokio::test]
async fn the_last_hour_survives_a_reload() {
    let Some((browser, _folder, management, facing)) = with_both().await else {
        return;
    };
    browser.open(&management.path("/")).await;
    browser.shows("today", "0.00").await;
    assert_eq!(
        buy(&facing, r#"{"username":"ada","userid":"u1","price":2.50}"#)
            .await
            .0,
        201
    );
    let stored = async || {
        browser
            .texts("#history .hint")
            .await
            .first()
            .cloned()
            .unwrap_or_default()
    };
    let one = "at most 0.1/s in ";
    until("draw the purchase", async || {
        stored().await.starts_with(one)
    })
    .await;
    browser.driver.refresh().await.unwrap();
    until("draw it again", async || stored().await.starts_with(one)).await;
    assert_eq!(browser.texts("#history figcaption").await.len(), 4);
    // Read again with the page.
    browser.shows("today", "2.50").await;
    browser.is_accessible().await;
    browser.was_quiet(&management.url).await;
    browser.end().await;
}

#[tokio::test]
async fn views_show_loading_stale_failed_and_empty_states() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (_folder, management) = Process::fresh(Binary::Management, &[]).await;
    browser.open(&management.path("/")).await;
    browser.shows("state", "Healthy").await;
    assert_eq!(browser.run(PIPELINE).await, json!("shown"));
    hold(&browser, "v1/").await;
    go(&browser, "Purchases").await;
    until("load", async || state(&browser).await == "loading").await;
    assert_eq!(
        texts(&browser).await,
        (String::new(), "Loading…".to_owned())
    );
    browser.run("window.release()").await;
    until("be empty", async || state(&browser).await == "empty").await;
    let nothing = (String::new(), "No purchases yet.".to_owned());
    assert_eq!(texts(&browser).await, nothing);

    // Loaded data stays visible in an outage, marked as out of date.
    go(&browser, "Overview").await;
    let away =
        "window.real = window.fetch; window.fetch = async () => { throw new TypeError('away'); }";
    browser.run(away).await;
    browser.shows("state", "Unavailable").await;
    let old =
        "The state of the service may be out of date: The service cannot be reached. Trying again…";
    until("be old", async || problems(&browser).await.contains(old)).await;
    assert_eq!(browser.run(PIPELINE).await, json!("shown"));
    go(&browser, "Dead letters").await;
    let list = async || browser.texts("#dead-letter-list").await;
    let unknown = "The list cannot be loaded: The service cannot be reached. Trying again…";
    until("fail", async || list().await == [unknown]).await;
    // Data that was not loaded is reported as missing, and requested again after the outage.
    go(&browser, "Purchases").await;
    until("fail", async || state(&browser).await == "failed").await;
    let failed =
        "The list cannot be loaded: The service cannot be reached. Trying again…".to_owned();
    assert_eq!(texts(&browser).await, (failed, String::new()));
    browser.run("window.fetch = window.real").await;
    until("be empty", async || state(&browser).await == "empty").await;
    assert_eq!(texts(&browser).await, nothing);
    browser.shows("state", "Healthy").await;
    browser.end().await;
}

#[tokio::test]
async fn listings_of_all_users_and_of_one_have_urls() {
    let Some((browser, _folder, management, facing)) = with_both().await else {
        return;
    };
    for number in 0..30 {
        let body = format!(
            r#"{{"username":"ada","userid":"u{}","price":{number}.10}}"#,
            number % 2
        );
        assert_eq!(buy(&facing, &body).await.0, 201);
    }
    browser.open(&management.path("/")).await;
    browser.shows("state", "Healthy").await;
    browser.run(UNFOLD).await;
    browser.shows("inserted", "30").await;
    go(&browser, "Purchases").await;
    browser.shows("count", "30").await;
    browser.shows("total", "438.00").await;
    assert_eq!(rows(&browser).await, 25);
    let noted = browser.texts("#purchases tr").await;

    // The rows do not move, and each request is only for the newest one; also when a purchase is stored while the
    // response to a click is pending.
    hold(&browser, "v1/purchases?").await;
    browser.click("more").await;
    assert_eq!(
        buy(&facing, r#"{"username":"kim","userid":"u3","price":1}"#)
            .await
            .0,
        201
    );
    until("store it", async || stored(&management, "u3").await == 1).await;
    // The page gathers events for 200 ms.
    tokio::time::sleep(Duration::from_millis(600)).await;
    browser.run("window.release()").await;
    until("list them all", async || rows(&browser).await == 30).await;
    assert!(browser.texts("#more").await.is_empty());
    until("offer the new one", async || {
        browser.texts("#newest").await.len() == 1
    })
    .await;
    assert_eq!(browser.texts("#purchases tr").await[..25], noted);
    let queries = browser.requests(LISTING).await;
    assert!(
        queries
            .iter()
            .all(|query| query.starts_with("?everyone=true&")),
        "{queries:?}"
    );
    assert!(
        queries
            .iter()
            .all(|query| query.contains("&limit=25") || query.contains("&limit=1")),
        "{queries:?}"
    );
    browser.click("newest").await;
    browser.shows("count", "31").await;
    assert_eq!(browser.texts("#purchases .name").await[0], "kim");

    // One user, and all of a name.
    browser.fill(&[("who", "u1\n")]).await;
    until("show the user", async || {
        browser.texts("#whose").await == ["User u1"]
    })
    .await;
    browser.shows("count", "15").await;
    // Typed text stays while the page is redrawn for each reading.
    browser.fill(&[("who", "ad")]).await;
    let readings = async || browser.requests("/health").await.len();
    let before = readings().await;
    until("be redrawn", async || readings().await > before + 1).await;
    browser.by_id("who").await.send_keys("a\n").await.unwrap();
    until("show the name", async || {
        browser.texts("#whose").await == ["All users named ada"]
    })
    .await;
    browser.shows("count", "30").await;
    browser.driver.refresh().await.unwrap();
    browser.shows("count", "30").await;
    browser.driver.back().await.unwrap();
    browser.shows("count", "15").await;
    browser.driver.back().await.unwrap();
    browser.shows("count", "31").await;
    browser.driver.back().await.unwrap();
    until("be back", async || {
        browser.texts("h2.title").await == ["Overview"]
    })
    .await;
    browser.was_quiet(&management.url).await;
    browser.end().await;
}

#[tokio::test]
async fn a_purchase_is_refunded_in_part_for_a_reason() {
    let Some((browser, _folder, management, facing)) = with_both().await else {
        return;
    };
    assert_eq!(
        buy(&facing, r#"{"username":"ada","userid":"u1","price":2.50}"#)
            .await
            .0,
        201
    );
    until("store it", async || stored(&management, "u1").await == 1).await;
    let listed = get(&management.path("/v1/purchases?userid=u1")).await.1;
    let id = listed["items"][0]["id"].as_str().unwrap();
    browser
        .open(&management.path(&format!("/#purchase?id={id}")))
        .await;
    browser.shows("refund-ask", "Refund…").await;
    browser.click("refund-ask").await;
    browser
        .fill(&[("amount", "3"), ("reason", "broken\n")])
        .await;
    until("refuse it", async || {
        browser
            .text("amount-problem")
            .await
            .contains("more than the price")
    })
    .await;
    browser.is_accessible().await;
    browser
        .fill(&[("amount", "1.5"), ("reason", "broken\n")])
        .await;
    browser.shows("refund-answer", "Refunded 1.50.").await;
    browser.click("refunded").await;
    let facts = async || browser.texts("#purchase dd").await;
    until("show the refund", async || {
        facts().await.contains(&"-1.50".to_owned())
    })
    .await;
    assert!(
        facts().await.iter().any(|fact| fact == id) && facts().await.contains(&"broken".to_owned())
    );
    assert!(browser.texts("#refund-ask").await.is_empty());
    browser.end().await;
}
