//! The ports with failpoints around them, for tests.

use std::sync::Arc;

use shop_core::fault::with_failpoints;
use shop_core::record::Record;

use super::OpenSource;
use super::accounts::{Account, Accounts, Kept};
use super::purchases::Purchases;

pub(super) fn around_purchases(purchases: Purchases) -> Purchases {
    Purchases {
        sink: with_failpoints(purchases.sink),
        store: purchases.store.map(|(store, durability)| (with_failpoints(store) as _, durability)),
        dead_letters: with_failpoints(purchases.dead_letters),
        open_source: around_source(purchases.open_source),
        ..purchases
    }
}

pub(super) fn around_accounts(accounts: Accounts) -> Accounts {
    Accounts {
        users: accounts.users.map(|users| Account {
            store: with_failpoints(users.store) as _,
            kept: users.kept.map(around_kept),
            is_local: users.is_local,
        }),
        orders: accounts.orders.map(|orders| Account {
            store: with_failpoints(orders.store) as _,
            kept: orders.kept.map(around_kept),
            is_local: orders.is_local,
        }),
    }
}

/// Positions and dead letters are the pipeline's, which has its failpoints with the purchases.
fn around_kept<R: Record>(kept: Kept<R>) -> Kept<R> {
    Kept {
        outbox: with_failpoints(kept.outbox),
        told: with_failpoints(kept.told),
        heard: with_failpoints(kept.heard),
        ..kept
    }
}

fn around_source(open_source: OpenSource) -> OpenSource {
    Arc::new(move |group| Ok(with_failpoints(open_source(group)?)))
}
