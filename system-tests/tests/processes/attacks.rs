//! Attacks without credentials: they neither stop others from buying nor exhaust the memory of a service.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::prelude::*;

/// The limit of facing in the chart, in MiB.
const MEMORY: u64 = 256;

/// Buys on a new connection, as a new client.
///
/// A full listener closes a connection without a request for a second. On a busy machine, that of a request on its way can
/// be one: as clients do, it is sent again.
async fn buy_on_new_connection(process: &Process) {
    let key = Uuid::now_v7().to_string();
    until("buy", async || {
        let request = plain()
            .post(process.path("/v1/purchases"))
            .header("content-type", "application/json")
            .header("idempotency-key", &key);
        let Ok(response) = request.body(ADA).send().await else {
            return false;
        };
        assert_eq!(response.status(), 201);
        true
    })
    .await;
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

/// An attack by many clients at once, each of which sends the request again and again on new connections.
struct Attack {
    address: String,
    request: String,
    /// The time that a client waits before it sends the last bytes, and between two reads.
    pause: Duration,
    /// The number of requests that were sent but for their last bytes.
    begun: AtomicUsize,
}

impl Attack {
    /// Sends the request once, and reads the response.
    async fn send(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let (begin, end) = self.request.split_at(self.request.len().saturating_sub(2));
        stream.write_all(begin.as_bytes()).await?;
        self.begun.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.pause).await;
        stream.write_all(end.as_bytes()).await?;
        let mut piece = vec![0; 64 << 10];
        while stream.read(&mut piece).await? > 0 {
            tokio::time::sleep(self.pause).await;
        }
        Ok(())
    }

    async fn repeat(&self) {
        loop {
            // Rejected, or closed: an attacker retries.
            if self.send().await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// Buys from a facing during an attack by `clients`. Probes must succeed, and memory must be bounded.
async fn assert_survived(name: &str, clients: usize, request: String, pause: Duration) {
    if !may_open(8_000) {
        return skipped("nofile", "this process may not open 8,000 files");
    }
    let admin = [("SHOP_ADMIN_ADDR", "127.0.0.1:0")];
    let (_folder, process) = Process::fresh(Binary::Facing, &admin).await;
    let attack = Arc::new(Attack {
        address: process.url.replace("http://", ""),
        request,
        pause,
        begun: AtomicUsize::new(0),
    });
    let mut attackers = JoinSet::new();
    for _ in 0..clients {
        let attack = Arc::clone(&attack);
        attackers.spawn(async move { attack.repeat().await });
    }
    until("begin", async || {
        attack.begun.load(Ordering::Relaxed) >= clients
    })
    .await;
    for _ in 0..3 {
        buy_on_new_connection(&process).await;
    }
    for path in ["/readyz", "/metrics"] {
        assert_eq!(get(&process.admin_path(path)).await.0, 200, "{path}");
    }
    let peak = process.peak_memory();
    println!("{name}: {peak} MiB");
    assert!(peak < MEMORY, "{name}: {peak} MiB");
    attackers.shutdown().await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_do_not_stop_buying() {
    assert_survived("idle sockets", 6_000, String::new(), Duration::ZERO).await;
    let wait = format!(
        "/v1/purchases?userid=eve&limit=1&wait=10&wait_for={}",
        Uuid::now_v7()
    );
    assert_survived("waits", 1_200, get_request(&wait), Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_and_responses_do_not_stop_buying() {
    let script = get_request("/docs/swagger-ui-bundle.js");
    assert_survived("readers of a large file", 64, script, Duration::ZERO).await;
    let members = "\"\":1,".repeat(1_670_000 / 2);
    let members = batch_request(&format!("[{{{members}\"\":1}}]"));
    assert_survived("835,000 unknown members", 6, members, Duration::ZERO).await;
    let purchase = format!(
        r#"{{"username":"eve","userid":"eve","price":1{:8300}}}"#,
        ""
    );
    let batch = batch_request(&format!("[{}]", vec![purchase; 1_000].join(",")));
    assert_survived("slow batches of 8 MB", 9, batch, Duration::from_secs(2)).await;
}
