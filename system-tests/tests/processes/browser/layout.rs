//! The layout of the pages.

use super::driver::Browser;
use super::{buy_by_api, dead_letters, open_as};
use crate::prelude::*;

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

/// How much wider than the window the page is.
const WIDER: &str = "return Math.max(0, document.documentElement.scrollWidth - innerWidth)";

#[tokio::test]
async fn no_element_covers_a_field() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    dead_letters::put(folder.path(), 3).await;
    let management = Process::start(Binary::Management, folder.path(), &[ALL_ROLES]).await;
    let to_management = [("MANAGEMENT_URL", &*management.url)];
    let facing = Process::start(Binary::Facing, folder.path(), &to_management).await;
    let mut purchase = json!(null);
    for _ in 0..25 {
        purchase = buy_by_api(&facing, "u1", "1", json!({})).await;
    }
    open_as(&browser, &facing, "u1", "ada").await;
    let of_purchase = format!("/#purchase?id={}", purchase["id"].as_str().unwrap());
    let mut pages = vec![facing.path("/")];
    pages.extend(
        [
            "/#overview",
            "/#shopingestwaiting",
            "/#purchases?range=all",
            "/#purchases?find=A",
            &of_purchase,
            "/#dead-letters",
            "/#dead-letters?position=purchases-0-1000",
            "/#entities?user=1",
            "/#import",
        ]
        .map(|view| management.path(view)),
    );
    let sizes = [
        (1400, 900),
        (320, 640),
        // A screen of 1440 px at 200 %.
        (720, 450),
        (1400, 500),
        (768, 1024),
        (390, 844),
    ];
    // Per change, the widest and the narrowest.
    let is_night = chosen("SHOP_TEST_ROUNDS").is_some();
    let count = if is_night { sizes.len() } else { 2 };
    for (width, height) in &sizes[..count] {
        browser.set_size(*width, *height).await;
        if height > width {
            browser.use_dark_mode().await;
        }
        for page in &pages {
            browser.open(page).await;
            browser.reload().await;
            browser.returns(LOADED, true).await;
            let covered = browser.run(COVERED).await;
            assert!(covered[0].as_u64() >= Some(3), "{covered}");
            let overlaps = browser.run(OVERLAPS).await;
            let wider = browser.run(WIDER).await;
            assert_eq!(
                json!([covered[1], overlaps, wider]),
                json!([[], [], 0]),
                "{width}x{height} {page}"
            );
            browser.is_accessible().await;
        }
    }
    browser.end().await;
}
