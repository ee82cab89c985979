//! Members that no version knows: whatever a service stores of a record, each reader of it can read.
//!
//! Records of another producer are stored or become dead letters. Then the stored purchases are read
//! by page, by id, as events, and as files, which another store imports; and the dead letters are
//! listed and shown.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use shop_api::files::{Import, RowFormat};
use shop_client::PurchaseId;
use shop_client::memory::InMemoryStore;
use shop_client::shop_core::Bytes;
use shop_client::shop_core::import::ImportReport;
use shop_client::shop_core::log::{Headers, LogRecord};
use shop_client::shop_core::operations::Operations;
use shop_client::shop_core::ports::{Durability, StoreSink};
use shop_http::router;

use crate::prelude::*;

/// The JSON of a value: usual ones, and those that some reader of JSON refuses.
fn value() -> impl Strategy<Value = String> {
    let texts = [
        "1.10",
        "1e999",
        "-1e-400",
        "123456789012345678901234567890",
        "null",
        r#""\ud800""#,
        r#""\ud83d\ude00""#,
        r#""\u0000""#,
        r#"{"b":[{"c":"\"[["}]}"#,
    ];
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    prop_oneof![
        4 => prop::sample::select(texts.to_vec()).prop_map(str::to_owned),
        2 => any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
        1 => prop_oneof![1_usize..35, 100_usize..300].prop_map(nested),
        1 => (1_usize..70_000).prop_map(|length| format!("\"{}\"", "x".repeat(length))),
    ]
}

/// The JSON of the name of a member, with names that a purchase uses in another sense.
fn name() -> impl Strategy<Value = String> {
    let names = [
        "gift", "a/b", "~", "id", "more", "reason", "item", "userId", "", "\u{0}",
    ];
    let text = prop_oneof![
        4 => prop::sample::select(names.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    text.prop_map(|text| serde_json::Value::from(text).to_string())
}

/// The value of a record: a purchase of `u1` with up to three other members.
fn record() -> impl Strategy<Value = String> {
    prop::collection::vec((name(), value()), 0..=3).prop_map(|members| {
        let mut json = r#"{"username":"ada","userid":"u1","price":1"#.to_owned();
        for (name, value) in members {
            json += &format!(",{name}:{value}");
        }
        json + "}"
    })
}

/// Imports `file` into an empty store, and returns all its purchases.
async fn imported(format: RowFormat, file: Vec<u8>) -> Vec<Purchase> {
    let store = InMemoryStore::new();
    let sink = StoreSink::new(Arc::new(store.clone()), Durability::Memory);
    let mut report = ImportReport::default();
    let file = std::io::Cursor::new(file);
    let import = Import::new(format);
    let shop = shop_client::shop_core::Shop::new(sink, store.clone());
    import
        .run(&shop, file, &mut report, |_report| ())
        .await
        .unwrap();
    assert_eq!(report.imported, report.rows, "{report}");
    store.all()
}

/// Appends `records` to a log, and reads what became of them in each way.
async fn read_in_each_way(records: Vec<String>) {
    let service = Shop::new();
    service.ingest();
    let client = Script::default().client_of(service.router.clone()).await;
    let mut events = client.shop().user("u1").events(None).await.unwrap();
    for value in &records {
        let schema = Headers::builder().with("schema", Some(b"2")).build();
        let value = Some(Bytes::copy_from_slice(value.as_bytes()));
        let record = LogRecord::new(0, Timestamp::MIN, value).with_headers(schema);
        let _position = service.log.append(record);
    }
    while service.log.committed("group").values().sum::<u64>() < records.len() as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let stored = service.store.all();
    let ids: BTreeSet<PurchaseId> = stored.iter().map(|purchase| purchase.id).collect();
    let ids_of = |read: Vec<Purchase>| -> BTreeSet<PurchaseId> {
        read.into_iter().map(|purchase| purchase.id).collect()
    };
    let pages: Vec<Purchase> = client
        .shop()
        .user("u1")
        .purchases()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(ids_of(pages), ids);
    let mut seen = BTreeSet::new();
    for id in &ids {
        assert_eq!(client.shop().get(id).await.unwrap().unwrap().id, *id);
        let event = tokio::time::timeout(Duration::from_secs(60), events.next());
        seen.insert(event.await.unwrap().unwrap().unwrap().purchase.id);
    }
    assert_eq!(seen, ids);

    let export = || client.export(Selector::User("u1".parse().unwrap()));
    let exported: Vec<Purchase> = export().purchases().try_collect().await.unwrap();
    assert_eq!(ids_of(exported), ids);
    let csv: Vec<Bytes> = export().csv().try_collect().await.unwrap();
    assert_eq!(imported(RowFormat::Csv, csv.concat()).await, stored);
    let ndjson: Vec<Bytes> = export().ndjson().try_collect().await.unwrap();
    assert_eq!(imported(RowFormat::Ndjson, ndjson.concat()).await, stored);

    let store = Arc::new(service.store.clone());
    let mut parts = Parts::management(Arc::clone(&store) as _, Durability::Memory, store);
    parts.operations = vec![Operations::new(service.log.backend("group"))];
    let management = router(parts, HttpOptions::default());
    let client = Script::default().client_of(management).await;
    let letters: Vec<_> = client.dead_letters().list().try_collect().await.unwrap();
    assert_eq!(letters.len() + stored.len(), records.len(), "{letters:?}");
    for letter in letters {
        let shown = client.dead_letters().get(&letter.position).await.unwrap();
        assert!(shown.is_some(), "{letter:?}");
    }
}

#[test]
fn each_reader_reads_what_is_stored_of_any_record() {
    let config = Config {
        cases: 32,
        failure_persistence: None,
        ..Config::default()
    };
    let records = prop::collection::vec(record(), 1..12);
    let tested = TestRunner::new(config).run(&records, |records| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(read_in_each_way(records));
        Ok(())
    });
    tested.unwrap();
}
