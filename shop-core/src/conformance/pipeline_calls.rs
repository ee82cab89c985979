//! Runs an ingest under test, and inspects the results.

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::prelude::*;
use crate::ingest::{Ingest, IngestCounters, IngestMonitor, IngestOptions};

pub(super) fn options() -> IngestOptions {
    IngestOptions {
        commit_interval: Duration::from_millis(5),
        drain_timeout: Duration::from_secs(10),
        initial_backoff: Duration::from_millis(5),
        max_backoff: Duration::from_millis(40),
        ..IngestOptions::default()
    }
}

/// A running ingest.
pub(super) struct Running {
    pub(super) monitor: IngestMonitor,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<IngestCounters>>,
}

impl Running {
    /// Starts a member of the group between log and store, with `faults` injected into every port.
    pub(super) async fn start(
        log: &dyn LogFixture,
        store: &dyn StoreFixture,
        faults: &Faults,
    ) -> Self {
        let ingest = Ingest::new(
            faults.source(log.source(GROUP).await),
            faults.store(store.store().await),
            faults.log(log.log()),
            options(),
        );
        let monitor = ingest.monitor();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(ingest.run(async move { drop(stopped.await) }));
        Self {
            monitor,
            stop,
            task,
        }
    }

    /// Ingests `count` records without faults, and shuts down.
    pub(super) async fn ingest(
        log: &dyn LogFixture,
        store: &dyn StoreFixture,
        count: u64,
    ) -> IngestCounters {
        let running = Self::start(log, store, &Faults::new()).await;
        running.ingested(count).await;
        running.end().await
    }

    /// Waits until `count` records are processed.
    #[track_caller]
    pub(super) fn ingested(&self, count: u64) -> impl Future<Output = ()> {
        let processed = |counters: &IngestCounters| {
            counters.inserted + counters.duplicates + counters.waiting + counters.dead_lettered
        };
        let all = self
            .monitor
            .wait_for(move |status| processed(&status.counters) >= count);
        soon("the ingest of all records", async { drop(all.await) })
    }

    /// Shuts down cleanly, after which nothing has failed.
    #[track_caller]
    pub(super) fn end(self) -> impl Future<Output = IngestCounters> {
        let _stopped_by_itself = self.stop.send(());
        succeed(async { self.task.await.expect("no panic") })
    }

    /// Stops like a crash: nothing is drained or committed.
    pub(super) async fn crash(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

/// Checks that the store has exactly `purchases`, each once, and that no dead letter is pending.
pub(super) async fn assert_stored(
    log: &dyn LogFixture,
    store: &dyn StoreFixture,
    purchases: &[Purchase],
) {
    let mut expected = purchases.to_vec();
    expected.sort_by_key(|purchase| (purchase.timestamp, purchase.id));
    assert_listed(&store.query().await, &Selector::All, &expected).await;
    assert_eq!(log.pending_dead_letters().await, []);
}

/// Checks that nothing is redelivered to the group's next member but a purchase that is published now.
pub(super) async fn assert_nothing_redelivered(log: &dyn LogFixture) {
    publish(log, &[purchase(999)]).await;
    let delivered = read_as_member(log, GROUP, 1).await;
    assert_eq!(ids(&delivered), [id(999)].into());
}

/// Waits until `count` purchases are stored.
#[track_caller]
pub(super) fn stored(store: &dyn StoreFixture, count: u64) -> impl Future<Output = ()> {
    succeed(async move {
        let query = store.query().await;
        while query.summary(&Selector::All).await?.count < count {
            tokio::task::yield_now().await;
        }
        Ok(())
    })
}
