//! `/v1/dead-letters` on management. What is listed, resolved and refused is in the scenarios `dead_letters*`.

use futures_util::future::join_all;
use shop_accounts::users::User;
use shop_core::log::{
    DeadLetter, DeadLetters as _, Gap, GapCause, Headers, Log, LogRecord, Partition, Reason,
};
use shop_core::record::Record as _;
use shop_core::{Purchase, Timestamp};
use shop_http::DeadLetterLog;

use crate::prelude::*;

const ADA: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

fn partition(topic: &str) -> Partition {
    Partition::new("c".into(), topic.into(), 0, 0)
}

/// A dead letter of a record of `topic` that was never in the log.
pub(crate) fn dead_letter(topic: &str, offset: u64, value: &[u8]) -> DeadLetter {
    let time = Timestamp::from_millis(1_772_355_600_000 + i64::try_from(offset).unwrap()).unwrap();
    let headers = Headers::builder()
        .with("their\u{7}", Some(b"\xff"))
        .with("none", None)
        .build();
    let record = LogRecord::new(offset, time, Some(value.to_vec().into()))
        .with_key(Some("u1".into()))
        .with_headers(headers);
    DeadLetter::new(record, partition(topic), Reason::parked("a note"), 2)
}

/// The dead letter of a directive of the scenarios.
pub(crate) fn parse(kind: &str, argument: &str) -> DeadLetter {
    if kind == "gap" {
        let (first, end) = argument.split_once("..").unwrap();
        let [first, end] = [first, end].map(|offset| offset.parse().unwrap());
        let gap = Gap::new(partition("purchases"), first, end, GapCause::Deleted);
        return gap.to_dead_letter(Timestamp::MIN);
    }

    let (offset, value) = argument.split_once(' ').unwrap();
    let offset = offset.parse().unwrap();
    if kind == "dead-letter" {
        return dead_letter("purchases", offset, value.as_bytes());
    }

    let (id, value) = value.split_once(' ').unwrap();
    let mut conflict = dead_letter("purchases", offset, value.as_bytes());
    let headers = Headers::builder().with("purchase-id", Some(id.as_bytes()));
    conflict.record = conflict.record.with_headers(headers.build());
    conflict.reason = Reason::conflict(Purchase::TYPE);
    conflict
}

/// A shop whose management shows the dead letters of purchases, and one of users.
pub(crate) async fn shop_with_dead_letters() -> Shop {
    let users = InMemoryLog::default();
    let of_a_user = dead_letter("user_created", 5, b"no user");
    Log::dead_letters(&users).put(&[of_a_user]).await.unwrap();

    let mut shop = Shop::new();
    let mut parts = management_parts_of(shop.store.clone());
    parts.dead_letters = vec![
        DeadLetterLog::new("purchases", Purchase::TYPE, Arc::new(shop.log.clone())),
        DeadLetterLog::new("user_created", User::TYPE, Arc::new(users)),
    ];
    shop.management = router(parts, HttpOptions::default());
    shop
}

/// Returns a line for each dead letter of purchases: its position, and its reason.
pub(crate) async fn reasons(shop: &Shop) -> String {
    let path = "/v1/dead-letters?topic=purchases";
    let page = get(&shop.management, path).await.json();
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| format!("\n  {} {}", item["position"], item["reason"]))
        .collect()
}

#[tokio::test]
async fn a_dead_letter_is_replayed_once() {
    let shop = shop_with_dead_letters().await;
    let letter = dead_letter("purchases", 7_000, ADA.as_bytes());
    Log::dead_letters(&shop.log).put(&[letter]).await.unwrap();
    shop.ingest();

    let replay = || {
        let body = r#"{"positions":["purchases-0-7000"]}"#;
        post(&shop.management, "/v1/dead-letters:replay", body)
    };
    let responses = join_all([replay(), replay()]).await;

    let mut statuses: Vec<_> = responses
        .iter()
        .map(|response| response.json()["results"][0]["status"].clone())
        .collect();
    statuses.sort_by_key(ToString::to_string);
    assert_eq!(statuses, ["replayed", "unknown"]);
    assert_eq!(shop.published().await, 1);
    assert_eq!(reasons(&shop).await, "");
}
