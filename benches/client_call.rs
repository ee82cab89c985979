//! A call by `shop-client` beside the same call by bare `reqwest`, on the same pool, to a facing in memory.
//!
//! ```text
//! cargo bench --bench client_call
//! ```
//!
//! Both do what a caller needs: a key, the body as JSON, the answer as types. They take turns, since a machine is not
//! equally fast at all times; `ratio` is the median of the pairs.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up has failed")]
#![expect(clippy::print_stdout, reason = "the ratio is what it is for")]

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::usage::median;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shop_client::{NewPurchase, ShopClient};
use shop_core::api::{NewPurchaseBody, PublishedBody, SummaryBody};
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::{Clock, SystemClock};
use shop_http::{Facing, HttpOptions, facing, serve};
use tokio::runtime::{Builder, Runtime};

/// The calls of one turn.
const CALLS: u32 = 50;

fn purchase() -> NewPurchase {
    NewPurchase::new("u1".parse().unwrap(), "ada".parse().unwrap(), "29.99".parse().unwrap())
}

/// The address of a facing on a runtime of its own.
fn service(runtime: &Runtime) -> String {
    let sink = InMemoryLog::default().sink();
    let options = HttpOptions::default();
    let router = facing(Facing::new(Arc::new(sink), Arc::new(InMemoryStore::new())), options.clone());
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(serve(listener, router, &options, std::future::pending()));
    format!("http://{address}")
}

struct Callers {
    http: reqwest::Client,
    client: ShopClient,
    url: String,
}

impl Callers {
    async fn buy(&self) {
        self.client.buy(purchase()).await.unwrap();
    }

    async fn buy_bare(&self) {
        let new = purchase();
        let request = self
            .http
            .post(format!("{}/v1/purchases", self.url))
            .header("content-type", "application/json")
            .header("idempotency-key", SystemClock.fresh_id().to_string())
            .header("x-request-id", SystemClock.fresh_id().to_string())
            .timeout(Duration::from_secs(7))
            .body(serde_json::to_vec(&NewPurchaseBody::from(&new)).unwrap());
        let response = request.send().await.unwrap().error_for_status().unwrap();
        let published: PublishedBody = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(published.receipt.id, published.purchase.id);
    }

    async fn ask(&self) {
        self.client.user("u1".parse().unwrap()).summary().await.unwrap();
    }

    async fn ask_bare(&self) {
        let request = self
            .http
            .get(format!("{}/v1/summary?userid=u1", self.url))
            .header("x-request-id", SystemClock.fresh_id().to_string())
            .timeout(Duration::from_secs(7));
        let response = request.send().await.unwrap().error_for_status().unwrap();
        let summary: SummaryBody = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(summary.count, 0);
    }
}

async fn turn(call: impl AsyncFn()) -> Duration {
    let start = Instant::now();
    for _ in 0..CALLS {
        call().await;
    }
    start.elapsed()
}

/// One turn, whichever runtime it needs.
type Turn<'a> = &'a dyn Fn() -> Duration;

fn client_call(criterion: &mut Criterion) {
    let servers = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let url = service(&servers);
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().tcp_nodelay(true).build().unwrap();
    let client = ShopClient::builder(&url).http_client(http.clone()).build().unwrap();
    let callers = Callers { http, client, url };
    let mut group = criterion.benchmark_group("client_call");
    group.throughput(Throughput::Elements(CALLS.into())).sample_size(50);
    let ratios = RefCell::new(Vec::new());
    // The time of the client; that of bare reqwest is taken beside each turn of it, the first to go in turns.
    let pairs = |times: u64, ours: Turn<'_>, bare: Turn<'_>| {
        let pair = |number: u64| {
            let (ours, bare) = if number.is_multiple_of(2) {
                (ours(), bare())
            } else {
                let bare = bare();
                (ours(), bare)
            };
            ratios.borrow_mut().push(ours.as_secs_f64() / bare.as_secs_f64());
            ours
        };
        (0..times).map(pair).sum()
    };
    let buy = || runtime.block_on(turn(async || callers.buy().await));
    let buy_bare = || runtime.block_on(turn(async || callers.buy_bare().await));
    let ask = || runtime.block_on(turn(async || callers.ask().await));
    let ask_bare = || runtime.block_on(turn(async || callers.ask_bare().await));
    let calls: [(&str, Turn<'_>, Turn<'_>); 2] = [("buy", &buy, &buy_bare), ("summary", &ask, &ask_bare)];
    for (name, ours, bare) in calls {
        ratios.borrow_mut().clear();
        group.bench_function(name, |bencher| bencher.iter_custom(|times| pairs(times, ours, bare)));
        let mut ratios = ratios.borrow_mut();
        // One pair, as when it is only looked whether this works, says nothing.
        if ratios.len() > 10 {
            let (count, ratio) = (ratios.len(), median(&mut ratios));
            println!("client_call/{name} ratio: {ratio:.3} of bare reqwest, the median of {count} pairs");
        }
    }
    group.finish();
}

criterion_group!(benches, client_call);
criterion_main!(benches);
