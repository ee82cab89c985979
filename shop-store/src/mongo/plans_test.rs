//! A query examines only the documents that it returns. Only a server that
//! explains its plans can show that.

use bson::{Bson, Document, doc};
use shop_core::conformance::skip;
use shop_core::ports::{
    ListOrder, PageLimit, PageRequest, PurchaseQuery, PurchaseStore, Selector, TimeRange, TotalsRequest,
};
use shop_core::{Clock as _, NewPurchase, Purchase, SystemClock};

use super::fixture::{MongoFixture, environment};
use super::{MongoStore, select, totals};

/// The number of users.
const USERS: i64 = 10;
/// The purchases of a user, and the minimum number of documents that a page reads.
const OF_A_USER: i64 = 100;

fn purchases() -> Vec<Purchase> {
    let purchase = |number| {
        let (user, name) = (format!("u{}", number % USERS), format!("name {}", number % USERS));
        let new = NewPurchase::of(user).named(name).priced("1.5").unwrap();
        new.into_purchase(SystemClock.now(), || SystemClock.fresh_id())
    };
    (0..USERS * OF_A_USER).map(purchase).collect()
}

/// The number of documents that the server examines for `command`. `None` if it explains no plans.
async fn examined(store: &MongoStore, command: Document) -> Option<i64> {
    let database = store.connection.database.clone();
    let explain = doc! { "explain": command, "verbosity": "executionStats" };
    match database.run_command(explain).await {
        Ok(plan) => Some(most_examined(&Bson::Document(plan)).expect("a plan that was executed")),
        Err(error) => {
            let why = format!("the server of the tests explains no plans: {error}");
            skip("plans", environment("SHOP_TEST_REQUIRE").as_deref(), &why);
            None
        }
    }
}

/// The total of the plan: for a pipeline it is nested more deeply than for a query.
fn most_examined(plan: &Bson) -> Option<i64> {
    match plan {
        Bson::Document(plan) => {
            let here = plan.get("totalDocsExamined").and_then(|count| match count {
                Bson::Int32(count) => Some(i64::from(*count)),
                Bson::Int64(count) => Some(*count),
                _ => None,
            });
            here.into_iter().chain(plan.values().filter_map(most_examined)).max()
        }
        Bson::Array(parts) => parts.iter().filter_map(most_examined).max(),
        _ => None,
    }
}

/// The commands for the first two pages in both orders, and for the sum.
async fn commands(store: &MongoStore, selector: &Selector) -> Vec<Document> {
    let collection = store.connection.collection.name();
    let filter = totals::filter(selector, TimeRange::ALL);
    let pipeline = totals::pipeline(filter, selector, &TotalsRequest::default()).to_vec();
    let mut commands = vec![doc! { "aggregate": collection, "pipeline": pipeline, "cursor": {} }];
    for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
        let first = PageRequest::first(order, PageLimit::new(50).unwrap());
        let next = store.page(selector, &first).await.unwrap().next.unwrap();
        for request in [first.clone(), first.with_cursor(next)] {
            let place = select::start(selector, &request).unwrap();
            let (filter, sort) = select::query(selector, &request, &place);
            commands.push(doc! { "find": collection, "filter": filter, "sort": sort, "limit": OF_A_USER });
        }
    }
    commands
}

#[tokio::test]
async fn queries_examine_only_matching_documents() {
    let Some(fixture) = MongoFixture::on_test_server().await else { return };
    let store = fixture.mongo();
    store.insert(purchases().into()).await.unwrap();
    let all = commands(&store, &Selector::All).await.into_iter().skip(1);
    let slice =
        doc! { "$and": [select::purchases_filter(), select::after_id(&Bson::String("1".to_owned()), "$gt")] };
    let collection = store.connection.collection.name();
    let scan = doc! { "find": collection, "filter": slice, "sort": { "_id": 1 }, "limit": OF_A_USER };
    for command in all.chain([scan]) {
        let Some(count) = examined(&store, command.clone()).await else { return };
        assert!(count <= OF_A_USER, "{count} documents of {} for {command}", USERS * OF_A_USER);
    }
    for selector in [Selector::User("u3".parse().unwrap()), Selector::Name("name 3".parse().unwrap())] {
        for command in commands(&store, &selector).await {
            let Some(count) = examined(&store, command.clone()).await else { return };
            assert!(count <= OF_A_USER, "{count} documents of {} for {command}", USERS * OF_A_USER);
        }
    }
}
