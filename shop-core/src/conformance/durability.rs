//! The test of what a store acknowledges: a fail-over keeps it.

use tokio::time::{Instant, sleep, timeout};

use super::prelude::*;
use crate::ports::InsertOutcome;

/// The time in which a store may acknowledge a write that is held back.
const HELD_BACK: Duration = Duration::from_secs(3);
/// The time limit of a call about a write that is held back, which may wait for its durability.
const CALL_LIMIT: Duration = Duration::from_secs(2);
/// The time limit of a fail-over, after which the store answers again.
const FAIL_OVER_LIMIT: Duration = Duration::from_secs(50);
/// The pause between two calls.
const PAUSE: Duration = Duration::from_millis(50);

/// A fail-over takes nothing away that a look-up has returned, or that an insert has
/// acknowledged, the first one or a repetition. The store may show a write before it is durable, but
/// acknowledges it only afterwards.
pub async fn a_fail_over_keeps_what_was_acknowledged(fixture: &dyn StoreFixture) {
    let durable = purchase(1);
    let held_back = purchase(2);
    assert_eq!(insert_one(fixture, &durable).await, "i");
    let is_held_back = soon("a hold", fixture.hold_back_writes()).await;
    if !declared(is_held_back, "a fail-over that takes writes away") {
        return;
    }

    // The first insert waits for the durability, and may still wait at the fail-over.
    let store = fixture.store().await;
    let query = fixture.query().await;
    let purchase = held_back.clone();
    let first_insert = tokio::spawn(async move { store.insert_one(purchase).await });
    let mut acknowledgements = acknowledgements_of(&held_back, fixture, &*query).await;

    soon("a fail-over", fixture.fail_over()).await;
    if let Ok(outcome) = soon("an insert", first_insert).await.unwrap()
        && is_acknowledged(&outcome)
    {
        acknowledgements.insert("the first insert");
    }

    let query = fixture.query().await;
    let found = look_up_after_fail_over(&*query, &durable.id).await;
    assert_eq!(found, Lookup::Stored(durable.clone()), "it was durable");
    let found = look_up_after_fail_over(&*query, &held_back.id).await;
    assert!(
        found == Lookup::Stored(held_back.clone()) || acknowledgements.is_empty(),
        "a fail-over took away what {acknowledgements:?} acknowledged: {found:?}"
    );

    // The caller repeats what was not acknowledged, and the store has each purchase once.
    insert_after_fail_over(fixture, &[durable.clone(), held_back.clone()]).await;
    for purchase in [durable, held_back] {
        let of_user = Selector::User(purchase.user_id.clone());
        assert_listed(&query, &of_user, std::slice::from_ref(&purchase)).await;
        let found = succeed(query.look_up(&purchase.id)).await;
        assert_eq!(found, Lookup::Stored(purchase));
    }
}

/// Returns the calls that acknowledge `purchase`, whose first insert is held back: a look-up, or a
/// repeated insert.
async fn acknowledgements_of(
    purchase: &Purchase,
    fixture: &dyn StoreFixture,
    query: &dyn PurchaseQuery,
) -> BTreeSet<&'static str> {
    let store = fixture.store().await;
    let mut acknowledgements = BTreeSet::new();
    let start = Instant::now();
    while acknowledgements.is_empty() && start.elapsed() < HELD_BACK {
        let look_up = timeout(CALL_LIMIT, query.look_up(&purchase.id)).await;
        if let Ok(Ok(Lookup::Stored(_))) = look_up {
            acknowledgements.insert("a look-up");
        }

        let repetition = timeout(CALL_LIMIT, store.insert_one(purchase.clone())).await;
        if let Ok(Ok(outcome)) = repetition
            && is_acknowledged(&outcome)
        {
            acknowledgements.insert("a repeated insert");
        }
        sleep(PAUSE).await;
    }
    acknowledgements
}

/// Returns whether an insert with this outcome tells its caller that the purchase is stored.
fn is_acknowledged(outcome: &InsertOutcome) -> bool {
    matches!(outcome, InsertOutcome::Inserted | InsertOutcome::Duplicate)
}

/// Looks up `id`, as soon as the store answers after a fail-over.
async fn look_up_after_fail_over(query: &dyn PurchaseQuery, id: &PurchaseId) -> Lookup {
    let start = Instant::now();
    loop {
        match soon("a look-up", query.look_up(id)).await {
            Ok(found) => return found,
            Err(error) => assert!(start.elapsed() < FAIL_OVER_LIMIT, "{error:?}"),
        }
        sleep(PAUSE).await;
    }
}

