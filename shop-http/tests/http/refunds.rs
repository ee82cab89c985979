//! Refunds.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use serde_json::{Value, json};
use shop_core::conformance::fault::{Call, Fault};
use shop_core::memory::InMemoryStore;
use shop_core::ports::{Durability, PurchaseErase as _, PurchaseStore as _, StoreSink};
use shop_http::{CorsOrigins, HttpOptions, Parts, Principal, Scopes, routes};

use crate::shop::{JSON, Shop, TestResponse, get, post, purchase, request, send};

/// Refunds the purchase with this id.
async fn refund(service: &Router, id: impl Display, body: &str) -> TestResponse {
    post(
        service,
        &format!("/v1/purchases/{id}:refund"),
        body.to_owned(),
    )
    .await
}

#[tokio::test]
async fn a_purchase_is_refunded_once_within_its_price() {
    let shop = Shop::new();
    shop.ingest();
    shop.stored(&[purchase("u1", 1), purchase("u1", 2)]).await;
    for (service, number) in [(&shop.facing, 1), (&shop.management, 2)] {
        let id = purchase("u1", number).id;
        let mut refunds = Vec::new();
        for (body, status, place) in [
            ("[]", 400, None),
            (r#"{"amount":0}"#, 422, Some("#/amount")),
            (r#"{"amount":2.11}"#, 422, Some("#/amount")),
            (r#"{"amount":-1}"#, 422, Some("#/amount")),
            (r#"{"amount":"+1"}"#, 422, Some("#/amount")),
            (r#"{"amount":0.000000001}"#, 422, Some("#/amount")),
            (r#"{"reason":" "}"#, 422, Some("#/reason")),
            ("{\"reason\":\"a\u{202e}b\"}", 422, Some("#/reason")),
            (r#"{"price":1}"#, 422, Some("#/price")),
            (r#"{"amount":0.5,"reason":"broken"}"#, 201, None),
            (r#"{"reason":"broken","amount":"0.50"}"#, 201, None),
            (r#"{"amount":0.5,"reason":null}"#, 409, None),
            (r#"{"amount":0.6,"reason":"broken"}"#, 409, None),
            ("{}", 409, None),
        ] {
            let response = refund(service, id, body).await;
            assert_eq!(response.status.as_u16(), status, "{body}: {response:?}");
            match (status, place) {
                (201, _) => refunds.push(response),
                (409, _) => {
                    assert!(
                        response
                            .text
                            .contains("was refunded with another amount or reason")
                    );
                    response.has(
                        409,
                        &json!({"type": "/problems/conflict", "outcome": "not_sent"}),
                    );
                }
                (400, _) => {}
                (_, place) => assert_eq!(response.places(), place.as_slice(), "{body}"),
            }
        }
        let [first, again] = &refunds[..] else {
            panic!("{refunds:?}")
        };
        let replayed = [first, again].map(|response| response.header("idempotent-replayed"));
        assert_eq!(replayed, [None, Some("true")]);
        assert_eq!(first.json()["purchase"], again.json()["purchase"]);
        let body = first.json();
        let refunded = &body["purchase"];
        assert_eq!(
            (&refunded["price"], &refunded["of"]),
            (&json!(-0.5), &json!(id.to_string()))
        );
        assert_eq!(
            (&refunded["userid"], &refunded["reason"]),
            (&json!("u1"), &json!("broken"))
        );
        let refund_id = first.header("x-purchase-id").unwrap();
        assert_eq!(
            first.header("location").unwrap(),
            format!("/v1/purchases/{refund_id}?wait_for={refund_id}")
        );
    }
    assert_eq!(shop.published().await, 1);
    // Those of both services are stored.
    let listed = get(&shop.facing, "/v1/purchases?userid=u1").await.json();
    let prices: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["price"])
        .collect();
    assert_eq!(
        prices,
        [&json!(-0.5), &json!(-0.5), &json!(2.1), &json!(1.1)]
    );
    let refund_id = listed["items"][0]["id"].as_str().unwrap();
    let id = listed["items"][0]["of"].as_str().unwrap();
    for (id, refunded) in [(id, &json!(0.5)), (refund_id, &Value::Null)] {
        assert_eq!(
            &get(&shop.facing, &format!("/v1/purchases/{id}"))
                .await
                .json()["refunded"],
            refunded
        );
    }
    refund(&shop.management, refund_id, "{}")
        .await
        .has(409, &json!({"type": "/problems/conflict"}));
    get(&shop.facing, "/v1/summary?userid=u1")
        .await
        .is(200, &json!({"count": 2, "total_spent": 2.2}));
}

#[tokio::test]
async fn the_whole_price_of_a_stored_purchase_is_the_default() {
    let shop = Shop::new();
    shop.ingest();
    shop.stored(&[purchase("u1", 1), purchase("gone", 3)]).await;
    assert_eq!(
        shop.store
            .erase(&"gone".parse().unwrap(), 10)
            .await
            .unwrap(),
        1
    );
    for service in [&shop.facing, &shop.management] {
        let unknown = purchase("u9", 9).id.to_string();
        let erased = purchase("gone", 3).id.to_string();
        refund(service, unknown, "{}")
            .await
            .has(404, &json!({"type": "/problems/unknown-purchase"}));
        refund(service, erased, "{}")
            .await
            .has(410, &json!({"type": "/problems/erased"}));
        assert_eq!(refund(service, "7", "{}").await.places(), ["id"]);
        let own = purchase("u1", 1).id;
        let path = format!("/v1/purchases/{own}:refund");
        assert_eq!(
            post(service, &format!("{path}?dry_run=true"), "{}")
                .await
                .places(),
            ["dry_run"]
        );
        let wrong_key = request(Method::POST, &path, &[JSON, ("idempotency-key", "")], "{}");
        assert_eq!(send(service, wrong_key).await.places(), ["Idempotency-Key"]);
        let read = get(service, &path).await;
        assert_eq!(
            (read.status.as_u16(), read.header("allow")),
            (405, Some("POST"))
        );
        let other = post(service, &format!("/v1/purchases/{own}:other"), "{}").await;
        assert_eq!(
            (other.status.as_u16(), other.header("allow")),
            (405, Some("GET,HEAD"))
        );
    }
    let whole = refund(&shop.facing, purchase("u1", 1).id, "").await;
    whole.has(201, &json!({"detail": null}));
    assert_eq!(whole.json()["purchase"]["price"], json!(-1.1));
    assert_eq!(whole.json()["purchase"].get("reason"), None);
}

#[tokio::test]
async fn refunds_can_be_off() {
    let on = Shop::new();
    let off = Shop::with(HttpOptions::default().refunds(false));
    for (shop, is_on) in [(&on, true), (&off, false)] {
        shop.ingest();
        shop.stored(&[purchase("u1", 1)]).await;
        for service in [&shop.facing, &shop.management] {
            let of = purchase("u1", 1).id;
            let line =
                format!(r#"[{{"userid":"u1","username":"name of u1","price":-1.10,"of":"{of}"}}]"#);
            let result = &post(service, "/v1/purchases:batch", line).await.json()[0];
            if is_on {
                assert_eq!(result["status"], "acknowledged", "{result}");
            } else {
                assert_eq!(result["errors"][0]["pointer"], "#/of", "{result}");
            }
            let status = refund(service, purchase("u1", 1).id, "{}").await.status;
            assert_eq!(status.as_u16(), if is_on { 201 } else { 405 });
            let accept = [("accept", "application/json")];
            let index = send(service, request(Method::GET, "/", &accept, Body::empty()))
                .await
                .json();
            assert_eq!(
                index.get("POST /v1/purchases/{id}:refund").is_some(),
                is_on,
                "{index}"
            );
            let document = get(service, "/openapi.json").await.json();
            assert_eq!(
                document["paths"].get("/v1/purchases/{id}:refund").is_some(),
                is_on
            );
        }
    }
}

#[tokio::test]
async fn management_imports_the_refunds_of_an_export() {
    let shop = Shop::new();
    let other = Shop::new();
    shop.stored(&[purchase("u1", 1), purchase("u1", 2)]).await;
    refund(
        &shop.management,
        purchase("u1", 2).id,
        r#"{"amount":0.5,"reason":"broken"}"#,
    )
    .await;
    let ndjson = ("accept", "application/x-ndjson");
    let export = request(
        Method::GET,
        "/v1/purchases?userid=u1&order=oldest",
        &[ndjson],
        Body::empty(),
    );
    let lines = send(&shop.management, export).await.text;
    let content = [("content-type", "application/x-ndjson")];
    for is_replayed in [false, true] {
        let batch = request(Method::POST, "/v1/purchases:batch", &content, lines.clone());
        let results = send(&other.management, batch).await.text;
        assert_eq!(results.matches("acknowledged").count(), 3, "{results}");
        assert_eq!(
            results.matches("\"replayed\":true").count(),
            if is_replayed { 3 } else { 0 },
            "{results}"
        );
    }
    let [mut stored, mut imported] = [shop.store.all(), other.store.all()];
    [&mut stored, &mut imported]
        .into_iter()
        .for_each(|all| all.sort_by_key(|purchase| purchase.id));
    assert_eq!(stored, imported);
    // Under another id there is no second one.
    let last = lines.lines().next_back().unwrap();
    let id = other
        .store
        .all()
        .into_iter()
        .find(|one| one.details.of.is_some())
        .unwrap()
        .id
        .to_string();
    let second = last.replace(&id, "00000000-0000-0000-0000-000000000077");
    let result = post(
        &other.management,
        "/v1/purchases:batch",
        format!("[{second}]"),
    )
    .await
    .json();
    assert_eq!(
        (&result[0]["id"], &result[0]["replayed"]),
        (&json!(id), &json!(true)),
        "{result}"
    );
    for (members, place) in [
        (
            r#""price":1,"of":"00000000-0000-0000-0000-000000000002""#,
            "#/price",
        ),
        (r#""price":-1,"of":"x""#, "#/of"),
        (r#""price":1,"reason":"broken""#, "#/reason"),
        (r#""price":-1"#, "#/price"),
    ] {
        let body = format!(r#"[{{"userid":"u1","username":"name of u1",{members}}}]"#);
        let result = post(&other.management, "/v1/purchases:batch", body)
            .await
            .json();
        assert_eq!(
            (&result[0]["status"], &result[0]["errors"][0]["pointer"]),
            (&json!("rejected"), &json!(place))
        );
    }
}

/// Facing with purchases of two users, for `u1` with these scopes.
async fn facing_for(scopes: &'static str) -> Router {
    let store = InMemoryStore::new();
    store
        .insert(vec![purchase("u1", 1), purchase("u2", 2)].into())
        .await
        .unwrap();
    let identify = from_fn(move |mut request: Request, next: Next| {
        request
            .extensions_mut()
            .insert(Principal::new("u1").with_scopes(scopes.split(' ')));
        next.run(request)
    });
    let sink = StoreSink::new(Arc::new(store.clone()), Durability::Memory);
    let parts = Parts::facing(Arc::new(sink), Arc::new(store));
    routes(parts).authorize(Scopes).auth_layer(identify).build()
}

#[tokio::test]
async fn a_refund_needs_its_scope_and_hides_purchases_of_others() {
    let [own, other] = [purchase("u1", 1).id, purchase("u2", 2).id];
    for (scopes, id, status) in [
        ("purchases:refund", own, 201),
        ("purchases:refund:any", other, 201),
        ("purchases:read purchases:write:any", own, 403),
        ("purchases:read:any purchases:refund", other, 403),
        ("purchases:refund purchases:read", other, 404),
        ("purchases:write:any", own, 404),
    ] {
        let response = refund(&facing_for(scopes).await, id, "{}").await;
        assert_eq!(response.status.as_u16(), status, "{scopes}: {response:?}");
        assert_eq!(
            response.text.contains("purchases:refund"),
            status == 403,
            "{response:?}"
        );
    }
}

#[tokio::test]
async fn no_buy_is_a_refund() {
    let shop = Shop::new();
    shop.stored(&[purchase("u1", 1)]).await;
    let id = purchase("u1", 1).id;
    for (member, place, place_in_batch) in [
        // A batch takes refunds too, whose price is negative.
        (format!(r#""of":"{id}""#), "#/of", "#/price"),
        (r#""reason":"broken""#.into(), "#/reason", "#/reason"),
    ] {
        let body = format!(r#"{{"userid":"u1","username":"name of u1","price":1,{member}}}"#);
        for service in [&shop.facing, &shop.management] {
            let refused = post(service, "/v1/purchases", body.clone()).await;
            assert_eq!(
                (refused.status.as_u16(), refused.places()),
                (422, vec![place.to_owned()])
            );
        }
        let lines = post(&shop.facing, "/v1/purchases:batch", format!("[{body}]"))
            .await
            .json();
        let [line] = &lines.as_array().unwrap()[..] else {
            panic!("{lines}")
        };
        assert_eq!(
            (&line["status"], &line["errors"][0]["pointer"]),
            (&json!("rejected"), &json!(place_in_batch))
        );
        // Clients of the replaced systems may send other members, which mean nothing.
        assert_eq!(post(&shop.facing, "/buy", body).await.status.as_u16(), 201);
    }
    let negative = r#"{"userid":"u1","username":"ada","price":-1}"#;
    assert_eq!(
        post(&shop.facing, "/v1/purchases", negative).await.places(),
        ["#/price"]
    );
    assert_eq!(shop.published().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_refund_that_the_store_has_not_decided_over_is_pending() {
    let shop = Shop::new();
    shop.stored(&[purchase("u1", 1)]).await;
    let pending = refund(&shop.facing, purchase("u1", 1).id, "").await;
    let id = purchase("u1", 1).id.refund_id();
    assert_eq!(
        (
            pending.status.as_u16(),
            pending.header("x-purchase-pending"),
            pending.header("location")
        ),
        (
            202,
            Some("true"),
            Some(&*format!("/v1/purchases/{id}?wait_for={id}"))
        )
    );
    shop.ingest();
    get(&shop.facing, pending.header("location").unwrap())
        .await
        .has(200, &json!({"price": -1.1}));
    let again = refund(&shop.facing, purchase("u1", 1).id, "").await;
    assert_eq!(
        (again.status.as_u16(), again.header("idempotent-replayed")),
        (201, Some("true"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_refund_waits_for_a_purchase_that_was_acknowledged_just_now() {
    let shop = Shop::new();
    let body = r#"{"userid":"u1","username":"ada","price":5}"#;
    let key = ("idempotency-key", "order-7");
    let order = request(Method::POST, "/v1/purchases", &[JSON, key], body);
    let bought = send(&shop.facing, order).await;
    let id = bought.header("x-purchase-id").unwrap().to_owned();

    refund(&shop.facing, &id, "").await.has(
        503,
        &json!({"outcome": "not_sent", "detail": "The purchase is not stored yet - please try again"}),
    );
    assert_eq!(shop.published().await, 1);
    refund(&shop.management, &id, "")
        .await
        .has(404, &json!({"type": "/problems/unknown-purchase"}));
    shop.ingest();
    let refunded = refund(&shop.facing, &id, "").await;
    assert_eq!(refunded.status.as_u16(), 201, "{refunded:?}");
}

#[tokio::test]
async fn a_page_of_another_origin_does_not_refund_without_authentication() {
    let of_any = HttpOptions::default().cors(CorsOrigins::Any);
    let shop = Shop::with(of_any);
    shop.ingest();
    shop.stored(&[purchase("u1", 1)]).await;
    let id = purchase("u1", 1).id;
    let path = format!("/v1/purchases/{id}:refund");
    let line = format!(r#"[{{"userid":"u1","username":"ada","price":-1,"of":"{id}"}}]"#);
    for header in [
        ("origin", "http://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        for service in [&shop.facing, &shop.management] {
            let foreign = request(Method::POST, &path, &[JSON, header], "{}");
            send(service, foreign).await.has(
                403,
                &json!({"detail": "Pages of this origin may not write"}),
            );
        }
        let batch = request(
            Method::POST,
            "/v1/purchases:batch",
            &[JSON, header],
            line.clone(),
        );
        let result = &send(&shop.facing, batch).await.json()[0];
        assert_eq!(result["detail"], "Pages of this origin may not write");
        // As before, such a page may buy.
        let body = r#"{"userid":"u1","username":"ada","price":5}"#;
        let buy = request(Method::POST, "/v1/purchases", &[JSON, header], body);
        assert_eq!(send(&shop.facing, buy).await.status.as_u16(), 201);
    }
    let own = request(
        Method::POST,
        &path,
        &[JSON, ("sec-fetch-site", "same-origin")],
        "",
    );
    assert_eq!(send(&shop.facing, own).await.status.as_u16(), 201);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_for_a_refund_while_the_store_cannot_be_asked() {
    let shop = Shop::new();
    shop.stored(&[purchase("u1", 1)]).await;
    let faults = [Fault::unavailable(), Fault::Delay(Duration::from_secs(60))];
    for fault in faults {
        shop.faults.always(Call::Query, fault);
        refund(&shop.facing, purchase("u1", 1).id, "")
            .await
            .has(503, &json!({"outcome": "not_sent"}));
        shop.faults.clear(Call::Query);
    }
    assert_eq!(shop.published().await, 0);
}
