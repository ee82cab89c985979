//! The chart of what was spent over time.

use serde_json::json;
use thirtyfour::{By, Key};

use super::driver::Browser;
use super::{layout, open_as};
use crate::process::{Binary, Process, buy, until};

const TICKS: &str = "
    const texts = [...document.querySelectorAll('.labels text')];
    return ['end', 'middle'].map((anchor) => texts.filter((one) => one.getAttribute('text-anchor') === anchor).length)";

#[tokio::test]
async fn bars_are_read_by_keyboard_and_pointer_beside_an_outlier() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    let buy_at = async |day: &str, price: u32| {
        let body = json!({"username": "ada", "userid": "u1", "price": price.to_string(), "timestamp": format!("{day}T12:00:00Z")});
        assert_eq!(buy(&facing, &body.to_string()).await.0, 201);
    };
    for day in 1..=20 {
        let price = if day == 14 { 1_000_000 } else { 10 + day };
        buy_at(&format!("2024-02-{day:02}"), price).await;
    }
    // In the 29 days before, at the place of February 8 and 25.
    for day in ["2024-01-10", "2024-01-27"] {
        buy_at(day, 5).await;
    }
    open_as(&browser, &facing, "u1", "ada").await;
    browser.run("location.hash = '#purchases?from=2024-02-01&to=2024-02-29'").await;
    browser.shows("count", "20").await;
    let change = browser.texts(".totals .hint").await;
    assert_eq!(change[0], "900 % more than the 29 days before");

    // The others are not flattened.
    let heights =
        "return [...document.querySelectorAll('.bars rect')].map((one) => one.height.baseVal.value)";
    let heights: Vec<f64> = serde_json::from_value(browser.run(heights).await).unwrap();
    assert_eq!(heights.len(), 20);
    assert!(heights.iter().all(|height| *height >= 10.0), "{heights:?}");
    let broken = "return document.querySelectorAll('.bars .cut').length";
    assert_eq!(browser.run(broken).await, json!(1));
    assert_eq!(
        browser.texts("figcaption small").await,
        ["Pale: the 29 days before. A broken bar is higher than the axis."]
    );
    browser.shows("bar", "Maximum: Feb 14, 2024: 1,000,000.00, 1 purchase").await;

    let chart = browser.by_id("chart").await;
    let top = "return document.getElementById('purchases').getBoundingClientRect().top + scrollY";
    let place = browser.run(top).await;
    for (key, text) in [
        (Key::Left, "Feb 13, 2024: 23.00, 1 purchase"),
        (Key::Home, "Feb 1, 2024: 11.00, 1 purchase"),
        (Key::PageUp, "Feb 8, 2024: 18.00, 1 purchase; before: 5.00"),
        (Key::End, "Feb 25, 2024: 0.00, 0 purchases; before: 5.00"),
        (Key::Right, "Feb 25, 2024: 0.00, 0 purchases; before: 5.00"),
        (Key::Left, "Feb 20, 2024: 30.00, 1 purchase"),
    ] {
        chart.send_keys(key).await.unwrap();
        browser.shows("bar", text).await;
        assert_eq!(chart.attr("aria-valuetext").await.unwrap().unwrap(), text);
    }
    let third = browser.driver.find(By::Css(".bars rect:nth-of-type(3)")).await.unwrap();
    browser.driver.action_chain().move_to_element_center(&third).perform().await.unwrap();
    browser.shows("bar", "Feb 3, 2024: 13.00, 1 purchase").await;
    assert_eq!(browser.run(top).await, place, "the list stays in its place");

    draws_weeks(&browser).await;
    browser.was_quiet(&facing.url).await;
    browser.end().await;
}

/// Weeks are sums of days, and begin on Monday.
async fn draws_weeks(browser: &Browser) {
    browser.driver.find(By::LinkText("Weeks")).await.unwrap().click().await.unwrap();
    until("draw weeks", async || browser.texts("figcaption > span").await == ["Spent per week"]).await;
    let rows = "return [...document.querySelectorAll('figure tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))";
    assert_eq!(
        browser.run(rows).await,
        json!([
            ["Week of Jan 29, 2024", "4", "50.00"],
            ["Week of Feb 5, 2024", "7", "126.00"],
            ["Week of Feb 12, 2024", "7", "1,000,151.00"],
            ["Week of Feb 19, 2024", "2", "59.00"],
        ])
    );
    // The choice is in the address.
    browser.driver.refresh().await.unwrap();
    until("draw weeks", async || browser.texts("figcaption > span").await == ["Spent per week"]).await;
}

#[tokio::test]
async fn every_range_has_3_to_5_ticks_on_both_axes() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    for (time, price) in [("1999-07-01", "12.50"), ("2023-12-05", "1234.50"), ("2024-02-10", "0.03")] {
        let body = json!({"username": "ada", "userid": "u1", "price": price, "timestamp": format!("{time}T12:00:00Z")});
        assert_eq!(buy(&facing, &body.to_string()).await.0, 201);
    }
    open_as(&browser, &facing, "u1", "ada").await;
    for width in [1400, 320] {
        browser.set_size(width, 800).await;
        for (range, per) in [
            ("from=2024-02-08&to=2024-02-14", "day"),
            ("from=2024-02-01&to=2024-02-29", "day"),
            ("from=2023-12-01&to=2024-02-29", "day"),
            ("from=2023-03-01&to=2024-02-29&per=week", "week"),
            ("from=2023-03-01&to=2024-02-29", "month"),
            ("from=1900-01-01&to=2024-02-29", "year"),
            ("range=all", "year"),
        ] {
            // The chart of the range before is not taken for the one of this range.
            let go = format!(
                "document.querySelector('figure')?.setAttribute('data-old', ''); location.hash = '#purchases?{range}'"
            );
            browser.run(&go).await;
            let (what, caption) = (format!("{range} at {width}"), format!("Spent per {per}"));
            until(&what, async || {
                browser.texts("figure:not([data-old]) figcaption > span").await == [&*caption]
                    && browser.run(TICKS).await[0] != json!(0)
            })
            .await;
            let ticks: [usize; 2] = serde_json::from_value(browser.run(TICKS).await).unwrap();
            assert!(ticks.iter().all(|count| (3..=5).contains(count)), "{what}: {ticks:?}");
            assert_eq!(browser.run(layout::OVERLAPS).await, json!([]), "{what}");
        }
        browser.is_accessible().await;
    }
    browser.end().await;
}
