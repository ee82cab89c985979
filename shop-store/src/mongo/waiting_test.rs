//! Refunds that wait for other purchases cost an insert or a look-up nothing, and are settled together.

use bson::{Document, doc};
use futures_util::TryStreamExt as _;
use shop_core::PurchaseId;
use shop_core::ports::WaitingRefunds as _;
use tokio::sync::Barrier;

use super::MongoStore;
use super::document::id_value;
use super::faults_test::Faulty;
use super::faulty_server::Fault;
use super::fixture::MongoFixture;
use super::plans_test::examined;
use super::waiting::WaitingFilter;
use crate::server_fixture::*;

/// One filter of each kind. Only `Oldest` and `ByTime` match a refund of other purchases and users,
/// the last of which has the number `last_sequence`.
fn every_filter<'a>(
    others: &'a [PurchaseId],
    user: &'a shop_core::UserId,
    last_sequence: u64,
) -> Vec<WaitingFilter<'a>> {
    let mut filters = vec![WaitingFilter::OfPurchases(others)];
    // A new kind of filter does not compile here without an example.
    while let Some(filter) = filters.last() {
        let next = match filter {
            WaitingFilter::OfPurchases(_) => WaitingFilter::WithId(&others[0]),
            WaitingFilter::WithId(_) => WaitingFilter::InvolvingIds(others),
            WaitingFilter::InvolvingIds(_) => WaitingFilter::OfUser(user),
            WaitingFilter::OfUser(_) => WaitingFilter::Before(Timestamp::MIN),
            WaitingFilter::Before(_) => WaitingFilter::Refused,
            WaitingFilter::Refused => WaitingFilter::WithSequences(&[1, 2]),
            WaitingFilter::WithSequences(_) => WaitingFilter::AfterSequence(last_sequence),
            WaitingFilter::AfterSequence(_) => WaitingFilter::NotRefused,
            WaitingFilter::NotRefused => WaitingFilter::All,
            WaitingFilter::All => break,
        };
        filters.push(next);
    }
    filters
}

/// The first member of each part of `condition`, for which an index is needed.
fn leading_members(condition: &Document) -> Vec<String> {
    let Ok(parts) = condition.get_array("$or") else {
        return condition.keys().take(1).cloned().collect();
    };
    let parts = parts.iter().filter_map(|part| part.as_document());
    parts.flat_map(leading_members).collect()
}

/// The first member of each index of the collection of waiting refunds.
async fn indexed_members(store: &MongoStore) -> Vec<String> {
    let Ok(indexes) = store.waiting_refunds.collection().list_indexes().await else {
        return Vec::new();
    };
    let indexes: Vec<mongodb::IndexModel> = indexes.try_collect().await.unwrap();
    indexes
        .iter()
        .filter_map(|index| index.keys.keys().next().cloned())
        .collect()
}

#[tokio::test]
async fn every_filter_has_an_index_and_examines_only_what_matches() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let store = fixture.mongo();
    let waiting = refunds_of(&purchases(5_000));
    store.insert(waiting.into()).await.unwrap();
    let slice = store
        .waiting_refunds
        .find_all(WaitingFilter::All)
        .await
        .unwrap();
    let last_sequence = slice.last().unwrap().sequence;

    let others: Vec<PurchaseId> = purchases(2).iter().map(|purchase| purchase.id).collect();
    let user = "nobody".parse().unwrap();
    let filters = every_filter(&others, &user, last_sequence);
    let indexed = indexed_members(&store).await;
    for filter in &filters {
        let leading = leading_members(&filter.condition());
        for member in &leading {
            assert!(indexed.contains(member), "{filter:?}: {indexed:?}");
        }
        if let Some(order) = filter.order() {
            assert_eq!(leading_members(&order), leading, "{filter:?}");
        }
    }

    let collection = store.waiting_refunds.collection();
    for filter in filters {
        let mut command = doc! { "find": collection.name(), "filter": filter.condition() };
        if let Some(order) = filter.order() {
            command.extend(doc! { "sort": order, "limit": 1 });
        }
        let Some(count) = examined(&store, command).await else {
            return;
        };
        let expected = match filter {
            WaitingFilter::All => 5_000,
            WaitingFilter::NotRefused => 1,
            _ => 0,
        };
        assert_eq!(count, expected, "{filter:?}");
    }
}

/// What a command counts is in an index.
#[tokio::test]
async fn a_summary_examines_no_document_but_the_oldest() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let store = fixture.mongo();
    store
        .insert(refunds_of(&purchases(100)).into())
        .await
        .unwrap();
    let collection = store.waiting_refunds.collection();
    for filter in [WaitingFilter::All, WaitingFilter::Refused] {
        let stages = [
            doc! { "$match": filter.condition() },
            doc! { "$group": { "_id": 1, "n": { "$sum": 1 } } },
        ];
        let count =
            doc! { "aggregate": collection.name(), "pipeline": stages.to_vec(), "cursor": {} };
        if let Some(count) = examined(&store, count).await {
            assert_eq!(count, 0, "{filter:?}");
        }
    }
}

