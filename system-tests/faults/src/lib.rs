//! What tests of faults share.
//!
//! | module | content | users |
//! |---|---|---|
//! | [`disk`] | what a disk keeps after a power cut or a failed sync | `sim`, the power cuts of `system-tests` |
//! | [`history`] | the calls to a shop with their outcomes, and the rules that they must obey | `sim`, the process tests of `system-tests` |
//!
//! The model test of `shop-core` has an oracle of its own. It watches ingest from the inside: positions, epochs and
//! redeliveries at the ports between log and store, none of which a caller of a shop sees.

pub mod disk;
#[cfg(test)]
mod disk_test;
pub mod history;
