//! The probes of the chart while a broker is unavailable, and of a damaged process.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::MissedTickBehavior;

use crate::kafka::start;
use crate::process::{ADA, ALL_ROLES, Binary, get, plain, post, until};
use crate::servers::Servers;

/// The number of probes while the broker is unavailable, one per second.
const PROBES: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_users_and_orders_are_served_without_the_broker() {
    let Some(servers) = Servers::start(&["kafka", "mongo"]).await else { return };
    let Some(cluster) = crate::postgres::cluster() else { return };
    let management =
        start(Binary::Management, &servers, &[ALL_ROLES, ("POSTGRES_URL", &cluster.url())]).await;
    let facing = start(Binary::Facing, &servers, &[ALL_ROLES, ("MANAGEMENT_URL", &management.url)]).await;
    // With a key: an attempt that fails may have been recorded, and one purchase is listed below.
    let buy = async |key: &str| {
        let request = plain().post(facing.path("/v1/purchases")).header("idempotency-key", key);
        request.header("content-type", "application/json").body(ADA).send().await.unwrap().status() == 201
    };
    until("accept a purchase", async || buy("order-1").await).await;
    until("list it", async || get(&facing.path("/getAllUserBuys/u1")).await.1["count"] == 1).await;
    let user = |number: usize| format!(r#"{{"email":"user-{number}@example.com","name":"Ada"}}"#);
    const ORDER: &str = r#"{"user_id":1,"product":"Notebook","quantity":2,"total_price":"50.00"}"#;
    assert_eq!(post(&facing.path("/users"), &user(0)).await.0, 201);
    until("place an order", async || post(&facing.path("/orders"), ORDER).await.0 == 201).await;

    servers.ctl("kill", "kafka").await;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 1..=PROBES {
        second.tick().await;
        // A process that fails one of these is removed from its Service, and gets no request at all.
        let probes = ["/livez", "/readyz"].map(|path| [facing.path(path), management.path(path)]);
        let responses = join_all(probes.iter().flatten().map(async |url| (url, get(url).await.0))).await;
        assert!(responses.iter().all(|(_, status)| *status == 200), "{responses:?}");
        for listing in [facing.path("/getAllUserBuys/u1"), management.path("/purchases/u1")] {
            let (status, body) = get(&listing).await;
            assert_eq!((status, &body["count"]), (200, &1.into()), "{listing}");
        }
        assert_eq!(post(&facing.path("/users"), &user(number)).await.0, 201);
        assert_eq!(post(&facing.path("/orders"), ORDER).await.0, 201);
    }
    let (status, refused) = post(&facing.path("/buy"), ADA).await;
    assert_eq!(status, 503, "{refused}");
    assert!(refused["idempotency_key"].is_string(), "{refused}");
    assert_eq!(get(&facing.path("/-/ready")).await.0, 503, "what 004 documents");

    servers.ctl("start", "kafka").await;
    until("accept a purchase again", async || post(&facing.path("/buy"), ADA).await.0 == 201).await;
    until("list it", async || get(&facing.path("/getAllUserBuys/u1")).await.1["count"].as_u64() >= Some(2))
        .await;
}
