//! Real connections: slow, large and missing input.

use std::time::Duration;

use futures_util::FutureExt;
use shop_core::conformance::fault::{Call, Fault};
use shop_core::memory::InMemoryStore;
use shop_core::ports::PurchaseStore;
use shop_http::{HttpOptions, router, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::shop::{Shop, facing_parts_of, purchase};

struct Served {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// Facing on a real port.
async fn served() -> Served {
    served_within(HttpOptions::default()).await
}

async fn served_within(options: HttpOptions) -> Served {
    served_from(InMemoryStore::new(), options).await
}

async fn served_from(store: InMemoryStore, options: HttpOptions) -> Served {
    let parts = facing_parts_of(store);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let router = router(parts, options.clone());
    let task = tokio::spawn(serve(listener, router, &options, async move {
        drop(stopped.await);
    }));
    Served {
        address,
        stop,
        task,
    }
}

#[tokio::test]
async fn oversized_body_gets_its_413() {
    let served = served().await;
    // With `expect`, at once: without the body.
    for (header, body) in [
        ("connection: close", vec![b'x'; 10_000_000]),
        ("expect: 100-continue", vec![]),
    ] {
        let head = "POST /buy HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10000000";
        let response = served
            .exchange(&[format!("{head}\r\n{header}\r\n\r\n").as_bytes(), &body].concat())
            .await;
        assert!(
            response.starts_with("HTTP/1.1 413 ") && response.contains("102400 bytes"),
            "{response}"
        );
    }
}

#[tokio::test]
async fn shutdown_completes_requests_in_flight() {
    let served = served().await;
    let body = r#"{"username":"ada","userid":"u1","price":1}"#;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let head = format!(
        "POST /buy HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body.as_bytes()[..10]).await.unwrap();
    stream.flush().await.unwrap();
    // A response on another connection shows that the first one has been accepted.
    let mut other = TcpStream::connect(served.address).await.unwrap();
    other
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    other.read_to_end(&mut Vec::new()).await.unwrap();
    served.stop.send(()).unwrap();
    stream.write_all(&body.as_bytes()[10..]).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    assert!(
        response.starts_with(b"HTTP/1.1 201 "),
        "{}",
        String::from_utf8_lossy(&response)
    );
    served.task.await.unwrap().unwrap();
    assert!(
        TcpStream::connect(served.address).await.is_err(),
        "the listener is closed"
    );
}

const HEALTHZ: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `bytes` on a new connection, and reads until the server closes it.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }
}

#[tokio::test]
async fn incomplete_heads_time_out() {
    let mut options = HttpOptions::default();
    options.header_read_timeout = Duration::from_millis(20);
    options.idle_timeout = Duration::from_millis(20);
    let served = served_within(options).await;
    // No connection stays open with part of a head, without any bytes, or idle after a response.
    for bytes in [&b"GET /healthz HTTP/1.1\r\nhost"[..], b"", HEALTHZ] {
        let response = served.exchange(bytes).await;
        assert_eq!(response.contains("200 OK"), bytes == HEALTHZ, "{response}");
    }
}

