//! The views of management's page.

use std::time::Duration;

use serde_json::json;

use super::driver::Browser;
use super::states::hold;
use super::{rows, with_both};
use crate::process::{ALL_ROLES, Binary, Process, get, must_buy, until, until_stored};
use crate::commands::append;

const LISTING: &str = "/v1/purchases";

/// Shows what is folded.
const UNFOLD: &str = "document.querySelectorAll('details').forEach((one) => { one.open = true; })";

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
        must_buy(&facing, &body).await;
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
    let problems = browser.texts("main .notice.bad").await.concat();
    assert_eq!(problems, "", "it is not bad");
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
async fn the_last_hour_survives_a_reload() {
    let Some((browser, _folder, management, facing)) = with_both().await else {
        return;
    };
    browser.open(&management.path("/")).await;
    browser.shows("today", "0.00").await;
    must_buy(&facing, r#"{"username":"ada","userid":"u1","price":2.50}"#).await;
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
async fn listings_of_all_users_and_of_one_have_urls() {
    let Some((browser, _folder, management, facing)) = with_both().await else {
        return;
    };
    for number in 0..30 {
        let body = format!(
            r#"{{"username":"ada","userid":"u{}","price":{number}.10}}"#,
            number % 2
        );
        must_buy(&facing, &body).await;
    }
    browser.open(&management.path("/")).await;
    browser.shows("state", "Healthy").await;
    browser.run(UNFOLD).await;
    browser.shows("inserted", "30").await;
    browser.follow("Purchases").await;
    browser.shows("count", "30").await;
    browser.shows("total", "438.00").await;
    assert_eq!(rows(&browser).await, 25);
    let noted = browser.texts("#purchases tr").await;

    // The rows do not move, and each request is only for the newest one; also when a purchase is stored while the
    // response to a click is pending.
    hold(&browser, "v1/purchases?").await;
    browser.click("more").await;
    must_buy(&facing, r#"{"username":"kim","userid":"u3","price":1}"#).await;
    until_stored(&management, "u3", 1).await;
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
