//! Documents of the replaced systems in MongoDB: listed correctly before and after `migrate`.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

#[path = "../../../shop-store/tests/support/container.rs"]
mod container;
#[path = "../../../shop-store/tests/support/faulty_server.rs"]
mod faulty_server;
#[path = "../../../shop-store/tests/support/mongo.rs"]
mod fixture;
mod migration;
mod reads;

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::Document;
use futures_util::TryStreamExt as _;
use shop_compat::documents::SystemDocumentDecoder;
use shop_core::conformance::{erase_suite, refund_suite, store_suite};
use shop_core::ports::{
    ListOrder, PageLimit, PageRequest, PurchaseQuery, PurchaseQueryExt as _, Selector,
};
use shop_core::{Purchase, PurchaseId};
use shop_store::mongo::MongoStore;

use fixture::MongoFixture;

store_suite!(mongo_store, if with_decoder());
erase_suite!(mongo_erase, if with_decoder());
refund_suite!(mongo_refunds, if with_decoder());

/// A store with the decoder, on the server of the tests.
async fn with_decoder() -> Option<MongoFixture> {
    let mut fixture = MongoFixture::on_test_server().await?;
    fixture.store = fixture.open_with_decoder(SystemDocumentDecoder).await;
    Some(fixture)
}

/// A store with the decoder and [`foreign_documents`].
async fn filled() -> Option<MongoFixture> {
    let fixture = with_decoder().await?;
    fixture.insert_documents(foreign_documents()).await;
    Some(fixture)
}

/// Documents as the replaced systems write them, and one of ours, all at 2026-03-01T09:00:00Z and some seconds. Six of
/// them are purchases of u1.
fn foreign_documents() -> impl Iterator<Item = Document> {
    let text = include_str!("documents.json");
    let documents: BTreeMap<String, Document> = serde_json::from_str(text).unwrap();
    documents.into_values()
}

async fn listed(store: &MongoStore, order: ListOrder, limit: u16) -> Vec<Purchase> {
    let store: Arc<dyn PurchaseQuery> = Arc::new(store.clone());
    let first = PageRequest::first(order, PageLimit::new(limit).unwrap());
    let pages: Vec<_> = store.pages(user("u1"), first).try_collect().await.unwrap();
    assert!(
        pages
            .iter()
            .all(|page| !page.items.is_empty() && page.items.len() <= usize::from(limit))
    );
    pages.into_iter().flat_map(|page| page.items).collect()
}

fn id(number: u8) -> PurchaseId {
    PurchaseId::from_object_id([number; 12])
}

fn user(id: &str) -> Selector {
    Selector::User(id.parse().unwrap())
}

/// Asserts the sums of the readable documents of `u1`.
async fn assert_sums_of_u1(store: &MongoStore) {
    let summary = store.summary(&user("u1")).await.unwrap();
    let total = summary.total_spent.to_string();
    assert_eq!((summary.count, &*total), (6, "1247.59"));
}
