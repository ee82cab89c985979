//! Publishes the items of a plan, with deterministic times and ids.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shop_core::log::{LogRecord, Partition, RecordPosition};
use shop_core::memory::InMemoryLog;
use shop_core::ports::PurchaseSink;
use shop_core::record::{decode, encode};
use shop_core::{Bytes, Clock, NewPurchase, Price, Purchase, Timestamp, UserId, Uuid};
use tokio::time::Instant;

use crate::oracle::Oracle;
use crate::plan::Item;

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000;

/// The time follows tokio's clock; ids are counted.
#[derive(Debug)]
pub(crate) struct VirtualClock {
    started: Instant,
    ids: AtomicU64,
}

impl VirtualClock {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            ids: AtomicU64::new(0),
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(START)
            .unwrap()
            .saturating_add(self.started.elapsed())
    }

    fn fresh_id(&self) -> Uuid {
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number))
    }
}

/// The edge, and another producer that writes poison.
pub(crate) struct Publisher {
    log: InMemoryLog,
    clock: Arc<VirtualClock>,
    oracle: Oracle,
    purchases: Vec<Purchase>,
}

fn user(number: u8) -> UserId {
    format!("user-{number}").parse().unwrap()
}

impl Publisher {
    pub(crate) const fn new(log: InMemoryLog, clock: Arc<VirtualClock>, oracle: Oracle) -> Self {
        Self {
            log,
            clock,
            oracle,
            purchases: Vec::new(),
        }
    }

    pub(crate) async fn publish(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Poison(user) => self.poison(Some(Bytes::from_static(b"\xff\x00{")), *user),
                Item::Tombstone(user) => self.poison(None, *user),
                Item::Foreign(user) => self.foreign(*user),
                Item::Fresh(user) => self.buy(*user).await,
                Item::Again(earlier) => self.repeat(*earlier, |_| ()).await,
                Item::OtherPrice(earlier) => {
                    self.repeat(*earlier, |purchase| purchase.price = price(9_999))
                        .await;
                }
                Item::OtherUser(earlier) => {
                    self.repeat(*earlier, |purchase| {
                        purchase.user_id = "another user".parse().unwrap();
                    })
                    .await;
                }
            }
        }
    }

    async fn buy(&mut self, number: u8) {
        let cents = self.purchases.len();
        let new = NewPurchase::for_user(user(number))
            .with_user_name("ada")
            .with_price(price(cents))
            .unwrap();
        let purchase = new.into_purchase(self.clock.now(), || self.clock.fresh_id());
        self.purchases.push(purchase.clone());
        self.send(purchase).await;
    }

    /// Publishes one of the earlier purchases under its id again, with a change.
    async fn repeat(&self, earlier: usize, change: impl FnOnce(&mut Purchase)) {
        let Some(earlier) = self.purchases.get(earlier % self.purchases.len().max(1)) else {
            return;
        };
        let mut purchase = earlier.clone();
        purchase.timestamp = self.clock.now();
        change(&mut purchase);
        self.send(purchase).await;
    }

    async fn send(&self, purchase: Purchase) {
        let receipt = self.log.sink().publish(&purchase).await.unwrap();
        let position = receipt.position.unwrap();
        let mut record = encode(&purchase).unwrap();
        record.offset = position.offset;
        record.time = self.clock.now();
        self.oracle
            .published(position.partition, record, Some(purchase));
    }

    /// Another producer's purchase has the id of its position: the oracle reads it from the log.
    fn foreign(&self, number: u8) {
        let user = user(number);
        let value = format!(r#"{{"username":"ada","userid":"{user}","price":"1.50"}}"#);
        let (record, position) = self.append(Some(value.into()), number);
        let topic = Arc::clone(&position.topic);
        let partition = Partition::new("memory".into(), topic, position.partition, 0);
        let purchase = decode(&record, &partition).unwrap();
        self.oracle.count("event: a foreign purchase is published");
        self.oracle
            .published(position.partition, record, Some(purchase));
    }

    fn poison(&self, value: Option<Bytes>, number: u8) {
        let (record, position) = self.append(value, number);
        self.oracle.published(position.partition, record, None);
    }

    /// Appends a record with the key of a user. Returns it with its position.
    fn append(&self, value: Option<Bytes>, number: u8) -> (LogRecord, RecordPosition) {
        let key = Bytes::from(user(number).to_string());
        let mut record = LogRecord::new(0, self.clock.now(), value).with_key(Some(key));
        let position = self.log.append(record.clone());
        record.offset = position.offset;
        (record, position)
    }
}

fn price(cents: usize) -> Price {
    format!("{}.{:02}", cents / 100, cents % 100)
        .parse()
        .unwrap()
}
