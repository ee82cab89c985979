//! The bodies, problems and headers of the HTTP API `/v1`, which a service of purchases and its
//! clients exchange, as serde types.
//!
//! `shop-http` answers with these types, and `shop-client` reads them. A purchase, a page and a
//! receipt are types of [`shop_core`], whose serde implementations are their bodies.
//!
//! | part | in |
//! |---|---|
//! | a purchase with its refund, results of a batch, sums by period, positions of the log | [`PurchaseBody`], [`BatchResultBody`], [`TotalsBody`], [`PositionsBody`] |
//! | dead letters and records that block an ingest | [`DeadLettersBody`], [`DeadLetterBody`], [`StuckBody`], [`ResolvedBody`] |
//! | the states of ingests and of roles in `/health` | [`IngestHealth`], [`EntityHealth`] |
//! | problems (RFC 9457): their types and additional members | [`problem`] |
//! | names of headers | [`header`] |
//! | the OpenAPI document of `/v1` | [`OPENAPI`] |
//! | purchases as rows of CSV and NDJSON | `files`, with the feature `csv` |
//!
//! ```
//! use shop_api::{PositionsBody, problem};
//!
//! let body = r#"{"positions": [{"partition": 0, "next_offset": 7}]}"#;
//! let positions: PositionsBody = serde_json::from_str(body)?;
//! assert_eq!(positions.positions[0].next_offset, 7);
//!
//! let kind = problem::error_kind("/problems/overloaded");
//! assert_eq!(kind, Some(shop_core::ErrorKind::Overloaded));
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! # Compatibility
//!
//! Unknown members of a response are ignored, so older clients accept the responses of newer
//! services. The types are for JSON only: in other formats, exact numbers would not be numbers.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod bodies;
#[cfg(test)]
mod bodies_test;
#[cfg(test)]
#[path = "../../shop-core/src/cases_test.rs"]
mod cases_test;
mod dead_letters;
#[cfg(feature = "csv")]
pub mod files;
pub mod header;
mod health;
pub mod problem;

pub use bodies::{
    BatchResultBody, BatchStatus, BucketBody, NDJSON, PartitionPosition, PositionsBody,
    PurchaseBody, TotalsBody, write_acknowledged,
};
pub use dead_letters::{
    BytesBody, DeadLetterBody, DeadLettersBody, RecordBody, RecordHeaderBody, ResolvedBody,
    ResolvedStatus, StuckBody,
};
pub use health::{EntityHealth, GapsHealth, IngestHealth, WaitingRefundsHealth};
pub use problem::{ProblemError, ProblemMembers};
/// The crate of the types that bodies are made from, such as purchases.
pub use shop_core;

/// The OpenAPI 3.1 document of `/v1` with all routes of both services, and with those of users and
/// orders. A service answers `GET /openapi.json` with the part that it serves.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// Compiles the code of the package's README with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
