//! The list of purchases and its updates.

use serde_json::json;
use thirtyfour::By;

use super::driver::Browser;
use super::{NASTY, open_as, rows, state};
use crate::process::{Binary, Process, buy, post, stored, until};

const LISTING: &str = "/v1/purchases";
/// Buys as `name` for each of the `prices`.
async fn buy_all(facing: &Process, name: &str, id: &str, prices: std::ops::Range<u32>) {
    for price in prices {
        let body = format!(r#"{{"username":"{name}","userid":"{id}","price":{price}}}"#);
        assert_eq!(buy(facing, &body).await.0, 201);
    }
}

#[tokio::test]
async fn a_customer_sees_new_purchases_and_pages_of_older_ones() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    buy_all(&facing, "ada", "u1", 0..30).await;
    open_as(&browser, &facing, "u1", "ada").await;
    browser.shows("count", "30").await;
    assert_eq!(rows(&browser).await, 25);
    // The page follows events: while idle it neither changes nor sends requests.
    until("follow it", async || {
        browser.requests(LISTING).await.last().is_some_and(|query| query.contains("&limit=1"))
    })
    .await;
    let page = "return document.querySelector('main').outerHTML";
    let noted = (browser.run(page).await, browser.requests(LISTING).await);
    buy_all(&facing, "eva", "u2", 0..1).await;
    assert_eq!(stored(&facing, "u2").await, 1);
    for _ in 0..4 {
        browser.run("document.dispatchEvent(new Event('visibilitychange'))").await;
    }
    assert_eq!((browser.run(page).await, browser.requests(LISTING).await), noted);

    // A list of one page is replaced, a longer one stays until the user loads the newest.
    buy_all(&facing, "ada", "u1", 100..101).await;
    browser.shows("count", "31").await;
    assert_eq!((rows(&browser).await, &*browser.texts("#purchases .amount").await[0]), (25, "100.00"));
    assert_eq!(browser.requests(LISTING).await.len(), noted.1.len() + 1, "it is loaded once");
    browser.click("more").await;
    until("list them all", async || rows(&browser).await == 31).await;
    assert!(browser.texts("#more").await.is_empty());
    let noted = browser.texts("#purchases tr").await;
    buy_all(&facing, "ada", "u1", 200..201).await;
    until("offer the new one", async || browser.texts("#newest").await.len() == 1).await;
    assert_eq!(browser.texts("#purchases tr").await, noted);
    browser.click("newest").await;
    browser.shows("count", "32").await;
    assert_eq!((rows(&browser).await, &*browser.texts("#purchases .amount").await[0]), (25, "200.00"));
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
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    let facing = Process::start(Binary::Facing, folder.path(), &[("MANAGEMENT_URL", &management.url)]).await;
    buy_all(&facing, "ada", "u1", 0..30).await;
    open_as(&browser, &facing, "u1", "ada").await;
    for (service, path, script) in
        [(&facing, "/", "facing.js"), (&management, "/#purchases", "management.js")]
    {
        browser.open("about:blank").await;
        browser.driver.cdp().send_raw("Network.clearBrowserCache", json!({})).await.unwrap();
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
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    for (month, price) in [("2024-01", "1.10"), ("2024-02", "2.20"), ("2024-02", "3.30")] {
        let body = json!({"username": "ada", "userid": "u1", "price": price, "timestamp": format!("{month}-10T12:00:00Z")});
        assert_eq!(buy(&facing, &body.to_string()).await.0, 201);
    }
    buy_all(&facing, "ada", "u1", 7..8).await;
    open_as(&browser, &facing, "u1", "ada").await;
    browser.shows("count", "1").await;
    let shows = async |count: &str, total: &str, bars: usize| {
        browser.shows("count", count).await;
        browser.shows("total", total).await;
        let drawn = browser.run("return document.querySelectorAll('.bars rect').length").await;
        assert_eq!(drawn, json!(bars));
        assert_eq!(browser.texts("figure tbody tr").await.len(), bars, "the same as a table");
    };
    let choose = async |text: &str| {
        browser.driver.find(By::LinkText(text)).await.unwrap().click().await.unwrap();
    };
    choose("All time").await;
    shows("4", "13.60", 3).await;
    browser.run("location.hash = '#purchases?from=2024-02-01&to=2024-02-29'").await;
    shows("2", "5.50", 1).await;
    choose("Months").await;
    until("draw months", async || browser.texts("figcaption > span").await == ["Spent per month"]).await;
    browser.driver.refresh().await.unwrap();
    until("be back", async || browser.texts("#count").await == ["2"]).await;
    shows("2", "5.50", 1).await;
    assert_eq!(browser.texts("figcaption > span").await, ["Spent per month"]);
    // A range of two days, without purchases.
    browser.run("for (const [id, day] of [['from', '2023-01-01'], ['to', '2023-01-31']]) document.getElementById(id).value = day").await;
    browser.click("show-range").await;
    until("be empty", async || state(&browser).await == "empty").await;
    choose("Show all time").await;
    shows("4", "13.60", 3).await;
    for _ in 0..2 {
        browser.driver.back().await.unwrap();
    }
    shows("2", "5.50", 1).await;
    browser.driver.back().await.unwrap();
    until("draw days", async || browser.texts("figcaption > span").await == ["Spent per day"]).await;
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
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
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
        until("save a file", async || browser.run("return window.saved.length").await == json!(2)).await;
        let name = browser.run("return window.saved[1]").await;
        assert!(name.as_str().unwrap().starts_with("purchases-u1-20"), "{name}");
        assert!(name.as_str().unwrap().ends_with(&format!(".{kind}")), "{name}");
        let saved = browser.run("return window.saved[0].text()").await;
        let lines: Vec<_> = saved.as_str().unwrap().lines().collect();
        assert_eq!(lines.len(), rows, "{saved}");
        assert!(lines[0].starts_with(first), "{saved}");
        assert!(lines.iter().skip(1).all(|line| line.contains("u1")), "{saved}");
        assert!(browser.text("export-answer").await.starts_with("Exported for "));
    }
    // A file that is not complete is not saved.
    browser.run("window.saved = []; window.fetch = async () => { throw new TypeError('away'); }").await;
    browser.click("export-csv").await;
    browser.shows("export-answer", "Nothing was exported: The service cannot be reached.").await;
    assert_eq!(browser.run("return window.saved.length").await, json!(0));
    browser.end().await;
}

