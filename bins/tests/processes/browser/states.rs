//! What the pages say while an answer is awaited, when there is none, and when something is wrong.

use serde_json::json;

use super::driver::Browser;
use super::{rows, state};
use crate::process::{Binary, Process, buy, get, until};
use crate::verify::append;

const GAUGES: &str = "#gauges .figures";

/// The texts of the list that are displayed: of its notice, and instead of its rows.
async fn texts(browser: &Browser) -> (String, String) {
    (browser.texts("#list .notice.bad").await.concat(), browser.texts("#list .intro").await.concat())
}

/// From now on requests for the path wait until `window.release()`.
async fn hold(browser: &Browser, path: &str) {
    let script = format!(
        "const real = window.fetch;
         const held = new Promise((resolve) => {{ window.release = () => {{ window.fetch = real; resolve(); }}; }});
         window.fetch = (path, ...rest) => path.startsWith({path:?}) ? held.then(() => real(path, ...rest)) : real(path, ...rest);"
    );
    browser.run(&script).await;
}

#[tokio::test]
async fn list_shows_an_outage_as_failed_not_as_empty() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    browser.open(&management.path("/")).await;
    until("be empty", async || state(&browser).await == "empty").await;
    assert_eq!(texts(&browser).await, (String::new(), "No purchases are stored yet.".to_owned()));
    browser.shows("lag", "0").await;

    management.kill().await;
    until("fail", async || state(&browser).await == "failed").await;
    let failed = "The list cannot be loaded: The service cannot be reached. Trying again…".to_owned();
    assert_eq!(texts(&browser).await, (failed, String::new()));
    browser.shows("state", "Unavailable").await;
    assert_eq!(browser.texts(GAUGES).await, ["unavailable"; 9]);
    assert!(browser.text("problems").await.starts_with("The state of the pipeline is not known: "));
    browser.end().await;
}

#[tokio::test]
async fn each_state_of_the_list_is_shown_alone() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    buy(&facing, r#"{"username":"ada","userid":"u1","price":1}"#).await;
    browser.open(&facing.path("/")).await;
    until("ask for nothing", async || state(&browser).await == "idle").await;

    hold(&browser, "v1/").await;
    browser.fill(&[("who", "u1\n")]).await;
    until("load", async || state(&browser).await == "loading").await;
    assert_eq!(texts(&browser).await, (String::new(), "Loading…".to_owned()));
    browser.run("window.release()").await;
    until("show it", async || state(&browser).await == "shown").await;
    assert_eq!((texts(&browser).await, rows(&browser).await), (Default::default(), 1));
    browser.fill(&[("who", "u7\n")]).await;
    until("be empty", async || state(&browser).await == "empty").await;
    assert_eq!(texts(&browser).await, (String::new(), "No purchases found for “u7”.".to_owned()));

    // What is shown stays in an outage, and is said to be old.
    browser.driver.back().await.unwrap();
    until("show it", async || state(&browser).await == "shown").await;
    let real = "window.real = window.fetch; window.fetch = async () => { throw new TypeError('away'); }";
    browser.run(real).await;
    until("report it", async || texts(&browser).await.0.contains("may be out of date")).await;
    assert_eq!((state(&browser).await, rows(&browser).await), (json!("shown"), 1));
    // What is asked for now is not known.
    browser.fill(&[("who", "u7\n")]).await;
    until("fail", async || state(&browser).await == "failed").await;
    assert_eq!((texts(&browser).await.1, rows(&browser).await), (String::new(), 0));
    let seen =
        "return [...document.querySelectorAll('#list > *')].filter((one) => one.checkVisibility()).length";
    assert_eq!(browser.run(seen).await, json!(2), "the notice, and the one for screen readers");
    // It is asked for again when the outage is over.
    browser.run("window.fetch = window.real").await;
    until("be empty", async || state(&browser).await == "empty").await;
    assert_eq!(texts(&browser).await.0, "");
    browser.end().await;
}

#[tokio::test]
async fn page_shows_that_it_waits_for_the_pipeline() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    browser.open(&management.path("/")).await;
    browser.shows("lag", "0").await;
    // As it is when the page is loaded, once more.
    hold(&browser, "health").await;
    let again = "document.getElementById('gauges').replaceChildren();
        return import('/page/pipeline.js').then(({ setUpPipeline }) => setUpPipeline())";
    browser.run(again).await;
    let pipeline = "return document.getElementById('pipeline').dataset.state";
    assert_eq!(browser.run(pipeline).await, json!("loading"));
    assert_eq!(browser.texts(GAUGES).await, ["…"; 9]);
    browser.run("window.release()").await;
    browser.shows("lag", "0").await;
    assert_eq!(browser.run(pipeline).await, json!("shown"));
    browser.end().await;
}