#[tokio::test]
async fn invalid_heads_are_rejected() {
    let served = served().await;
    let close = "host: x\r\nconnection: close\r\n\r\n";
    let many = "x: y\r\n".repeat(101);
    let long = "x".repeat(20_000);
    let longer = "x".repeat(100_000);
    let cases = [
        (
            format!("GET /{long} HTTP/1.1\r\n{close}"),
            "414",
            "must not have more than 8192 bytes",
        ),
        (format!("GET /{longer} HTTP/1.1\r\n{close}"), "431", ""),
        (
            format!("GET /healthz HTTP/1.1\r\nx: {long}\r\n{close}"),
            "431",
            "must not have more than 16384 bytes",
        ),
        (
            format!("GET /healthz HTTP/1.1\r\nx: {longer}\r\n{close}"),
            "431",
            "",
        ),
        (format!("GET /healthz HTTP/1.1\r\n{many}{close}"), "431", ""),
        (
            format!("GET /healthz HTTP/1.1\r\nx y: z\r\n{close}"),
            "400",
            "",
        ),
        (
            format!("GET /healthz HTTP/1.1\r\nx: a\0b\r\n{close}"),
            "400",
            "",
        ),
        (format!("GET /health z HTTP/1.1\r\n{close}"), "400", ""),
        (format!("GET /healthz HTTP/3.1\r\n{close}"), "400", ""),
        (
            format!("POST /buy HTTP/1.1\r\ncontent-length: ten\r\n{close}"),
            "400",
            "",
        ),
        (
            format!("POST /buy HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n{close}"),
            "400",
            "",
        ),
        (
            format!("POST /buy HTTP/1.1\r\ntransfer-encoding: gzip\r\n{close}"),
            "400",
            "",
        ),
        (
            format!("POST /buy HTTP/1.1\r\ntransfer-encoding: chunked\r\n{close}nonsense\r\n"),
            "400",
            "ended early",
        ),
        ("nonsense\r\n\r\n".to_owned(), "400", ""),
        (
            "GET /livez HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(),
            "400",
            "",
        ),
        (
            format!("GET /livez HTTP/1.1\r\nexpect: a-gift\r\n{close}"),
            "417",
            "",
        ),
        (
            "GET /v1/summary HTTP/1.1\r\nhost: a/b\r\nconnection: close\r\n\r\n".to_owned(),
            "400",
            "application/problem+json",
        ),
    ];
    for (bytes, status, text) in cases {
        let response = served.exchange(bytes.as_bytes()).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{bytes:.80}: {response}"
        );
        assert!(response.contains(text), "{bytes:.80}: {response}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_frees_its_request_slot() {
    let mut options = HttpOptions::default();
    options.write_timeout = Duration::from_millis(20);
    options.max_requests = 1;
    let store = InMemoryStore::new();
    // More than the buffers of a connection hold.
    let purchases: Vec<_> = (1..=100_000).map(|number| purchase("u1", number)).collect();
    store.insert(purchases.into()).await.unwrap();
    let served = served_from(store, options).await;
    let mut lazy = served.connect().await;
    lazy.write_all(b"GET /getAllUserBuys/u1 HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    lazy.read_exact(&mut [0; 100]).await.unwrap();
    // Its slot is free once its connection was closed.
    let other = b"GET /getAllUserBuys/u2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    while !served.exchange(other).await.starts_with("HTTP/1.1 200 ") {}
    let mut rest = Vec::new();
    // The response is incomplete.
    let read = lazy.read_to_end(&mut rest).await;
    assert!(read.is_err() || !rest.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn connections_above_the_limit_wait() {
    let mut options = HttpOptions::default();
    options.max_connections = 1;
    let served = served_within(options).await;
    let mut first = served.connect().await;
    let mut response = [0; 17];
    first.write_all(HEALTHZ).await.unwrap();
    first.read_exact(&mut response).await.unwrap();
    let second = served.exchange(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut second = std::pin::pin!(second);
    for _ in 0..10 {
        assert!(second.as_mut().now_or_never().is_none());
        first.write_all(HEALTHZ).await.unwrap();
        first.read_exact(&mut response).await.unwrap();
    }
    drop(first);
    assert!(second.await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_response_that_breaks_off_ends_with_a_reset() {
    let shop = Shop::new();
    let all: Vec<_> = (0..100_000).map(|number| purchase("u1", number)).collect();
    shop.stored(&all).await;
    let options = HttpOptions::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let router = shop.facing.clone();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router, &options, std::future::pending()));
    for (path, accept) in [
        ("/v1/purchases?userid=u1", "text/csv"),
        ("/v1/purchases?userid=u1", "application/x-ndjson"),
        ("/getAllUserBuys/u1", "*/*"),
    ] {
        for (version, fails) in [("1.0", true), ("1.1", true), ("1.0", false)] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!(
                "GET {path} HTTP/{version}\r\nhost: x\r\nconnection: close\r\naccept: {accept}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.read_exact(&mut [0; 100]).await.unwrap();
            if fails {
                shop.faults.always(Call::Query, Fault::unavailable());
            }
            let read = stream
                .read_to_end(&mut Vec::new())
                .await
                .map_err(|error| error.kind());
            shop.faults.clear(Call::Query);
            assert_eq!(
                read.is_err(),
                fails,
                "HTTP/{version} {path} {accept}: {read:?}"
            );
            assert!(!fails || read == Err(std::io::ErrorKind::ConnectionReset));
        }
    }
}
