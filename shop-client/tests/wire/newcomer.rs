//! What a program types first compiles: text wherever a value is expected, and one type of errors.

use shop_client::memory::{InMemoryLogOptions, InMemoryStore};
use shop_client::{
    Decimal, Error, ErrorKind, MockPurchasePublisher, NewPurchase, Price, PublishedPurchase,
    Receipt, Shop, ShopClient, StreamExt, Timestamp, Total, TryStreamExt, UserId, jiff, stream,
};
use shop_core::ports::Durability;
use shop_core::{Clock, SystemClock};
use shop_store::embedded::{EmbeddedLogOptions, EmbeddedShopOptions};

fn sum(prices: &[Price]) -> shop_client::Result<Total> {
    Ok(Total::checked_sum(prices.iter().copied())?)
}

/// Invalid values and failed calls have one type of errors.
async fn checkout(shop: &Shop, number: &str) -> shop_client::Result<u64> {
    let user = "u1".to_owned();
    let name = "ada".to_owned();
    let price = "29.99".to_owned();
    let new = NewPurchase::for_user(&user)
        .with_user_name(&name)
        .with_price(&price)?;
    let bought = shop.buy(new.with_key(format!("order-{number}"))).await?;
    let (user, price): (UserId, Price) = ("u1".parse()?, "29.99".parse()?);
    assert!(user == "u1" && price == bought.purchase.price);
    assert_eq!(
        sum(&[price])?,
        shop.user(&user).summary().await?.total_spent
    );
    Ok(shop
        .user(&user)
        .wait_for(&bought.receipt)
        .summary()
        .await?
        .count)
}

/// The error of a program, from one error of this crate.
#[derive(Debug)]
struct Refused(Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// A purchase, as the last expression.
fn order(price: &str) -> shop_client::Result<NewPurchase> {
    NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price(price)
}

#[tokio::test]
async fn one_error_is_enough_from_the_first_member_to_the_buy() {
    async fn bought(shop: &Shop, price: &str, key: &str) -> Result<PublishedPurchase, Refused> {
        let new = order(price)?.with_key(key)?;
        Ok(shop.buy(new).await?)
    }
    let shop = Shop::in_memory();
    assert!(bought(&shop, "1", "k").await.is_ok());
    assert!(shop.buy(order("1")).await.is_ok());
    for (price, key, kind) in [
        ("-1", "k", ErrorKind::Invalid),
        ("1", "", ErrorKind::Invalid),
        ("2", "k", ErrorKind::Conflict),
    ] {
        assert_eq!(
            bought(&shop, price, key).await.unwrap_err().0.kind(),
            kind,
            "{price} {key}"
        );
    }
}

#[tokio::test]
async fn text_is_a_value_everywhere() {
    let shop = Shop::in_memory();
    let bought = shop
        .buy(
            NewPurchase::for_user("u1")
                .with_user_name("ada".to_owned())
                .with_price("29.99")
                .unwrap()
                .with_key("order-7"),
        )
        .await
        .unwrap();
    assert_eq!(shop.user("u1").summary().await.unwrap().count, 1);
    assert_eq!(shop.user_with_name("ada").summary().await.unwrap().count, 1);
    let id = bought.purchase.id.to_string();
    for found in [
        shop.get(&id).await,
        shop.get(&bought.purchase.id).await,
        shop.get(bought.purchase.id).await,
    ] {
        assert_eq!(found.unwrap().as_ref(), Some(&bought.purchase));
    }
    assert_eq!(checkout(&shop, "7").await.unwrap(), 1);
    assert_eq!(
        checkout(&shop, " ").await.unwrap_err().kind(),
        ErrorKind::Invalid
    );
}

#[tokio::test]
async fn invalid_text_is_the_error_of_the_call() {
    let client = ShopClient::builder("http://127.0.0.1:1").build().unwrap();
    for (error, message) in [
        (
            client.user("").summary().await.unwrap_err(),
            "the user id must not be blank",
        ),
        (
            client.user_with_name(" ").summary().await.unwrap_err(),
            "the user name must not be blank",
        ),
        (
            client
                .buy(
                    NewPurchase::for_user("u1")
                        .with_user_name("ada")
                        .with_price("-1"),
                )
                .await
                .unwrap_err(),
            "the price must not be negative",
        ),
    ] {
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Invalid, message)
        );
    }
    assert_eq!(
        client.get("…").await.unwrap_err().kind(),
        ErrorKind::Invalid
    );
}

#[test]
fn amounts_and_times_are_members_of_other_bodies() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Row {
        limit: Decimal,
        price: Price,
        at: Timestamp,
    }
    let json = r#"{"limit":"100.50","price":29.99,"at":"2026-03-01T09:00:00.000Z"}"#;
    let row: Row = serde_json::from_str(json).unwrap();
    assert!(*row.price.as_decimal() < row.limit);
    assert_eq!(jiff::Timestamp::from(row.at).as_second(), 1_772_355_600);
    assert_eq!(serde_json::to_string(&row).unwrap(), json);
}

/// Without another crate for streams.
#[tokio::test]
async fn a_listing_is_read_with_the_crate_alone() {
    let shop = Shop::in_memory();
    let orders = ["1", "2.50"].map(|price| {
        NewPurchase::for_user("u1")
            .with_user_name("ada")
            .with_price(price)
            .unwrap()
    });
    assert!(
        shop.buy_all(stream::iter(orders), 2)
            .all(async |bought| bought.is_ok())
            .await
    );
    let prices: Vec<Price> = shop
        .user("u1")
        .oldest_first()
        .purchases()
        .map_ok(|bought| bought.price)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(sum(&prices).unwrap().to_string(), "3.5");
}

#[test]
fn setters_take_text() {
    let name = String::from("x");
    assert_eq!(
        InMemoryLogOptions::default().topic("x").partitions(3).topic,
        name
    );
    assert_eq!(
        EmbeddedLogOptions::default()
            .topic(&name)
            .file("shop")
            .topic,
        name
    );
    assert_eq!(EmbeddedShopOptions::default().group("x").group, name);
}

#[tokio::test]
async fn a_conflict_with_a_first_purchase_can_be_mocked() {
    let first = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("29.99")
        .unwrap();
    let first = first.into_purchase(SystemClock.now(), || SystemClock.fresh_id());
    let mut publisher = MockPurchasePublisher::new();
    publisher
        .expect_publish_new()
        .returning(move |new, _context| {
            let receipt = Receipt::new(first.id, Durability::LocalDisk);
            match new.price == first.price {
                true => Ok(PublishedPurchase::new(first.clone(), receipt).into_replayed()),
                false => Err(Error::new(
                    ErrorKind::Conflict,
                    "the key was used for another purchase",
                )),
            }
        });
    let shop = Shop::from_publisher(publisher, InMemoryStore::new());
    let order = |price: &str| {
        NewPurchase::for_user("u1")
            .with_user_name("ada")
            .with_price(price)
            .unwrap()
            .with_key("order-7")
    };
    assert!(shop.buy(order("29.990")).await.unwrap().replayed);
    assert_eq!(
        shop.buy(order("1")).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
}
