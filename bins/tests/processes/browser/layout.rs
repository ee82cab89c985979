//! What is where on the pages.

use serde_json::json;

use super::driver::Browser;
use crate::process::{Binary, Process, buy, until};

/// The fields and buttons of which something else is in front, wherever the page is scrolled to.
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
    const fields = [...document.querySelectorAll('input, button')].filter((one) => one.checkVisibility());
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

#[tokio::test]
async fn nothing_covers_a_field() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    let facing = Process::start(Binary::Facing, folder.path(), &[("MANAGEMENT_URL", &management.url)]).await;
    for _ in 0..25 {
        assert_eq!(buy(&facing, r#"{"username":"ada","userid":"u1","price":1}"#).await.0, 201);
    }
    for (width, height) in [(1400, 900), (1400, 500), (390, 844)] {
        browser.driver.set_window_rect(0, 0, width, height).await.unwrap();
        for service in [&facing, &management] {
            browser.open(&service.path("/#of=u1")).await;
            browser.driver.refresh().await.unwrap();
            browser.shows("count", "25").await;
            until("show the form", async || browser.texts("#place").await.len() == 1).await;
            let found = browser.run(COVERED).await;
            assert!(found[0].as_u64() > Some(10), "{found}");
            assert_eq!(found[1], json!([]), "{width}x{height} {}", service.url);
            let wider = browser.run("return document.documentElement.scrollWidth - innerWidth").await;
            assert!(wider.as_i64() <= Some(0), "{width}: the page is too wide by {wider}");
        }
    }
    browser.end().await;
}
