//! Programs without a runtime, and the resources of calls.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, TryStreamExt, poll, stream};
use shop_client::{BlockingFuture as _, BlockingStream as _, ErrorKind, Outcome, ShopClient, UserNumber};
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};

use crate::shop::{Shop, ada, served};

#[test]
fn outside_of_a_runtime_a_call_is_an_error() {
    let client = ShopClient::builder("http://localhost:1").build().unwrap();
    let errors = [
        client.buy(ada("1")).now_or_never().unwrap().unwrap_err(),
        client.check().now_or_never().unwrap().unwrap_err(),
        client.user("u1").summary().now_or_never().unwrap().unwrap_err(),
        client.user("u1").purchases().try_next().now_or_never().unwrap().unwrap_err(),
        client.close(Duration::ZERO).now_or_never().unwrap().unwrap_err(),
    ];
    for error in errors {
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unsupported, Outcome::NotApplied));
        assert!(error.message().contains("runtime"), "{error}");
    }
}

#[test]
fn blocking_calls_buy_and_list() {
    let services = Runtime::new().unwrap();
    let shop = Shop::new();
    let url = services.block_on(async {
        shop.ingest();
        served(shop.router.clone()).await
    });
    let client = ShopClient::builder(url).build().unwrap();
    client.check().wait().unwrap();
    let bought = client.buy(ada("29.99")).wait().unwrap();
    let user = client.user("u1").waiting_for(&bought.receipt);
    assert_eq!(user.summary().wait().unwrap().count, 1);
    let listed: Vec<_> = user.purchases().wait_each().map(Result::unwrap).collect();
    assert_eq!(listed, std::slice::from_ref(&bought.purchase));
    assert_eq!(user.oldest_first().page().wait().unwrap().items, listed);
    assert_eq!(client.get(&bought.purchase.id).wait().unwrap(), Some(bought.purchase));
    let orders = stream::iter((0..20).map(|_| ada("1")));
    assert_eq!(client.buy_all(orders, 4).wait_each().filter(Result::is_ok).count(), 20);
    let unknown = client.users().get(UserNumber::new(1)).wait().unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Unsupported, "the service does not have the role");
    // Used within another runtime.
    services.block_on(async move {
        client.check().wait().unwrap();
        client.close(Duration::from_secs(10)).wait().unwrap();
        assert_eq!(client.buy(ada("1")).wait().unwrap_err().kind(), ErrorKind::Closed);
    });
}

/// The open sockets of this network namespace that are connected to `port`.
fn sockets_to(port: u16) -> usize {
    let inode = |line: &str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        // A socket that is not of a process any more has no inode.
        (columns[2].ends_with(&format!(":{port:04X}")) && columns[9] != "0").then(|| columns[9].to_owned())
    };
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    // The kernel continues a read at a position in a bucket: sockets that are opened meanwhile repeat lines.
    table.lines().skip(1).filter_map(inode).collect::<HashSet<_>>().len()
}

#[tokio::test]
async fn abandoned_buys_occupy_a_bounded_number_of_sockets_and_tasks() {
    const MAX_IN_FLIGHT: usize = 50;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    // Accepts every connection and never responds.
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            silent.push(connection);
            count.store(silent.len(), Ordering::Relaxed);
        }
    });
    let builder = ShopClient::builder(format!("http://{address}")).max_in_flight(MAX_IN_FLIGHT);
    let client = builder.buy_timeout(Duration::from_secs(600)).build().unwrap();
    let (mut sockets, mut tasks) = (0, 0);
    for number in 0..3_000 {
        assert!(poll!(pin!(client.buy(ada("1")))).is_pending());
        tokio::task::yield_now().await;
        if number % 100 == 0 {
            sockets = sockets.max(sockets_to(address.port()));
            tasks = tasks.max(Handle::current().metrics().num_alive_tasks());
        }
    }
    while accepted.load(Ordering::Relaxed) < MAX_IN_FLIGHT {
        tokio::task::yield_now().await;
    }
    sockets = sockets.max(sockets_to(address.port()));
    tasks = tasks.max(Handle::current().metrics().num_alive_tasks());
    assert_eq!(sockets, MAX_IN_FLIGHT);
    // A write, its connection, and the server.
    assert!((MAX_IN_FLIGHT..=2 * MAX_IN_FLIGHT + 1).contains(&tasks), "{tasks}");
}
