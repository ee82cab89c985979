//! `/v1/dead-letters` on management. What is listed, resolved and refused is in the scenarios `dead_letters*`.

use futures_util::future::join_all;
use shop_accounts::users::User;
use shop_core::log::{
    CommitOffset, DeadLetter, Gap, GapCause, Headers, LogRecord, LogSource as _, Partition, Reason,
    RecordPosition, SourceEvent,
};
use shop_core::operations::Operations;
use shop_core::ports::PurchaseErase as _;
use shop_core::record::{Record as _, decode};
use shop_core::{Purchase, Timestamp};
use shop_http::Backend;

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
    users.put_dead_letters(&[of_a_user]).await.unwrap();

    let mut shop = Shop::new();
    let mut parts = management_parts_of(shop.store.clone());
    let purchases = shop.log.backend("purchase-group");
    let purchases = purchases.with(shop.store.backend());
    let mut users = Backend::of_log("user_created", Arc::new(users)).with_group("order-group");
    users.record_type = User::TYPE;
    parts.operations = [purchases, users].map(Operations::new).into();
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
    shop.log.put_dead_letters(&[letter]).await.unwrap();
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

/// What happened to a stuck record before an operator parks it.
#[derive(Debug, Clone, Copy)]
enum Before {
    Nothing,
    Stored,
    Erased,
    DeadLettered,
    /// The group has committed the position behind it.
    Committed,
}

/// The group of the operations. Ingest is in another one, so that it stays stuck at a record that
/// this group has committed.
const GROUP: &str = "operators";

/// Makes the record at `position` be what `before` says.
async fn prepare(roles: &AllRoles, position: &RecordPosition, before: Before) {
    let found = roles.log.find(position.partition, position.offset).await;
    let (partition, record) = found.unwrap().unwrap();
    let purchase: Purchase = decode(&record, &partition).unwrap();
    match before {
        Before::Nothing => {}
        Before::Stored => {
            roles.store.insert([purchase].into()).await.unwrap();
        }
        Before::Erased => {
            roles.store.mark_erased(&[purchase.id]).await.unwrap();
        }
        Before::DeadLettered => {
            let parked = DeadLetter::new(record, partition, Reason::parked("before"), 0);
            roles.log.put_dead_letters(&[parked]).await.unwrap();
        }
        Before::Committed => {
            let source = roles.log.source(GROUP);
            loop {
                let SourceEvent::Batch(batch) = source.next().await.unwrap() else {
                    panic!("a batch")
                };
                if batch.partition.index == position.partition {
                    let next = CommitOffset::new(batch.partition, position.offset + 1);
                    source.commit(&[next]).await.unwrap();
                    return;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stuck_record_is_refused_as_by_the_command() {
    for (before, refusal) in [
        (Before::Nothing, None),
        (Before::Stored, Some("is stored")),
        (Before::Erased, Some("is erased")),
        (Before::DeadLettered, Some("is dead-lettered already")),
        (Before::Committed, Some("is processed")),
    ] {
        let mut roles = AllRoles::default();
        let mut parts = roles.management();
        parts.operations = vec![roles.operations(GROUP)];
        let management = router(parts, HttpOptions::default());
        let facing = router(roles.facing(), HttpOptions::default());

        // A record is stuck only if the store accepts another one.
        let monitor = roles.start();
        roles.faults.always(Call::Insert, Fault::unavailable());
        post(&facing, "/v1/purchases", ADA).await;
        monitor.wait_for(|status| !status.errors.is_empty()).await;
        roles.faults.clear(Call::Insert);
        post(&facing, "/v1/purchases", ADA).await;
        monitor
            .wait_for(|status| status.counters.inserted == 1)
            .await;
        roles.faults.always(Call::Insert, Fault::unavailable());
        let status = monitor.wait_for(|status| status.stuck.is_some()).await;
        let stuck = status.stuck.unwrap();
        let position = RecordPosition::new(stuck.topic, stuck.partition, stuck.offset);
        prepare(&roles, &position, before).await;

        // The command calls this, and prints the problem.
        let forecast = roles
            .operations(GROUP)
            .forecast_park(std::slice::from_ref(&position))
            .await
            .unwrap();
        let problem = forecast.problems.first();
        assert_eq!(
            problem.is_some(),
            refusal.is_some(),
            "{before:?}: {problem:?}"
        );

        for dry_run in [true, false] {
            let body = json!({
                "positions": [position.to_string()], "dry_run": dry_run, "reason": "a test",
            });
            let response = post(&management, "/v1/dead-letters:park", body.to_string()).await;
            let outcome = &response.json()["results"][0];
            let status = if refusal.is_some() {
                "refused"
            } else {
                "parked"
            };
            assert_eq!(outcome["status"], status, "{before:?}: {outcome}");
            assert_eq!(outcome["detail"].as_str(), problem.map(String::as_str));
            let detail = outcome["detail"].as_str().unwrap_or_default();
            assert!(detail.contains(refusal.unwrap_or_default()), "{detail}");
        }
    }
}