#[tokio::test]
async fn a_refused_purchase_is_shown_at_once() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    browser.open(&facing.path("/")).await;
    browser.shows("state", "Accepting purchases").await;
    // The first attempt is refused, the second one gets no answer.
    let refused = "window.sent = 0; window.fetch = (path, options) => {
        if (path.startsWith('health')) return Promise.resolve(new Response(JSON.stringify({ status: 'healthy', kafkaReady: false })));
        if (options?.method !== 'POST' || window.sent++ > 0) return new Promise(() => {});
        const body = JSON.stringify({ title: 'Service unavailable', outcome: 'not_sent' });
        return Promise.resolve(new Response(body, { status: 503, headers: { 'retry-after': '1' } }));
    };";
    browser.run(refused).await;
    browser.fill(&[("username", "ada"), ("userid", "u1"), ("price", "1")]).await;
    browser.click("buy-button").await;
    browser.shows("buy-problem", "Service unavailable. Trying again…").await;
    until("try again", async || browser.run("return window.sent").await == json!(2)).await;
    browser.shows("buy-problem", "Service unavailable. Trying again…").await;
    browser.shows("buy-answer", "").await;
    browser.shows("state", "Purchases are not accepted at the moment").await;
    browser.end().await;
}

#[tokio::test]
async fn state_is_not_green_with_a_dead_letter() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    browser.open(&management.path("/")).await;
    browser.shows("state", "Healthy").await;
    append(folder.path(), "poison").await;
    browser.shows("dead-letters", "1").await;
    browser.shows("state", "Degraded").await;
    assert!(browser.text("problems").await.starts_with("Dead letters "));
    assert_eq!(get(&management.path("/health")).await.1["ingest"]["dead_lettered"], 1);
    browser.end().await;
}

/// What `/health` says where no ingest runs, and nothing is wrong.
fn well() -> serde_json::Value {
    json!({"status": "healthy", "kafkaReady": true, "mongoReady": true})
}

/// The same where one runs, but for this member.
fn with(member: &str, value: serde_json::Value) -> serde_json::Value {
    let mut health = well();
    health["ingest"] = json!({"phase": "running", "dead_lettered": "0", "waiting_for": {}});
    match member.split_once('.') {
        Some((part, member)) => health[part][member] = value,
        None => health[member] = value,
    }
    health
}

#[tokio::test]
async fn page_names_every_error_of_the_pipeline() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    browser.open(&management.path("/")).await;
    let stuck = json!({"topic": "purchases", "partition": "0", "offset": "7", "id": "p7", "age_seconds": "90",
        "error": "corrupt"});
    let account = json!({"store": false, "outbox": "3", "outbox_waits_for": "unavailable",
        "events": {"phase": "stopped", "waiting_for": {}, "dead_letters_waiting": "4"}});
    let cases = [
        (well(), vec![]),
        (with("ingest.dead_letters_waiting", json!("0")), vec![]),
        // Those since the start are resolved.
        (
            {
                let mut health = with("ingest.dead_letters_waiting", json!("0"));
                health["ingest"]["dead_lettered"] = json!("2");
                health
            },
            vec![],
        ),
        (
            with("ingest.dead_letters_waiting", json!("2")),
            vec!["Dead letters to be replayed or discarded: 2."],
        ),
        (with("ingest.dead_lettered", json!("1")), vec!["Dead letters since the start: 1."]),
        (with("status", json!("degraded")), vec!["The service reports that it is degraded."]),
        (with("kafkaReady", json!(false)), vec!["The log is unavailable."]),
        (with("mongoReady", json!(false)), vec!["The store is unavailable."]),
        (with("ingest.phase", json!("stopped")), vec!["Ingest has stopped."]),
        (with("ingest.phase", json!("draining")), vec!["Ingest is shutting down."]),
        (
            with("ingest.waiting_for", json!({"store": "unavailable"})),
            vec!["Ingest is retrying, nothing is lost: store (unavailable)."],
        ),
        (
            with("ingest.stuck", stuck),
            vec!["Ingest is stuck at purchases, partition 0, offset 7 (p7) for 1\u{a0}min: corrupt."],
        ),
        (
            with("orders", account),
            vec![
                "Ingest of events into orders has stopped.",
                "Dead letters of orders to be replayed or discarded: 4.",
                "The store of orders is unavailable.",
                "Events of orders are not published (unavailable), 3 in the outbox.",
            ],
        ),
    ];
    for (health, problems) in cases {
        let script =
            format!("return import('/page/pipeline.js').then(({{ problemsOf }}) => problemsOf({health}))");
        assert_eq!(browser.run(&script).await, json!(problems), "{health}");
    }
    browser.end().await;
}

#[tokio::test]
async fn the_pages_below_a_prefix_find_their_state() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    let facing = Process::start(Binary::Facing, folder.path(), &[("MANAGEMENT_URL", &management.url)]).await;
    for (service, state) in [(&facing, "Accepting purchases"), (&management, "Healthy")] {
        browser.open(&service.path("/scalable-shop-cm-server/")).await;
        browser.shows("state", state).await;
    }
    browser.end().await;
}
