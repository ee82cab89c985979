//! `GET /getAllUserBuys/{x}` and `GET /purchases/{x}` in the default dialect.

use axum::http::StatusCode;
use serde_json::{Value, json};
use shop_core::Purchase;

use crate::shop::{Shop, TestResponse, get, purchase};

fn ids(response: &TestResponse) -> Vec<u64> {
    let id = |item: &Value| {
        let hex = item["_id"]
            .as_str()
            .unwrap()
            .rsplit('-')
            .next()
            .unwrap()
            .to_owned();
        u64::from_str_radix(&hex, 16).unwrap() - 1
    };
    response.json()["purchases"]
        .as_array()
        .unwrap()
        .iter()
        .map(id)
        .collect()
}

#[tokio::test]
async fn a_listing_is_newest_first() {
    let shop = Shop::new();
    shop.stored(&[purchase("u1", 1), purchase("u2", 2), purchase("u1", 3)])
        .await;
    for (service, path) in [
        (&shop.facing, "/getAllUserBuys/u1"),
        (&shop.management, "/purchases/u1"),
    ] {
        let response = get(service, path).await;
        assert_eq!(
            (response.status, response.header("content-type")),
            (StatusCode::OK, Some("application/json"))
        );
        let expected = json!({
            "userid": "u1", "username": null, "count": 2, "total_spent": 4.2, "matched_by": "userid",
            "purchases": [
                {"_id": "00000000-0000-0000-0000-000000000004", "username": "name of u1", "userid": "u1",
                 "price": 3.1, "timestamp": "2026-01-01T00:00:03.000Z"},
                {"_id": "00000000-0000-0000-0000-000000000002", "username": "name of u1", "userid": "u1",
                 "price": 1.1, "timestamp": "2026-01-01T00:00:01.000Z"},
            ],
        });
        assert_eq!(response.json(), expected);
        assert!(
            response.text.contains(r#""price":3.10,"#),
            "the scale is kept: {}",
            response.text
        );
    }
}

#[tokio::test]
async fn a_name_is_looked_up_when_no_id_matches() {
    let shop = Shop::new();
    let mut namesake = purchase("u3", 3);
    namesake.user_name = "u1".parse().unwrap();
    shop.stored(&[purchase("u1", 1), purchase("u2", 2), namesake])
        .await;
    let by_name = get(&shop.facing, "/getAllUserBuys/name%20of%20u2")
        .await
        .json();
    assert_eq!(
        (&by_name["userid"], &by_name["username"]),
        (&Value::Null, &json!("name of u2"))
    );
    assert_eq!(
        (&by_name["matched_by"], &by_name["count"]),
        (&json!("username"), &json!(1))
    );
    for (path, count, matched) in [
        ("/getAllUserBuys/u1", 1, json!("userid")),
        ("/getAllUserBuys/u1?by=userid", 1, json!("userid")),
        ("/getAllUserBuys/u1?by=username", 1, json!("username")),
        ("/getAllUserBuys/u2?by=username", 0, Value::Null),
        ("/getAllUserBuys/name%20of%20u2?by=userid", 0, Value::Null),
    ] {
        let body = get(&shop.facing, path).await.json();
        assert_eq!(
            (&body["count"], &body["matched_by"]),
            (&json!(count), &matched),
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_ambiguous_text_is_an_id_unless_a_name_is_requested() {
    let shop = Shop::new();
    let mut namesake = purchase("u3", 3);
    namesake.user_name = "Grace Hopper".parse().unwrap();
    shop.stored(&[purchase("Grace Hopper", 1), namesake, purchase("u2", 2)])
        .await;
    for (service, path) in [
        (&shop.facing, "/getAllUserBuys"),
        (&shop.management, "/purchases"),
    ] {
        let who = format!("{path}/Grace%20Hopper");
        let by_id = get(service, &who).await;
        assert_eq!(
            (ids(&by_id), by_id.header("x-found-by")),
            (vec![1], Some("userid"))
        );
        let other = format!("{who}?by=username");
        assert_eq!(ids(&get(service, &other).await), [3]);
        for (who, found_by) in [("u2", "userid"), ("name%20of%20u2", "username")] {
            let response = get(service, &format!("{path}/{who}")).await;
            assert_eq!(
                (response.header("x-found-by"), response.header("link")),
                (Some(found_by), None),
                "{who}"
            );
        }
        let by_id = get(service, &format!("{who}?by=userid")).await;
        assert_eq!(
            (by_id.header("x-found-by"), by_id.header("link")),
            (None, None)
        );
        assert_eq!(
            get(service, &format!("{path}/nobody"))
                .await
                .header("x-found-by"),
            None
        );
    }
    // Dialects with one kind of lookup do not change.
    for path in [
        "/api/getAllUserBuys",
        "/api/v1/getAllUserBuys",
        "/scalable-shop-cm-server/getAllUserBuys",
    ] {
        let response = get(&shop.facing, &format!("{path}/Grace%20Hopper")).await;
        assert_eq!(
            (response.header("x-found-by"), response.header("link")),
            (None, None),
            "{path}"
        );
    }
}

#[tokio::test]
async fn unusual_names_round_trip() {
    let shop = Shop::new();
    for (number, name) in [
        "joe b",
        "a/b",
        "a?b=c",
        "50%",
        "ünï😀",
        "<img src=x>",
        "a+b",
        "..",
        "%2e",
    ]
    .into_iter()
    .enumerate()
    {
        shop.stored(&[purchase(name, number as u64)]).await;
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let body = get(&shop.facing, &format!("/getAllUserBuys/{encoded}"))
            .await
            .json();
        assert_eq!((&body["userid"], &body["count"]), (&json!(name), &json!(1)));
        let body = get(&shop.facing, &format!("/v1/purchases?userid={encoded}"))
            .await
            .json();
        assert_eq!(body["items"][0]["userid"], name);
    }
}

#[tokio::test]
async fn pages_link_to_the_next_page() {
    let shop = Shop::new();
    let all: Vec<_> = (0..25).map(|number| purchase("u1", number)).collect();
    shop.stored(&all).await;
    let mut path = "/getAllUserBuys/u1?limit=10&by=userid".to_owned();
    let mut seen = Vec::new();
    let mut sizes = Vec::new();
    loop {
        let response = get(&shop.facing, &path).await;
        let body = response.json();
        assert_eq!(
            (&body["count"], &body["total_spent"]),
            (&json!(25), &json!(302.5)),
            "of everything"
        );
        seen.extend(ids(&response));
        sizes.push(body["purchases"].as_array().unwrap().len());
        let Some(link) = response.header("link") else {
            assert_eq!(body["next"], Value::Null);
            break;
        };
        // Newer than the first page: later pages keep the sums of the first.
        shop.stored(&[purchase("u1", 90)]).await;
        path = link
            .strip_prefix('<')
            .unwrap()
            .strip_suffix(">; rel=\"next\"")
            .unwrap()
            .to_owned();
        assert!(
            path.contains(body["next"].as_str().unwrap()) && path.contains("by=userid"),
            "{path}"
        );
    }
    assert_eq!(sizes, [10, 10, 5]);
    assert_eq!(seen, (0..25).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_cursor_keeps_the_kind_of_lookup() {
    let shop = Shop::new();
    let all: Vec<_> = (0..5).map(|number| purchase("u1", number)).collect();
    shop.stored(&all).await;
    let path = "/getAllUserBuys/name%20of%20u1";
    let cursor = get(&shop.facing, &format!("{path}?limit=2")).await.json()["next"]
        .as_str()
        .unwrap()
        .to_owned();
    // Meanwhile a user with this id buys.
    shop.stored(&[purchase("name of u1", 90)]).await;
    let response = get(&shop.facing, &format!("{path}?cursor={cursor}")).await;
    assert_eq!(response.json()["matched_by"], "username");
    assert_eq!(ids(&response), [2, 1, 0]);
    let foreign = get(&shop.facing, &format!("/getAllUserBuys/u1?cursor={cursor}")).await;
    assert_eq!(foreign.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn refunds_are_left_out_and_sums_are_net() {
    let shop = Shop::new();
    let all: Vec<_> = (0..200).map(|number| purchase("u1", number)).collect();
    // Newer than all purchases: the first pages have nothing else.
    let at = purchase("u1", 1_000).timestamp;
    let refund = |bought: &Purchase| bought.refund(Some("0.10".parse().unwrap()), at).unwrap();
    shop.stored(&all).await;
    shop.stored(&all.iter().map(refund).collect::<Vec<_>>())
        .await;
    let whole = get(&shop.facing, "/getAllUserBuys/u1").await;
    assert_eq!(ids(&whole), (0..200).rev().collect::<Vec<_>>());
    let page = get(&shop.facing, "/getAllUserBuys/u1?limit=10")
        .await
        .json();
    assert_eq!(page["purchases"], json!([]));
    for body in [whole.json(), page] {
        assert_eq!(
            (&body["count"], &body["total_spent"]),
            (&json!(200), &json!(9_900))
        );
    }
}

#[tokio::test]
async fn sums_are_exact_and_rounded_half_to_even() {
    let shop = Shop::new();
    let mut all: Vec<_> = (0..4).map(|number| purchase("u1", number)).collect();
    for (purchase, price) in all.iter_mut().zip(["0.1", "0.2", "0.005", "0"]) {
        purchase.price = price.parse().unwrap();
    }
    shop.stored(&all[..2]).await;
    assert!(
        get(&shop.facing, "/getAllUserBuys/u1")
            .await
            .text
            .contains(r#""total_spent":0.3,"#)
    );
    shop.stored(&all[2..]).await;
    assert!(
        get(&shop.facing, "/getAllUserBuys/u1")
            .await
            .text
            .contains(r#""total_spent":0.3,"#)
    );
    let exact = get(&shop.facing, "/v1/summary?userid=u1").await;
    assert_eq!(exact.text, r#"{"count":4,"total_spent":0.305}"#);
}
