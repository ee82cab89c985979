//! The list of purchases: its updates, ranges, chart and files.

use thirtyfour::{By, Key};

use super::{buy_by_api, open_as, with_facing};
use crate::prelude::*;

const LISTING: &str = "/v1/purchases";
/// Holds requests for lists until `window.release()`.
const HOLD: &str = "const real = window.fetch;
    const held = new Promise((resolve) => { window.release = () => { window.fetch = real; resolve(); }; });
    window.fetch = (path, ...rest) => path.startsWith('v1/') ? held.then(() => real(path, ...rest)) : real(path, ...rest);";
/// A file that does not end until it is cancelled.
const ENDLESS: &str = "window.fetch = async (path, { signal }) => new Response(new ReadableStream({ start: (stream) => {
    stream.enqueue(new Uint8Array(50000));
    signal.addEventListener('abort', () => stream.error(new Error('cancelled')));
} }), { headers: { 'content-type': 'text/csv' } })";
/// Keeps the files that are saved, and their names.
const KEEP_FILES: &str = "window.saved = [];
    URL.createObjectURL = (file) => { window.saved.push(file); return '#saved'; };
    HTMLAnchorElement.prototype.click = function () { window.saved.push(this.download); };";

#[tokio::test]
async fn a_customer_sees_new_purchases_and_pages_of_older_ones() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    for price in 0..30 {
        buy_by_api(&facing, "u1", &price.to_string(), json!({})).await;
    }
    open_as(&browser, &facing, "u1", "ada").await;
    browser.shows("count", "30").await;
    browser.counts("#purchases tr", 25).await;

    // The page follows events: while nothing happens, it neither changes nor sends requests.
    let follows = "const lists = performance.getEntriesByType('resource').filter((one) => one.name.includes('/v1/purchases?'));
        return lists.at(-1)?.name.includes('&limit=1')";
    browser.returns(follows, true).await;
    let page = "return document.querySelector('main').outerHTML";
    let noted = (browser.run(page).await, browser.requests(LISTING).await);
    buy_by_api(&facing, "u2", "1", json!({})).await;
    until_stored(&facing, "u2", 1).await;
    browser
        .run("document.dispatchEvent(new Event('visibilitychange'))")
        .await;
    let now = (browser.run(page).await, browser.requests(LISTING).await);
    assert_eq!(now, noted);

    // A list of one page is replaced, a longer one stays until the user loads the newest.
    buy_by_api(&facing, "u1", "100", json!({})).await;
    browser.shows("count", "31").await;
    browser
        .has("#purchases tr:first-child .amount", &["100.00"])
        .await;
    browser.click("more").await;
    browser.counts("#purchases tr", 31).await;
    browser.counts("#more", 0).await;
    let rows = "return [document.getElementById('purchases').innerText, document.getElementById('purchases').getBoundingClientRect().y]";
    let noted = browser.run(rows).await;
    buy_by_api(&facing, "u1", "200", json!({})).await;
    browser.counts("#newest", 1).await;
    assert_eq!(browser.run(rows).await, noted);
    browser.click("newest").await;
    browser.shows("count", "32").await;
    browser.counts("#purchases tr", 25).await;
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}

#[tokio::test]
async fn ranges_have_urls_totals_bars_and_files() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    for (day, price) in [
        ("2024-01-10", "5"),
        ("2024-02-08", "18"),
        ("2024-02-13", "23"),
        ("2024-02-14", "1000000"),
        ("2024-02-20", "30"),
    ] {
        let time = json!({"timestamp": format!("{day}T12:00:00Z")});
        buy_by_api(&facing, "u1", price, time).await;
    }
    open_as(&browser, &facing, "u1", "ada").await;
    browser.list_is("empty").await;

    // One state of the list at a time.
    browser.run(HOLD).await;
    browser.follow("All time").await;
    browser.list_is("loading").await;
    browser.has("#list .intro", &["Loading…"]).await;
    browser.run("window.release()").await;
    browser.list_is("shown").await;
    browser.has("#list .intro", &[]).await;
    browser.shows("count", "5").await;
    browser.go("#purchases?from=2026-02-30&to=2026-03-01").await;
    let wrong = "This range is not valid; the last 30 days are shown.";
    browser.has(".ledger > .notice", &[wrong]).await;

    let february = "for (const [id, day] of [['from', '2024-02-01'], ['to', '2024-02-29']]) document.getElementById(id).value = day";
    browser.run(february).await;
    browser.click("show-range").await;
    browser.shows("total", "1,000,071.00").await;
    browser.counts("figure tbody tr", 4).await;
    browser.follow("Months").await;
    let title = "figcaption > span";
    browser.has(title, &["Spent per month"]).await;
    browser.reload().await;
    browser.has(title, &["Spent per month"]).await;
    browser.go_back().await;
    browser.has(title, &["Spent per day"]).await;

    // Bars are read by keyboard and pointer, beside an outlier that does not flatten the others.
    browser.counts(".bars rect", 4).await;
    browser.counts(".bars .cut", 1).await;
    let chart = browser.by_id("chart").await;
    for (key, text) in [
        (Key::Left, "Feb 13, 2024: 23.00, 1 purchase"),
        (Key::Home, "Feb 8, 2024: 18.00, 1 purchase; before: 5.00"),
        (Key::End, "Feb 20, 2024: 30.00, 1 purchase"),
    ] {
        chart.send_keys(key).await.unwrap();
        browser.shows("bar", text).await;
        assert_eq!(chart.attr("aria-valuetext").await.unwrap().unwrap(), text);
    }
    let second = browser.driver.find(By::Css(".bars rect:nth-of-type(2)"));
    let pointer = browser.driver.action_chain();
    let pointer = pointer.move_to_element_center(&second.await.unwrap());
    pointer.perform().await.unwrap();
    browser
        .shows("bar", "Feb 13, 2024: 23.00, 1 purchase")
        .await;
    browser.was_quiet(&facing.url).await;

    // The range is exported; what is not complete is not saved.
    browser.run(KEEP_FILES).await;
    browser.click("export-csv").await;
    browser.returns("return window.saved.length", 2).await;
    let name = browser.run("return window.saved[1]").await;
    let name = name.as_str().unwrap();
    assert!(
        name.starts_with("purchases-u1-2024") && name.ends_with(".csv"),
        "{name}"
    );
    let lines = "return window.saved[0].text().then((text) => text.trim().split('\\n').length)";
    browser.returns(lines, 5).await;
    browser.says("#export-answer", "Exported for ").await;
    browser.run(ENDLESS).await;
    browser.click("export-csv").await;
    browser.shows("export-size", "50 kB").await;
    browser.shows("export-csv", "Cancel").await;
    browser.is_accessible().await;
    browser.click("export-csv").await;
    browser
        .shows("export-answer", "Nothing was exported.")
        .await;
    browser.focuses("export-csv").await;
    browser.returns("return window.saved.length", 2).await;
    browser.end().await;
}
