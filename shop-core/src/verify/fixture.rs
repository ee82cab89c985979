//! A log and a store in memory to verify, and a store with defects.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::{Verify, VerifyOptions, VerifyReport};
use crate::log::{DeadLetter, Log, LogRecord, Partition, Reason, RecordPosition, Resolution};
use crate::memory::{InMemoryLog, InMemoryLogOptions, InMemoryStore};
use crate::ports::{
    Cursor, DescribeStore, Lookup, Page, PageRequest, PurchaseQuery, PurchaseSink as _,
    RecordStore as _, ScanBatch, Selector, StoreInfo, Summary, UnreadableEntry,
};
use crate::record::Record as _;
use crate::{Purchase, PurchaseId, Result, Timestamp, Uuid};

pub(super) fn purchase(number: u128) -> Purchase {
    Purchase::new(
        PurchaseId::from_uuid(Uuid::from_u128(number)),
        format!("u{}", number % 3).parse().unwrap(),
        "ada".parse().unwrap(),
        "29.99".parse().unwrap(),
        Timestamp::from_millis(i64::try_from(number).unwrap()).unwrap(),
    )
}

/// A log and a store.
#[derive(Default)]
pub(super) struct World {
    pub(super) log: InMemoryLog,
    pub(super) store: InMemoryStore,
}

impl World {
    /// Purchases 0 to 29, in both.
    pub(super) async fn new() -> Self {
        let world = Self {
            log: InMemoryLog::new(InMemoryLogOptions::default().partitions(3)),
            ..Self::default()
        };
        world.buy(0..30).await;
        world
    }

    pub(super) async fn buy(&self, numbers: impl Iterator<Item = u128>) {
        for number in numbers {
            self.publish(&purchase(number)).await;
            self.insert(purchase(number)).await;
        }
    }

    pub(super) async fn publish(&self, purchase: &Purchase) -> RecordPosition {
        let receipt = self.log.sink().publish(purchase).await.unwrap();
        receipt.position.unwrap()
    }

    pub(super) async fn insert(&self, purchase: Purchase) {
        self.store.apply([purchase].into()).await.unwrap();
    }

    pub(super) async fn record_at(&self, position: &RecordPosition) -> (Partition, LogRecord) {
        let found = self.log.find(position.partition, position.offset).await;
        found.unwrap().unwrap()
    }

    /// Dead-letters the record at `position`.
    pub(super) async fn dead_letter(&self, position: &RecordPosition) -> DeadLetter {
        let (partition, record) = self.record_at(position).await;
        let dead_letter = DeadLetter::new(record, partition, Reason::conflict(Purchase::TYPE), 1);
        let put = std::slice::from_ref(&dead_letter);
        self.log.put_dead_letters(put).await.unwrap();
        dead_letter
    }

    pub(super) async fn resolve(&self, dead_letter: DeadLetter, resolution: Resolution) {
        let dead_letters = [dead_letter];
        let resolved = self.log.resolve(&dead_letters, Purchase::TYPE, resolution);
        assert_eq!(resolved.await.unwrap(), 1);
    }

    pub(super) async fn verify(&self) -> VerifyReport {
        self.verify_with(VerifyOptions::default()).await
    }

    pub(super) async fn verify_with(&self, options: VerifyOptions) -> VerifyReport {
        self.verify_by(self.store.clone(), options).await
    }

    pub(super) async fn verify_by(
        &self,
        query: impl PurchaseQuery,
        options: VerifyOptions,
    ) -> VerifyReport {
        let verify = Verify::new(Arc::new(query), options);
        verify.run(&self.log, |_| ()).await.unwrap()
    }

    /// Verifies the store against another view of the log.
    pub(super) async fn verify_against(&self, log: &dyn Log) -> VerifyReport {
        let verify = Verify::new(Arc::new(self.store.clone()), VerifyOptions::default());
        verify.run(log, |_| ()).await.unwrap()
    }
}

/// A query of a store with a defect.
#[derive(Debug)]
pub(super) struct UnusualStore {
    pub(super) store: InMemoryStore,
    /// Stored one by one, each after a lookup that found nothing, as by a pipeline with a lag.
    pub(super) late: Mutex<VecDeque<Purchase>>,
    /// The number of lookups.
    pub(super) lookups: AtomicUsize,
    /// Whether scans have each purchase with an odd number three times, and an unreadable entry.
    pub(super) repeats: bool,
}

impl UnusualStore {
    pub(super) fn with_lag(world: &World, late: impl IntoIterator<Item = Purchase>) -> Self {
        Self {
            store: world.store.clone(),
            late: Mutex::new(late.into_iter().collect()),
            lookups: AtomicUsize::new(0),
            repeats: false,
        }
    }

    pub(super) fn with_repetitions(world: &World) -> Self {
        Self {
            repeats: true,
            ..Self::with_lag(world, [])
        }
    }
}

#[async_trait]
impl PurchaseQuery for UnusualStore {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        self.store.page(selector, request).await
    }

    async fn scan_batch(&self, after: Option<&Cursor>) -> Result<ScanBatch> {
        let mut batch = self.store.scan_batch(after).await?;
        if self.repeats {
            let is_odd = |item: &&Purchase| item.id.as_uuid().unwrap().as_u128() % 2 == 1;
            let odd: Vec<_> = batch.purchases.iter().filter(is_odd).cloned().collect();
            batch.purchases = [odd.clone(), batch.purchases, odd].concat();
            batch.unreadable = vec![UnreadableEntry::new("7", "has no price")];
        }
        Ok(batch)
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        self.store.summary(selector).await
    }

    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        let found = self.store.look_up(id).await?;
        if found == Lookup::Missing {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let next = self.late.lock().unwrap().pop_front();
            self.store.apply(next.into_iter().collect()).await?;
        }
        Ok(found)
    }

    async fn check_reads(&self) -> Result<()> {
        Ok(())
    }
}

impl DescribeStore for UnusualStore {
    fn info(&self) -> StoreInfo<'_> {
        self.store.info()
    }
}
