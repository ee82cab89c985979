//! One key with two contents at two processes, and the effect of conflicts on other clients.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::process::{Binary, Process, get, plain, stored, until};

/// Conflicts, each with a purchase of the same client.
const CONFLICTS: usize = 5_000;
/// Consecutive conflicts, more than the dead-letter limit.
const IN_A_ROW: usize = 1_250;
const HONEST: u64 = 200;

/// The response to a buy: status, purchase id, and whether it was a repetition.
#[derive(Debug, PartialEq, Eq)]
struct BuyResponse {
    status: u16,
    id: String,
    is_replayed: bool,
}

async fn buy(
    http: &reqwest::Client,
    process: &Process,
    user: &str,
    key: Option<&str>,
    price: &str,
) -> BuyResponse {
    let body = format!(r#"{{"username":"{user}","userid":"{user}","price":{price}}}"#);
    let mut request = http
        .post(process.path("/v1/purchases"))
        .header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let response = request.body(body).send().await.unwrap();
    let header = |name| {
        response
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    BuyResponse {
        status: response.status().as_u16(),
        id: header("x-purchase-id").unwrap_or_default(),
        is_replayed: header("idempotent-replayed").is_some(),
    }
}

async fn key_with_other_content_is_rejected(first: &Process, second: &Process) {
    let http = plain();
    for key in ["order-77", "5a0e4f9c-1d3c-4a52-9f6e-2f1f6c1d7a10"] {
        until("accept a purchase", async || {
            buy(&http, first, "ada", Some(key), "10").await.status == 201
        })
        .await;
        let BuyResponse { id, .. } = buy(&http, first, "ada", Some(key), "10.0").await;
        let stored = first.path(&format!("/v1/purchases/{id}?wait_for={id}&wait=10"));
        until("store it", async || get(&stored).await.0 == 200).await;
        assert_eq!(
            buy(&http, second, "ada", Some(key), "12").await.status,
            409,
            "{key}"
        );
        let again = buy(&http, second, "ada", Some(key), "10").await;
        assert_eq!(
            again,
            BuyResponse {
                status: 201,
                id,
                is_replayed: true
            },
            "{key}"
        );
    }
}

/// A client causes conflicts as fast as it can, right after the purchases, so that no lookup can find these, and at the
/// process that has not cached them. Meanwhile another client buys.
async fn conflicts_do_not_stop_ingest(first: &Process, second: &Process) {
    let http = plain();
    let acknowledged = AtomicU64::new(0);
    let conflicts = async {
        for _ in 0..CONFLICTS / IN_A_ROW {
            let ids = stream::iter(0..IN_A_ROW)
                .map(async |_| buy(&http, first, "eve", None, "1").await.id);
            let ids: Vec<String> = ids.buffer_unordered(32).collect().await;
            let conflicts = stream::iter(&ids).for_each_concurrent(32, async |id| {
                let conflict = buy(&http, second, "eve", Some(id), "2").await;
                assert!(matches!(conflict.status, 201 | 409), "{conflict:?}");
                acknowledged.fetch_add(u64::from(conflict.status == 201), Ordering::Relaxed);
            });
            conflicts.await;
        }
    };
    let honest = stream::iter(0..HONEST).for_each_concurrent(1, async |_| {
        assert_eq!(buy(&http, first, "grace", None, "3").await.status, 201);
    });
    tokio::join!(conflicts, honest);
    assert_eq!(buy(&http, first, "grace", None, "3").await.status, 201);
    let acknowledged = acknowledged.into_inner();
    println!("{acknowledged} of {CONFLICTS} conflicts were acknowledged within the pipeline's lag");
    until("store every honest purchase", async || {
        stored(first, "grace").await == HONEST + 1
    })
    .await;
    let ingest = async || get(&first.path("/health")).await.1;
    until("resolve all conflicts", async || {
        ingest().await["ingest"]["dead_lettered"] == acknowledged
    })
    .await;
    let is_well =
        |health: &Value| health["status"] == "healthy" && health["ingest"]["phase"] == "running";
    until("be healthy", async || is_well(&ingest().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_rejects_a_reused_key() {
    let (folder, first) = Process::fresh(Binary::Facing, &[]).await;
    let second = Process::start(Binary::Facing, folder.path(), &[]).await;
    key_with_other_content_is_rejected(&first, &second).await;
    conflicts_do_not_stop_ingest(&first, &second).await;
}
