//! Exits between every two steps on servers; afterwards every acknowledged purchase, user and order is stored once. `sim`
//! does it for the embedded log and store.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;

use shop_core::log::LogExt as _;

use crate::entities::backends::Place;
use crate::entities::ledger::Ledger;
use crate::prelude::*;

/// In the order in which a purchase passes them, then a row and its event.
const FAILPOINTS: [&str; 16] = [
    "before-publish",
    "during-publish",
    "after-publish",
    "before-apply",
    "after-apply",
    "before-dead-letters",
    "after-dead-letters",
    "before-commit",
    "after-commit",
    "before-close",
    "before-row",
    "after-row",
    "before-append",
    "after-append",
    "before-delete",
    "after-delete",
];

/// Concurrent calls of each kind.
const CALLERS: u64 = 4;

/// What was sent in all rounds: the numbers below these.
struct Sent<'a> {
    place: Place<'a>,
    log: KafkaLog,
    ledger: Ledger,
    purchases: u64,
    poison: u64,
    users: u64,
    orders: u64,
}

/// A distinct record that can never be stored.
fn poison(number: u64) -> LogRecord {
    record_of(format!("poison {number}"))
}

/// Makes the next calls. Those without a response are next again, with the same key.
async fn call_next(next: &mut u64, call: impl AsyncFn(u64) -> bool) {
    let calls = (*next..*next + CALLERS).map(|number| call(number));
    for is_acknowledged in join_all(calls).await {
        if !is_acknowledged {
            return;
        }
        *next += 1;
    }
}

impl Sent<'_> {
    async fn start(&self, failpoints: &str) -> Process {
        let failpoints = [("FAILPOINTS", failpoints)];
        let facing = self.place.start(Binary::Facing, ALL_ROLES.1, &failpoints);
        let facing = facing.await;
        self.ledger.moved(&facing, &facing).await;
        facing
    }

    /// Appends poison, buys, registers users and places orders.
    async fn send(&mut self, facing: &Process) {
        let record = poison(self.poison);
        until("append", async || {
            self.log.append(record.clone()).await.is_ok()
        })
        .await;
        self.poison += 1;
        let client = facing.client();
        let history = &self.ledger.history;
        let buys = (self.purchases..self.purchases + CALLERS).map(|number| {
            let new = purchase_of(&format!("user-{}", number % 7));
            history.buy(&client, new.with_key(format!("order-{number}")).unwrap())
        });
        join_all(buys).await;
        self.purchases += CALLERS;
        call_next(&mut self.users, async |user| {
            self.ledger.register(user).await
        })
        .await;
        call_next(&mut self.orders, async |order| {
            self.ledger.place(order).await
        })
        .await;
    }

    /// Sends until the failpoint has ended the process.
    async fn send_until_the_end(&mut self, point: &str) {
        // A source is closed only once.
        let is_close = point == "before-close";
        let passed = if is_close { "" } else { "2*off->" };
        let mut facing = self.start(&format!("{point}={passed}return")).await;
        let end = loop {
            self.send(&facing).await;
            if is_close {
                break facing.terminate().await;
            }
            if let Some(end) = facing.end() {
                break end;
            }
        };
        assert_eq!(
            end.signal(),
            Some(Signal::ABORT.as_raw()),
            "{point}: {end:?}"
        );
    }

    /// Waits for everything that was acknowledged and for all poison, and judges the history.
    async fn count(&mut self) {
        let facing = self.start("").await;
        let users = self.users + CALLERS;
        while self.users < users {
            self.send(&facing).await;
        }
        self.ledger.history.settle(&facing.client()).await.unwrap();
        self.ledger.count(&self.place, &facing, &facing).await;
        // The last poison may be in another partition than the last purchases, and not be read yet.
        let dead_letters = async || self.log.pending_dead_letters().await.unwrap();
        until("dead letters", async || {
            dead_letters().await.len() as u64 >= self.poison
        })
        .await;
        facing.stop().await;
        let letters = dead_letters().await;
        assert_eq!(letters.len() as u64, self.poison);
        let kept = letters.into_iter().map(|letter| letter.record.value);
        let sent = (0..self.poison).map(|number| poison(number).value);
        assert_eq!(kept.collect::<BTreeSet<_>>(), sent.collect());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_between_any_two_steps_loses_nothing_on_kafka_and_postgres() {
    let Some(servers) = Servers::shared(&["kafka"]).await else {
        return;
    };
    let Some(cluster) = cluster() else {
        return;
    };
    let mut sent = Sent {
        place: Place::Kafka(&servers, &cluster),
        log: KafkaLog::open(servers.log("purchases")).await.unwrap(),
        ledger: Ledger::of(Arc::default()),
        purchases: 0,
        poison: 0,
        users: 0,
        orders: 0,
    };
    for point in FAILPOINTS {
        soon(point, sent.send_until_the_end(point)).await;
    }
    sent.count().await;
}
