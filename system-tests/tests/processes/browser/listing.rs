//! The list of purchases and its updates.

use serde_json::json;

use super::{open_as, rows, until_list_is, with_both, with_facing};
use crate::process::{Process, must_buy, stored, until};

const LISTING: &str = "/v1/purchases";
/// Buys as `name` for each of the `prices`.
async fn buy_all(facing: &Process, name: &str, id: &str, prices: std::ops::Range<u32>) {
    for price in prices {
        let body = format!(r#"{{"username":"{name}","userid":"{id}","price":{price}}}"#);
        must_buy(facing, &body).await;
    }
}

#[tokio::test]
async fn a_customer_sees_new_purchases_and_pages_of_older_ones() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    buy_all(&facing, "ada", "u1", 0..30).await;
    open_as(&browser, &facing, "u1", "ada").await;
    browser.shows("count", "30").await;
    assert_eq!(rows(&browser).await, 25);
    // The page follows events: while idle it neither changes nor sends requests.
    until("follow it", async || {
        browser
            .requests(LISTING)
            .await
            .last()
            .is_some_and(|query| query.contains("&limit=1"))
    })
    .await;
    let page = "return document.querySelector('main').outerHTML";
    let noted = (browser.run(page).await, browser.requests(LISTING).await);
    buy_all(&facing, "eva", "u2", 0..1).await;
    assert_eq!(stored(&facing, "u2").await, 1);
    for _ in 0..4 {
        browser
            .run("document.dispatchEvent(new Event('visibilitychange'))")
            .await;
    }
    assert_eq!(
        (browser.run(page).await, browser.requests(LISTING).await),
        noted
    );

    // A list of one page is replaced, a longer one stays until the user loads the newest.
    buy_all(&facing, "ada", "u1", 100..101).await;
    browser.shows("count", "31").await;
    assert_eq!(
        (
            rows(&browser).await,
            &*browser.texts("#purchases .amount").await[0]
        ),
        (25, "100.00")
    );
    assert_eq!(
        browser.requests(LISTING).await.len(),
        noted.1.len() + 1,
        "it is loaded once"
    );
    browser.click("more").await;
    until("list them all", async || rows(&browser).await == 31).await;
    assert!(browser.texts("#more").await.is_empty());
    let rows_and_place = async || {
        let place = "return document.getElementById('purchases').getBoundingClientRect().y";
        (
            browser.texts("#purchases tr").await,
            browser.run(place).await,
        )
    };
    let noted = rows_and_place().await;
    buy_all(&facing, "ada", "u1", 200..201).await;
    until("offer the new one", async || {
        browser.texts("#newest").await.len() == 1
    })
    .await;
    assert_eq!(rows_and_place().await, noted);
    browser.click("newest").await;
    browser.shows("count", "32").await;
    assert_eq!(
        (
            rows(&browser).await,
            &*browser.texts("#purchases .amount").await[0]
        ),
        (25, "200.00")
    );
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}

/// The files of the page that were loaded before the list was requested, and the bytes of all responses so far.
const LOADED_BEFORE: &str = "
    const all = performance.getEntriesByType('resource');
    const { startTime } = all.find(({ name }) => name.includes('/v1/purchases?'));
    const files = all.filter((one) => one.startTime < startTime && one.name.includes('/page/'));
    const bytes = [...all, ...performance.getEntriesByType('navigation')].reduce((sum, one) => sum + one.transferSize, 0);
    return [files.map(({ name }) => name.split('/').at(-1)).filter((name) => name !== 'icon.svg').sort(), bytes]";

#[tokio::test]
async fn the_first_rows_need_one_script_and_few_bytes() {
    let Some((browser, _folder, management, facing)) = with_both().await else {
        return;
    };
    buy_all(&facing, "ada", "u1", 0..30).await;
    open_as(&browser, &facing, "u1", "ada").await;
    for (service, path, script) in [
        (&facing, "/", "facing.js"),
        (&management, "/#purchases", "management.js"),
    ] {
        browser.open("about:blank").await;
        browser
            .driver
            .cdp()
            .send_raw("Network.clearBrowserCache", json!({}))
            .await
            .unwrap();
        browser.open(&service.path(path)).await;
        until("list them", async || rows(&browser).await == 25).await;
        let loaded = browser.run(LOADED_BEFORE).await;
        assert_eq!(loaded[0], json!([script, "page.css"]));
        let bytes = loaded[1].as_u64().unwrap();
        assert!((10_000..60_000).contains(&bytes), "{bytes}");
    }
    browser.end().await;
}

