//! Calls used by the tests of a store. Each waits with a time limit, and fails at the line of its caller.

use super::prelude::*;
use crate::ports::InsertOutcome;

/// Returns one character per outcome.
pub(super) fn outcome_codes(outcomes: &[InsertOutcome]) -> String {
    let code = |outcome: &InsertOutcome| match outcome {
        InsertOutcome::Inserted => 'i',
        InsertOutcome::Duplicate => 'd',
        InsertOutcome::Erased => 'e',
        InsertOutcome::Conflict => 'c',
        InsertOutcome::Rejected(reason) => {
            assert_eq!(reason.kind(), ReasonKind::Refused);
            'r'
        }
        InsertOutcome::Unknown(_) => 'u',
        InsertOutcome::Waiting => 'w',
    };
    outcomes.iter().map(code).collect()
}

/// Inserts `batch`, and returns one character per outcome.
#[track_caller]
pub(super) fn insert(store: &dyn StoreFixture, batch: &[Purchase]) -> impl Future<Output = String> {
    succeed(async move {
        let outcomes = store.store().await.insert(batch.into()).await?;
        Ok(outcome_codes(&outcomes))
    })
}

/// Inserts one purchase, and returns the character of its outcome.
#[track_caller]
pub(super) fn insert_one<'a>(
    store: &'a dyn StoreFixture,
    purchase: &'a Purchase,
) -> impl Future<Output = String> + 'a {
    insert(store, std::slice::from_ref(purchase))
}

#[track_caller]
pub(super) fn get(
    store: &dyn StoreFixture,
    id: &PurchaseId,
) -> impl Future<Output = Option<Purchase>> {
    succeed(async move { store.query().await.get(id).await })
}

pub(super) fn of_user(id: &str) -> Selector {
    Selector::User(user(id))
}

pub(super) fn of_name(text: &str) -> Selector {
    Selector::Name(text.parse().unwrap())
}

/// Returns those of `entries` that the selector matches, in their order.
pub(super) fn selected(entries: &[Purchase], selector: &Selector) -> Vec<Purchase> {
    let mut selected = entries.to_vec();
    selected.retain(|entry| selector.matches(entry));
    selected
}

/// Returns the number of the purchases in `entries`, and the sum of all, less the refunds.
pub(super) fn summary_of(entries: &[Purchase]) -> Summary {
    let is_purchase = |entry: &&Purchase| entry.details.of.is_none();
    let count = entries.iter().filter(is_purchase).count();
    let total = Total::checked_sum(entries.iter().map(|entry| entry.price)).unwrap();
    Summary::new(count as u64, total)
}

/// Returns all entries of a listing, oldest first.
#[track_caller]
pub(super) fn listed(
    query: &Arc<dyn PurchaseQuery>,
    selector: &Selector,
) -> impl Future<Output = Vec<Purchase>> {
    succeed(
        Arc::clone(query)
            .scan(selector.clone(), ListOrder::OldestFirst)
            .try_collect(),
    )
}

/// Checks that the listing of `selector` has exactly `expected`, oldest first, and that its summary
/// and its totals per day are those of these.
#[track_caller]
pub(super) fn assert_listed(
    query: &Arc<dyn PurchaseQuery>,
    selector: &Selector,
    expected: &[Purchase],
) -> impl Future<Output = ()> {
    succeed(async move {
        assert_eq!(listed(query, selector).await, expected, "{selector:?}");
        let summary = query.summary(selector).await?;
        assert_eq!(summary, summary_of(expected), "{selector:?}");
        let per_day = TotalsRequest::new(TimeRange::ALL, Period::Day);
        let days = query.totals(selector, &per_day).await?;
        let mut sum = Summary::default();
        for day in days {
            assert_ne!(day.summary, Summary::default(), "{selector:?}: {day:?}");
            sum = sum.checked_add(day.summary)?;
        }
        assert_eq!(sum, summary, "{selector:?}");
        Ok(())
    })
}

/// Returns the ids that a scan of the whole store yields, each once.
#[track_caller]
pub(super) fn scanned(
    query: &Arc<dyn PurchaseQuery>,
) -> impl Future<Output = BTreeSet<PurchaseId>> {
    let query = Arc::clone(query);
    succeed(async move {
        let mut found = BTreeSet::new();
        let mut scan = std::pin::pin!(query.scan_batches());
        while let Some(batch) = scan.try_next().await? {
            assert_eq!(batch.unreadable, []);
            for purchase in batch.purchases {
                assert!(found.insert(purchase.id), "{purchase:?} is yielded twice");
            }
        }
        Ok(found)
    })
}
