//! The embedded store: purchases and their totals in `shop.db`.

mod erase;
mod insert;
mod periods;
mod rows;
mod scan;
mod schema;
mod select;
#[expect(clippy::module_inception, reason = "the same file names as in the other adapters")]
mod store;
#[cfg(test)]
mod store_test;
mod totals;

pub(super) use insert::insert;
pub(super) use schema::STORE;
pub use store::EmbeddedStore;
