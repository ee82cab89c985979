//! Both roles, and PostgreSQL, are killed at random points under load: every row exists and has its event, and the
//! projections of both roles can be rebuilt.

use fastrand::Rng;

use super::backends::{Place, Views, session};
use super::ledger::Ledger;
use crate::prelude::*;

const ROUNDS: u64 = 2;
const USERS: u64 = 25;
const ORDERS: u64 = 100;
const CALLERS: u64 = 8;

/// Both roles, each in its own process.
struct Pair<'a> {
    place: Place<'a>,
    cluster: &'a Cluster,
    users: Process,
    orders: Process,
}

impl<'a> Pair<'a> {
    async fn start(place: Place<'a>, cluster: &'a Cluster) -> Self {
        let users = place.start(Binary::Management, "users", &[]).await;
        let orders = place.start(Binary::Management, "orders", &[]).await;
        Self {
            place,
            cluster,
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
        victim.signal(Signal::KILL);
        let started = self.place.start(Binary::Management, role, &[]).await;
        let killed = std::mem::replace(victim, started);
        ledger.moved(&self.users, &self.orders).await;
        killed.ended().await;
    }

    /// Deletes both projections and rebuilds them from all events, twice: replays are idempotent.
    async fn rebuild(self, expected: &Views) {
        self.users.stop().await;
        self.orders.stop().await;
        let forgets = session(self.cluster)
            .await
            .batch_execute("truncate cached_users, cached_orders")
            .await;
        forgets.unwrap();
        assert_ne!(self.place.views().await, *expected);
        let users = expected.known_users.len();
        let orders = expected.orders_of_users.len();
        for (role, new) in [
            ("users", orders),
            ("orders", users),
            ("users", 0),
            ("orders", 0),
        ] {
            let printed = self.place.replay(role).await;
            assert!(printed.contains(&format!("new {new}, ")), "{printed}");
        }
        assert_eq!(self.place.views().await, *expected);
    }
}

/// Makes each of the calls of a round that belong to `caller`, repeatedly until it is acknowledged.
async fn call(ledger: Arc<Ledger>, round: u64, caller: u64) {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_duplicate_no_event_on_kafka_and_postgres() {
    let Some(servers) = Servers::shared(&["kafka"]).await else {
        return;
    };
    let Some(cluster) = cluster() else {
        return;
    };
    let place = Place::Kafka(&servers, &cluster);
    let seed = seed();
    println!("SHOP_TEST_SEED={seed} replays the points");
    let mut random = Rng::with_seed(seed);
    let mut pair = Pair::start(place, &cluster).await;
    let ledger = Arc::new(Ledger::of(Arc::default()));
    ledger.moved(&pair.users, &pair.orders).await;
    for round in 0..chosen("SHOP_TEST_ROUNDS").unwrap_or(ROUNDS) {
        let before = ledger.history.ended();
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            callers.spawn(call(Arc::clone(&ledger), round, caller));
        }
        for _ in 0..2 {
            let at = before + random.u64(..(USERS + ORDERS) * 9 / 10);
            until("complete that many calls", async || {
                ledger.history.ended() >= at
            })
            .await;
            pair.kill_one(random.bool(), &ledger).await;
            tokio::task::block_in_place(|| ["kill", "start"].map(|command| cluster.ctl(command)));
        }
        soon("finish the round", callers.join_all()).await;
    }
    let views = ledger.count(&place, &pair.users, &pair.orders).await;
    pair.rebuild(&views).await;
}
