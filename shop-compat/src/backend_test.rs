//! The decoders of a backend, in every part of it that reads the log.

use std::time::Duration;

use shop_core::StreamExt as _;
use shop_core::erase::Erase;
use shop_core::ingest::IngestOptions;
use shop_core::log::{Log as _, LogExt as _, LogRecord};
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::operations::Operations;
use shop_core::ports::{PurchaseEvents as _, Selector};
use shop_core::shop::Pipeline;
use shop_core::verify::VerifyOptions;

use crate::records::SystemRecordDecoder;

fn record(value: &'static str) -> LogRecord {
    LogRecord::new(
        0,
        "2026-03-01T09:00:00Z".parse().unwrap(),
        Some(value.into()),
    )
}

#[tokio::test]
async fn all_parts_of_a_backend_decode_a_record_alike() {
    let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
    let without_decoder = log
        .backend("group")
        .with_sink(log.sink())
        .with(store.backend());
    let backend = without_decoder.clone().with_decoder(SystemRecordDecoder);
    let pipeline = Pipeline::start(backend, IngestOptions::default()).unwrap();
    let user = Selector::User("5".parse().unwrap());
    let mut events = pipeline.feed().events(&user, None).await.unwrap();

    // Ingest stores the purchase, and the feed yields it.
    let value =
        r#"{"username":"joe","userId":5,"price":"0.30000000000000004","timestamp":1714557600}"#;
    let position = log.append(record(value));
    let stored = events.next().await.unwrap().unwrap().purchase;
    assert_eq!(stored.price.to_string(), "0.3");
    assert_eq!(stored.timestamp.to_string(), "2024-05-01T10:00:00.000Z");
    assert_eq!(store.all(), [stored]);

    // The operations compare it with the same purchase.
    let operations = Operations::new(pipeline.backend());
    let options = VerifyOptions::default().quiet_period(Duration::ZERO);
    let report = operations.verify(options.clone(), |_| ()).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    let parked = operations
        .forecast_park(std::slice::from_ref(&position))
        .await
        .unwrap();
    assert_eq!(parked.problems, [format!("{position} is stored")]);
    let dead_letter = log.parked_dead_letter(&position, "by hand").await.unwrap();
    let forecast = operations.forecast_replay(&dead_letter.unwrap()).await;
    assert_eq!(forecast.unwrap(), None);

    // Without the decoder, the record is no purchase.
    let report = Operations::new(without_decoder)
        .verify(options, |_| ())
        .await;
    assert_eq!(report.unwrap().missing.count, 1);
}

#[tokio::test]
async fn a_dead_letter_that_names_a_user_in_any_spelling_is_erased_with_the_user() {
    let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
    let position = log.append(record(r#"{"userID":"u9"}"#));
    let dead_letter = log.parked_dead_letter(&position, "by hand").await.unwrap();
    log.put_dead_letters(&[dead_letter.unwrap()]).await.unwrap();

    let backend = log.backend("group").with(store.backend());
    for (backend, count) in [
        (backend.clone(), 0),
        (backend.with_decoder(SystemRecordDecoder), 1),
    ] {
        let mut erase = Erase::new("u9".parse().unwrap(), |_progress| ());
        let operations = Operations::new(backend);
        let erased = operations.erase_purchases(&mut erase, "memory").await;
        erased.unwrap();
        assert_eq!(erase.report.dead_letters, count);
    }
}
