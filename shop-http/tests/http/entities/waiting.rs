//! An order of a user of whom nobody has told yet.

use std::time::Duration;

use serde_json::json;
use shop_core::ports::RecordStore;
use shop_core::users::{User, UserNumber};
use shop_http::HttpOptions;
use tokio::time::{Instant, sleep};

use super::{Entities, PEN, is};
use crate::shop::post;

fn waiting(wait: Duration) -> HttpOptions {
    let mut options = HttpOptions::default();
    options.unknown_user_wait = wait;
    options
}

/// The answer to an order of user 1, of whom is told after a time, and how long it took.
async fn order(options: HttpOptions, told_after: Option<Duration>) -> (u16, Duration) {
    let entities = Entities::new();
    let router = entities.management(options);
    let telling = async {
        let Some(time) = told_after else { return };
        sleep(time).await;
        let ada = User::new(UserNumber::FIRST, "ada@example.com".parse().unwrap(), "Ada".parse().unwrap());
        RecordStore::<User>::apply(&entities.orders, [ada].into()).await.unwrap();
    };
    let begun = Instant::now();
    let ordering = async {
        let answer = post(&router, "/orders", PEN).await;
        if answer.status != 201 {
            is(&answer, 404, &json!({"detail": "User not found"}));
        }
        (answer.status.as_u16(), begun.elapsed())
    };
    tokio::join!(ordering, telling).0
}

#[tokio::test(start_paused = true)]
async fn it_is_refused_at_once_unless_it_may_wait() {
    let (status, took) = order(HttpOptions::default(), Some(Duration::from_millis(1))).await;
    assert_eq!((status, took), (404, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn it_is_placed_when_its_user_is_told_of() {
    let told = Duration::from_millis(300);
    let (status, took) = order(waiting(Duration::from_secs(1)), Some(told)).await;
    assert_eq!(status, 201);
    assert!(took >= told && took < told + Duration::from_millis(60), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn it_waits_so_long_and_no_longer() {
    let wait = Duration::from_millis(700);
    let (status, took) = order(waiting(wait), Some(wait * 2)).await;
    assert_eq!(status, 404);
    assert!(took >= wait && took < wait + Duration::from_millis(10), "{took:?}");
    let mut options = waiting(Duration::from_secs(60));
    options.publish_timeout = Duration::from_secs(2);
    let (status, took) = order(options, None).await;
    assert_eq!(status, 404, "it is known that the user is unknown");
    assert!(took > Duration::from_millis(1_900) && took <= Duration::from_secs(2), "{took:?}");
}
