//! The layout of the pages.

use serde_json::json;

use super::driver::Browser;
use super::{dead_letters, open_as};
use crate::kills::chosen;
use crate::process::{ALL_ROLES, Binary, Process, post, until};

/// The fields and buttons that another element covers, at any scroll position.
const COVERED: &str = "
    const isCovered = (one) => {
        const { left, right, top, bottom } = one.getBoundingClientRect();
        const y = (top + bottom) / 2;
        return [left + 2, (left + right) / 2, right - 3].some((x) => {
            const found = document.elementFromPoint(x, y);
            return !one.contains(found);
        });
    };
    const covered = new Set();
    const fields = [...document.querySelectorAll('input, button, nav a')].filter((one) => one.checkVisibility());
    for (const block of ['start', 'center', 'end']) {
        for (const one of fields) {
            one.scrollIntoView({ block });
            const { top, bottom } = one.getBoundingClientRect();
            for (const other of fields) {
                const place = other.getBoundingClientRect();
                if (place.top >= 0 && place.bottom <= innerHeight && isCovered(other)) covered.add(other.id || other.textContent);
            }
        }
    }
    return [fields.length, [...covered]];";

/// Whether every part of the view is loaded.
const LOADED: &str = "
    const parts = [...document.querySelectorAll('main [data-state]')].map((one) => one.dataset.state);
    return parts.length > 0 && parts.every((state) => state === 'shown' || state === 'failed')";

/// The texts that overlap, or exceed the page.
const OVERLAPS: &str = "
    const boxes = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const one = walker.currentNode;
        if (!one.textContent.trim() || !one.parentElement.checkVisibility() || one.parentElement.closest('.unseen, option')) continue;
        const range = document.createRange();
        range.selectNodeContents(one);
        for (const { left, right, top, bottom } of range.getClientRects()) boxes.push({ one, left, right, top, bottom });
    }
    const by = 2;
    const found = new Set();
    boxes.forEach((a, index) => {
        if (a.left < -1 || a.right > innerWidth + 1) found.add(a.one.textContent);
        for (const b of boxes.slice(index + 1)) {
            const isOver = a.one !== b.one && a.left + by < b.right && b.left + by < a.right && a.top + by < b.bottom && b.top + by < a.bottom;
            if (isOver) found.add(`${a.one.textContent} | ${b.one.textContent}`);
        }
    });
    return [...found]";

#[tokio::test]
async fn no_element_covers_a_field() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    dead_letters::put(folder.path(), 3).await;
    let management = Process::start(Binary::Management, folder.path(), &[ALL_ROLES]).await;
    let facing = Process::start(
        Binary::Facing,
        folder.path(),
        &[("MANAGEMENT_URL", &management.url)],
    )
    .await;
    let mut id = String::new();
    for _ in 0..25 {
        let purchase = r#"{"username":"ada","userid":"u1","price":1}"#;
        let (status, answer) = post(&facing.path("/v1/purchases"), purchase).await;
        assert_eq!(status, 201);
        answer["purchase"]["id"]
            .as_str()
            .unwrap()
            .clone_into(&mut id);
    }
    open_as(&browser, &facing, "u1", "ada").await;
    // Per change, the widest and the narrowest.
    let count = if chosen("SHOP_TEST_ROUNDS").is_some() {
        6
    } else {
        2
    };
    for (width, height) in [
        (1400, 900),
        (320, 640),
        // A screen of 1440 px at 200 %.
        (720, 450),
        (1400, 500),
        (768, 1024),
        (390, 844),
    ]
    .into_iter()
    .take(count)
    {
        browser.set_size(width, height).await;
        if height > width {
            browser.use_dark_mode().await;
        }
        let views = [
            "overview",
            "shopingestwaiting",
            "purchases?range=all",
            "purchases?find=A",
            &format!("purchase?id={id}"),
            "dead-letters",
            "dead-letters?position=purchases-0-1000",
            "entities?user=1",
            "import",
        ]
        .map(|view| (&management, format!("/#{view}")));
        for (service, path) in [(&facing, "/".to_owned())].into_iter().chain(views) {
            browser.open(&service.path(&path)).await;
            browser.driver.refresh().await.unwrap();
            until("show the view", async || {
                browser.run(LOADED).await == json!(true)
            })
            .await;
            let found = browser.run(COVERED).await;
            assert!(found[0].as_u64() >= Some(3), "{found}");
            assert_eq!(
                found[1],
                json!([]),
                "{width}x{height} {}{path}",
                service.url
            );
            assert_eq!(
                browser.run(OVERLAPS).await,
                json!([]),
                "{width}x{height} {}{path}",
                service.url
            );
            browser.is_accessible().await;
            let wider = browser
                .run("return document.documentElement.scrollWidth - innerWidth")
                .await;
            assert!(
                wider.as_i64() <= Some(0),
                "{width}: {path} is too wide by {wider}"
            );
        }
    }
    browser.end().await;
}
