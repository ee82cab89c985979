//! An order whose user's event has not arrived yet.

use std::time::Duration;

use serde_json::json;
use shop_http::HttpOptions;
use tokio::time::{Instant, sleep};

use crate::PEN;
use crate::entities::{Entities, management};
use crate::shop::post;

/// The status of an order of user 1, whose event arrives after `delay`, and how long the request took.
async fn order(
    options: HttpOptions,
    longest_wait: Duration,
    delay: Option<Duration>,
) -> (u16, Duration) {
    let entities = Entities::new();
    let mut accounts = entities.accounts();
    accounts.unknown_user_wait = longest_wait;
    let router = management(accounts, options);
    let publish = async {
        let Some(time) = delay else { return };
        sleep(time).await;
        entities.introduce_ada().await;
    };
    let begun = Instant::now();
    let place = async {
        let response = post(&router, "/orders", PEN).await;
        if response.status != 201 {
            response.is(404, &json!({"detail": "User not found"}));
        }
        (response.status.as_u16(), begun.elapsed())
    };
    tokio::join!(place, publish).0
}

#[tokio::test(start_paused = true)]
async fn an_order_waits_for_the_event_of_its_user_up_to_its_limits() {
    let millis = Duration::from_millis;
    let mut impatient = HttpOptions::default();
    impatient.publish_timeout = Duration::from_secs(2);
    for (options, longest_wait, delay, expected, least, most) in [
        (HttpOptions::default(), 0, Some(1), 404, 0, 0),
        (HttpOptions::default(), 1_000, Some(300), 201, 300, 359),
        (HttpOptions::default(), 700, Some(1_400), 404, 700, 709),
        // The user is unknown, not the outcome.
        (impatient, 60_000, None, 404, 1_901, 2_000),
    ] {
        let (status, took) = order(options, millis(longest_wait), delay.map(millis)).await;
        assert_eq!(status, expected, "{delay:?}");
        assert!(
            (millis(least)..=millis(most)).contains(&took),
            "{delay:?}: {took:?}"
        );
    }
}
