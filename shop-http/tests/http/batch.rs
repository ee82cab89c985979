//! `POST /v1/purchases:batch`: what a scenario cannot show.

use std::num::NonZeroU32;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::prelude::*;

const LINE: &str = "{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1}\n";

async fn send_batch(router: &Router, body: impl Into<Body>) -> TestResponse {
    let headers = [("content-type", "application/x-ndjson")];
    send(
        router,
        request(Method::POST, "/v1/purchases:batch", &headers, body),
    )
    .await
}

/// The results in a response of lines.
fn results(response: &TestResponse) -> Vec<Value> {
    let lines = response.text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn many_errors_do_not_make_a_large_response() {
    let shop = Shop::new();
    let members: Vec<_> = (0..60).map(|number| format!("\"m{number}\":1")).collect();
    let line = format!("{{{}}}\n", members.join(","));

    let response = send_batch(&shop.facing, line.repeat(5_000)).await;

    let results = results(&response);
    assert_eq!(results.len(), 5_000);
    let first_errors = results[0]["errors"].as_array().unwrap();
    assert_eq!(first_errors.len(), 3 + 8, "the missing members, and 8");
    let last = &results[4_999];
    assert_eq!(last["type"], "/problems/invalid");
    assert_eq!(last["errors"], Value::Null);
    let detail = last["detail"].as_str().unwrap();
    assert!(detail.starts_with("Missing required fields"), "{detail}");
    assert!(response.text.len() < 5_000 * 512, "{}", response.text.len());
}

#[tokio::test]
async fn a_large_batch_is_published_in_order() {
    let shop = Shop::new();
    let response = send_batch(&shop.facing, LINE.repeat(2_500)).await;

    let offset = |result: &Value| result["receipt"]["position"]["offset"].as_u64().unwrap();
    let offsets: Vec<_> = results(&response).iter().map(offset).collect();
    assert_eq!(offsets, (0..2_500).collect::<Vec<_>>());
    let metrics = get(&shop.facing, "/metrics").await.text;
    for series in [
        "shop_publish_total{outcome=\"acknowledged\"} 2500",
        "shop_publish_duration_seconds_count 2500",
    ] {
        assert!(metrics.contains(series), "{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn later_parts_of_a_slow_batch_are_not_started() {
    let shop = Shop::new();
    let slow = Fault::Delay(Duration::from_secs(3));
    shop.faults.always(Call::Publish, slow);

    let response = send_batch(&shop.facing, LINE.repeat(3_500)).await;

    for (number, result) in results(&response).iter().enumerate() {
        let expected = if number < 2_000 {
            (json!("acknowledged"), Value::Null)
        } else {
            (json!("unknown"), json!("not_sent"))
        };
        assert_eq!(
            (&result["status"], &result["outcome"]),
            (&expected.0, &expected.1)
        );
    }
    assert_eq!(shop.published().await, 2_000);
}

#[tokio::test(start_paused = true)]
async fn slow_and_large_batches_are_rejected_and_release_their_memory() {
    let mut options = HttpOptions::default();
    options.max_batch_bytes = 1_000;
    let shop = Shop::with(options);
    // Without a length.
    let parts = [(); 3].map(|()| std::io::Result::Ok(Bytes::from(" ".repeat(400))));
    let in_parts = send_batch(&shop.facing, Body::from_stream(stream::iter(parts))).await;
    assert_eq!(in_parts.status, StatusCode::PAYLOAD_TOO_LARGE);

    let mut options = HttpOptions::default();
    options.max_batches_bytes = 10_000;
    let shop = Shop::with(options);
    let first = stream::iter([std::io::Result::Ok(Bytes::from(LINE))]);
    let slow = Body::from_stream(first.chain(stream::pending()));
    let timed_out = send_batch(&shop.facing, slow).await;
    assert_eq!(timed_out.status, StatusCode::REQUEST_TIMEOUT);
    let refused = send_batch(&shop.facing, " ".repeat(10_001)).await;
    refused.has(503, &json!({"outcome": "not_sent"}));

    // The memory of both is released.
    send_batch(&shop.facing, LINE.repeat(20)).await;
    assert_eq!(shop.published().await, 20);
}

#[tokio::test]
async fn a_batch_counts_as_its_number_of_purchases() {
    let mut options = HttpOptions::default();
    options.rate_writes = NonZeroU32::new(5);
    let shop = Shop::with(options);
    let too_many = send_batch(&shop.facing, LINE.repeat(6)).await;
    assert_eq!(too_many.status, StatusCode::PAYLOAD_TOO_LARGE);

    // A slow machine may need a second for each request.
    for _ in 0..1_000 {
        let response = send_batch(&shop.facing, LINE.repeat(4)).await;
        if response.status == StatusCode::TOO_MANY_REQUESTS {
            return;
        }
    }
    panic!("1,000 batches were admitted");
}
