//! The HTTP API `/v1`: bodies and problem types, shared by the services and `shop-client`. Feature `api`.
//!
//! Unknown members of a response are ignored, so older clients accept responses of newer services. These types are for
//! JSON only: in other formats, exact numbers would not be numbers.
//!
//! | module | content |
//! |---|---|
//! | this one | bodies of responses that are not the JSON of a type of the domain |
//! | [`problem`] | problem types of RFC 9457 and their additional members |

mod batch;
mod bodies;
mod dead_letters;
#[doc(hidden)]
pub mod header;
#[doc(hidden)]
pub mod problem;
#[cfg(feature = "csv")]
mod rows;

pub use problem::ProblemError;
#[cfg(feature = "csv")]
pub use rows::RowFormat;
#[doc(hidden)]
pub use {
    batch::{BatchResultBody, BatchStatus, NDJSON},
    bodies::{BucketBody, PartitionPosition, PositionsBody, TotalsBody, UserOrdersBody},
    dead_letters::{
        BytesBody, DeadLetterBody, DeadLettersBody, RecordBody, RecordHeaderBody, ResolvedBody,
        ResolvedStatus, StuckBody,
    },
    problem::ProblemMembers,
};
