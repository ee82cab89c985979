//! Dead letters of management. `responses/dead_letters.txt` has the requests, and the responses that are errors.

use std::sync::Arc;

use shop_client::memory::{InMemoryLog, InMemoryStore};
use shop_client::shop_core::log::{DeadLetter, Log, LogRecord, Partition, Reason};
use shop_client::shop_core::record::Record as _;
use shop_client::{Durability, ResolvedStatus};
use shop_http::DeadLetterLog;

use crate::prelude::*;

#[tokio::test]
async fn they_are_listed_shown_replayed_and_discarded() {
    use ResolvedStatus::{Discarded, Replayed, Unknown};

    let log = InMemoryLog::default();
    let store = Arc::new(InMemoryStore::new());
    let partition = Partition::new("c".into(), "purchases".into(), 0, 0);
    let parked = [1, 2].map(|offset| {
        let value = r#"{"username":"ada","userid":"u1","price":1}"#;
        let record = LogRecord::new(offset, Timestamp::MIN, Some(value.into()));
        DeadLetter::new(record, partition.clone(), Reason::parked("a note"), 2)
    });
    Log::dead_letters(&log).put(&parked).await.unwrap();
    let mut parts = Parts::management(Arc::clone(&store) as _, Durability::Memory, store);
    let letters = DeadLetterLog::new("purchases", Purchase::TYPE, Arc::new(log.clone()));
    parts.dead_letters = vec![letters];
    let router = router(parts, HttpOptions::default());
    let client = Script::default().client_of(router).await;
    let dead_letters = client.dead_letters();
    let [first, second] = ["purchases-0-1", "purchases-0-2"];
    let positions = async || {
        let positions = dead_letters.list().map_ok(|one| one.position);
        positions.try_collect::<Vec<_>>().await.unwrap()
    };

    assert_eq!(positions().await, [first, second]);
    let one = dead_letters.get(second).await.unwrap().unwrap();
    assert_eq!((&*one.reason, one.attempts), ("parked", 2));
    for (request, expected) in [
        (dead_letters.clone().dry_run(), Replayed),
        (dead_letters.clone(), Replayed),
        (dead_letters.clone(), Unknown),
    ] {
        let results = request.replay([first, "purchases-0-9"]).await.unwrap();
        let statuses = results.iter().map(|one| one.status);
        assert!(statuses.eq([expected, Unknown]), "{results:?}");
    }
    let results = dead_letters.discard([second]).await.unwrap();
    assert_eq!(results[0].status, Discarded);
    assert_eq!(positions().await, Vec::<String>::new());
    // What is no position is not sent.
    assert_eq!(dead_letters.replay(["x"]).await.unwrap_err().status(), None);
}
