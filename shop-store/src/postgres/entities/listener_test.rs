//! Relays that poll once a day, so that only notifications wake them.

use std::sync::Arc;
use std::time::Duration;

use shop_core::Uuid;
use shop_core::entity::{EntityStore as _, Insertion};
use shop_core::memory::InMemoryLog;
use shop_core::outbox::{Backlog, Outbox as _, Relay, RelayMonitor, RelayOptions};
use shop_core::users::NewUser;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::PostgresUsers;
use crate::postgres::PostgresStoreOptions;
use crate::postgres::fixture::{PostgresEntitiesFixture, session, with_option};
use crate::postgres::outage_test::cluster;

fn users(url: &str) -> PostgresUsers {
    PostgresUsers::open(PostgresStoreOptions::new(url).max_connections(4)).unwrap()
}

async fn register(users: &PostgresUsers) {
    let name = Uuid::now_v7();
    let email = format!("{name}@example.com").parse().unwrap();
    let new = NewUser::new(name.into(), email, "Ada".parse().unwrap());
    assert!(matches!(users.insert(&new).await.unwrap(), Insertion::Inserted(_)));
}

/// Waits for a condition that something else brings about.
async fn until(what: &str, mut is_met: impl AsyncFnMut() -> bool) {
    let met = async {
        while !is_met().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), met).await.unwrap_or_else(|_elapsed| panic!("not {what}"));
}

/// A relay of another process than the one that writes.
struct Reader {
    users: PostgresUsers,
    monitor: RelayMonitor,
    running: AbortHandle,
}

impl Reader {
    fn start(url: &str) -> Self {
        let options = RelayOptions::default().poll_interval(Duration::from_secs(24 * 60 * 60));
        let users = users(url);
        let relay = Relay::new(Arc::new(users.clone()), Arc::new(InMemoryLog::default()), options);
        let monitor = relay.monitor();
        let running = tokio::spawn(relay.run(std::future::pending())).abort_handle();
        Self { users, monitor, running }
    }

    async fn has_published(&self, count: u64) {
        until("published", async || self.monitor.status().published >= count).await;
        assert_eq!(self.monitor.status().published, count);
        until("deleted", async || self.users.backlog().await.unwrap() == Backlog::default()).await;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.running.abort();
    }
}

#[tokio::test]
async fn each_write_of_another_process_wakes_the_relay() {
    let Some(entities) = PostgresEntitiesFixture::on_test_server().await else { return };
    let (reader, writer) = (Reader::start(entities.url()), users(entities.url()));
    for count in 1..=20 {
        register(&writer).await;
        reader.has_published(count).await;
    }
}

#[tokio::test]
async fn a_relay_whose_listening_connection_breaks_publishes_everything() {
    let Some(entities) = PostgresEntitiesFixture::on_test_server().await else { return };
    let name = format!("reader_{}", Uuid::now_v7().simple());
    let reader = Reader::start(&with_option(entities.url(), &format!("application_name={name}")));
    let (writer, operator) = (users(entities.url()), session(entities.url()).await);
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
               where application_name = $1 and query like 'listen %'";
    for count in 1..=5 {
        until("listening", async || !operator.query(end, &[&name]).await.unwrap().is_empty()).await;
        register(&writer).await;
        reader.has_published(count).await;
    }
}

#[tokio::test]
async fn a_restart_of_the_server_leaves_no_event_behind() {
    let Some(cluster) = cluster() else { return };
    let (reader, writer) = (Reader::start(&cluster.url()), users(&cluster.url()));
    for count in 1..=3 {
        register(&writer).await;
        reader.has_published(count).await;
        cluster.ctl("kill");
        cluster.ctl("start");
    }
}
