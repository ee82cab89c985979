//! A server that does not behave as a service does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shop_client::{RetryPolicy, ShopClient, ShopClientBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server that responds to each connection with `first`, then continues as `then` says.
pub(crate) struct Hostile {
    url: String,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) bytes: Arc<AtomicUsize>,
}

/// The behaviour after the first bytes.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    Close,
    Hang,
    /// Sends this text repeatedly, as fast as it is read.
    Flood(&'static str),
    /// Sends one byte at a time, with a pause after each, forever.
    Drip,
}

impl Hostile {
    pub(crate) async fn new(first: impl Into<String>, then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let bytes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let sent = Arc::clone(&bytes);
        let first = first.into();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(answer(stream, first.clone(), then, Arc::clone(&sent)));
            }
        });
        Self {
            url,
            connections,
            bytes,
        }
    }

    pub(crate) fn builder(&self) -> ShopClientBuilder {
        let brief = Duration::from_millis(500);
        ShopClient::builder(&self.url)
            .buy_timeout(brief)
            .query_timeout(brief)
            .check_timeout(brief)
            .retries(RetryPolicy::none())
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

/// The head and the body of a response with a content length.
pub(crate) fn whole(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
}

pub(crate) const ENDLESS: &str =
    "HTTP/1.1 201 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
