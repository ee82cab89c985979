//! The chart of what was spent over time.

use serde_json::json;
use thirtyfour::{By, Key};

use super::{open_as, with_facing};
use crate::process::must_buy;

#[tokio::test]
async fn bars_are_read_by_keyboard_and_pointer_beside_an_outlier() {
    let Some((browser, _folder, facing)) = with_facing().await else {
        return;
    };
    let buy_at = async |day: &str, price: u32| {
        let body = json!({"username": "ada", "userid": "u1", "price": price.to_string(), "timestamp": format!("{day}T12:00:00Z")});
        must_buy(&facing, &body.to_string()).await;
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
    browser
        .run("location.hash = '#purchases?from=2024-02-01&to=2024-02-29'")
        .await;
    browser.shows("count", "20").await;
    let change = browser.texts(".totals .hint").await;
    assert_eq!(change[0], "900 % more than the 29 days before");

    // The others are not flattened.
    let heights = "return [...document.querySelectorAll('.bars rect')].map((one) => one.height.baseVal.value)";
    let heights: Vec<f64> = serde_json::from_value(browser.run(heights).await).unwrap();
    assert_eq!(heights.len(), 20);
    assert!(heights.iter().all(|height| *height >= 10.0), "{heights:?}");
    let broken = "return document.querySelectorAll('.bars .cut').length";
    assert_eq!(browser.run(broken).await, json!(1));
    assert_eq!(
        browser.texts("figcaption small").await,
        ["Pale: the 29 days before. A broken bar is longer than the axis."]
    );
    browser
        .shows("bar", "Maximum: Feb 14, 2024: 1,000,000.00, 1 purchase")
        .await;

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
    let third = browser
        .driver
        .find(By::Css(".bars rect:nth-of-type(3)"))
        .await
        .unwrap();
    browser
        .driver
        .action_chain()
        .move_to_element_center(&third)
        .perform()
        .await
        .unwrap();
    browser.shows("bar", "Feb 3, 2024: 13.00, 1 purchase").await;
    assert_eq!(browser.run(top).await, place, "the list stays in its place");

    browser.was_quiet(&facing.url).await;
    browser.end().await;
}
