//! Misbehaving servers: no call hangs, panics, or fills memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use shop_client::ShopClientBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::prelude::*;

const ENDLESS: &str =
    "HTTP/1.1 201 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";

/// A server that responds to each connection with `first`, then continues as `then` says.
struct Hostile {
    url: String,
    /// The number of bytes that were sent after the first ones.
    bytes: Arc<AtomicUsize>,
}

/// The behaviour after the first bytes.
#[derive(Clone, Copy)]
enum Then {
    Close,
    Hang,
    /// Sends this text repeatedly, as fast as it is read.
    Flood(&'static str),
    /// Sends one byte at a time, with a pause after each, forever.
    Drip,
}

impl Hostile {
    async fn new(first: impl Into<String>, then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bytes = Arc::new(AtomicUsize::new(0));
        let sent = Arc::clone(&bytes);
        let first = first.into();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, first.clone(), then, Arc::clone(&sent)));
            }
        });
        Self { url, bytes }
    }

    fn builder(&self) -> ShopClientBuilder {
        let brief = Duration::from_millis(500);
        ShopClient::builder(&self.url)
            .buy_timeout(brief)
            .query_timeout(brief)
            .check_timeout(brief)
            .retries(RetryPolicy::none())
    }

    /// The errors of a write, a read, a report, and a stream: each has its own way to read a response.
    async fn errors(&self) -> [Error; 4] {
        let client = self.builder().build().unwrap();
        let mut export = client.export(Selector::All).csv();
        let calls = async {
            [
                client.shop().buy(ada("1")).await.unwrap_err(),
                client.shop().user("u1").page().await.unwrap_err(),
                client.health().await.unwrap_err(),
                export.next().await.unwrap().unwrap_err(),
            ]
        };
        // Only calls that hang take as long.
        tokio::time::timeout(Duration::from_secs(60), calls)
            .await
            .unwrap()
    }
}

async fn answer(
    mut stream: TcpStream,
    first: String,
    then: Then,
    sent: Arc<AtomicUsize>,
) -> Option<()> {
    // The request is ignored.
    let mut request = vec![0; 64 << 10];
    let _read = stream.read(&mut request).await.ok()?;
    stream.write_all(first.as_bytes()).await.ok()?;
    loop {
        match then {
            Then::Close => return None,
            Then::Hang => std::future::pending().await,
            Then::Flood(text) => {
                let chunk = text.repeat(1 + (16 << 10) / text.len());
                stream.write_all(chunk.as_bytes()).await.ok()?;
                sent.fetch_add(chunk.len(), Ordering::Relaxed);
            }
            Then::Drip => {
                stream.write_all(b" ").await.ok()?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test]
async fn a_response_without_an_end_or_a_sense_is_an_error() {
    let partial = "HTTP/1.1 201 X\r\ncontent-length: 1000000\r\n\r\n{";
    let responses = [
        ("", Then::Hang),
        ("", Then::Drip),
        ("HTTP/1.1 201 X\r\n", Then::Hang),
        (partial, Then::Hang),
        (partial, Then::Close),
        (
            "HTTP/1.1 200 X\r\ncontent-length: 1000000\r\n\r\n{",
            Then::Drip,
        ),
        (
            "HTTP/1.1 503 X\r\ncontent-length: 1000000\r\n\r\n{",
            Then::Drip,
        ),
        // Endless heads, and endless interim responses.
        ("HTTP/1.1 200 X\r\n", Then::Flood("x-more: and more\r\n")),
        ("", Then::Flood("HTTP/1.1 100 Continue\r\n\r\n")),
        (
            "HTTP/1.1 200 X\r\ncontent-length: 99999999999999999999\r\n\r\n",
            Then::Close,
        ),
        (
            "HTTP/1.1 200 X\r\ncontent-length: 18446744073709551615\r\n\r\n{}",
            Then::Close,
        ),
        ("HTTP/1.1 999 X\r\n\r\n", Then::Close),
        ("SSH-2.0-OpenSSH_9.7\r\n", Then::Close),
        ("", Then::Close),
    ];
    // Concurrently: each of them takes as long as all its calls may.
    let all = responses.map(|(first, then)| async move {
        let [buy, reads @ ..] = Hostile::new(first, then).await.errors().await;
        assert_eq!(buy.outcome(), Outcome::Unknown, "{first}: {buy:?}");
        for read in reads {
            assert_eq!(read.outcome(), Outcome::NotApplied, "{first}: {read:?}");
            assert!(read.status() == Some(503) || read.kind() != ErrorKind::Internal);
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
        let builder = server.builder().query_timeout(Duration::from_secs(60));
        let client = builder.build().unwrap();
        client.shop().user("u1").page().await.unwrap_err();
        // The limit of a page, and the buffers of the two sockets.
        let read = server.bytes.load(Ordering::Relaxed);
        assert!(read < 32 << 20, "{status}: {read}");
    }
}
