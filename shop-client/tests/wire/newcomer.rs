//! What a program types first compiles: text wherever a value is expected, and one type of errors.

use shop_client::memory::InMemoryLogOptions;
use shop_client::{
    Decimal, Error, ErrorKind, NewPurchase, Price, PublishedPurchase, Shop, ShopClient, StreamExt,
    Timestamp, Total, TryStreamExt, UserId, jiff, stream,
};
use shop_store::embedded::{EmbeddedLogOptions, EmbeddedShopOptions};

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

async fn bought(shop: &Shop, price: &str, key: &str) -> Result<PublishedPurchase, Refused> {
    let new = order(price)?.with_key(key)?;
    Ok(shop.buy(new).await?)
}

#[tokio::test]
async fn one_error_is_enough_from_the_first_member_to_the_buy() {
    let shop = Shop::in_memory();
    assert!(bought(&shop, "1", "k").await.is_ok());
    assert!(shop.buy(order("1")).await.is_ok());
    for (price, key, kind) in [
        ("-1", "k", ErrorKind::Invalid),
        ("1", "", ErrorKind::Invalid),
        ("2", "k", ErrorKind::Conflict),
    ] {
        let Refused(error) = bought(&shop, price, key).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{price} {key}");
    }
}

#[tokio::test]
async fn text_is_a_value_everywhere() {
    async fn checkout(shop: &Shop) -> shop_client::Result<()> {
        let user = "u1".to_owned();
        let new = NewPurchase::for_user(&user)
            .with_user_name("ada".to_owned())
            .with_price("29.99")?;
        let bought = shop.buy(new.with_key(format!("order-{}", 7))).await?;
        let (user, price): (UserId, Price) = ("u1".parse()?, "29.99".parse()?);
        assert!(user == "u1" && price == bought.purchase.price);
        assert_eq!(shop.user(&user).summary().await?.count, 1);
        assert_eq!(shop.user_with_name("ada").summary().await?.count, 1);

        let id = bought.purchase.id;
        for found in [
            shop.get(&id.to_string()).await?,
            shop.get(&id).await?,
            shop.get(id).await?,
        ] {
            assert_eq!(found.as_ref(), Some(&bought.purchase));
        }
        // Without another crate for streams.
        let orders = stream::iter(["1", "2.50"].map(|price| order(price).unwrap()));
        assert!(
            shop.buy_all(orders, 2)
                .all(async |bought| bought.is_ok())
                .await
        );
        let prices = shop.user("u1").oldest_first().purchases();
        let prices: Vec<Price> = prices.map_ok(|bought| bought.price).try_collect().await?;
        assert_eq!(Total::checked_sum(prices)?.to_string(), "33.49");

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
        Ok(())
    }
    checkout(&Shop::in_memory()).await.unwrap();
}

#[tokio::test]
async fn invalid_text_is_the_error_of_the_call() {
    let client = ShopClient::builder("http://127.0.0.1:1").build().unwrap();
    let user = client.user("").summary().await.map(drop);
    let name = client.user_with_name(" ").summary().await.map(drop);
    let price = client.buy(order("-1")).await.map(drop);
    for (result, message) in [
        (user, "the user id must not be blank"),
        (name, "the user name must not be blank"),
        (price, "the price must not be negative"),
    ] {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Invalid, message)
        );
    }
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