/// Inserts `batch`, as soon as the store takes it after a fail-over.
async fn insert_after_fail_over(fixture: &dyn StoreFixture, batch: &[Purchase]) {
    let store = fixture.store().await;
    let start = Instant::now();
    loop {
        match soon("an insert", store.insert(batch.into())).await {
            Ok(outcomes) if outcomes.iter().all(is_acknowledged) => return,
            result => assert!(start.elapsed() < FAIL_OVER_LIMIT, "{result:?}"),
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::lock::lock;
    use crate::memory::InMemoryStore;
    use crate::ports::{DescribeStore, Page, RecordStore, StoreInfo};
    use crate::{Error, Outcome};

    /// The call that acknowledges what the store shows, although a fail-over may take it away.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Defect {
        None,
        LookUp,
        RepeatedInsert,
    }

    /// A primary whose standby gets its writes later, or never.
    #[derive(Debug)]
    struct Replicated {
        primary: Mutex<InMemoryStore>,
        standby: InMemoryStore,
        is_held_back: AtomicBool,
        defect: Defect,
    }

    impl Replicated {
        fn with_defect(defect: Defect) -> Primary {
            Primary(Arc::new(Self {
                primary: Mutex::default(),
                standby: InMemoryStore::new(),
                is_held_back: AtomicBool::new(false),
                defect,
            }))
        }
    }

    /// A connection to the primary.
    #[derive(Debug)]
    struct Primary(Arc<Replicated>);

    impl Primary {
        fn shown(&self) -> InMemoryStore {
            lock(&self.0.primary).clone()
        }
    }

    #[async_trait]
    impl RecordStore<Purchase> for Primary {
        async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
            let outcomes = self.shown().insert(Arc::clone(&batch)).await?;
            let is_new = outcomes
                .iter()
                .any(|outcome| matches!(outcome, InsertOutcome::Inserted));
            if !self.0.is_held_back.load(Ordering::Relaxed) {
                self.0.standby.insert(batch).await?;
            } else if is_new || self.0.defect != Defect::RepeatedInsert {
                let error = Error::new(ErrorKind::Unavailable, "the standby does not answer");
                return Err(error.with_outcome(Outcome::Unknown));
            }
            Ok(outcomes)
        }

        async fn check(&self) -> Result<()> {
            Ok(())
        }
    }

    impl DescribeStore for Primary {
        fn info(&self) -> StoreInfo<'_> {
            StoreInfo::default()
        }
    }

    #[async_trait]
    impl PurchaseQuery for Primary {
        async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
            self.shown().page(selector, request).await
        }

        async fn summary(&self, selector: &Selector) -> Result<Summary> {
            self.shown().summary(selector).await
        }

        async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
            if self.0.defect == Defect::LookUp {
                return self.shown().look_up(id).await;
            }
            self.0.standby.look_up(id).await
        }

        async fn check_reads(&self) -> Result<()> {
            Ok(())
        }
    }

    #[async_trait]
    impl StoreFixture for Primary {
        async fn store(&self) -> Arc<dyn PurchaseStore> {
            Arc::new(Self(Arc::clone(&self.0)))
        }

        async fn query(&self) -> Arc<dyn PurchaseQuery> {
            Arc::new(Self(Arc::clone(&self.0)))
        }

        async fn hold_back_writes(&self) -> bool {
            self.0.is_held_back.store(true, Ordering::Relaxed);
            true
        }

        async fn fail_over(&self) {
            *lock(&self.0.primary) = self.0.standby.clone();
            self.0.is_held_back.store(false, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_acknowledges_what_its_standby_has_passes() {
        a_fail_over_keeps_what_was_acknowledged(&Replicated::with_defect(Defect::None)).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = r#"a fail-over took away what {"a look-up""#)]
    async fn a_store_that_looks_up_what_may_be_lost_fails() {
        let wrong = Replicated::with_defect(Defect::LookUp);
        a_fail_over_keeps_what_was_acknowledged(&wrong).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = r#"a fail-over took away what {"a repeated insert""#)]
    async fn a_store_that_calls_a_duplicate_what_may_be_lost_fails() {
        let wrong = Replicated::with_defect(Defect::RepeatedInsert);
        a_fail_over_keeps_what_was_acknowledged(&wrong).await;
    }
}
