//! Limits of requests: size of the head, time, concurrency.

use crate::prelude::*;

const BUY: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

#[tokio::test]
async fn the_number_of_reported_errors_is_limited() {
    let shop = Shop::new();
    let members: Vec<_> = (0..10_000)
        .map(|number| format!("\"{number}\":0"))
        .collect();
    let body = format!("{{{}}}", members.join(","));
    let response = post(&shop.facing, "/v1/purchases", body).await;
    assert_eq!(response.json()["errors"].as_array().unwrap().len(), 64);
    assert!(response.text.contains(" more"), "{response:?}");

    let parameters: Vec<_> = (0..1_500).map(|number| format!("{number}=")).collect();
    let query = parameters.join("&");
    let response = get(&shop.facing, &format!("/v1/purchases?{query}")).await;
    assert_eq!(response.json()["errors"].as_array().unwrap().len(), 64);

    // Where others are ignored, the known ones behind them are not.
    let path = format!("/getAllUserBuys/u1?{query}&limit=none");
    let response = get(&shop.facing, &path).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);

    let long_name = format!(r#"{{"{}":0}}"#, "\u{1f600}".repeat(20_000));
    let response = post(&shop.facing, "/v1/purchases", long_name).await;
    assert_eq!(response.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(response.text.len() < 4_096, "{} bytes", response.text.len());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_times_out() {
    let shop = Shop::new();
    for (path, members) in [
        (
            "/buy",
            json!({"error": "Request body must be sent within 10 seconds"}),
        ),
        (
            "/v1/purchases",
            json!({"type": "/problems/deadline-exceeded"}),
        ),
    ] {
        let never = futures_util::stream::pending::<std::io::Result<&[u8]>>();
        let response = post(&shop.facing, path, Body::from_stream(never)).await;
        response.has(408, &members);
    }
}

/// A shop with one concurrent write and one read, whose log takes 3 s.
fn narrow() -> Shop {
    let mut options = HttpOptions::default();
    options.max_requests = 1;
    let shop = Shop::with(options);
    shop.faults
        .always(Call::Publish, Fault::Delay(Duration::from_secs(3)));
    shop
}

#[tokio::test(start_paused = true)]
async fn excess_request_gets_503_with_retry_after() {
    let shop = narrow();
    let first = tokio::spawn({
        let router = shop.facing.clone();
        async move { post(&router, "/buy", BUY).await }
    });
    while shop.faults.calls(Call::Publish) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        get(&shop.facing, "/getAllUserBuys/u1").await.status,
        StatusCode::OK,
        "a read is no write"
    );
    shop.faults
        .always(Call::Query, Fault::Delay(Duration::from_secs(3)));
    let before = shop.faults.calls(Call::Query);
    let read = tokio::spawn({
        let router = shop.facing.clone();
        async move { get(&router, "/getAllUserBuys/u1").await }
    });
    while shop.faults.calls(Call::Query) == before {
        tokio::task::yield_now().await;
    }
    let refused = post(&shop.facing, "/buy", BUY).await;
    refused.is(
        503,
        &json!({"error": "Too many requests at once - please try again", "outcome": "not_sent"}),
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    let problem = json!({"type": "/problems/overloaded", "outcome": null});
    get(&shop.facing, "/v1/purchases").await.has(503, &problem);
    for always in [
        "/healthz",
        "/livez",
        "/readyz",
        "/health",
        "/ready",
        "/-/ready",
        "/scalable-shop-cm-server/healthz",
    ] {
        assert_eq!(
            get(&shop.facing, always).await.status,
            StatusCode::OK,
            "{always}"
        );
    }
    assert_eq!(
        get(&shop.facing, "/getAllUserBuys/health").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(first.await.unwrap().status, StatusCode::CREATED);
    assert_eq!(read.await.unwrap().status, StatusCode::OK);
    assert_eq!(
        get(&shop.facing, "/getAllUserBuys/u1").await.status,
        StatusCode::OK
    );
}

#[tokio::test(start_paused = true)]
async fn a_purchase_continues_after_its_timeout_or_a_disconnect() {
    for disconnects in [false, true] {
        let mut options = HttpOptions::default();
        options.request_timeout = Duration::from_secs(1);
        options.max_requests = 1;
        let shop = Shop::with(options);
        shop.faults
            .always(Call::Publish, Fault::Delay(Duration::from_secs(3)));
        shop.faults
            .once(Call::Query, Fault::Delay(Duration::from_secs(3)));
        let late = get(&shop.facing, "/v1/summary?userid=u1").await;
        late.has(503, &json!({"type": "/problems/deadline-exceeded"}));
        let buy = post(&shop.facing, "/buy", BUY);
        if disconnects {
            // A server drops the future when the client disconnects.
            assert!(
                tokio::time::timeout(Duration::from_millis(500), buy)
                    .await
                    .is_err()
            );
        } else {
            let response = buy.await;
            assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(
                response.json(),
                json!({"error": "No answer within 1 seconds", "outcome": "unknown"})
            );
        }
        // The request keeps its slot until it has ended.
        assert_eq!(
            post(&shop.facing, "/buy", BUY).await.status,
            StatusCode::SERVICE_UNAVAILABLE
        );
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(shop.published().await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn listings_are_streamed_and_hold_their_request_slot() {
    for encoding in ["identity", "gzip"] {
        let shop = narrow();
        shop.stored(
            &(1..=2_500)
                .map(|number| purchase("u1", number))
                .collect::<Vec<_>>(),
        )
        .await;
        let headers = [("accept-encoding", encoding)];
        let listing = request(Method::GET, "/getAllUserBuys/u1", &headers, Body::empty());
        let response = shop.facing.clone().oneshot(listing).await.unwrap();
        assert_eq!(
            response.headers().contains_key("content-encoding"),
            encoding == "gzip"
        );
        assert_eq!(response.headers()["vary"], "accept-encoding");
        let mut body = response.into_body();
        // The second page takes an hour, longer than its timeout: the first page must arrive before it.
        shop.faults
            .always(Call::Query, Fault::Delay(Duration::from_secs(3_600)));
        let before = tokio::time::Instant::now();
        let mut first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        if encoding == "gzip" {
            // The gzip header may be a frame by itself.
            assert_eq!(first[..2], [0x1f, 0x8b]);
            if first.len() <= 10 {
                first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            }
        }
        assert!(first.len() > 500, "{encoding}: {} bytes", first.len());
        assert_eq!(
            before.elapsed(),
            Duration::ZERO,
            "{encoding}: the first page waited for the second"
        );
        assert_eq!(
            get(&shop.facing, "/getAllUserBuys/u2").await.status,
            StatusCode::SERVICE_UNAVAILABLE
        );
        drop(body);
        shop.faults.clear(Call::Query);
        assert_eq!(
            get(&shop.facing, "/getAllUserBuys/u2").await.status,
            StatusCode::OK
        );
    }
}
