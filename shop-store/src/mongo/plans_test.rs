//! A query examines only the documents that it returns. Only a server that
//! explains its plans can show that.

use bson::{Bson, Document, doc};

use super::decoder_fixture::Cents;
use super::fixture::{MongoFixture, skipped};
use super::reader::DocumentReader;
use super::select::RangePosition;
use super::{MongoStore, scan, select, totals};
use crate::server_fixture::*;

/// The number of users.
const USERS: i64 = 10;
/// The purchases of a user, and the minimum number of documents that a page reads.
const OF_A_USER: i64 = 100;

/// The number of documents that the server examines for `command`. `None` if it explains no plans.
pub(super) async fn examined(store: &MongoStore, command: Document) -> Option<i64> {
    let database = store.connection.database.clone();
    let explain = doc! { "explain": command, "verbosity": "executionStats" };
    match database.run_command(explain).await {
        Ok(plan) => Some(most_examined(&Bson::Document(plan)).expect("a plan that was executed")),
        Err(error) => {
            let why = format!("the server of the tests explains no plans: {}", error.kind);
            skipped("plans", &why);
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
            here.into_iter()
                .chain(plan.values().filter_map(most_examined))
                .max()
        }
        Bson::Array(parts) => parts.iter().filter_map(most_examined).max(),
        _ => None,
    }
}

/// The commands for the first pages in both orders. With a decoder there is a range of documents without a date.
async fn pages(store: &MongoStore, selector: &Selector) -> Vec<Document> {
    let collection = store.connection.collection.name();
    let reader = &store.connection.reader;
    let with_decoder = &Arc::new(DocumentReader::new(Some(Arc::new(Cents))));
    let mut commands = Vec::new();
    for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
        let mut request = PageRequest::first(order, PageLimit::new(45).unwrap());
        for _ in 0..3 {
            let start = select::page_start(selector, &request, reader).unwrap();
            // What a page reads that is not full.
            for (position, reader) in [
                (start.clone(), reader),
                (start, with_decoder),
                (RangePosition::Undated(None), with_decoder),
            ] {
                let (filters, sort) = select::range_queries(selector, &request, &position, reader);
                let find = |filter| doc! { "find": collection, "filter": filter, "sort": sort.clone(), "limit": OF_A_USER };
                commands.extend(filters.into_iter().map(find));
            }
            let Some(next) = store.page(selector, &request).await.unwrap().next else {
                break;
            };
            request = request.with_cursor(next);
        }
    }
    commands
}

/// The command for the sum.
fn sum(store: &MongoStore, selector: &Selector) -> Document {
    let filter = totals::totals_filter(selector, TimeRange::ALL, &store.connection.reader);
    let pipeline = totals::totals_pipeline(filter, selector, &TotalsRequest::default()).to_vec();
    doc! { "aggregate": store.connection.collection.name(), "pipeline": pipeline, "cursor": {} }
}

/// The command for the slice of a scan.
fn slice(store: &MongoStore, from: &str) -> Document {
    let collection = store.connection.collection.name();
    let filter = scan::slice_filter(from).unwrap().0;
    doc! { "find": collection, "filter": filter, "sort": { "_id": 1 }, "limit": OF_A_USER }
}

#[tokio::test]
async fn queries_examine_only_matching_documents() {
    for has_one_time in [false, true] {
        let Some(fixture) = MongoFixture::on_test_server().await else {
            return;
        };
        let store = fixture.mongo();
        let start = SystemClock.now().as_millis();
        let mut purchases = purchases_of(USERS, OF_A_USER, |number| {
            let before = if has_one_time { 0 } else { number };
            Timestamp::from_millis(start - before).unwrap()
        });
        purchases.sort_by_key(|purchase| purchase.id);
        let middle = format!("s{}", purchases[purchases.len() / 2].id);
        store.insert(purchases.into()).await.unwrap();
        let mut commands = pages(&store, &Selector::All).await;
        commands.extend([&*middle, scan::FIRST_OBJECT_ID].map(|from| slice(&store, from)));
        let reference = Selector::Reference("r3".parse().unwrap(), None);
        for selector in [
            Selector::User("u3".parse().unwrap()),
            Selector::Name("name 3".parse().unwrap()),
            reference,
        ] {
            commands.push(sum(&store, &selector));
            commands.extend(pages(&store, &selector).await);
        }
        for command in commands {
            let Some(count) = examined(&store, command.clone()).await else {
                return;
            };
            let all = USERS * OF_A_USER;
            assert!(
                count <= OF_A_USER,
                "{count} documents of {all}, at one time: {has_one_time}, for {command}"
            );
        }
    }
}