#[tokio::test]
async fn a_sweep_creates_the_indexes_that_are_missing() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let store = fixture.mongo();
    store
        .insert(refunds_of(&purchases(1)).into())
        .await
        .unwrap();
    // As a version without these indexes has left it.
    let collection = store.waiting_refunds.collection();
    let document = collection.find_one(doc! {}).await.unwrap().unwrap();
    collection.drop().await.unwrap();
    collection.insert_one(document).await.unwrap();
    let options =
        super::MongoStoreOptions::new(fixture.uri()).database(Some(fixture.database.clone()));
    let other = MongoStore::open(options).await.unwrap();
    assert_eq!(indexed_members(&store).await.len(), 1);
    other.apply_waiting(&[], 10).await.unwrap();
    assert_eq!(indexed_members(&store).await.len(), 6);

    // A collection that was dropped has its indexes again with the next refund.
    collection.drop().await.unwrap();
    other.apply_waiting(&[], 10).await.unwrap();
    other
        .insert(refunds_of(&purchases(1)).into())
        .await
        .unwrap();
    assert_eq!(indexed_members(&store).await.len(), 6);
}

/// The number of documents of the collection of purchases.
async fn count_documents(store: &MongoStore) -> u64 {
    let collection = &store.connection.collection;
    collection.count_documents(doc! {}).await.unwrap()
}

/// The sum of the numbers of commands whose name and collection have this beginning.
fn commands(counts: &std::collections::BTreeMap<String, usize>, beginning: &str) -> usize {
    let matching = counts
        .iter()
        .filter(|(name, _)| name.starts_with(beginning));
    matching.map(|(_, count)| count).sum()
}

#[tokio::test]
async fn waiting_refunds_are_settled_by_a_few_commands() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    let store = &faulty.store;
    let bought = purchases(400);
    store.insert(refunds_of(&bought).into()).await.unwrap();

    faulty.server.take_counts();
    store.insert(bought.into()).await.unwrap();
    let counts = faulty.server.take_counts();
    for (beginning, most) in [("insert", 3), ("delete", 2), ("update", 0), ("find", 4)] {
        assert!(commands(&counts, beginning) <= most, "{counts:?}");
    }
    assert_eq!(count_documents(&faulty.direct.mongo()).await, 800);
    assert_eq!(store.waiting_summary().await.unwrap().count, 0);

    // Refused ones as well, by one update for each reason.
    let bought = purchases(100);
    let mut refunds = refunds_of(&bought);
    for refund in &mut refunds {
        refund.price = "1000".parse::<shop_core::Price>().unwrap().negated();
    }
    store.insert(refunds.into()).await.unwrap();
    faulty.server.take_counts();
    store.insert(bought.into()).await.unwrap();
    let counts = faulty.server.take_counts();
    assert_eq!(commands(&counts, "update"), 1, "{counts:?}");
    assert_eq!(store.apply_waiting(&[], 1_000).await.unwrap().len(), 100);
}

/// A process may end between the insert of refunds and their deletion from those that wait.
#[tokio::test]
async fn a_settlement_that_ends_midway_loses_and_doubles_nothing() {
    for command in ["insert", "delete", "update"] {
        let Some(faulty) = Faulty::start(A_MINUTE).await else {
            return;
        };
        let direct = faulty.direct.mongo();
        let bought = purchases(20);
        let mut refunds = refunds_of(&bought);
        let mut second = refunds[7].clone();
        second.price = "0.5".parse::<shop_core::Price>().unwrap().negated();
        refunds.push(second.clone());
        direct.insert(refunds.clone().into()).await.unwrap();

        // The first insert is of the purchases.
        let first = if command == "insert" {
            vec![Fault::Late(Duration::ZERO)]
        } else {
            vec![]
        };
        faulty
            .server
            .next(command, first.into_iter().chain([Fault::NotArrived]));
        faulty
            .store
            .insert(bought.clone().into())
            .await
            .unwrap_err();
        assert!(faulty.server.has_failed(), "{command}");

        for _ in 0..2 {
            let refused = direct.apply_waiting(&[], 10).await.unwrap();
            let refused: Vec<_> = refused.iter().map(|entry| &entry.refund.price).collect();
            assert_eq!(refused, [&second.price], "{command}");
        }
        assert_eq!(count_documents(&direct).await, 40, "{command}");
        let summary = direct.waiting_summary().await.unwrap();
        assert_eq!(summary.count, 0, "{command}");
        for refund in &refunds[..20] {
            let id = id_value(&refund.id);
            assert!(direct.connection.find_by_id(id).await.unwrap().is_some());
        }
    }
}

/// A refund that begins to wait while a sweep finds none is not overlooked.
#[tokio::test]
async fn a_sweep_hides_no_refund_that_begins_to_wait_meanwhile() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    let store = &faulty.store;
    let bought = purchases(1);
    let barrier = Arc::new(Barrier::new(2));
    let held = Fault::Held(Arc::clone(&barrier));
    faulty.server.next("find", [held]);
    let sweep = tokio::spawn({
        let store = store.clone();
        async move { store.apply_waiting(&[], 10).await }
    });
    barrier.wait().await;
    store.insert(refunds_of(&bought).into()).await.unwrap();
    barrier.wait().await;
    sweep.await.unwrap().unwrap();

    store.insert(bought.into()).await.unwrap();
    assert_eq!(count_documents(&faulty.direct.mongo()).await, 2);
}
