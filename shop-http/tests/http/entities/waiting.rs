//! An order whose user's event has not arrived yet.

use std::time::Duration;

use serde_json::json;
use shop_core::ports::RecordStore;
use shop_core::users::{User, UserNumber};
use shop_http::HttpOptions;
use tokio::time::{Instant, sleep};

use super::{Entities, PEN};
use crate::shop::post;

fn waiting(wait: Duration) -> HttpOptions {
    let mut options = HttpOptions::default();
    options.unknown_user_wait = wait;
    options
}

/// The status of an order of user 1, whose event arrives after `delay`, and how long the request took.
async fn order(options: HttpOptions, delay: Option<Duration>) -> (u16, Duration) {
    let entities = Entities::new();
    let router = entities.management(options);
    let publish = async {
        let Some(time) = delay else { return };
        sleep(time).await;
        let ada = User::new(UserNumber::FIRST, "ada@example.com".parse().unwrap(), "Ada".parse().unwrap());
        RecordStore::<User>::apply(&entities.orders, [ada].into()).await.unwrap();
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
async fn an_order_of_an_unknown_user_is_rejected_at_once_by_default() {
    let (status, took) = order(HttpOptions::default(), Some(Duration::from_millis(1))).await;
    assert_eq!((status, took), (404, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn an_order_waits_for_the_event_of_its_user() {
    let delay = Duration::from_millis(300);
    let (status, took) = order(waiting(Duration::from_secs(1)), Some(delay)).await;
    assert_eq!(status, 201);
    assert!(took >= delay && took < delay + Duration::from_millis(60), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_user_is_capped() {
    let wait = Duration::from_millis(700);
    let (status, took) = order(waiting(wait), Some(wait * 2)).await;
    assert_eq!(status, 404);
    assert!(took >= wait && took < wait + Duration::from_millis(10), "{took:?}");
    let mut options = waiting(Duration::from_secs(60));
    options.publish_timeout = Duration::from_secs(2);
    let (status, took) = order(options, None).await;
    assert_eq!(status, 404, "the user is unknown, not the outcome");
    assert!(took > Duration::from_millis(1_900) && took <= Duration::from_secs(2), "{took:?}");
}
