//! Attacks without credentials: they neither stop others from buying nor exhaust the memory of a service.
//!
//! Each test prints the time that a purchase takes without and during the attack.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::prelude::*;

/// The limit of facing in the chart, in MiB.
const MEMORY: u64 = 256;

/// The number of purchases that are timed. During some attacks, each waits seconds for a slot.
fn purchases() -> usize {
    if chosen("SHOP_TEST_ROUNDS").is_some() {
        50
    } else {
        3
    }
}

/// Buys on a new connection, as a new client. Returns the time that it took.
///
/// A full listener closes a connection without a request for a second. On a busy machine, that of a request on its way can
/// be one: as clients do, it is sent again.
async fn buy(process: &Process) -> Duration {
    let begun = Instant::now();
    let key = Uuid::now_v7().to_string();
    let bought = async {
        loop {
            let request = plain()
                .post(process.path("/v1/purchases"))
                .header("content-type", "application/json")
                .header("idempotency-key", &key)
                .body(r#"{"username":"grace","userid":"grace","price":3}"#);
            match request.send().await {
                Err(error) if error.is_request() => {}
                sent => return assert_eq!(sent.unwrap().status(), 201),
            }
        }
    };
    soon("buy", bought).await;
    begun.elapsed()
}

/// Buys repeatedly. Returns the longest time that a purchase took.
async fn longest_buy(process: &Process) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..purchases() {
        longest = longest.max(buy(process).await);
    }
    longest
}

/// Raises the limit of this process's open files. `false` if that is not allowed.
fn may_open(files: u64) -> bool {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: Some(files),
        ..limit
    };
    limit.current.is_none_or(|current| current >= files)
        || setrlimit(Resource::Nofile, raised).is_ok()
}

/// An attack by many clients at once, each of which sends its request again and again on new connections.
struct Attack {
    name: &'static str,
    clients: usize,
    request: Vec<u8>,
    /// The time that a client waits before it sends the last bytes, and between two reads.
    pause: Duration,
}

impl Attack {
    fn new(name: &'static str, clients: usize, request: impl Into<Vec<u8>>) -> Self {
        Self {
            name,
            clients,
            request: request.into(),
            pause: Duration::ZERO,
        }
    }

    /// Sends the request once, counts it in `begun`, and reads the response.
    async fn send(&self, address: &str, begun: &AtomicUsize) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address).await?;
        let (begin, end) = self.request.split_at(self.request.len().saturating_sub(2));
        stream.write_all(begin).await?;
        begun.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.pause).await;
        stream.write_all(end).await?;
        let mut piece = vec![0; 64 << 10];
        while stream.read(&mut piece).await? > 0 {
            tokio::time::sleep(self.pause).await;
        }
        Ok(())
    }

    async fn repeat(&self, address: &str, begun: &AtomicUsize) {
        loop {
            // Rejected, or closed: an attacker retries.
            if self.send(address, begun).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Buys from a facing without and during the attack. Probes must succeed, and memory must be bounded.
    async fn assert_survived(self) {
        if !may_open(8_000) {
            return skipped("nofile", "this process may not open 8,000 files");
        }
        let admin = [("SHOP_ADMIN_ADDR", "127.0.0.1:0")];
        let (_folder, process) = Process::fresh(Binary::Facing, &admin).await;
        let quiet = longest_buy(&process).await;
        let address: Arc<str> = process.url.strip_prefix("http://").unwrap().into();
        let begun = Arc::new(AtomicUsize::new(0));
        let attack = Arc::new(self);
        let mut clients = JoinSet::new();
        for _ in 0..attack.clients {
            let attack = Arc::clone(&attack);
            let address = Arc::clone(&address);
            let begun = Arc::clone(&begun);
            clients.spawn(async move { attack.repeat(&address, &begun).await });
        }
        until("begin", async || {
            begun.load(Ordering::Relaxed) >= attack.clients
        })
        .await;
        let loud = longest_buy(&process).await;
        for path in ["/readyz", "/metrics"] {
            assert_eq!(get(&process.admin_path(path)).await.0, 200, "{path}");
        }
        let rounds = begun.load(Ordering::Relaxed);
        let peak = process.peak_memory();
        let name = attack.name;
        println!(
            "{name}: a purchase takes {quiet:?} without, {loud:?} during it; {rounds} rounds, {peak} MiB"
        );
        assert!(peak < MEMORY, "{name}: {peak} MiB");
        clients.shutdown().await;
    }
}

fn get_request(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nhost: localhost\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n"
    )
}

fn batch_request(body: &str) -> String {
    let headers = "host: localhost\r\ncontent-type: application/json\r\nconnection: close";
    let length = body.len();
    format!(
        "POST /v1/purchases:batch HTTP/1.1\r\n{headers}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// A batch with this many purchases of `size` bytes.
fn batch_of(count: usize, size: usize) -> String {
    let purchase = format!(
        r#"{{"username":"eve","userid":"eve","price":1{:size$}}}"#,
        ""
    );
    batch_request(&format!("[{}]", vec![purchase; count].join(",")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_do_not_stop_buying() {
    Attack::new("6,000 idle sockets", 6_000, "")
        .assert_survived()
        .await;
    let wait = format!(
        "/v1/purchases?userid=eve&limit=1&wait=10&wait_for={}",
        Uuid::now_v7()
    );
    Attack::new("1,200 waits", 1_200, get_request(&wait))
        .assert_survived()
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_and_responses_do_not_stop_buying() {
    let script = get_request("/docs/swagger-ui-bundle.js");
    Attack::new("64 readers of a large file", 64, script)
        .assert_survived()
        .await;
    let members = format!("[{{{}\"\":1}}]", "\"\":1,".repeat(1_670_000 / 2));
    Attack::new(
        "6 batches with 835,000 unknown members",
        6,
        batch_request(&members),
    )
    .assert_survived()
    .await;
    let batches = Attack {
        pause: Duration::from_secs(2),
        ..Attack::new("9 slow batches of 8 MB", 9, batch_of(1_000, 8_300))
    };
    batches.assert_survived().await;
}
