//! Misbehaving servers: no call hangs, panics, or fills memory.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use shop_client::{ErrorKind, Outcome};
use shop_core::conformance::assert_fails;

use crate::calls::errors_of;
use crate::hostile_server::{ENDLESS, Hostile, Then, whole};

#[tokio::test]
async fn a_response_that_cannot_be_read_is_an_error() {
    let json = "application/json";
    let responses = [
        (String::new(), Then::Hang),
        (
            "HTTP/1.1 201 X\r\ncontent-length: 1000000\r\n\r\n{".to_owned(),
            Then::Drip,
        ),
        (ENDLESS.to_owned(), Then::Flood("1\r\nx\r\n")),
        (ENDLESS.replace("201", "200"), Then::Flood("1\r\nx\r\n")),
        (String::new(), Then::Close),
        (
            whole("200", "text/html", "<html>Please log in</html>"),
            Then::Close,
        ),
        (whole("201", json, ""), Then::Close),
        (whole("200", json, &"[".repeat(50_000)), Then::Close),
        (whole("202", json, "{}"), Then::Close),
    ];
    // Concurrently: each of them takes as long as all its calls may.
    let all = responses.map(|(first, then)| async move {
        let server = Hostile::new(first.clone(), then).await;
        let client = server.builder().build().unwrap();
        // Only calls that hang take as long.
        let errors = tokio::time::timeout(Duration::from_secs(60), errors_of(&client));
        let [register, place, reads @ ..] = errors.await.unwrap();
        for write in [register, place] {
            assert_eq!(write.outcome(), Outcome::Unknown, "{first:.80}: {write:?}");
        }
        for read in reads {
            assert_eq!(read.outcome(), Outcome::NotApplied, "{first:.80}: {read:?}");
            assert_ne!(read.kind(), ErrorKind::Internal, "{first:.80}: {read:?}");
        }
    });
    join_all(all).await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let first = "HTTP/1.1 307 X\r\nlocation: /v1/users\r\ncontent-length: 0\r\n\r\n";
    let server = Hostile::new(first, Then::Close).await;
    for error in errors_of(&server.builder().build().unwrap()).await {
        assert_fails(&error, ErrorKind::Unsupported, Outcome::NotApplied);
    }
    let connections = server.connections.load(Ordering::Relaxed);
    assert_eq!(connections, 5, "one for each call");
}
