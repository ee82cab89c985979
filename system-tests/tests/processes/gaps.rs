//! Records that the log deletes before ingest has read them.

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use shop_client::NewPurchase;
use shop_core::log::RecordPosition;
use shop_core::ports::PurchaseSink as _;
use shop_core::{Clock as _, SystemClock};
use shop_kafka::KafkaLog;

use crate::kafka::{settings, start};
use crate::process::{Binary, Process, borrow_settings, get, open_file, until, until_stored};
use crate::servers::Servers;
use crate::verify::{manage, text};

fn purchase() -> NewPurchase {
    NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("29.99")
        .unwrap()
}

/// Publishes purchases of one user, which are in one partition. Returns their positions.
async fn publish(servers: &Servers, count: usize) -> Vec<RecordPosition> {
    let log = KafkaLog::open(servers.log("purchases")).await.unwrap();
    let new = std::iter::repeat_with(purchase).take(count);
    let purchases: Vec<_> = new
        .map(|new| new.into_purchase(SystemClock.now(), || SystemClock.fresh_id()))
        .collect();
    let receipts = log.sink().publish_many(&purchases).await;
    receipts
        .into_iter()
        .map(|receipt| receipt.unwrap().position.unwrap())
        .collect()
}

/// Deletes the records before `position`, as retention does.
async fn delete_before(servers: &Servers, position: &RecordPosition) {
    let mut list = TopicPartitionList::new();
    let partition = position.partition.try_into().unwrap();
    let offset = Offset::Offset(position.offset.try_into().unwrap());
    list.add_partition_offset(&position.topic, partition, offset)
        .unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers.address("SHOP_TEST_KAFKA"));
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let deleted = admin
        .delete_records(&list, &AdminOptions::new())
        .await
        .unwrap();
    deleted
        .elements()
        .iter()
        .for_each(|element| element.error().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_deleted_unread_are_reported_until_dropped() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let management = start(Binary::Management, &servers, &[]).await;
    publish(&servers, 200).await;
    until_stored(&management, "u1", 200).await;
    management.stop().await;

    let unread = publish(&servers, 300).await;
    delete_before(&servers, &unread[250]).await;
    let management = start(Binary::Management, &servers, &[]).await;
    until_stored(&management, "u1", 250).await;
    let health = async || get(&management.path("/health")).await.1;
    let is_counted = |health: &Value| health["ingest"]["lost_records"] == 250;
    let is_named = |health: &Value| !health["ingest"]["gaps"].is_null();
    until("report the gap", async || {
        let health = health().await;
        is_counted(&health) && is_named(&health)
    })
    .await;
    let found = health().await;
    let RecordPosition {
        topic,
        partition,
        offset: from,
        ..
    } = &unread[0];
    let gap = json!({
        "topic": topic, "partition": partition, "from": from, "to": from + 250, "count": 250, "cause": "deleted",
    });
    assert_eq!(
        found["ingest"]["gaps"],
        json!({ "records": 250, "pending": [gap] }),
        "{found}"
    );
    assert_eq!(
        (&found["status"], &found["ingest"]["lost_records"]),
        (&json!("degraded"), &json!(250))
    );
    for series in [
        format!(
            "shop_ingest_lost_records_total{{topic=\"{topic}\",partition=\"{partition}\"}} 250\n"
        ),
        format!("shop_dead_letters_waiting{{topic=\"{topic}\",reason=\"gap\"}} 1\n"),
        // The broker's default: 7 days. It is read once a minute.
        format!("shop_log_retention_seconds{{topic=\"{topic}\"}} 604800\n"),
    ] {
        until(&series, async || {
            management.metrics().await.contains(&series)
        })
        .await;
    }
    let known = settings(&servers);
    let known = borrow_settings(&known);
    let status = Binary::Management.run(&["status"], &known).await;
    let lost = format!(
        "  - lost records: {topic}-{partition}: offsets {from} to {} (250 records)",
        from + 249
    );
    assert!(
        status.status.code() == Some(1) && text(&status.stdout).contains(&lost),
        "{status:?}"
    );
    drop_gap(&servers, &unread[0], 250, "were deleted").await;
}

/// As after an unclean leader election: records that were read are no longer in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_ends_before_the_committed_offset_is_read_again() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let management = start(Binary::Management, &servers, &[]).await;
    let mut end = publish(&servers, 200).await.pop().unwrap();
    until_stored(&management, "u1", 200).await;
    management.stop().await;

    end.offset += 1;
    let mut list = TopicPartitionList::new();
    let offset = Offset::Offset((end.offset + 150).try_into().unwrap());
    list.add_partition_offset(&end.topic, end.partition.try_into().unwrap(), offset)
        .unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers.address("SHOP_TEST_KAFKA"));
    config.set("group.id", servers.name("purchase-group"));
    let group: BaseConsumer = config.create().unwrap();
    group.commit(&list, CommitMode::Sync).unwrap();

    let management = start(Binary::Management, &servers, &[]).await;
    until("read the log again", async || {
        management.ingest().await["duplicates"] == 200
    })
    .await;
    let RecordPosition {
        topic,
        partition,
        offset: from,
        ..
    } = &end;
    let gap = json!({
        "topic": topic, "partition": partition, "from": from, "to": from + 150, "count": 150, "cause": "truncated",
    });
    until("report the gap", async || {
        management.ingest().await["gaps"] == json!({ "records": 150, "pending": [gap] })
    })
    .await;
    // New purchases are written at those offsets.
    publish(&servers, 10).await;
    until_stored(&management, "u1", 210).await;
    assert_eq!(get(&management.path("/-/ready")).await.0, 200);
    assert_eq!(
        get(&management.path("/health")).await.1["status"],
        "degraded"
    );
    drop_gap(&servers, &end, 150, "were truncated").await;

    management.stop().await;
    let management = start(Binary::Management, &servers, &[]).await;
    until("read on", async || management.ingest().await["lag"] == 0).await;
    assert_eq!(
        (
            &management.ingest().await["lost_records"],
            &management.ingest().await["duplicates"]
        ),
        (&json!(0), &json!(0))
    );
}

