//! Files of purchases: downloads are streamed, and an import takes them whole. The rest is in the scenarios `files` and
//! `imports`.

use shop_core::api::RowFormat;
use shop_core::{NewPurchase, Purchase, Uuid};
use tokio::time::Instant;

use crate::prelude::*;

async fn download(router: &Router, query: &str, accept: &str) -> TestResponse {
    let path = format!("/v1/purchases?{query}");
    let headers = [("accept", accept)];
    send(router, request(Method::GET, &path, &headers, Body::empty())).await
}

#[tokio::test]
async fn a_file_is_what_an_export_writes() {
    let shop = Shop::new();
    let all: Vec<_> = (0..2_345).map(|number| purchase("u1", number)).collect();
    shop.stored(&all).await;

    for (accept, format) in [
        ("text/csv", RowFormat::Csv),
        ("application/x-ndjson", RowFormat::Ndjson),
    ] {
        let file = download(&shop.facing, "userid=u1&order=oldest", accept).await;

        let mut exported = Vec::new();
        format.write_head(&mut exported);
        format.write(&mut exported, &all).unwrap();
        assert_eq!(file.text.as_bytes(), exported, "{accept}");
    }
}

#[tokio::test(start_paused = true)]
async fn files_are_streamed_page_by_page() {
    let shop = Shop::new();
    let all: Vec<_> = (0..10_000).map(|number| purchase("u1", number)).collect();
    shop.stored(&all).await;
    for (encoding, first_bytes) in [("identity", &b"id,username,"[..]), ("gzip", &[0x1f, 0x8b])] {
        let headers = [("accept", "text/csv"), ("accept-encoding", encoding)];
        let path = "/v1/purchases?userid=u1";
        let download = request(Method::GET, path, &headers, Body::empty());
        let response = shop.facing.clone().oneshot(download).await.unwrap();

        // The first page arrives before the second one has been read.
        let an_hour = Fault::Delay(Duration::from_secs(3_600));
        shop.faults.always(Call::Query, an_hour);
        let start = Instant::now();
        let mut body = response.into_body();
        let mut received = Vec::new();
        while received.len() <= 500 {
            received.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        assert!(received.starts_with(first_bytes));
        assert_eq!(start.elapsed(), Duration::ZERO, "{encoding}");

        // The status is sent: an error breaks the connection.
        shop.faults.always(Call::Query, Fault::unavailable());
        assert!(body.collect().await.is_err());
        shop.faults.clear(Call::Query);
    }
}

/// A purchase with members of a later version, and its refund.
fn refunded() -> [Purchase; 2] {
    let new = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("29.99")
        .unwrap();
    let at = "2026-03-01T09:00:00Z".parse().unwrap();
    let mut bought = new.into_purchase(at, || Uuid::from_u128(7));
    bought
        .details
        .set_unknown_members(r#"{"gift":{"to":"eva"},"tax":1.10}"#)
        .unwrap();
    let refund = bought.refund(None, at).unwrap();
    [bought, refund]
}

#[tokio::test]
async fn what_an_export_has_written_is_taken_whole_by_a_batch_and_an_import() {
    let from = Shop::new();
    from.stored(&refunded()).await;
    let path = format!("/v1/purchases/{}", refunded()[0].id);
    let more = r#""more":{"gift":{"to":"eva"},"tax":1.10}"#;
    assert!(get(&from.management, &path).await.text.contains(more));

    for (accept, path) in [
        ("text/csv", "/v1/purchases:import"),
        ("application/x-ndjson", "/v1/purchases:import"),
        ("application/x-ndjson", "/v1/purchases:batch"),
    ] {
        // The export is newest first: a refund comes before its purchase.
        let file = download(&from.management, "everyone=true", accept)
            .await
            .text;
        let to = Shop::new();
        let headers = [("content-type", accept)];
        let upload = request(Method::POST, path, &headers, file);
        let response = send(&to.management, upload).await;

        let by_id = |mut all: Vec<Purchase>| {
            all.sort_by_key(|purchase| purchase.id);
            all
        };
        let taken = by_id(to.store.all());
        assert_eq!(taken, by_id(from.store.all()), "{path}: {response:?}");
    }
}
