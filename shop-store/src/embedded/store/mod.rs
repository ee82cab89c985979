//! The embedded store: purchases and their sums in `shop.db`.

mod buyers;
mod compare;
mod erase;
mod fold;
mod insert;
mod periods;
mod rows;
mod select;
#[expect(
    clippy::module_inception,
    reason = "the same file names as in the other adapters"
)]
mod store;
#[cfg(test)]
mod store_test;
mod sums;
mod waiting;

pub(super) use buyers::{ALL, BuyerCache, check_texts};
pub(super) use compare::compare_sums;
pub(super) use fold::{fold, refill_quarters, unfolded};
pub(super) use insert::insert;
pub(super) use select::by_id;
pub use store::{EmbeddedStore, EmbeddedStoreOptions};
pub(super) use sums::Sums;
pub(super) use waiting::{ALL as WAITING, read as waiting_refund};
