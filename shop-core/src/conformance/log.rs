//! The tests of a log's sinks: [`PurchaseSink`].

use futures_util::FutureExt;

pub use super::log_gaps::*;
pub use super::log_source::*;
use super::prelude::*;
use crate::RequestContext;
use crate::ports::{Durability, PurchaseSink, Receipt};
use crate::record::header;

/// Returns whether a receipt with the durability `stated` keeps what the sink has promised.
fn is_as_durable(stated: Durability, promised: Durability) -> bool {
    match (promised, stated) {
        (Durability::Memory, _) => true,
        (Durability::Broker { replicas: promised }, Durability::Broker { replicas }) => {
            replicas >= promised
        }
        _ => stated == promised,
    }
}

/// Publishes a batch, all of which must succeed.
#[track_caller]
fn publish_many(
    sink: &dyn PurchaseSink,
    purchases: &[Purchase],
) -> impl Future<Output = Vec<Receipt>> {
    succeed(async move { sink.publish_many(purchases).await.into_iter().collect() })
}

/// Every published purchase has a receipt with its id, a position of its own and at least the
/// durability that the sink has promised, singly and in a batch. Each is delivered, in the order of
/// its partition, in batches of one partition and epoch that have at most the configured records.
pub async fn published_records_are_delivered(fixture: &dyn LogFixture) {
    let sink = fixture.sink().await;
    let source = fixture.source(GROUP).await;
    let promised = sink.info().durability;
    let all = purchases(0..250);
    let (single, batch) = all.split_at(10);
    let mut receipts = publish_many(&*sink, &[]).await;
    for purchase in single {
        receipts.push(succeed(sink.publish(purchase)).await);
    }
    receipts.extend(publish_many(&*sink, batch).await);

    assert_eq!(receipts.len(), all.len());
    let mut places = BTreeSet::new();
    for (receipt, purchase) in receipts.into_iter().zip(&all) {
        assert_eq!(receipt.id, purchase.id);
        assert!(
            is_as_durable(receipt.durability, promised),
            "{receipt:?}, but promised {promised:?}"
        );
        let is_new = receipt
            .position
            .is_none_or(|position| places.insert(position));
        assert!(is_new, "no two records have the same position");
    }

    let batches = read(&*source, 250).await;
    assert_eq!(ids(&batches), ids_of(&all));
    let mut offsets = BTreeMap::new();
    for batch in &batches {
        assert!(
            (1..=BATCH_RECORDS).contains(&batch.records.len()),
            "{batch:?}"
        );
        for record in &batch.records {
            let before = offsets.insert(
                (batch.partition.index, batch.partition.epoch),
                record.offset,
            );
            assert!(
                before.is_none_or(|before| before < record.offset),
                "offsets rise"
            );
        }
    }
    succeed(sink.check()).await;
    succeed(fixture.log().check()).await;
}

/// Publishing a purchase again, in the same batch or later, may append it twice, with the same id.
pub async fn publishing_again_keeps_the_id(fixture: &dyn LogFixture) {
    let sink = fixture.sink().await;
    let batch = [1, 2, 1, 1].map(purchase);
    for _ in 0..2 {
        let receipts = publish_many(&*sink, &batch).await;
        let published: Vec<_> = receipts.iter().map(|receipt| receipt.id).collect();
        assert_eq!(published, [1, 2, 1, 1].map(id));
    }
    publish(fixture, &batch).await;
    let source = fixture.source(GROUP).await;
    assert_eq!(read_until(&*source, &ids_from(1..3)).await, ids_from(1..3));
}

/// The record contains user, name, price with its scale, and time; its headers contain the
/// request's context.
pub async fn published_records_are_unchanged(fixture: &dyn LogFixture) {
    let mut published = purchase_of("ünï \"quoted\" 😀", 7);
    published.price = price("1195.30");
    let context = RequestContext::new(
        Some("request-7".into()),
        Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    );
    published.context = Some(Box::new(context.clone()));
    publish(fixture, std::slice::from_ref(&published)).await;

    let batches = read_as_member(fixture, GROUP, 1).await;
    let record = &batches[0].records[0];
    let delivered = decode(record, &batches[0].partition).expect("a purchase");
    assert_eq!(delivered.price.to_string(), "1195.30", "the scale is kept");
    published.context = None;
    assert_eq!(delivered, published);
    for (name, expected) in [
        (header::REQUEST_ID, context.request_id),
        (header::TRACEPARENT, context.traceparent),
    ] {
        let value = record.headers.get(name);
        assert_eq!(value, expected.as_deref().map(str::as_bytes), "{name}");
    }
}

