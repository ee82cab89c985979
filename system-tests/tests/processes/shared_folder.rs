//! Management in the folder of facing.

use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::Signal;
use shop_core::ports::PurchaseSink as _;
use shop_core::{Clock as _, Outcome, SystemClock};
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};

use crate::process::{ADA, Binary, Process, get, must_buy, pause, stored, until, until_stored};

#[tokio::test]
async fn a_management_without_ingest_only_reads() {
    let folder = tempfile::tempdir().unwrap();
    let off = [("SHOP_INGEST", "off")];
    let facing = Process::start(Binary::Facing, folder.path(), &off).await;
    let reader = Process::start(Binary::Management, folder.path(), &off).await;
    must_buy(&facing, ADA).await;
    let health = get(&reader.path("/health")).await.1;
    assert!(
        health["ingest"].is_null() && health["status"] == "healthy",
        "{health}"
    );
    assert_eq!(get(&reader.path("/-/ready")).await.0, 200);
    assert_eq!(stored(&reader, "u1").await, 0);
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    until("list the purchase", async || {
        stored(&reader, "u1").await == 1
    })
    .await;
    for process in [facing, reader, management] {
        process.stop().await;
    }
}

fn new(user: &str) -> shop_client::NewPurchase {
    shop_client::NewPurchase::for_user(user)
        .with_user_name("eva")
        .with_price("1")
        .unwrap()
}

/// A process that is stopped while it writes blocks the writes of others, which report its id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_lock_holder_is_reported() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let log = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default())
        .await
        .unwrap();
    let lock = std::fs::File::open(folder.path().join("shop.lock")).unwrap();
    let is_free = || lock.try_lock().is_ok_and(|()| lock.unlock().is_ok());
    let client = facing.client();
    let load = async {
        loop {
            join_all((0..8).map(|_| client.buy(new("u1")))).await;
        }
    };
    let freeze = until("stop while it holds the lock", async || {
        pause().await;
        facing.signal(Signal::STOP);
        // A system call that it was in completes first.
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if is_free() {
                facing.signal(Signal::CONT);
                return false;
            }
        }
        true
    });
    tokio::select! {
        () = freeze => {}
        () = load => {}
    }
    let purchase = new("u2").into_purchase(SystemClock.now(), || SystemClock.fresh_id());
    let error = log.sink().publish(&purchase).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
    let printed = error.chain().to_string();
    assert!(
        printed.contains(&format!("process={} facing", facing.id())),
        "{printed}"
    );
    facing.signal(Signal::CONT);
    until("publish", async || {
        log.sink().publish(&purchase).await.is_ok()
    })
    .await;
    until_stored(&facing, "u2", 1).await;
}
