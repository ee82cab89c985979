//! Real connections: slow, large and missing input, and the end of the server.

use std::io::ErrorKind;

use shop_core::feed::FeedOptions;
use shop_http::{HttpService, Tls, serve, serve_tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::events::shop_with_feed;
use crate::prelude::*;
use crate::shop::facing_parts_of;

/// A service on a real port.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<std::io::Result<()>>,
}

impl Served {
    /// An empty facing.
    async fn facing(options: HttpOptions) -> Self {
        let parts = facing_parts_of(InMemoryStore::new());
        let service = routes(parts).options(options.clone()).build_service();
        Self::new(service, options, None).await
    }

    pub(crate) async fn new(
        service: impl Into<HttpService>,
        options: HttpOptions,
        tls: Option<Tls>,
    ) -> Self {
        let service = service.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        let task = tokio::spawn(async move {
            match tls {
                Some(tls) => serve_tls(listener, tls, service, &options, stopped).await,
                None => serve(listener, service, &options, stopped).await,
            }
        });
        Self {
            address,
            stop,
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `bytes` on a new connection, and reads until the server closes it.
    async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }
}

const HEALTHZ: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

/// Returns the status and the body of a response.
fn status_and_body(response: &str) -> (&str, &str) {
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap(), body)
}

/// A path in which each parameter is `7`.
fn with_parameters(template: &str) -> String {
    match template.split_once('{') {
        Some((start, rest)) => format!("{start}7{}", rest.split_once('}').unwrap().1),
        None => template.to_owned(),
    }
}

#[tokio::test]
async fn a_listener_answers_as_the_router_does() {
    // The two have the same parts, so that also what changes with requests is the same.
    let parts = AllRoles::default().facing();
    let builder = || routes(parts.clone());
    let router = builder().build();
    let served = Served::new(builder().build_service(), HttpOptions::default(), None).await;

    let mut paths = builder().paths();
    // A stream of events does not end.
    paths.retain(|path| path != "/v1/purchases/events");
    for path in [
        "",
        "/",
        "/nowhere",
        "/v1/nowhere",
        "/v1/purchases/",
        "/v1/purchases/a/b",
        "/getAllUserBuys/ada%20lovelace",
        "/getAllUserBuys/%ff",
        "/problems/a%2Fb",
        "/v1/dead-letters/7:replay",
    ] {
        paths.push(path.to_owned());
    }

    for template in paths {
        let path = with_parameters(&template);
        for method in ["GET", "POST", "OPTIONS", "DELETE"] {
            let target = if path.is_empty() { "*" } else { &path };
            let head =
                format!("{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            let response = served.exchange(head).await;
            let (status, body) = status_and_body(&response);
            let method = method.parse().unwrap();
            let routed = send(&router, request(method, target, &[], Body::empty())).await;
            assert_eq!(status, routed.status.as_str(), "{target}: {response}");
            let changes = ["/health", "/metrics", "/v1", "/-/ready", "/readyz"];
            if !changes.contains(&target) {
                assert_eq!(body, routed.text, "{target}");
            }
        }
    }
}

#[tokio::test]
async fn a_stopped_server_ends_once_its_connections_have() {
    let served = Served::facing(HttpOptions::default()).await;
    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    served.exchange(request).await;

    served.stop.send(()).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), served.task).await;
    ended.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn incomplete_heads_time_out() {
    let time = Duration::from_millis(20);
    let options = HttpOptions::default()
        .header_read_timeout(time)
        .idle_timeout(time);
    let served = Served::facing(options).await;
    // No connection stays open with part of a head, without any bytes, or idle after a response.
    for bytes in ["GET /healthz HTTP/1.1\r\nhost", "", HEALTHZ] {
        let response = served.exchange(bytes).await;
        assert_eq!(response.contains("200 OK"), bytes == HEALTHZ, "{response}");
    }
}

/// Returns the text with `{3 x}` as `xxx`, `\n` as the end of a line of HTTP, and `\0` as NUL.
fn expanded(text: &str) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (repeated, after) = after.split_once('}').unwrap();
        let (count, piece) = repeated.split_once(' ').unwrap();
        expanded += before;
        expanded += &piece.repeat(count.parse().unwrap());
        rest = after;
    }
    (expanded + rest)
        .replace("\\n", "\r\n")
        .replace("\\0", "\0")
}