/// The links in a row.
const LINKS: &str = "return [...document.querySelectorAll('#purchases tr:last-child a')].map((one) => decodeURIComponent(one.hash))";

#[tokio::test]
async fn purchases_are_found_by_id_user_and_beginning_of_a_name() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    let facing = Process::start(Binary::Facing, folder.path(), &[("MANAGEMENT_URL", &management.url)]).await;
    let mut ids = Vec::new();
    for (username, userid) in
        [(NASTY, "u5"), ("Ada", "u1"), ("ada", "u2"), ("Adam", "u3"), ("kim", "u4"), ("bob", "ad")]
    {
        let body = json!({"username": username, "userid": userid, "price": "1195.30"});
        let (status, answer) = post(&facing.path("/v1/purchases"), &body.to_string()).await;
        assert_eq!(status, 201);
        ids.push(answer["purchase"]["id"].as_str().unwrap().to_owned());
    }
    browser.open(&management.path("/#purchases?range=all")).await;
    browser.shows("count", "6").await;
    let search = async |text: &str| browser.fill(&[("who", &format!("{text}\n"))]).await;
    let finds = async |choices: &[&str]| {
        until(&format!("find {choices:?}"), async || browser.texts("#found a").await == choices).await;
    };
    let lists = async |whose: &str, count: &str| {
        until(&format!("list {whose}"), async || browser.texts("#whose").await == [whose]).await;
        browser.shows("count", count).await;
    };
    let back = async || browser.driver.back().await.unwrap();

    // The beginning of a name, in another case.
    search("AD").await;
    finds(&["Ada", "Adam", "ada"]).await;
    browser.shows("found-what", "No user AD; names that begin with it:").await;
    browser.driver.find(By::LinkText("ada")).await.unwrap().click().await.unwrap();
    lists("All users named ada", "1").await;
    back().await;
    finds(&["Ada", "Adam", "ada"]).await;
    // A text that is both.
    search("ad").await;
    finds(&["ad", "Ada", "Adam", "ada"]).await;
    browser.shows("found-what", "These match:").await;
    browser.is_accessible().await;
    browser.driver.find(By::LinkText("ad")).await.unwrap().click().await.unwrap();
    lists("User ad", "1").await;
    back().await;
    // What is one thing only is shown at once, and the way back does not lead to its search.
    search("u4").await;
    lists("User u4", "1").await;
    assert_eq!(browser.run("return document.activeElement.id").await, json!("who"));
    back().await;
    finds(&["ad", "Ada", "Adam", "ada"]).await;
    search("zoe").await;
    browser.shows("found-what", "No user zoe, and no name that begins with it.").await;
    search("").await;
    lists("Everybody", "6").await;

    // All that a row has is a link.
    let by = |by: &str, who: &str| format!("#purchases?range=all&by={by}&who={who}");
    let page = format!("#purchase?id={}", ids[0]);
    let links = browser.run(LINKS).await;
    let links: Vec<_> =
        links.as_array().unwrap().iter().map(|one| one.as_str().unwrap().replace('+', " ")).collect();
    assert_eq!(links, [page.clone(), by("username", NASTY), by("userid", "u5"), page]);
    browser.driver.find(By::LinkText(NASTY)).await.unwrap().click().await.unwrap();
    lists(&format!("All users named {NASTY}"), "1").await;
    back().await;
    lists("Everybody", "6").await;

    // A purchase has a page, by its id too.
    browser.driver.find(By::LinkText(&*ids[4])).await.unwrap().click().await.unwrap();
    let shows = async |id: &str, user: &str| {
        until("show the purchase", async || {
            let facts = browser.texts("#purchase dd").await;
            facts.len() > 3 && facts[..4] == [id, user, if user == "ad" { "bob" } else { "kim" }, "1,195.30"]
        })
        .await;
        assert_eq!(browser.texts(".views [aria-current]").await, ["Purchases"]);
    };
    shows(&ids[4], "u4").await;
    assert_eq!(browser.run("return document.activeElement.textContent").await, json!("Purchase"));
    browser.driver.refresh().await.unwrap();
    shows(&ids[4], "u4").await;
    browser.is_accessible().await;
    let printed = "window.print = () => { window.printed = true }; document.getElementById('print').click(); return window.printed";
    assert_eq!(browser.run(printed).await, json!(true));
    back().await;
    lists("Everybody", "6").await;
    search(&ids[5]).await;
    shows(&ids[5], "ad").await;
    browser.driver.find(By::LinkText("ad")).await.unwrap().click().await.unwrap();
    lists("User ad", "1").await;
    for _ in 0..2 {
        back().await;
    }
    lists("Everybody", "6").await;
    browser.was_quiet(&management.url).await;

    // An id that is not stored, and a text that is part of no path.
    let unknown = "0190163d-8694-739b-aea5-966c26f8ad91";
    search(unknown).await;
    let nothing = format!("No purchase and no user {unknown}, and no name that begins with it.");
    browser.shows("found-what", &nothing).await;
    for id in [unknown, ".."] {
        browser.run(&format!("location.hash = '#purchase?id={id}'")).await;
        let nothing = format!("No purchase with the ID {id} is stored.");
        until(&nothing, async || browser.texts("#purchase").await == [&*nothing]).await;
    }
    browser.end().await;
}
