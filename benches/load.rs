//! Load on a server over keep-alive connections, each with one request in flight. Runs in a child process, so its cost
//! is not attributed to the server.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::usage::{as_f64, median, quantile};

/// The name of a load in a child process.
pub(crate) const RUN: &str = "load";

/// Repeated requests that buy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// The number of concurrent connections.
    pub connections: usize,
    /// The duration, after a quarter of it as warm-up.
    pub time: Duration,
    /// The number of purchases in a request: 1 for `POST /buy`, more for `POST /v1/purchases:batch`.
    pub batch: usize,
    /// The number of requests per second over all connections; unlimited by default.
    pub rate: Option<f64>,
    /// The number of users who buy in turn; at least one per connection.
    pub users: usize,
}

/// The result.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Loaded {
    /// Requests per second with a response.
    pub per_second: f64,
    /// All requests with a response, including the warm-up.
    pub answered: u64,
    /// The median latency in milliseconds.
    pub p50: f64,
    /// The 99th percentile of the latency in milliseconds.
    pub p99: f64,
}

impl Load {
    /// Runs the load on half of the processor's cores, at least one; the others are left to the server.
    #[must_use]
    pub fn run(&self) -> Loaded {
        let cores = std::thread::available_parallelism().unwrap().get();
        let threads = (cores / 2).clamp(1, self.connections);
        let start = |first: usize| {
            let load = self.clone();
            std::thread::spawn(move || load.run_part((first..load.connections).step_by(threads)))
        };
        let parts: Vec<_> = (0..threads).map(start).collect();
        let (answered, times): (Vec<u64>, Vec<Vec<f64>>) = parts
            .into_iter()
            .flat_map(|part| part.join().unwrap())
            .unzip();
        let times = times.concat();
        Loaded {
            per_second: as_f64(times.len() as u64) / self.time.as_secs_f64(),
            answered: answered.into_iter().sum(),
            p50: median(times.clone()),
            p99: quantile(times, 0.99),
        }
    }

    /// Runs the connections with these numbers. Returns per connection the number of responses, and the latencies after
    /// the warm-up in milliseconds.
    fn run_part(&self, numbers: impl Iterator<Item = usize>) -> Vec<(u64, Vec<f64>)> {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let begun = Instant::now();
            let connections = numbers.map(|number| self.clone().run_connection(number, begun));
            connections.collect::<JoinSet<_>>().join_all().await
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    async fn run_connection(self, number: usize, begun: Instant) -> (u64, Vec<f64>) {
        let (warm, end) = (begun + self.time / 4, begun + self.time / 4 + self.time);
        let pause = self
            .rate
            .map(|rate| Duration::from_secs_f64(self.connections as f64 / rate));
        // Staggered start.
        let mut due = begun
            + pause
                .unwrap_or_default()
                .mul_f64(number as f64 / self.connections as f64);
        let mut connection = Connection::open(self.address).await;
        let of = |user: usize| match self.batch {
            1 => (buy(&format!("user-{user:05}")), 201),
            batch_size => (batch(&format!("user-{user:05}"), batch_size), 200),
        };
        let (mut request, expected) = of(number);
        let mut user = number;
        let (mut answered, mut times) = (0, Vec::new());
        loop {
            if let Some(pause) = pause {
                sleep_until(due.min(end)).await;
                due += pause;
            }
            if self.users > self.connections && answered > 0 {
                user = (user + self.connections) % self.users;
                request = of(user).0;
            }
            let sent = Instant::now();
            if sent >= end {
                return (answered, times);
            }
            let answer = connection.send(&request).await;
            assert_eq!(
                answer.status,
                expected,
                "{}",
                String::from_utf8_lossy(answer.body)
            );
            // Each response would cost as much as sending it.
            if self.batch > 1 && answered % 16 == 0 {
                let acknowledged = String::from_utf8_lossy(answer.body)
                    .matches("\"acknowledged\"")
                    .count();
                assert_eq!(acknowledged, self.batch);
            }
            answered += 1;
            let now = Instant::now();
            if sent >= warm && now <= end {
                times.push((now - sent).as_secs_f64() * 1_000.0);
            }
        }
    }
}

/// The API key of each purchase. Services without authentication ignore it.
pub const KEY: &str = "0123456789abcdef";
/// Its SHA-256.
pub const KEY_SHA256: &str = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";

/// `POST /buy` of one user.
#[must_use]
pub fn buy(user: &str) -> Vec<u8> {
    let body = format!(r#"{{"username":"Ada {user}","userid":"{user}","price":1195.30}}"#);
    let head = "POST /buy HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nauthorization: Bearer ";
    format!(
        "{head}{KEY}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// `POST /v1/purchases:batch` of `users` users, as NDJSON.
#[must_use]
pub fn batch(prefix: &str, purchases: usize) -> Vec<u8> {
    let line = |number| {
        let price = format!("{}.{:02}", number % 2_000, number % 100);
        format!(
            "{{\"username\":\"Ada {number}\",\"userid\":\"{prefix}-{number}\",\"price\":{price}}}\n"
        )
    };
    let body: String = (0..purchases).map(line).collect();
    let head = "POST /v1/purchases:batch HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: ";
    format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes()
}

/// `GET` of a path.
#[must_use]
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

/// A keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: &'a [u8],
}

/// The maximum number of headers in a response.
const HEADERS: usize = 32;

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            received: Vec::with_capacity(4_096),
        }
    }

    /// Sends a request and waits for the whole response, which must have a content length.
    pub async fn send(&mut self, request: &[u8]) -> Answer<'_> {
        self.stream.write_all(request).await.unwrap();
        self.received.clear();
        let (status, head, body) = loop {
            if let Some(lengths) = lengths(&self.received) {
                break lengths;
            }
            self.receive().await;
        };
        while self.received.len() < head + body {
            self.receive().await;
        }
        Answer {
            status,
            body: &self.received[head..head + body],
        }
    }

    async fn receive(&mut self) {
        assert_ne!(
            self.stream.read_buf(&mut self.received).await.unwrap(),
            0,
            "the server closed the connection"
        );
    }
}

/// Status, length of the head and length of the body, if the head is complete.
fn lengths(received: &[u8]) -> Option<(u16, usize, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(received).unwrap() else {
        return None;
    };
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = std::str::from_utf8(length.unwrap().value).unwrap();
    Some((response.code.unwrap(), head, length.parse().unwrap()))
}
