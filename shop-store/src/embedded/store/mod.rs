//! The store: purchases and their sums in `store.db`.

mod insert;
mod rows;
mod schema;
mod select;
#[expect(clippy::module_inception, reason = "the store itself, beside its parts as in every adapter")]
mod store;
#[cfg(test)]
mod store_test;
mod totals;

pub use store::EmbeddedStore;
