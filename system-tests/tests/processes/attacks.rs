//! Attacks without credentials: they neither stop others from buying nor exhaust the memory of a service.
//!
//! Each test prints the time that a purchase takes without and during the attack.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::kills::chosen;
use crate::process::{Binary, Process, get, plain, until};
use crate::servers::skipped;

/// The limit of facing in the chart, in MiB.
const MEMORY: u64 = 256;
const ADMIN: (&str, &str) = ("SHOP_ADMIN_ADDR", "127.0.0.1:0");

/// More in nightly runs: during some attacks, each waits seconds for a slot.
fn purchases() -> usize {
    if chosen("SHOP_TEST_ROUNDS").is_some() {
        50
    } else {
        8
    }
}

/// The status of the response to a request. A full listener closes a connection without a request for a second. On a busy
/// machine, that of a request on its way can be one: as clients do, it is sent again.
async fn status(request: impl Fn() -> reqwest::RequestBuilder) -> u16 {
    loop {
        match request().send().await {
            Err(error) if error.is_request() => {}
            sent => return sent.unwrap().status().as_u16(),
        }
    }
}

/// Buys with `http` repeatedly; each purchase succeeds. Returns the 99th percentile of the durations.
async fn buys(process: &Process, http: &reqwest::Client) -> Duration {
    let mut times = Vec::new();
    for _ in 0..purchases() {
        let begun = Instant::now();
        let key = Uuid::now_v7().to_string();
        let request = || {
            let request = http
                .post(process.path("/v1/purchases"))
                .header("content-type", "application/json");
            let body = r#"{"username":"grace","userid":"grace","price":3}"#;
            request.header("idempotency-key", &key).body(body)
        };
        assert_eq!(status(request).await, 201);
        times.push(begun.elapsed());
    }
    times.sort();
    times[(times.len() - 1) * 99 / 100]
}

/// Raises the limit of this process's open files. `false` if that is not allowed.
fn may_open(files: u64) -> bool {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return true;
    }
    limit.maximum.is_none_or(|maximum| maximum >= files)
        && setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(files),
                ..limit
            },
        )
        .is_ok()
}

/// An attack by many clients.
struct Attack {
    clients: JoinSet<()>,
    /// The number of clients that have started.
    begun: Arc<AtomicUsize>,
}

