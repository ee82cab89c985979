//! Both roles, and PostgreSQL, are killed at random points under load: every row exists and has its event, and the
//! projections of both roles can be rebuilt.

use std::sync::Arc;

use super::backends::{Place, Views};
use super::ledger::Ledger;
use crate::kills::{Random, chosen, seed};
use crate::process::{Binary, Process, pause, soon, until};
use crate::servers::Servers;

const ROUNDS: u64 = 4;
const USERS: u64 = 25;
const ORDERS: u64 = 100;
const CALLERS: u64 = 8;

/// Both roles, each in its own process.
struct Pair<'a> {
    place: Place<'a>,
    users: Process,
    orders: Process,
}

impl<'a> Pair<'a> {
    async fn start(place: Place<'a>) -> Self {
        let users = place.start(Binary::Management, "users", &[]).await;
        let orders = place.start(Binary::Management, "orders", &[]).await;
        Self {
            place,
            users,
            orders,
        }
    }

    async fn kill_one(&mut self, is_users: bool, ledger: &Ledger) {
        let (role, victim) = if is_users {
            ("users", &mut self.users)
        } else {
            ("orders", &mut self.orders)
        };
        victim.signal(rustix::process::Signal::KILL);
        let killed = std::mem::replace(
            victim,
            self.place.start(Binary::Management, role, &[]).await,
        );
        ledger.moved(&self.users, &self.orders).await;
        killed.ended().await;
    }

    /// Deletes both projections and rebuilds them from all events, twice: replays are idempotent.
    async fn rebuild(self, expected: &Views) {
        assert!(self.users.terminate().await.success());
        assert!(self.orders.terminate().await.success());
        self.place.forget_views().await;
        assert_ne!(self.place.views().await, *expected);
        for again in [false, true] {
            for (role, known) in [
                ("users", expected.orders_of_users.len()),
                ("orders", expected.known_users.len()),
            ] {
                let printed = self.place.replay(role).await;
                let new = format!("new {}, ", if again { 0 } else { known });
                assert!(printed.contains(&new), "{printed}");
            }
            assert_eq!(self.place.views().await, *expected);
        }
    }
}

/// The calls of one caller in a round; each is repeated until it is acknowledged.
async fn share(ledger: Arc<Ledger>, round: u64, caller: u64) {
    for number in (0..USERS + ORDERS).filter(|number| number % CALLERS == caller) {
        // Users first: an order needs one.
        while !match number.checked_sub(USERS) {
            None => ledger.register(round * USERS + number).await,
            Some(order) => ledger.place(round * ORDERS + order).await,
        } {
            pause().await;
        }
    }
}

async fn survive(place: Place<'_>) {
    let seed = seed();
    println!("SHOP_TEST_SEED={seed} replays the points");
    let mut random = Random::new(seed);
    let mut pair = Pair::start(place).await;
    let ledger = Arc::new(Ledger::new(&pair.users, &pair.orders));
    let mut kills = 0;
    for round in 0..chosen("SHOP_TEST_ROUNDS").unwrap_or(ROUNDS) {
        let before = ledger.history.ended();
        let share = |caller| tokio::spawn(share(Arc::clone(&ledger), round, caller));
        let load: Vec<_> = (0..CALLERS).map(share).collect();
        for _ in 0..=random.below(2) {
            let at = before + random.below((USERS + ORDERS) * 9 / 10);
            until("complete that many calls", async || {
                ledger.history.ended() >= at
            })
            .await;
            pair.kill_one(random.below(2) == 0, &ledger).await;
            pair.place.kill_server();
            kills += 1;
        }
        for caller in load {
            soon("finish the round", caller).await.unwrap();
        }
    }
    println!("{kills} kills");
    let views = ledger.count(&place, &pair.users, &pair.orders).await;
    pair.rebuild(&views).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_duplicate_no_event() {
    let folder = tempfile::tempdir().unwrap();
    Box::pin(survive(Place::Files(folder.path()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_duplicate_no_event_on_kafka_and_postgres() {
    let Some(servers) = Servers::shared(&["kafka"]).await else {
        return;
    };
    let Some(cluster) = crate::postgres::cluster() else {
        return;
    };
    Box::pin(survive(Place::Kafka(&servers, &cluster))).await;
}
