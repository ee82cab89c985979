//! `GET /v1/purchases` as a file: CSV and NDJSON.

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use shop_core::Purchase;
use shop_core::api::RowFormat;
use shop_core::conformance::fault::{Call, Fault};
use tower::ServiceExt;

use crate::shop::{Shop, TestResponse, get, purchase, request, send};

const CSV: &str = "text/csv";
const NDJSON: &str = "application/x-ndjson";

async fn download(router: &Router, query: &str, accept: &str) -> TestResponse {
    let path = format!("/v1/purchases?{query}");
    send(
        router,
        request(Method::GET, &path, &[("accept", accept)], Body::empty()),
    )
    .await
}

/// What `management export` writes.
fn exported(format: RowFormat, purchases: &[Purchase]) -> String {
    let mut file = Vec::new();
    format.write_head(&mut file);
    format.write(&mut file, purchases).unwrap();
    String::from_utf8(file).unwrap()
}

#[tokio::test]
async fn a_file_has_all_selected_purchases() {
    let shop = Shop::new();
    let of_user: Vec<_> = (0..2_345).map(|number| purchase("u1", number)).collect();
    let other = purchase("=u2", 5_000);
    shop.stored(&of_user).await;
    shop.stored(std::slice::from_ref(&other)).await;
    let newest: Vec<_> = of_user.iter().rev().cloned().collect();
    let everyone: Vec<_> = of_user.iter().chain([&other]).cloned().collect();
    let in_range = "userid=u1&order=oldest&from=2026-01-01T00:01:40Z&to=2026-01-01T00:30:00Z";
    for (accept, format) in [(CSV, RowFormat::Csv), (NDJSON, RowFormat::Ndjson)] {
        for (router, query, expected) in [
            (&shop.facing, "userid=u1", &newest[..]),
            (
                &shop.management,
                "username=name%20of%20u1&order=oldest",
                &of_user,
            ),
            (&shop.management, "everyone=true&order=oldest", &everyone),
            (&shop.facing, in_range, &of_user[100..1_800]),
            (&shop.facing, "userid=u404", &[]),
        ] {
            let file = download(router, query, accept).await;
            assert_eq!(
                file.status,
                StatusCode::OK,
                "{accept} {query}: {}",
                file.text
            );
            assert_eq!(file.text, exported(format, expected), "{accept} {query}");
            assert!(file.header("vary").unwrap().contains("accept"), "{accept}");
        }
        let file = download(&shop.facing, "userid=u1", accept).await;
        let name = format!("attachment; filename=\"purchases.{}\"", format.as_str());
        assert_eq!(file.header("content-disposition"), Some(&*name));
        assert!(file.header("content-type").unwrap().starts_with(accept));
        assert!(
            file.header("content-length").is_none(),
            "the file is streamed"
        );
    }
}

#[tokio::test]
async fn a_file_is_rejected_like_a_page() {
    let shop = Shop::new();
    let everyone = download(&shop.facing, "everyone=true", CSV).await;
    everyone.has(403, &json!({"type": "/problems/denied"}));
    let paged = download(&shop.facing, "userid=u1&limit=5&cursor=x&color=red", NDJSON).await;
    assert_eq!(paged.status, StatusCode::UNPROCESSABLE_ENTITY);
    let problem = paged.json();
    let named: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["parameter"].as_str().unwrap())
        .collect();
    assert_eq!(named, ["color", "limit", "cursor"], "{problem}");
    shop.faults.always(Call::Query, Fault::unavailable());
    let away = download(&shop.facing, "userid=u1", CSV).await;
    assert_eq!(away.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(away.header("content-disposition"), None);
    shop.faults.clear(Call::Query);
    let page = get(&shop.facing, "/v1/purchases?userid=u1").await;
    assert_eq!(page.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_file_waits_for_a_purchase() {
    let shop = Shop::new();
    let query = format!("userid=u1&wait_for={}&wait=0", purchase("u1", 1).id);
    let file = download(&shop.facing, &query, CSV).await;
    assert_eq!(file.header("x-purchase-pending"), Some("true"));
}

#[tokio::test]
async fn files_are_streamed_page_by_page() {
    let shop = Shop::new();
    let all: Vec<_> = (0..10_000).map(|number| purchase("u1", number)).collect();
    shop.stored(&all).await;
    let request = request(
        Method::GET,
        "/v1/purchases?userid=u1",
        &[("accept", CSV)],
        Body::empty(),
    );
    let mut body = shop
        .facing
        .clone()
        .oneshot(request)
        .await
        .unwrap()
        .into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"id,username,"));
    assert!(shop.faults.calls(Call::Query) <= 2, "no later page is read");
    // The status is sent: an error breaks the connection.
    shop.faults.always(Call::Query, Fault::unavailable());
    assert!(body.collect().await.is_err());
}

#[tokio::test]
async fn a_head_has_the_length_of_its_response_or_none() {
    let shop = Shop::new();
    shop.stored(
        &(0..100)
            .map(|number| purchase("u1", number))
            .collect::<Vec<_>>(),
    )
    .await;
    let csv = ("/v1/purchases?userid=u1", ("accept", CSV));
    let gzip = ("/getAllUserBuys/u1", ("accept-encoding", "gzip"));
    for (path, header) in [csv, gzip, ("/openapi.json", ("accept", "*/*"))] {
        let head = send(
            &shop.facing,
            request(Method::HEAD, path, &[header], Body::empty()),
        )
        .await;
        let whole =
            shop.facing
                .clone()
                .oneshot(request(Method::GET, path, &[header], Body::empty()));
        let length = HttpBody::size_hint(whole.await.unwrap().body())
            .exact()
            .map(|length| length.to_string());
        assert_eq!(
            (head.header("content-length"), &*head.text),
            (length.as_deref(), ""),
            "{path}"
        );
    }
}
