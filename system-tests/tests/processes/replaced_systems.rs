//! Data of the replaced systems: records in Kafka, documents in MongoDB.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use shop_core::log::{LogAdminExt as _, LogRecord};
use shop_core::{Clock as _, SystemClock};
use shop_kafka::KafkaLog;

use crate::kafka::start;
use crate::process::{Binary, Process, until};
use crate::servers::Servers;

/// A record of a replaced system, and its expected result.
#[derive(Deserialize)]
struct Sample {
    key: Option<String>,
    value: String,
    stored: Option<Stored>,
}

/// A listed purchase; without a time if the record determines it.
#[derive(Deserialize)]
struct Stored {
    userid: String,
    username: String,
    price: String,
    timestamp: Option<String>,
}

/// Sorted texts with duplicates.
type Texts = Vec<String>;

/// The listed purchases of each user.
async fn listed(
    process: &Process,
    users: impl Iterator<Item = &String>,
) -> BTreeMap<String, Texts> {
    let client = process.client();
    let mut listed = BTreeMap::new();
    for user in users {
        let page = client.user(user).page().await.unwrap();
        let shown = page.items.iter().map(|bought| {
            // The time of the record is that of this test.
            let before = bought.timestamp < "2026-01-01T00:00:00Z".parse().unwrap();
            let time = if before {
                bought.timestamp.to_string()
            } else {
                "now".to_owned()
            };
            format!("{} {} {time}", bought.user_name, bought.price)
        });
        let mut shown: Texts = shown.collect();
        shown.sort();
        listed.insert(user.clone(), shown);
    }
    listed
}

fn expected(samples: &[Sample]) -> BTreeMap<String, Texts> {
    let mut expected = BTreeMap::<_, Texts>::new();
    for stored in samples.iter().filter_map(|sample| sample.stored.as_ref()) {
        let time = stored.timestamp.as_deref().unwrap_or("now");
        let shown = format!("{} {} {time}", stored.username, stored.price);
        expected
            .entry(stored.userid.clone())
            .or_default()
            .push(shown);
    }
    expected.values_mut().for_each(|texts| texts.sort());
    expected
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_replaced_systems_are_stored_once_or_dead_lettered_unchanged() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let samples: Vec<Sample> =
        serde_json::from_str(include_str!("../../../shop-core/fixtures/records.json")).unwrap();
    let log = KafkaLog::open(servers.log("purchases")).await.unwrap();
    for sample in &samples {
        let record = LogRecord::new(0, SystemClock.now(), Some(sample.value.clone().into()))
            .with_key(sample.key.clone().map(Into::into));
        until("append", async || log.append(record.clone()).await.is_ok()).await;
    }

    let expected = expected(&samples);
    let stored = expected.values().map(Vec::len).sum::<usize>();
    // Another group reads everything again: ids derived from positions cause no duplicates.
    for (group, counted) in [
        ("purchase-group", "inserted"),
        ("another-group", "duplicates"),
    ] {
        let group = servers.name(group);
        let facing = start(Binary::Facing, &servers, &[("KAFKA_GROUP_ID", &*group)]).await;
        let health = async || facing.ingest().await;
        let of_all = |health: &Value| {
            health[counted] == stored && health["dead_lettered"] == samples.len() - stored
        };
        until("store all", async || of_all(&health().await)).await;
        assert_eq!(listed(&facing, expected.keys()).await, expected, "{group}");
        assert!(facing.terminate().await.success());
    }

    let letters = log.pending_dead_letters().await.unwrap();
    let text = |bytes: Option<Bytes>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    let kept = letters
        .into_iter()
        .map(|letter| (text(letter.record.key), text(letter.record.value)));
    let refused = samples.into_iter().filter(|sample| sample.stored.is_none());
    // Each is listed once, although two groups have dead-lettered it.
    let refused: BTreeSet<_> = refused
        .map(|sample| (sample.key, Some(sample.value)))
        .collect();
    assert_eq!(kept.len(), refused.len());
    assert_eq!(kept.collect::<BTreeSet<_>>(), refused);
}
