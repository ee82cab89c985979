//! Events of purchases, across processes.

use futures_util::StreamExt as _;
use shop_client::{PurchaseEvents as _, Selector};

use crate::prelude::*;

/// Facing follows the log in the folder, and queries management for stored purchases and the position of ingest.
/// Management uses another group than the setting of facing.
#[tokio::test]
async fn facing_sends_what_management_has_ingested() {
    let folder = tempfile::tempdir().unwrap();
    let group = [("KAFKA_GROUP_ID", "another-group")];
    let management = Process::start(Binary::Management, folder.path(), &group).await;
    let settings = [("MANAGEMENT_URL", &*management.url)];
    let facing = Process::start(Binary::Facing, folder.path(), &settings).await;
    let client = facing.client();
    let selector = Selector::Name("ada".parse().unwrap());
    let mut events = client.events(&selector, None).await.unwrap();
    for _ in 0..20 {
        let bought = client.shop().buy(purchase_of("u1")).await.unwrap();
        let event = soon("event", events.next()).await.unwrap().unwrap();
        assert_eq!(event.purchase.id, bought.purchase.id);
    }
    // Open streams end with the service.
    facing.stop().await;
    management.stop().await;
}
