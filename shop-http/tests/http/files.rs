//! `GET /v1/purchases` as a file, which is streamed. What is in files is in the scenario `files`.

use axum::body::Body;
use axum::http::Method;
use http_body_util::BodyExt;
use shop_core::api::RowFormat;
use shop_core::conformance::fault::{Call, Fault};
use tower::ServiceExt;

use crate::shop::{Shop, purchase, request, send};

#[tokio::test]
async fn a_file_is_what_an_export_writes() {
    let shop = Shop::new();
    let all: Vec<_> = (0..2_345).map(|number| purchase("u1", number)).collect();
    shop.stored(&all).await;

    for (accept, format) in [
        ("text/csv", RowFormat::Csv),
        ("application/x-ndjson", RowFormat::Ndjson),
    ] {
        let path = "/v1/purchases?userid=u1&order=oldest";
        let download = request(Method::GET, path, &[("accept", accept)], Body::empty());
        let file = send(&shop.facing, download).await;

        let mut exported = Vec::new();
        format.write_head(&mut exported);
        format.write(&mut exported, &all).unwrap();
        assert_eq!(file.text.as_bytes(), exported, "{accept}");
    }
}

#[tokio::test]
async fn files_are_streamed_page_by_page() {
    let shop = Shop::new();
    let all: Vec<_> = (0..10_000).map(|number| purchase("u1", number)).collect();
    shop.stored(&all).await;
    let request = request(
        Method::GET,
        "/v1/purchases?userid=u1",
        &[("accept", "text/csv")],
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
