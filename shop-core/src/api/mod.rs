//! The parts of the HTTP API `/v1` that `shop-http` and `shop-client` share. Feature `api`.
//!
//! `shop-client` documents the bodies that its calls return. Unknown members of a response are
//! ignored, so older clients accept responses of newer services. The bodies are for JSON only: in
//! other formats, exact numbers would not be numbers.

mod bodies;
mod dead_letters;
pub mod header;
mod health;
pub mod problem;
#[cfg(feature = "csv")]
mod rows;

#[cfg(feature = "csv")]
pub use rows::RowFormat;
pub use {
    bodies::{
        BatchResultBody, BatchStatus, BucketBody, NDJSON, PartitionPosition, PositionsBody,
        TotalsBody, split_lines, write_acknowledged,
    },
    dead_letters::{
        BytesBody, DeadLetterBody, DeadLettersBody, RecordBody, RecordHeaderBody, ResolvedBody,
        ResolvedStatus, StuckBody,
    },
    health::{EntityHealth, GapsHealth, IngestHealth, WaitingRefundsHealth},
    problem::{ProblemError, ProblemMembers},
};
