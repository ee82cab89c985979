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
        Self::start_with(log, store, faults, options()).await
    }

    /// Starts a member, as [`start`](Self::start) does, with these options.
    pub(super) async fn start_with(
        log: &dyn LogFixture,
        store: &dyn StoreFixture,
        faults: &Faults,
        options: IngestOptions,
    ) -> Self {
        let ingest = Ingest::new(
            faults.source(log.source(GROUP).await),
            faults.store(store.store().await),
            faults.dead_letters(log.dead_letters().await),
            options,
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

/// Returns the ids that are delivered to the group's next member, until all of `markers`, published
/// now, are among them.
async fn delivered_next(log: &dyn LogFixture, markers: &[Purchase]) -> BTreeSet<PurchaseId> {
    publish(log, markers).await;
    let source = log.source(GROUP).await;
    let delivered = read_until(&*source, &ids_of(markers)).await;
    close(&*source).await;
    delivered
}

/// Checks that nothing is redelivered to the group's next member but `marker`, published now.
pub(super) async fn assert_nothing_redelivered(log: &dyn LogFixture) {
    let marker = purchase(999);
    assert_eq!(
        delivered_next(log, std::slice::from_ref(&marker)).await,
        [marker.id].into()
    );
}

/// Checks that at least one of `purchases` is not stored, and that all of those are delivered to
/// the group's next member.
pub(super) async fn assert_redelivered(
    log: &dyn LogFixture,
    store: &dyn StoreFixture,
    purchases: &[Purchase],
) {
    let stored = listed(&store.query().await, &Selector::All).await;
    let not_stored = &ids_of(purchases) - &ids_of(&stored);
    assert!(!not_stored.is_empty());
    // One per user, at the end of that user's partition: all earlier records were delivered by
    // then.
    let users: BTreeSet<_> = purchases.iter().map(|purchase| &purchase.user_id).collect();
    let markers = (1_000..)
        .zip(users)
        .map(|(number, user)| purchase_of(user.as_str(), number));
    let seen = delivered_next(log, &markers.collect::<Vec<_>>()).await;
    assert!(
        not_stored.is_subset(&seen),
        "committed, but neither stored nor dead-lettered"
    );
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
