//! A call by `shop-client`, compared with the same call by bare `reqwest` on the same pool, to an in-memory facing.
//!
//! ```text
//! cargo bench --features benches/programs --bench client_call
//! ```
//!
//! Both send a key and a JSON body and parse the response into types. They alternate, because the speed of a machine
//! varies over time.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot be set up has failed"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::bench;
use benches::cases::one_thread;
use benches::row::Row;
use benches::run::Pairs;
use benches::scale::Scale;
use benches::usage::median;
use shop_client::{NewPurchase, Shop, ShopClient};
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::ports::Summary;
use shop_core::{Clock, PublishedPurchase, SystemClock};
use shop_http::{HttpOptions, Parts, router, serve};
use tokio::runtime::{Builder, Runtime};

/// The calls per turn.
const CALLS: u32 = 50;

fn purchase() -> NewPurchase {
    NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("29.99")
        .unwrap()
}

/// The address of a facing on its own runtime.
fn service(runtime: &Runtime) -> String {
    let sink = InMemoryLog::default().sink();
    let options = HttpOptions::default();
    let router = router(
        Parts::facing(Arc::new(sink), Arc::new(InMemoryStore::new())),
        options.clone(),
    );
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(serve(listener, router, &options, std::future::pending()));
    format!("http://{address}")
}

struct Callers {
    http: reqwest::Client,
    shop: Shop,
    url: String,
}

impl Callers {
    async fn buy(&self) {
        self.shop.buy(purchase()).await.unwrap();
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
            .body(serde_json::to_vec(&new).unwrap());
        let response = request.send().await.unwrap().error_for_status().unwrap();
        let published: PublishedPurchase =
            serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(published.receipt.id, published.purchase.id);
    }

    async fn ask(&self) {
        self.shop.user("u1").summary().await.unwrap();
    }

    async fn ask_bare(&self) {
        let request = self
            .http
            .get(format!("{}/v1/summary?userid=u1", self.url))
            .header("x-request-id", SystemClock.fresh_id().to_string())
            .timeout(Duration::from_secs(7));
        let response = request.send().await.unwrap().error_for_status().unwrap();
        let summary: Summary = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(summary.count, 0);
    }
}

/// Microseconds per call over one turn.
async fn turn(call: impl AsyncFn()) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        call().await;
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
}

fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    let servers = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (runtime, url) = (one_thread(), service(&servers));
    let http = reqwest::Client::builder()
        .tls_certs_only([])
        .no_proxy()
        .tcp_nodelay(true)
        .build()
        .unwrap();
    let client = ShopClient::builder(&url)
        .http_client(http.clone())
        .build()
        .unwrap();
    let shop = client.shop();
    let callers = Callers { http, shop, url };
    let pairs = scale.pick(1, 100, 1_000);
    let mut row = |name, pairs: Pairs<f64>| {
        let show = |times: &[f64]| format!("{:.0} µs", median(times.to_vec()));
        emit(pairs.row(
            format!("a call by shop-client, {name}"),
            |time| *time,
            "bare reqwest",
            show,
        ));
    };
    let buy = || runtime.block_on(turn(async || callers.buy().await));
    row(
        "buy",
        Pairs::alternate(pairs, buy, || {
            runtime.block_on(turn(async || callers.buy_bare().await))
        }),
    );
    let ask = || runtime.block_on(turn(async || callers.ask().await));
    row(
        "summary",
        Pairs::alternate(pairs, ask, || {
            runtime.block_on(turn(async || callers.ask_bare().await))
        }),
    );
}

fn main() {
    bench::main("client_call", rows);
}
