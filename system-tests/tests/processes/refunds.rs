//! `management refund`.

use serde_json::{Value, json};
use shop_client::NewPurchase;

use crate::process::{Binary, Process, get, until};
use crate::verify::{manage, text};

#[tokio::test]
async fn a_command_refunds_a_purchase_once_beside_a_service() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let order = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("29.99")
        .unwrap();
    let id = facing
        .client()
        .buy(order)
        .await
        .unwrap()
        .purchase
        .id
        .to_string();
    let part = [
        "refund",
        id.as_str(),
        "--amount",
        "9.99",
        "--reason",
        "broken",
    ];
    let first = manage(folder.path(), &[&part[..], &["--json"]].concat()).await;
    assert!(first.status.success(), "{first:?}");
    let refunded: Value = serde_json::from_str(&text(&first.stdout)).unwrap();
    let refund = &refunded["purchase"];
    assert_eq!(
        (&refund["price"], &refund["of"]),
        (&json!(-9.99), &json!(id)),
        "{refunded}"
    );
    let net = json!({"count": 1, "total_spent": 20});
    until("store it", async || {
        get(&facing.path("/v1/summary?userid=u1")).await.1 == net
    })
    .await;
    for (words, code, says) in [
        (&part[..], 0, "-9.99"),
        (&part[..2], 1, "another amount or reason"),
        (
            &["refund", refund["id"].as_str().unwrap()],
            2,
            "the price of a purchase",
        ),
        (
            &["refund", "0190163d-8694-739b-aea5-966c26f8ad91"],
            2,
            "no purchase with this id",
        ),
        (&["refund", id.as_str(), "--amount", "-1"], 2, "-1"),
        (
            &[&part[..], &["--refunds", "off"]].concat()[..],
            2,
            "SHOP_REFUNDS",
        ),
    ] {
        let output = manage(folder.path(), words).await;
        let printed = text(&output.stdout) + text(&output.stderr).as_str();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {printed}");
        assert!(printed.contains(says), "{words:?}: {printed}");
    }
    assert_eq!(get(&facing.path("/v1/summary?userid=u1")).await.1, net);
}