/// Each line of `invalid_heads.txt` is a head, and how it is answered.
#[tokio::test]
async fn invalid_heads_are_rejected() {
    let served = Served::facing(HttpOptions::default()).await;
    for line in include_str!("invalid_heads.txt").lines() {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let [status, text, head] = line.splitn(3, " | ").collect::<Vec<_>>()[..] else {
            panic!("{line} has three columns");
        };
        let bytes = expanded(head) + "\r\nconnection: close\r\n\r\n";
        let response = served.exchange(bytes).await;
        assert_eq!(
            response.split(' ').nth(1),
            Some(status),
            "{line}: {response}"
        );
        assert!(response.contains(text.trim()), "{line}: {response}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_frees_its_request_slot() {
    let options = HttpOptions::default()
        .write_timeout(Duration::from_millis(20))
        .max_requests(1);
    let shop = Shop::with(options.clone());
    // More than the buffers of a connection hold.
    let purchases: Vec<_> = (1..=100_000).map(|number| purchase("u1", number)).collect();
    shop.stored(&purchases).await;
    let served = Served::new(shop.facing, options, None).await;
    let mut lazy = served.connect().await;
    let listing = "GET /getAllUserBuys/u1 HTTP/1.1\r\nhost: x\r\n\r\n";
    lazy.write_all(listing.as_bytes()).await.unwrap();
    lazy.read_exact(&mut [0; 100]).await.unwrap();
    // Its slot is free once its connection was closed.
    let other = "GET /getAllUserBuys/u2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    while !served.exchange(other).await.starts_with("HTTP/1.1 200 ") {}

    let mut rest = Vec::new();
    let read = lazy.read_to_end(&mut rest).await;
    let is_complete = read.is_ok() && rest.ends_with(b"0\r\n\r\n");
    assert!(!is_complete, "{read:?}");
}

/// The server sends such a client nothing that could fail, before the comment of a stream 15 s later.
#[tokio::test]
async fn a_client_that_disconnects_frees_its_stream_at_once() {
    let one = FeedOptions::default().max_subscriptions(1);
    let (shop, _feed) = shop_with_feed(one, |parts| router(parts, HttpOptions::default()));
    let served = Served::new(shop.facing, HttpOptions::default(), None).await;
    let follow = async || {
        let mut stream = served.connect().await;
        let head = "GET /v1/purchases/events?userid=u1 HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; "HTTP/1.1 200".len()];
        stream.read_exact(&mut status).await.unwrap();
        (stream, status.ends_with(b"200"))
    };

    let (first, is_served) = follow().await;
    assert!(is_served);
    assert!(!follow().await.1, "there is room for one stream");

    drop(first);
    let freed = async { while !follow().await.1 {} };
    timeout(Duration::from_secs(5), freed).await.unwrap();
}

#[tokio::test]
async fn a_response_that_breaks_off_ends_with_a_reset() {
    let shop = Shop::new();
    let purchases: Vec<_> = (0..100_000).map(|number| purchase("u1", number)).collect();
    shop.stored(&purchases).await;
    let served = Served::new(shop.facing.clone(), HttpOptions::default(), None).await;
    for (path, accept) in [
        ("/v1/purchases?userid=u1", "text/csv"),
        ("/getAllUserBuys/u1", "*/*"),
    ] {
        for (version, fails) in [("1.0", true), ("1.1", true), ("1.0", false)] {
            let head = format!(
                "GET {path} HTTP/{version}\r\nhost: x\r\nconnection: close\r\naccept: {accept}\r\n\r\n"
            );
            let mut stream = served.connect().await;
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.read_exact(&mut [0; 100]).await.unwrap();
            if fails {
                shop.faults.always(Call::Query, Fault::unavailable());
            }
            let read = stream.read_to_end(&mut Vec::new()).await;
            shop.faults.clear(Call::Query);
            let error = read.err().map(|error| error.kind());
            let expected = fails.then_some(ErrorKind::ConnectionReset);
            assert_eq!(error, expected, "HTTP/{version} {path} {accept}");
        }
    }
}
