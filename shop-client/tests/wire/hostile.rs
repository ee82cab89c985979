//! Misbehaving servers: no call hangs, panics, or fills memory.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use shop_client::{Error, ErrorKind, HttpErrorExt, Outcome, PageLimit, RetryPolicy, Selector};
use shop_core::conformance::assert_fails;

use crate::hostile_server::{ENDLESS, Hostile, Then, whole};
use crate::shop::ada;

impl Hostile {
    /// The errors of every kind of call; the first three are writes.
    async fn errors(&self) -> Vec<Error> {
        let client = self.builder().build().unwrap();
        let user = client.user("u1");
        let id = "0190163d-8694-739b-aea5-966c26f8ad91";
        let calls = async {
            vec![
                client.buy(ada("1")).await.unwrap_err(),
                client.dead_letters().replay(["t-0-1"]).await.unwrap_err(),
                client.dead_letters().discard(["t-0-1"]).await.unwrap_err(),
                user.summary().await.unwrap_err(),
                user.page().await.unwrap_err(),
                client.get(id).await.unwrap_err(),
                client.check().await.unwrap_err(),
                client
                    .dead_letters()
                    .page(PageLimit::MAX, None)
                    .await
                    .unwrap_err(),
                client
                    .dead_letters()
                    .list()
                    .next()
                    .await
                    .unwrap()
                    .unwrap_err(),
                client.dead_letters().get("t-0-1").await.unwrap_err(),
                client.health().await.unwrap_err(),
                client
                    .export(Selector::All)
                    .purchases()
                    .next()
                    .await
                    .unwrap()
                    .unwrap_err(),
                client
                    .export(Selector::All)
                    .csv()
                    .next()
                    .await
                    .unwrap()
                    .unwrap_err(),
            ]
        };
        // Only calls that hang take as long.
        tokio::time::timeout(Duration::from_secs(60), calls)
            .await
            .unwrap()
    }
}

/// Whether all of them may have taken effect.
fn unknown(errors: &[Error]) -> bool {
    errors
        .iter()
        .all(|error| error.outcome() == Outcome::Unknown)
}

#[tokio::test]
async fn a_response_that_never_ends_times_out() {
    let slow = [
        (String::new(), Then::Hang),
        (String::new(), Then::Drip),
        ("HTTP/1.1 201 X\r\n".to_owned(), Then::Hang),
        (
            "HTTP/1.1 201 X\r\ncontent-length: 1000000\r\n\r\n{".to_owned(),
            Then::Hang,
        ),
        (
            "HTTP/1.1 200 X\r\ncontent-length: 1000000\r\n\r\n{".to_owned(),
            Then::Drip,
        ),
        (
            "HTTP/1.1 503 X\r\ncontent-length: 1000000\r\n\r\n{".to_owned(),
            Then::Drip,
        ),
    ];
    // Concurrently: each of them takes as long as all its calls may.
    let all = slow.map(|(first, then)| async move {
        let errors = Hostile::new(first.clone(), then).await.errors().await;
        assert!(unknown(&errors[..3]), "{first}: {errors:?}");
        for error in errors {
            assert!(
                error.status() == Some(503) || error.kind() != ErrorKind::Internal,
                "{first}: {error:?}"
            );
        }
    });
    join_all(all).await;
}

#[tokio::test]
async fn an_endless_response_is_bounded_in_memory() {
    let chunk = "1000\r\n".to_owned() + &"x".repeat(0x1000) + "\r\n";
    let chunk: &'static str = chunk.leak();
    for status in ["200", "201", "503"] {
        let server = Hostile::new(ENDLESS.replace("201", status), Then::Flood(chunk)).await;
        let client = server
            .builder()
            .query_timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        client.user("u1").page().await.unwrap_err();
        // The limit of a page, and the buffers of the two sockets.
        let read = server.bytes.load(Ordering::Relaxed);
        assert!(read < 32 << 20, "{status}: {read}");
        server.errors().await;
    }
    // Endless heads, and endless interim responses.
    for first in ["HTTP/1.1 200 X\r\n", ""] {
        let again = if first.is_empty() {
            "HTTP/1.1 100 Continue\r\n\r\n"
        } else {
            "x-more: and more\r\n"
        };
        let server = Hostile::new(first, Then::Flood(again)).await;
        server.errors().await;
    }
}

#[tokio::test]
async fn a_foreign_response_is_an_error() {
    let json = "application/json";
    let deep = "[".repeat(50_000);
    let wrong = [
        whole("201", "text/html", "<html>Welcome to the hotel</html>"),
        whole("200", "text/html", "<html>Please log in</html>"),
        whole("201", json, ""),
        whole("201", json, "{\"purchase\":"),
        whole("200", json, "null"),
        whole("200", json, "[]"),
        whole("200", json, &deep),
        whole("200", json, &format!("{{\"items\":{deep}")),
        whole(
            "200",
            json,
            "{\"status\":1,\"items\":{},\"count\":-1,\"total_spent\":\"NaN\"}",
        ),
        whole("503", "application/problem+json", &deep),
        whole(
            "503",
            "application/problem+json",
            "{\"type\":1,\"outcome\":[]}",
        ),
        whole("200", json, "\u{0}\u{1}\u{7f}"),
        "HTTP/1.1 200 X\r\ncontent-length: 99999999999999999999\r\n\r\n".to_owned(),
        "HTTP/1.1 200 X\r\ncontent-length: 18446744073709551615\r\n\r\n{}".to_owned(),
        "HTTP/1.1 999 X\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH_9.7\r\n".to_owned(),
        String::new(),
    ];
    for first in wrong {
        let errors = Hostile::new(first.clone(), Then::Close)
            .await
            .errors()
            .await;
        assert!(unknown(&errors[..3]), "{first:.80}: {errors:?}");
        assert!(
            errors.iter().all(|error| error.to_string().len() < 1_000),
            "{first:.80}"
        );
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for status in ["301", "302", "307", "308"] {
        let first =
            format!("HTTP/1.1 {status} X\r\nlocation: /v1/purchases\r\ncontent-length: 0\r\n\r\n");
        let server = Hostile::new(first, Then::Close).await;
        for error in server.errors().await {
            assert_fails(&error, ErrorKind::Unsupported, Outcome::NotApplied);
        }
        assert_eq!(
            server.connections.load(Ordering::Relaxed),
            13,
            "one for each call"
        );
        // A client that follows redirects ends as well.
        let follows = reqwest::Client::builder()
            .tls_certs_only([])
            .build()
            .unwrap();
        let client = server.builder().http_client(follows).build().unwrap();
        let error = client.buy(ada("1")).await.unwrap_err();
        assert!(!error.is_retryable(), "{error:?}");
    }
}

#[tokio::test]
async fn retries_of_a_hostile_server_end() {
    let server = Hostile::new(
        "HTTP/1.1 201 X\r\ncontent-length: 1000000\r\n\r\n{",
        Then::Close,
    )
    .await;
    let retries = RetryPolicy::default().total_timeout(Duration::from_secs(1));
    let client = server.builder().retries(retries).build().unwrap();
    let error = client.buy(ada("1")).await.unwrap_err();
    assert_fails(&error, ErrorKind::Unavailable, Outcome::Unknown);
    assert!(error.attempts() > 1, "{error}");
}
