//! A shop in the files of a folder.

use std::path::Path;
use std::time::Duration;

use futures_util::{TryStreamExt, stream};
use shop_core::{ErrorKind, NewPurchase, Shop};

use super::{EmbeddedShop, EmbeddedShopOptions};

const TIMEOUT: Duration = Duration::from_secs(20);

fn new(price: &str) -> NewPurchase {
    NewPurchase::of("u1").named("ada").priced(price).unwrap()
}

async fn count(shop: &Shop) -> u64 {
    shop.user("u1".parse().unwrap()).summary().await.unwrap().count
}

fn has(folder: &Path, file: &str) -> bool {
    folder.join(file).exists()
}

#[tokio::test]
async fn purchases_survive_close_and_open() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("data");
    let embedded = EmbeddedShop::open(&folder).await.unwrap();
    let shop = embedded.shop();
    let bought = shop.buy(new("29.99")).await.unwrap();
    let user = shop.user("u1".parse().unwrap()).waiting_for(&bought.receipt);
    assert_eq!(
        user.purchases().try_collect::<Vec<_>>().await.unwrap(),
        std::slice::from_ref(&bought.purchase)
    );
    assert_eq!(embedded.monitor().status().counters.inserted, 0, "it was stored when it was published");
    shop.check().await.unwrap();
    drop((shop, user));
    embedded.close(TIMEOUT).await.unwrap();
    assert!(!has(&folder, "shop.db-wal"), "the file is closed");

    let again = EmbeddedShop::open(&folder).await.unwrap();
    assert_eq!(again.shop().get(&bought.receipt.id).await.unwrap(), Some(bought.purchase));
    again.close(TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn a_drop_without_close_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedShop::open(folder.path()).await.unwrap();
    let orders = stream::iter((0..200).map(|_| new("1")));
    let bought: Vec<_> = embedded.shop().buy_all(orders, 64).try_collect().await.unwrap();
    drop(embedded);

    let again = EmbeddedShop::open(folder.path()).await.unwrap();
    for bought in &bought {
        let user = again.shop().user("u1".parse().unwrap()).waiting_for(&bought.receipt);
        user.summary().await.unwrap();
    }
    assert_eq!(count(&again.shop()).await, 200);
    again.close(TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn a_folder_is_open_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = EmbeddedShop::open(folder.path()).await.unwrap();
    let error = EmbeddedShop::open(folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("another EmbeddedShop has this folder open"), "{error}");
    first.shop().buy(new("1")).await.unwrap();
    first.close(TIMEOUT).await.unwrap();
    drop(EmbeddedShop::open(folder.path()).await.unwrap());
}

#[tokio::test]
async fn a_shop_in_use_is_closed_for_purchases_only() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedShop::open_with(folder.path(), EmbeddedShopOptions::default()).await.unwrap();
    let shop = embedded.shop();
    let bought = shop.buy(new("1")).await.unwrap();
    shop.user("u1".parse().unwrap()).waiting_for(&bought.receipt).summary().await.unwrap();
    let error = embedded.close(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    assert_eq!(shop.buy(new("1")).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(count(&shop).await, 1);
}
