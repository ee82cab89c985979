//! The ports with failpoints around them, for tests.

use std::sync::Arc;

use shop_core::fault::Failpoints;
use shop_core::record::Record;

use super::OpenSource;
use super::accounts::{Account, Accounts, Kept};
use super::purchases::Purchases;

pub(super) fn around_purchases(purchases: Purchases) -> Purchases {
    Purchases {
        sink: Arc::new(Failpoints(purchases.sink)),
        store: purchases.store.map(|(store, durability)| (Arc::new(Failpoints(store)) as _, durability)),
        dead_letters: Arc::new(Failpoints(purchases.dead_letters)),
        open_source: around_source(purchases.open_source),
        ..purchases
    }
}

pub(super) fn around_accounts(accounts: Accounts) -> Accounts {
    Accounts {
        users: accounts.users.map(|users| Account {
            store: Arc::new(Failpoints(users.store)) as _,
            kept: users.kept.map(around_kept),
            is_local: users.is_local,
        }),
        orders: accounts.orders.map(|orders| Account {
            store: Arc::new(Failpoints(orders.store)) as _,
            kept: orders.kept.map(around_kept),
            is_local: orders.is_local,
        }),
    }
}

/// Positions and dead letters are the pipeline's, which has its failpoints with the purchases.
fn around_kept<R: Record>(kept: Kept<R>) -> Kept<R> {
    Kept {
        outbox: Arc::new(Failpoints(kept.outbox)),
        told: Arc::new(Failpoints(kept.told)),
        heard: Arc::new(Failpoints(kept.heard)),
        ..kept
    }
}

fn around_source(open_source: OpenSource) -> OpenSource {
    Arc::new(move |group| Ok(Arc::new(Failpoints(open_source(group)?))))
}
