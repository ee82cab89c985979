//! Runs an ingest under test, and inspects the results.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::fixture::soon;
use super::sample::purchase_of;
use super::{LogFixture, StoreFixture};
use crate::conformance::fault::Faults;
use crate::ingest::{Ingest, IngestCounters, IngestMonitor, IngestOptions};
use crate::log::SourceEvent;
use crate::ports::{PurchaseQuery, Selector};
use crate::record::decode;
use crate::{Purchase, PurchaseId, Result, Total};

pub(super) const GROUP: &str = "group";

pub(super) fn options() -> IngestOptions {
    IngestOptions {
        commit_interval: Duration::from_millis(5),
        drain_timeout: Duration::from_secs(10),
        initial_backoff: Duration::from_millis(5),
        max_backoff: Duration::from_millis(40),
        ..IngestOptions::default()
    }
}

/// The options of a pipeline with a short drain.
pub(super) fn short_drain() -> IngestOptions {
    IngestOptions {
        drain_timeout: Duration::from_secs(1),
        ..options()
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

    /// Waits until `count` records are processed.
    pub(super) async fn ingested(&self, count: u64) {
        let processed = |counters: &IngestCounters| {
            counters.inserted + counters.duplicates + counters.waiting + counters.dead_lettered
        };
        let all = self
            .monitor
            .wait_for(|status| processed(&status.counters) >= count);
        soon("process all records", all).await;
    }

    /// Shuts down cleanly.
    pub(super) async fn stop(self) -> Result<IngestCounters> {
        let _stopped_by_itself = self.stop.send(());
        soon("shut down", self.task).await.expect("no panic")
    }

    /// Shuts down cleanly, after which nothing has failed.
    pub(super) async fn end(self) -> IngestCounters {
        self.stop().await.expect("a clean end")
    }

    /// Stops like a crash: nothing is drained or committed.
    pub(super) async fn crash(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

pub(super) async fn publish(log: &dyn LogFixture, purchases: &[Purchase]) {
    let sink = log.sink().await;
    for purchase in purchases {
        soon("publish", sink.publish(purchase))
            .await
            .expect("publish");
    }
}

/// All ids in the store. Checks that each is stored once and that the sum is correct.
pub(super) async fn assert_stored(query: &dyn PurchaseQuery, purchases: &[Purchase]) {
    for purchase in purchases {
        assert_eq!(
            query.get(&purchase.id).await.unwrap().as_ref(),
            Some(purchase)
        );
    }
    let total = Total::checked_sum(purchases.iter().map(|purchase| purchase.price)).unwrap();
    let summary = query.summary(&Selector::All).await.unwrap();
    assert_eq!(
        (summary.count, summary.total_spent),
        (purchases.len() as u64, total)
    );
}

/// The ids that are delivered to the group's next member, until all of `markers`, published now,
/// are among them.
pub(super) async fn delivered_next(
    log: &dyn LogFixture,
    markers: &[Purchase],
) -> BTreeSet<PurchaseId> {
    publish(log, markers).await;
    let source = log.source(GROUP).await;
    let mut seen = BTreeSet::new();
    while !markers.iter().all(|marker| seen.contains(&marker.id)) {
        match soon("next", source.next()).await.expect("next") {
            SourceEvent::Batch(batch) => {
                let decoded = batch
                    .records
                    .iter()
                    .filter_map(|record| decode(record, &batch.partition).ok());
                seen.extend(decoded.map(|purchase| purchase.id));
            }
            SourceEvent::Gap(gap) => panic!("{gap}"),
            SourceEvent::Revoked(revocation) => revocation.done(),
            SourceEvent::Closed => panic!("the source was not closed"),
        }
    }
    soon("close", source.close(Duration::from_secs(10)))
        .await
        .expect("close");
    seen
}

/// Checks that at least one of `purchases` is not stored, and that all of those are delivered to
/// the group's next member.
pub(super) async fn assert_redelivered(
    log: &dyn LogFixture,
    store: &dyn StoreFixture,
    purchases: &[Purchase],
) {
    let query = store.query().await;
    let mut not_stored = BTreeSet::new();
    for purchase in purchases {
        if query.get(&purchase.id).await.unwrap().is_none() {
            not_stored.insert(purchase.id);
        }
    }
    assert!(!not_stored.is_empty());
    // One per user, at the end of that user's partition: all earlier records were delivered by
    // then.
    let users: BTreeSet<_> = purchases.iter().map(|purchase| &purchase.user_id).collect();
    let markers: Vec<_> = (1_000..)
        .zip(users)
        .map(|(number, user)| purchase_of(user.as_str(), number))
        .collect();
    let seen = delivered_next(log, &markers).await;
    assert!(
        not_stored.is_subset(&seen),
        "committed, but neither stored nor dead-lettered"
    );
}

/// Waits until `count` purchases are stored.
pub(super) async fn stored(query: &dyn PurchaseQuery, count: u64) {
    let all = async {
        while query.summary(&Selector::All).await.unwrap().count < count {
            tokio::task::yield_now().await;
        }
    };
    soon("store everything", all).await;
}