/// Purchases of one user are delivered in the order in which they were acknowledged, and in the
/// order of their batch, also if other users buy at the same time.
pub async fn one_users_records_keep_their_order(fixture: &dyn LogFixture) {
    let sink = fixture.sink().await;
    let users = (0..4_u64).map(|user| {
        let sink = Arc::clone(&sink);
        tokio::spawn(async move {
            let mine = purchases_of(&format!("user-{user}"), user * 100..user * 100 + 40);
            let (single, batch) = mine.split_at(15);
            for purchase in single {
                succeed(sink.publish(purchase)).await;
            }
            publish_many(&*sink, batch).await;
        })
    });
    for user in join_all(users).await {
        user.expect("the purchases of a user");
    }

    let mut newest = BTreeMap::new();
    for purchase in decoded(&read_as_member(fixture, GROUP, 160).await) {
        let before = newest.insert(purchase.user_id, purchase.id);
        assert!(
            before.is_none_or(|before| before < purchase.id),
            "{before:?} before {:?}",
            purchase.id
        );
    }
}

/// A publish that was polled once and then dropped still completes. Each purchase of such a batch
/// is published or not, and the batch can be published again.
pub async fn a_dropped_publish_may_still_complete(fixture: &dyn LogFixture) {
    let sink = fixture.sink().await;
    let source = fixture.source(GROUP).await;
    for purchase in purchases(0..10) {
        if let Some(receipt) = sink.publish(&purchase).now_or_never() {
            receipt.expect("publish");
        }
    }
    assert_eq!(ids(&read(&*source, 10).await), ids_from(0..10));

    let batch = purchases(10..40);
    let dropped = sink.publish_many(&batch).now_or_never();
    assert!(dropped.is_none_or(|receipts| receipts.iter().all(Result::is_ok)));
    publish_many(&*sink, &batch).await;
    assert_eq!(
        read_until(&*source, &ids_from(10..40)).await,
        ids_from(10..40)
    );
}

/// A purchase that is too large for some logs does not affect the others of its batch.
pub async fn a_failed_purchase_does_not_fail_its_batch(fixture: &dyn LogFixture) {
    let mut batch = purchases(0..20);
    let huge = "x".repeat(9 << 20);
    batch[7].context = Some(Box::new(RequestContext::new(Some(huge), None)));
    let sink = fixture.sink().await;
    let receipts = soon("publish", sink.publish_many(&batch)).await;
    let mut delivered = BTreeSet::new();
    for (receipt, purchase) in receipts.into_iter().zip(&batch) {
        match receipt {
            Ok(receipt) => {
                assert_eq!(receipt.id, purchase.id);
                delivered.insert(purchase.id);
            }
            Err(error) => assert_eq!(purchase.id, id(7), "{error}"),
        }
    }
    assert!(delivered.is_subset(&ids(&read_as_member(fixture, GROUP, delivered.len()).await)));
}

/// A closed sink rejects purchases, and acknowledged ones stay. Another sink still publishes.
pub async fn a_closed_sink_rejects_publishes(fixture: &dyn LogFixture) {
    let sink = fixture.sink().await;
    succeed(sink.publish(&purchase(0))).await;
    succeed(sink.close(DEADLINE)).await;
    let mut refused = vec![sink.publish(&purchase(1)).await];
    refused.extend(soon("publish", sink.publish_many(&purchases(1..3))).await);
    assert_eq!(refused.len(), 3);
    for result in refused {
        assert_eq!(
            result.expect_err("the sink is closed").kind(),
            ErrorKind::Closed
        );
    }
    publish(fixture, &[purchase(5)]).await;
    assert_eq!(
        ids(&read_as_member(fixture, GROUP, 2).await),
        [0, 5].map(id).into()
    );
}
