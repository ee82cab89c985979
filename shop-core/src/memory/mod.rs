//! An in-memory log and an in-memory store: complete implementations of the ports, for tests and as
//! a reference.
//!
//! The log and the store keep the same promises as the adapters that outlive a process, and pass
//! the same conformance kit. Only their durability differs: it is
//! [`Memory`](crate::ports::Durability::Memory). With a clock of the test and with tokio's paused
//! time, their behavior is deterministic, because they start no threads and never iterate in a
//! random order.
//!
//! | Module | Responsibility |
//! |---|---|
//! | `log` | The partitions of records, and the state that the parts of a log share |
//! | `group` | Consumer groups: owners and epochs of partitions, committed positions, rebalancing |
//! | `source` | The reader of the log as a member of a group |
//! | `port` | The port of the log: its records and dead letters, outside of any group |
//! | `store` | The store of purchases and refunds |

mod group;
mod log;
mod port;
mod source;
mod store;

pub use group::Rebalancing;
pub use log::{InMemoryLog, InMemoryLogOptions, InMemorySink};
pub use source::InMemorySource;
pub use store::InMemoryStore;
