//! The HTTP API `/v1`: bodies, problem types and header names, shared by the services and `shop-client`. Feature `api`.
//!
//! Unknown members of a response are ignored, so older clients accept responses of newer services. These types are for
//! JSON only: in other formats, exact numbers would not be numbers.
//!
//! | module | content |
//! |---|---|
//! | [`header`] | the names of headers |
//! | this one | bodies of responses that are not the JSON of a type of the domain |
//! | [`problem`] | problem types of RFC 9457 and their additional members |

mod batch;
mod bodies;
mod dead_letters;
pub mod header;
pub mod problem;
#[cfg(feature = "csv")]
mod rows;

pub use batch::{BatchResultBody, BatchStatus, NDJSON};
pub use bodies::{BucketBody, PartitionPosition, PositionsBody, TotalsBody, UserOrdersBody};
pub use dead_letters::{
    BytesBody, DeadLetterBody, DeadLettersBody, RecordBody, RecordHeaderBody, ResolvedBody, ResolvedStatus,
    StuckBody,
};
pub use problem::{ProblemError, ProblemMembers};
#[cfg(feature = "csv")]
pub use rows::RowFormat;
