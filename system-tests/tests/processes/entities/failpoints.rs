//! Exits between every two steps of a row and its event.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use futures_util::future::join_all;
use rustix::process::Signal;

use super::backends::Place;
use super::ledger::Ledger;
use crate::process::{Binary, Process, soon, until};
use crate::servers::Servers;

/// In the order in which a row and its event pass them.
const FAILPOINTS: &str = "before-row after-row before-append after-append before-delete after-delete before-apply after-apply";

/// Concurrent calls.
const CALLERS: u64 = 4;
const ROLES: &str = "users,orders";

/// The acknowledged requests: all numbers below these.
#[derive(Default)]
struct Sent {
    users: u64,
    orders: u64,
}

impl Sent {
    /// Registers and places until the process exits. Unacknowledged requests are repeated with the same key.
    async fn run_until_shutdown(&mut self, process: &mut Process, ledger: &Ledger) -> ExitStatus {
        loop {
            let users = (self.users..self.users + CALLERS).map(|user| ledger.register(user));
            self.users += acknowledged(join_all(users).await);
            let orders = (self.orders..self.orders + CALLERS).map(|order| ledger.place(order));
            self.orders += acknowledged(join_all(orders).await);
            if let Some(end) = process.end() {
                return end;
            }
        }
    }

    /// Repeats the requests without a response until they are acknowledged.
    async fn finish(&mut self, ledger: &Ledger) {
        for user in self.users..self.users + CALLERS {
            until("register", async || ledger.register(user).await).await;
        }
        for order in self.orders..self.orders + CALLERS {
            until("place", async || ledger.place(order).await).await;
        }
        self.users += CALLERS;
        self.orders += CALLERS;
    }
}

/// The number of acknowledged calls before the first unacknowledged one.
fn acknowledged(calls: Vec<bool>) -> u64 {
    calls
        .into_iter()
        .take_while(|acknowledged| *acknowledged)
        .count() as u64
}

/// Ends the process at every failpoint, after each number of passes.
async fn end_everywhere(place: Place<'_>, passed: &[u32]) {
    let first = place.start(Binary::Management, ROLES, &[]).await;
    let ledger = Ledger::new(&first, &first);
    let mut sent = Sent::default();
    // The users of the orders of the first round.
    while sent.users < 10 {
        sent.finish(&ledger).await;
    }
    first.stop().await;
    for point in FAILPOINTS.split(' ') {
        for passed in passed {
            let passed = if *passed == 0 {
                String::new()
            } else {
                format!("{passed}*off->")
            };
            let failpoints = format!("{point}={passed}return");
            let mut process = place
                .start(Binary::Management, ROLES, &[("FAILPOINTS", &failpoints)])
                .await;
            ledger.moved(&process, &process).await;
            let end = soon(point, sent.run_until_shutdown(&mut process, &ledger)).await;
            assert_eq!(
                end.signal(),
                Some(Signal::ABORT.as_raw()),
                "{point}: {end:?}"
            );
        }
    }
    let process = place.start(Binary::Management, ROLES, &[]).await;
    ledger.moved(&process, &process).await;
    sent.finish(&ledger).await;
    ledger.count(&place, &process, &process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_between_row_event_and_cleanup_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    Box::pin(end_everywhere(Place::Files(folder.path()), &[0, 3])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_between_row_event_and_cleanup_loses_nothing_on_kafka_and_postgres() {
    let Some(servers) = Servers::shared(&["kafka"]).await else {
        return;
    };
    let Some(cluster) = crate::postgres::cluster() else {
        return;
    };
    Box::pin(end_everywhere(Place::Kafka(&servers, &cluster), &[1])).await;
}
