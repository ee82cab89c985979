//! `POST /v1/purchases:batch`: a result per purchase, in order.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use shop_core::conformance::fault::{Call, Fault};
use shop_core::memory::InMemoryStore;
use shop_http::{ApiKeys, HttpOptions, router, routes};

use crate::shop::{JSON, Shop, TestResponse, facing_parts_of, post, purchase, request, send};

const PATH: &str = "/v1/purchases:batch";
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

async fn send_batch(router: &Router, body: impl Into<Body>) -> TestResponse {
    send(router, request(Method::POST, PATH, &[NDJSON], body)).await
}

/// The results in a response of lines.
fn results(response: &TestResponse) -> Vec<Value> {
    assert_eq!(
        (response.status, response.header("content-type")),
        (StatusCode::OK, Some(NDJSON.1)),
        "{response:?}"
    );
    response
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn line(user: &str, more: &str) -> String {
    format!("{{\"username\":\"name of {user}\",\"userid\":\"{user}\",\"price\":1{more}}}\n")
}

fn statuses(results: &[Value]) -> Vec<&str> {
    results
        .iter()
        .map(|result| result["status"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn each_line_has_a_result_in_order() {
    let shop = Shop::new();
    let id = "5a0e4f9c-1d3c-4a52-9f6e-2f1f6c1d7a10";
    let bad = [
        ("{\"username\":\"ada\"}\n", "#/userid"),
        (
            "{\"username\":\"ada\",\"userid\":\"u1\",\"price\":-1}\n",
            "#/price",
        ),
        (
            "{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1,\"currency\":\"EUR\"}\n",
            "#/currency",
        ),
        (
            "{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1,\"key\":\"a b\"}\n",
            "#/key",
        ),
        (
            "{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1,\"key\":\"a\",\"id\":\"b\"}\n",
            "#/id",
        ),
        (
            "{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1,\"timestamp\":\"2026-03-01T09:05:01Z\"}\n",
            "#/timestamp",
        ),
    ];
    let keyed = line(
        "u1",
        &format!(",\"id\":\"{id}\",\"timestamp\":\"2026-02-01T00:00:00Z\""),
    );
    let mut body = format!("{keyed}\n{}", line("u2", ""));
    bad.iter().for_each(|(line, _)| body.push_str(line));
    body.push_str("not json\n[1]\n\u{0}\n");
    body.push_str(line("u1", ",\"key\":\"order-7\",\"id\":null").trim_end());
    let response = send_batch(&shop.facing, body).await;
    let results = results(&response);
    let lines: Vec<_> = results
        .iter()
        .map(|result| result["line"].as_u64().unwrap())
        .collect();
    assert_eq!(
        lines,
        [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        "a blank line has no result"
    );
    assert_eq!(statuses(&results)[..2], ["acknowledged"; 2]);
    assert_eq!(statuses(&results)[2..11], ["rejected"; 9]);
    assert_eq!(statuses(&results)[11], "acknowledged");
    assert_eq!(
        (&results[0]["id"], &results[0]["receipt"]["id"]),
        (&json!(id), &json!(id))
    );
    assert_eq!(results[0]["receipt"]["position"]["topic"], "purchases");
    for (result, (line, pointer)) in results[2..8].iter().zip(bad) {
        assert_eq!(result["type"], "/problems/invalid", "{line}");
        assert!(
            result["errors"]
                .as_array()
                .unwrap()
                .iter()
                .any(|error| error["pointer"] == pointer),
            "{result}"
        );
        assert_eq!(result["key"], Value::Null, "a rejected line has no key");
    }
    assert!(
        results[8]["detail"]
            .as_str()
            .unwrap()
            .starts_with("must be a JSON object"),
        "{}",
        results[8]
    );
    assert_eq!(shop.published().await, 3);
}

#[tokio::test]
async fn an_array_gets_an_array() {
    let shop = Shop::new();
    let body = json!([
        {"username": "ada", "userid": "u1", "price": 29.99},
        {"username": "ada", "userid": "u1", "price": "x"},
        7,
    ]);
    for service in [&shop.facing, &shop.management] {
        let response = post(service, PATH, body.to_string()).await;
        assert_eq!(
            (response.status, response.header("content-type")),
            (StatusCode::OK, Some(JSON.1))
        );
        let results: Vec<Value> = serde_json::from_value(response.json()).unwrap();
        assert_eq!(statuses(&results), ["acknowledged", "rejected", "rejected"]);
        assert_eq!(post(service, PATH, " [] ").await.json(), json!([]));
        assert!(self::results(&send_batch(service, "\n").await).is_empty());
        for wrong in ["", "{}", "[1", "7", "[]x"] {
            let refused = post(service, PATH, wrong).await;
            assert_eq!(
                refused.status,
                StatusCode::BAD_REQUEST,
                "{wrong}: {refused:?}"
            );
            assert_eq!(refused.json()["type"], "/problems/invalid");
        }
    }
    assert_eq!((shop.published().await, shop.store.all().len()), (1, 1));
}

#[tokio::test]
async fn an_invalid_batch_is_rejected_as_a_whole() {
    let mut options = HttpOptions::default();
    options.max_batch_purchases = 3;
    options.max_batch_bytes = 1_000;
    let shop = Shop::with(options);
    let three = line("u1", "").repeat(3);
    assert_eq!(
        results(&send_batch(&shop.facing, three.clone()).await).len(),
        3
    );
    let large = line("u1", &format!(",\"key\":\"{}\"", "x".repeat(1_000)));
    let many = format!("{three}{}", line("u1", ""));
    let in_parts = Body::from_stream(stream::iter(
        [(); 3].map(|()| Ok::<_, std::io::Error>(Bytes::from(" ".repeat(400)))),
    ));
    for (name, body, text) in [
        (
            "many",
            Body::from(many),
            "A batch must not have more than 3 purchases",
        ),
        (
            "large",
            Body::from(large),
            "Request body must not have more than 1000 bytes",
        ),
        (
            "in parts",
            in_parts,
            "Request body must not have more than 1000 bytes",
        ),
    ] {
        let response = send_batch(&shop.facing, body).await;
        assert_eq!(
            (response.status, &response.json()["detail"]),
            (StatusCode::PAYLOAD_TOO_LARGE, &json!(text)),
            "{name}"
        );
    }
    let status_of = async |headers: &[(&str, &str)], path: &str| {
        send(
            &shop.facing,
            request(Method::POST, path, headers, three.clone()),
        )
        .await
        .status
        .as_u16()
    };
    assert_eq!(status_of(&[("content-type", "text/csv")], PATH).await, 415);
    assert_eq!(
        status_of(&[NDJSON, ("content-encoding", "gzip")], PATH).await,
        415
    );
    assert_eq!(
        status_of(&[NDJSON, ("idempotency-key", "order-7")], PATH).await,
        422
    );
    assert_eq!(status_of(&[NDJSON], "/v1/purchases:batch?dry=1").await, 422);
    assert_eq!(shop.published().await, 3);
}

#[tokio::test]
async fn many_errors_do_not_make_a_large_response() {
    let shop = Shop::new();
    let members: Vec<_> = (0..60).map(|number| format!("\"m{number}\":1")).collect();
    let response = send_batch(
        &shop.facing,
        format!("{{{}}}\n", members.join(",")).repeat(5_000),
    )
    .await;
    let results = results(&response);
    assert_eq!(results.len(), 5_000);
    assert_eq!(
        results[0]["errors"].as_array().unwrap().len(),
        3 + 8,
        "the missing members, and 8"
    );
    let last = &results[4_999];
    assert_eq!(
        (&last["type"], &last["errors"]),
        (&json!("/problems/invalid"), &Value::Null)
    );
    assert!(
        last["detail"]
            .as_str()
            .unwrap()
            .starts_with("Missing required fields"),
        "{last}"
    );
    assert!(response.text.len() < 5_000 * 512, "{}", response.text.len());
}

#[tokio::test]
async fn a_key_is_one_purchase_in_and_across_batches() {
    let shop = Shop::new();
    let other = "{\"username\":\"name of u1\",\"userid\":\"u1\",\"price\":2,\"key\":\"order-7\"}\n";
    let keyed = line("u1", ",\"key\":\"order-7\"");
    let first = results(&send_batch(&shop.facing, format!("{keyed}{keyed}{other}")).await);
    assert_eq!(
        statuses(&first),
        ["acknowledged", "acknowledged", "rejected"]
    );
    assert_eq!(first[0]["id"], first[1]["id"]);
    assert_eq!(first[2]["type"], "/problems/conflict");
    let again = results(&send_batch(&shop.facing, format!("{keyed}{other}")).await);
    assert_eq!(statuses(&again), ["acknowledged", "rejected"]);
    assert_eq!(
        (&again[0]["id"], &again[0]["replayed"]),
        (&first[0]["id"], &json!(true))
    );
    // A single request with the key is the same purchase; a purchase without a key is repeated by its id.
    let headers = [JSON, ("idempotency-key", "order-7")];
    let single = send(
        &shop.facing,
        request(Method::POST, "/v1/purchases", &headers, line("u1", "")),
    )
    .await;
    assert_eq!(single.header("x-purchase-id"), first[0]["id"].as_str());
    let unkeyed = results(&send_batch(&shop.facing, line("u3", "")).await);
    let by_id = line("u3", &format!(",\"id\":{}", unkeyed[0]["id"]));
    assert_eq!(
        results(&send_batch(&shop.facing, by_id).await)[0]["replayed"],
        true
    );
}

/// The line of a stored purchase in an export, with this price.
fn exported(stored: &shop_core::Purchase, price: &str) -> String {
    let id = stored.id;
    format!("{{\"id\":\"{id}\",\"username\":\"name of u1\",\"userid\":\"u1\",\"price\":{price}}}\n")
}

#[tokio::test]
async fn management_keeps_exported_ids_and_facing_rejects_ids_that_are_no_keys() {
    let shop = Shop::new();
    let mut all = [purchase("u1", 1), purchase("u1", 1), purchase("u1", 1)];
    all[1].id = "6227dd3e-4b6e-5903-bbab-a62e31d75856".parse().unwrap();
    all[2].id = "65a1f0c2d3e4b5a697887766".parse().unwrap();
    shop.stored(&all[..2]).await;
    let body: String = all.iter().map(|stored| exported(stored, "1.10")).collect();
    let refused = results(&send_batch(&shop.facing, body.clone()).await);
    assert_eq!(statuses(&refused), ["rejected"; 3]);
    assert!(
        refused
            .iter()
            .all(|result| result["errors"][0]["pointer"] == "#/id"),
        "{refused:?}"
    );
    // A stored purchase is not new; any other keeps its id.
    let kept = results(&send_batch(&shop.management, body).await);
    assert_eq!(statuses(&kept), ["acknowledged"; 3]);
    let replayed: Vec<_> = kept
        .iter()
        .map(|result| result["replayed"] == true)
        .collect();
    assert_eq!(replayed, [true, true, false]);
    let mut ids: Vec<_> = all.iter().map(|purchase| purchase.id).collect();
    ids.sort();
    assert_eq!(
        shop.store
            .all()
            .iter()
            .map(|purchase| purchase.id)
            .collect::<Vec<_>>(),
        ids
    );
    assert_eq!(shop.published().await, 0);
}

#[tokio::test]
async fn an_unknown_outcome_has_a_key_to_retry_with() {
    let shop = Shop::new();
    shop.faults.once(Call::Publish, Fault::PartialInsert);
    let body = format!(
        "{}{}{}",
        line("u1", ""),
        line("u2", ",\"key\":\"order-8\""),
        line("u3", "")
    );
    let results = results(&send_batch(&shop.facing, body).await);
    assert_eq!(
        statuses(&results),
        ["acknowledged", "unknown", "acknowledged"]
    );
    assert_eq!(
        (&results[1]["key"], &results[1]["outcome"]),
        (&json!("order-8"), &json!("unknown"))
    );
    shop.faults.once(Call::Publish, Fault::unavailable());
    let response = send_batch(&shop.facing, line("u4", "")).await;
    let unsent = self::results(&response);
    assert_eq!(
        (&unsent[0]["status"], &unsent[0]["outcome"]),
        (&json!("unknown"), &json!("not_sent"))
    );
    assert_eq!(unsent[0]["type"], "/problems/unavailable");
    let again = line("u4", &format!(",\"key\":{}", unsent[0]["key"]));
    assert_eq!(
        statuses(&self::results(&send_batch(&shop.facing, again).await)),
        ["acknowledged"]
    );
}

#[tokio::test]
async fn a_large_batch_is_published_in_order() {
    let shop = Shop::new();
    let body: String = (0..2_500).map(|_| line("u1", "")).collect();
    let results = results(&send_batch(&shop.facing, body).await);
    let offset = |result: &Value| result["receipt"]["position"]["offset"].as_u64().unwrap();
    assert_eq!(
        results.iter().map(offset).collect::<Vec<_>>(),
        (0..2_500).collect::<Vec<_>>()
    );
    let metrics = crate::shop::get(&shop.facing, "/metrics").await.text;
    assert!(
        metrics.contains("shop_publish_total{outcome=\"acknowledged\"} 2500"),
        "{metrics}"
    );
    assert!(
        metrics.contains("shop_publish_duration_seconds_count 2500"),
        "{metrics}"
    );
}

#[tokio::test(start_paused = true)]
async fn later_parts_of_a_slow_batch_are_not_started() {
    let shop = Shop::new();
    shop.faults
        .always(Call::Publish, Fault::Delay(Duration::from_secs(3)));
    let body: String = (0..3_500).map(|_| line("u1", "")).collect();
    let results = results(&send_batch(&shop.facing, body).await);
    assert_eq!(statuses(&results)[..2_000], ["acknowledged"; 2_000]);
    assert_eq!(statuses(&results)[2_000..], ["unknown"; 1_500]);
    assert_eq!(results[3_499]["outcome"], "not_sent");
    assert_eq!(shop.published().await, 2_000);
}

#[tokio::test(start_paused = true)]
async fn slow_batches_time_out_and_batches_in_memory_are_limited() {
    let mut options = HttpOptions::default();
    options.max_batches_bytes = 10_000;
    let shop = Shop::with(options);
    let slow = stream::iter([Ok::<_, std::io::Error>(Bytes::from(line("u1", "")))])
        .chain(stream::pending());
    let response = send_batch(&shop.facing, Body::from_stream(slow)).await;
    assert_eq!(response.status, StatusCode::REQUEST_TIMEOUT);
    let refused = send_batch(&shop.facing, " ".repeat(10_001)).await;
    refused.has(503, &json!({"outcome": "not_sent"}));
    // All memory is released.
    assert_eq!(
        results(&send_batch(&shop.facing, line("u1", "").repeat(20)).await).len(),
        20
    );
    assert_eq!(shop.published().await, 20);
}

#[tokio::test]
async fn a_batch_counts_as_its_number_of_purchases() {
    let mut options = HttpOptions::default();
    options.rate_writes = NonZeroU32::new(5);
    let parts = facing_parts_of(InMemoryStore::new());
    let router = router(parts, options);
    assert_eq!(
        send_batch(&router, line("u1", "").repeat(6)).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let mut statuses = Vec::new();
    // A slow machine may need a second for each request.
    while statuses.last() != Some(&StatusCode::TOO_MANY_REQUESTS) && statuses.len() < 1_000 {
        statuses.push(send_batch(&router, line("u1", "").repeat(4)).await.status);
    }
    assert_eq!(statuses.last(), Some(&StatusCode::TOO_MANY_REQUESTS));
}

#[cfg(feature = "auth")]
#[tokio::test]
async fn another_user_is_rejected_on_its_line() {
    // Of `ada` and `any`.
    let keys = "ada fdee430d40bd57deeac186cd9790033d0f06f909a8806e7ce6e717ab7c7d5029 purchases:write u1\nimport d6a7cd2a7371b1a15d543196979ff74fdb027023ebf187d5d329be11055c77fd purchases:write:any\n";
    let parts = facing_parts_of(InMemoryStore::new());
    let router = routes(parts)
        .authenticate(ApiKeys::parse(keys).unwrap())
        .build();
    let body = format!("{}{}", line("u1", ""), line("u2", ""));
    let as_key = async |key: &str| {
        let token = format!("Bearer {key}");
        send(
            &router,
            request(
                Method::POST,
                PATH,
                &[NDJSON, ("authorization", &token)],
                body.clone(),
            ),
        )
        .await
    };
    let own = results(&as_key("ada").await);
    assert_eq!(statuses(&own), ["acknowledged", "rejected"]);
    assert_eq!(own[1]["type"], "/problems/denied");
    assert_eq!(
        own[1]["detail"],
        "The scope purchases:write:any is required"
    );
    let any = results(&as_key("any").await);
    assert_eq!(statuses(&any), ["acknowledged"; 2]);
    assert_eq!(
        send_batch(&router, body.clone()).await.status,
        StatusCode::UNAUTHORIZED
    );
}