#[tokio::test]
async fn ranges_have_urls_totals_and_bars() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    for (month, price) in [
        ("2024-01", "1.10"),
        ("2024-02", "2.20"),
        ("2024-02", "3.30"),
    ] {
        let body = json!({"username": "ada", "userid": "u1", "price": price, "timestamp": format!("{month}-10T12:00:00Z")});
        must_buy(&facing, &body.to_string()).await;
    }
    buy_all(&facing, "ada", "u1", 7..8).await;
    open_as(&browser, &facing, "u1", "ada").await;
    browser.shows("count", "1").await;
    let shows = async |count: &str, total: &str, bars: usize| {
        browser.shows("count", count).await;
        browser.shows("total", total).await;
        let drawn = browser
            .run("return document.querySelectorAll('.bars rect').length")
            .await;
        assert_eq!(drawn, json!(bars));
        assert_eq!(
            browser.texts("figure tbody tr").await.len(),
            bars,
            "the same as a table"
        );
    };
    browser.follow("All time").await;
    shows("4", "13.60", 3).await;
    browser
        .run("location.hash = '#purchases?from=2024-02-01&to=2024-02-29'")
        .await;
    shows("2", "5.50", 1).await;
    browser.follow("Months").await;
    until("draw months", async || {
        browser.texts("figcaption > span").await == ["Spent per month"]
    })
    .await;
    browser.driver.refresh().await.unwrap();
    until("be back", async || browser.texts("#count").await == ["2"]).await;
    shows("2", "5.50", 1).await;
    assert_eq!(
        browser.texts("figcaption > span").await,
        ["Spent per month"]
    );
    // A range of two days, without purchases.
    browser.run("for (const [id, day] of [['from', '2023-01-01'], ['to', '2023-01-31']]) document.getElementById(id).value = day").await;
    browser.click("show-range").await;
    until_list_is(&browser, "empty").await;
    browser.follow("Show all time").await;
    shows("4", "13.60", 3).await;
    for _ in 0..2 {
        browser.driver.back().await.unwrap();
    }
    shows("2", "5.50", 1).await;
    browser.driver.back().await.unwrap();
    until("draw days", async || {
        browser.texts("figcaption > span").await == ["Spent per day"]
    })
    .await;
    browser.driver.back().await.unwrap();
    shows("4", "13.60", 3).await;
    browser.driver.back().await.unwrap();
    shows("1", "7.00", 1).await;
    browser.driver.forward().await.unwrap();
    shows("4", "13.60", 3).await;
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}

#[tokio::test]
async fn a_range_is_exported() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    // More than the list shows.
    buy_all(&facing, "ada", "u1", 0..30).await;
    buy_all(&facing, "eva", "u2", 0..1).await;
    open_as(&browser, &facing, "u1", "ada").await;
    browser.shows("count", "30").await;
    let keep = "window.saved = [];
        URL.createObjectURL = (file) => { window.saved.push(file); return '#saved'; };
        HTMLAnchorElement.prototype.click = function () { window.saved.push(this.download); };";
    browser.run(keep).await;
    let first = [r#"id,username,userid,price,timestamp"#, r#"{"id":""#];
    for (kind, rows, first) in [("csv", 31, first[0]), ("ndjson", 30, first[1])] {
        browser.run("window.saved = []").await;
        browser.click(&format!("export-{kind}")).await;
        until("save a file", async || {
            browser.run("return window.saved.length").await == json!(2)
        })
        .await;
        let name = browser.run("return window.saved[1]").await;
        assert!(
            name.as_str().unwrap().starts_with("purchases-u1-20"),
            "{name}"
        );
        assert!(
            name.as_str().unwrap().ends_with(&format!(".{kind}")),
            "{name}"
        );
        let saved = browser.run("return window.saved[0].text()").await;
        let lines: Vec<_> = saved.as_str().unwrap().lines().collect();
        assert_eq!(lines.len(), rows, "{saved}");
        assert!(lines[0].starts_with(first), "{saved}");
        assert!(
            lines.iter().skip(1).all(|line| line.contains("u1")),
            "{saved}"
        );
        assert!(
            browser
                .text("export-answer")
                .await
                .starts_with("Exported for ")
        );
    }
    // A file that is not complete is not saved.
    browser
        .run("window.saved = []; window.fetch = async () => { throw new TypeError('away'); }")
        .await;
    browser.click("export-csv").await;
    browser
        .shows(
            "export-answer",
            "Nothing was exported: The service cannot be reached.",
        )
        .await;
    assert_eq!(browser.run("return window.saved.length").await, json!(0));
    browser.end().await;
}
