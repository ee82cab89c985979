//! Records to carry, and a place to carry them to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use shop_core::ports::{InsertOutcome, RecordStore};
use shop_core::{Clock, NewPurchase, Purchase, Result, SystemClock};

/// A store that counts and keeps nothing: what is left is what the pipeline itself costs.
#[derive(Debug, Default)]
pub struct CountingStore {
    count: AtomicU64,
}

impl CountingStore {
    /// How many purchases were inserted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl RecordStore<Purchase> for CountingStore {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        self.count.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok(vec![InsertOutcome::Inserted; batch.len()])
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// The users among whom the purchases of a bench are shared.
const USERS: u64 = 1_000;

/// Purchases with fresh ids, of about 100 bytes each in a log.
///
/// # Panics
/// Never: the texts are good.
#[must_use]
#[expect(clippy::expect_used, reason = "the texts are good")]
pub fn purchases(count: u64) -> Vec<Purchase> {
    let clock = SystemClock;
    let purchase = |number: u64| {
        let user = number % USERS;
        let id = format!("user-{user:05}").parse().expect("a user id");
        let name = format!("Ada Lovelace {user}").parse().expect("a user name");
        let price = format!("{}.{:02}", number % 2_000, number % 100).parse().expect("a price");
        NewPurchase::new(id, name, price).identified(clock.now(), || clock.fresh_id())
    };
    (0..count).map(purchase).collect()
}
