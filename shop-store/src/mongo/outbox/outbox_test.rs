//! Events in documents of an embedder.

use bson::doc;
use shop_core::ErrorKind;
use shop_core::conformance::OutboxFixture;
use shop_core::outbox::Outbox;

use crate::mongo::fixture::OwnCollection;

#[tokio::test]
async fn an_update_keeps_the_pending_events_of_its_document() {
    let Some(own) = OwnCollection::on_test_server().await else { return };
    for _ in 0..3 {
        own.write().await;
    }
    let all = own.outbox.pending(10).await.unwrap();
    assert_eq!(all.iter().map(|entry| entry.id).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(own.outbox.backlog().await.unwrap().entries, 3);
    own.outbox.delete(&[1]).await.unwrap();
    let row = own.rows.find_one(doc! { "_id": 0 }).await.unwrap().unwrap();
    assert_eq!(row.get_array("outbox").unwrap().len(), 1);
    assert_eq!(row.get_i64("changed").unwrap(), 2, "only the event is removed");
}

#[tokio::test]
async fn an_unwritten_entry_leaves_a_gap() {
    let Some(own) = OwnCollection::on_test_server().await else { return };
    let event = shop_core::users::User::new(
        shop_core::users::UserNumber::FIRST,
        "ada@example.com".parse().unwrap(),
        "Ada".parse().unwrap(),
    );
    own.outbox.entry(&event).await.unwrap();
    own.write().await;
    let all = own.outbox.pending(10).await.unwrap();
    assert_eq!(all.iter().map(|entry| entry.id).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn an_unreadable_event_is_reported_with_its_document() {
    let Some(own) = OwnCollection::on_test_server().await else { return };
    own.rows.insert_one(doc! { "_id": "order-7", "outbox": [{ "number": 1 }] }).await.unwrap();
    let error = own.outbox.pending(10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("order-7") || format!("{error:?}").contains("order-7"), "{error:?}");
}
