//! Files of purchases are streamed. What they contain is in the scenarios `files`, `exports` and `imports`.

use shop_api::files::RowFormat;
use tokio::time::Instant;

use crate::prelude::*;

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