impl Attack {
    /// Runs `client` in a loop, `clients` times concurrently. It reports when its attack is effective.
    fn start<F: Future<Output = Option<()>> + Send + 'static>(
        count: usize,
        client: impl Fn(Arc<AtomicUsize>) -> F + Clone + Send + 'static,
    ) -> Self {
        let mut clients = JoinSet::new();
        let begun = Arc::new(AtomicUsize::new(0));
        for _ in 0..count {
            let client = client.clone();
            let begun = Arc::clone(&begun);
            clients.spawn(Self::repeat(client, begun));
        }
        Self { clients, begun }
    }

    async fn repeat<F: Future<Output = Option<()>>>(
        client: impl Fn(Arc<AtomicUsize>) -> F,
        begun: Arc<AtomicUsize>,
    ) {
        loop {
            // Rejected, or closed: an attacker retries.
            if client(Arc::clone(&begun)).await.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    async fn started(&self, times: usize) {
        until("begin", async || {
            self.begun.load(Ordering::Relaxed) >= times
        })
        .await;
    }

    /// Buys during the attack. Prints the result, and checks that probes succeed and that memory is bounded.
    async fn buy_during(
        mut self,
        name: &str,
        process: &Process,
        http: &reqwest::Client,
        quiet: Duration,
    ) {
        let loud = buys(process, http).await;
        for path in ["/readyz", "/metrics"] {
            assert_eq!(
                status(|| plain().get(process.admin_path(path))).await,
                200,
                "{path}"
            );
        }
        let rounds = self.begun.load(Ordering::Relaxed);
        let peak = process.peak_memory();
        println!(
            "{name}: p99 of a purchase {quiet:?} without, {loud:?} during it; {rounds} rounds, {peak} MiB at most"
        );
        assert!(peak < MEMORY, "{peak} MiB");
        self.clients.shutdown().await;
    }
}

/// Sends `request` on a new connection, and reads a part of the response.
async fn open_request(address: &str, request: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    Some(stream)
}

/// A client that opens a connection for each request.
fn unpooled() -> reqwest::Client {
    reqwest::Client::builder()
        .tls_certs_only([])
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

fn address(process: &Process) -> String {
    process.url.strip_prefix("http://").unwrap().to_owned()
}

/// A facing, unless this process may not open that many files, a client of it, and the time of a purchase.
async fn facing(files: u64) -> Option<(TempDir, Process, reqwest::Client, Duration)> {
    if !may_open(files) {
        skipped(
            "nofile",
            &format!("this process may not open {files} files"),
        );
        return None;
    }
    let (folder, process) = Process::fresh(Binary::Facing, &[ADMIN]).await;
    let http = plain();
    let quiet = buys(&process, &http).await;
    Some((folder, process, http, quiet))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_reads_do_not_stop_buying() {
    let Some((_folder, process, http, quiet)) = facing(4_096).await else {
        return;
    };
    let address = address(&process);
    let attack = Attack::start(1_200, move |begun| {
        let address = address.clone();
        async move {
            let request = format!(
                "GET /v1/purchases?userid=eve&limit=1&wait=10&wait_for={} HTTP/1.1\r\n\
                 host: localhost\r\nconnection: close\r\n\r\n",
                Uuid::now_v7()
            );
            let mut stream = open_request(&address, &request).await?;
            begun.fetch_add(1, Ordering::Relaxed);
            stream.read_to_end(&mut Vec::new()).await.ok().map(drop)
        }
    });
    attack.started(1_200).await;
    // Reads that do not wait continue, too: once the first look-ups are over, as all are of one client.
    until("read", async || {
        get(&process.path("/v1/summary?userid=grace")).await.0 == 200
    })
    .await;
    attack
        .buy_during("1,200 waits", &process, &http, quiet)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_connections_of_one_address_are_served() {
    if !may_open(2_048) {
        return skipped("nofile", "this process may not open 2,048 files");
    }
    let (_folder, process) = Process::fresh(Binary::Facing, &[]).await;
    let address = address(&process);
    let key = Uuid::new_v4();
    let path = format!("/v1/purchases?userid=eve&limit=1&wait=10&wait_for={key}");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut waits = JoinSet::new();
    for _ in 0..512 {
        let mut stream = open_request(&address, &request).await.unwrap();
        waits.spawn(async move {
            let mut response = String::new();
            stream.read_to_string(&mut response).await.unwrap();
            response
        });
    }
    let buy = plain()
        .post(process.path("/v1/purchases"))
        .header("content-type", "application/json");
    let buy = buy.header("idempotency-key", key.to_string());
    let bought = buy
        .body(r#"{"username":"eve","userid":"eve","price":3}"#)
        .send()
        .await
        .unwrap();
    assert_eq!(bought.status(), 201);
    // All wait for the same purchase, so they are busy concurrently.
    for response in waits.join_all().await {
        assert!(
            response.starts_with("HTTP/1.1 200 ") && response.contains(&key.to_string()),
            "{response}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_sockets_do_not_stop_buying() {
    let Some((_folder, process, _, quiet)) = facing(8_000).await else {
        return;
    };
    let address = address(&process);
    let attack = Attack::start(6_000, move |begun| {
        let address = address.clone();
        async move {
            let mut stream = open_request(&address, "").await?;
            begun.fetch_add(1, Ordering::Relaxed);
            stream.read(&mut [0]).await.ok().map(drop)
        }
    });
    attack.started(6_000).await;
    // Every purchase on a new connection, like a new client.
    let http = unpooled();
    attack
        .buy_during("6,000 idle sockets", &process, &http, quiet)
        .await;
}

/// `count` clients that send `request` on new connections, and read all of the response.
async fn buy_beside(name: &str, count: usize, request: impl Into<Arc<[u8]>>) {
    buy_beside_slow(name, count, request, None).await;
}

/// The same. With a `pause`, the clients wait for it before they send the last bytes, and between two reads.
async fn buy_beside_slow(
    name: &str,
    count: usize,
    request: impl Into<Arc<[u8]>>,
    pause: Option<Duration>,
) {
    let Some((_folder, process, http, quiet)) = facing(4_096).await else {
        return;
    };
    let attack = requests(&process, count, request.into(), pause);
    attack.started(count).await;
    let begun = Instant::now();
    assert_eq!(get(&process.admin_path("/livez")).await.0, 200);
    println!(
        "{name}: /livez of the admin listener in {:?}",
        begun.elapsed()
    );
    attack.buy_during(name, &process, &http, quiet).await;
}

fn requests(
    process: &Process,
    count: usize,
    request: Arc<[u8]>,
    pause: Option<Duration>,
) -> Attack {
    let address = address(process);
    Attack::start(count, move |begun| {
        let address = address.clone();
        let request = Arc::clone(&request);
        async move {
            let mut stream = open_request(&address, "").await?;
            let (begin, end) = request.split_at(request.len() - 2);
            stream.write_all(begin).await.ok()?;
            begun.fetch_add(1, Ordering::Relaxed);
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            stream.write_all(end).await.ok()?;
            let mut read = 0;
            let mut piece = vec![0; 64 << 10];
            while let Some(more) = stream.read(&mut piece).await.ok().filter(|more| *more > 0) {
                read += more;
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
            }
            (read > 0).then_some(())
        }
    })
}

fn get_request(target: &str) -> Vec<u8> {
    let headers = "host: localhost\r\naccept-encoding: gzip\r\nconnection: close";
    format!("GET {target} HTTP/1.1\r\n{headers}\r\n\r\n").into()
}

fn batch_request(body: &str) -> Vec<u8> {
    let headers = "host: localhost\r\ncontent-type: application/json\r\nconnection: close";
    let length = body.len();
    format!(
        "POST /v1/purchases:batch HTTP/1.1\r\n{headers}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into()
}

/// A batch with this many purchases of `size` bytes.
fn batch_of(count: usize, size: usize) -> Vec<u8> {
    let purchase = format!(
        r#"{{"username":"eve","userid":"eve","price":1{:size$}}}"#,
        ""
    );
    batch_request(&format!("[{}]", vec![purchase; count].join(",")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constants_do_not_stop_buying() {
    let large = get_request("/docs/swagger-ui-bundle.js");
    buy_beside("16 readers of a large file", 16, large.clone()).await;
    buy_beside("64 readers of a large file", 64, large).await;
    buy_beside(
        "16 readers of a script of the page",
        16,
        get_request("/page/facing.js"),
    )
    .await;
    buy_beside(
        "16 readers of the OpenAPI document",
        16,
        get_request("/openapi.json"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_names_do_not_stop_buying() {
    let names: String = (0..1_200).map(|name| format!("&a{name}=")).collect();
    let request = get_request(&format!("/v1/purchases?{names}"));
    buy_beside("16 clients with 1,200 unknown parameters", 16, request).await;
    let body = format!("[{{{}\"\":1}}]", "\"\":1,".repeat(1_670_000 / 2));
    buy_beside(
        "6 batches with 835,000 unknown members",
        6,
        batch_request(&body),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_batches_do_not_stop_buying() {
    buy_beside("6 batches of 10,000", 6, batch_of(10_000, 0)).await;
    let slow = Some(Duration::from_secs(2));
    buy_beside_slow("9 slow batches of 8 MB", 9, batch_of(1_000, 8_300), slow).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_do_not_stop_buying() {
    let request = "POST /buy HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"u";
    buy_beside_slow(
        "1,100 slow bodies",
        1_100,
        request.as_bytes(),
        Some(Duration::from_secs(5)),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_events_do_not_stop_buying() {
    for user in ["eve", "grace"] {
        let request = get_request(&format!("/v1/purchases/events?userid={user}"));
        buy_beside(&format!("1,000 readers of {user}'s events"), 1_000, request).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_in_a_loop_do_not_stop_buying() {
    let (_folder, process) = Process::fresh(Binary::Facing, &[]).await;
    let http = plain();
    let quiet = buys(&process, &http).await;
    let url = process.path("/metrics");
    let client = http.clone();
    let mut attack = Attack::start(64, move |begun| {
        let request = client.get(&url);
        async move {
            let response = request.send().await.ok()?;
            begun.fetch_add(1, Ordering::Relaxed);
            response.bytes().await.ok().map(drop)
        }
    });
    attack.started(64).await;
    let loud = buys(&process, &http).await;
    let peak = process.peak_memory();
    println!(
        "64 loops of /metrics: p99 of a purchase {quiet:?} without, {loud:?} during them; {peak} MiB at most"
    );
    assert!(peak < MEMORY, "{peak} MiB");
    attack.clients.shutdown().await;
}