/// `verify` fails until the gap of `count` records is dropped.
async fn drop_gap(servers: &Servers, first: &RecordPosition, count: u64, cause: &str) {
    let settings = settings(servers);
    let settings = borrow_settings(&settings);
    let run = async |words: &[&str]| {
        let output = Binary::Management.run(words, &settings).await;
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let RecordPosition {
        topic,
        partition,
        offset: from,
        ..
    } = first;
    let (code, printed, errors) = run(&["verify"]).await;
    assert_eq!(code, Some(1), "{printed}{errors}");
    let named = format!(
        "  gap: {topic}-{partition}: offsets {from} to {} ({count} records) {cause}",
        from + count - 1
    );
    assert!(
        printed.contains("missing 0, twice 0, dead-lettered 0\n") && printed.contains(&named),
        "{printed}"
    );
    assert!(
        printed.contains(&format!("\nlost {count}: "))
            && errors.contains("the log has lost records"),
        "{printed}{errors}"
    );
    let (code, printed, _) = run(&["verify", "--json"]).await;
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (code, &report["clean"], &report["gaps"], &report["lost"]),
        (Some(1), &json!(false), &json!(1), &json!(count))
    );
    assert_eq!(
        (
            &report["lost_records"][0]["from"],
            &report["lost_records"][0]["count"]
        ),
        (&json!(from), &json!(count))
    );

    let position = format!("{topic}-{partition}-{}", from + count - 1);
    let (code, printed, _) = run(&["dlq", "ls"]).await;
    assert!(code == Some(0) && printed.lines().count() == 1, "{printed}");
    assert!(
        printed.starts_with(&position)
            && printed.contains("  gap  ")
            && printed.contains(&format!("({count} records)")),
        "{printed}"
    );
    let (code, printed, errors) = run(&["dlq", "replay", "--dry-run"]).await;
    assert!(
        code != Some(0) && errors.contains("is a gap"),
        "{printed}{errors}"
    );
    let (code, printed, errors) = run(&["dlq", "replay", &position]).await;
    assert!(
        code != Some(0) && printed == "0 replayed\n" && errors.contains("is a gap"),
        "{printed}{errors}"
    );
    assert_eq!(
        run(&["dlq", "drop", "--reason", "gap"]).await.1,
        "1 dropped\n"
    );
    let (code, printed, errors) = run(&["verify"]).await;
    assert_eq!(code, Some(0), "{printed}{errors}");
    assert!(!printed.contains("lost"), "{printed}");
}

#[tokio::test]
async fn records_missing_in_a_file_are_reported_until_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (settings, count) in [(&[][..], 3), (&[("SHOP_INGEST", "off")][..], 5)] {
        let facing = Process::start(Binary::Facing, folder, settings).await;
        for _ in 0..count {
            facing.client().buy(purchase()).await.unwrap();
        }
        if settings.is_empty() {
            until_stored(&facing, "u1", 3).await;
        }
        facing.stop().await;
    }
    // A damaged file whose readable rows were copied.
    let log = open_file(folder);
    assert_eq!(
        log.execute("DELETE FROM records WHERE offset IN (4, 6, 7)", [])
            .unwrap(),
        3
    );
    drop(log);
    let facing = Process::start(Binary::Facing, folder, &[]).await;
    until_stored(&facing, "u1", 5).await;
    until("report the gaps", async || {
        facing.ingest().await["gaps"]["records"] == 3
    })
    .await;
    let found = facing.ingest().await;
    let gap = |from: u64, to: u64| {
        let count = to - from;
        json!({ "topic": "purchases", "partition": 0, "from": from, "to": to, "count": count, "cause": "missing" })
    };
    assert_eq!(
        found["gaps"]["pending"],
        json!([gap(4, 5), gap(6, 8)]),
        "{found}"
    );
    facing.stop().await;
    let output = manage(folder, &["verify"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(
        text(&output.stdout).contains("\nlost 3: "),
        "{}",
        text(&output.stdout)
    );
    let output = manage(folder, &["dlq", "drop", "purchases-0-4", "purchases-0-7"]).await;
    assert_eq!(text(&output.stdout), "2 dropped\n");
    assert_eq!(manage(folder, &["verify"]).await.status.code(), Some(0));
}
