//! The HTTP API `/v1`: bodies, problem types and header names, shared by the services and `shop-client`. Feature `api`.
//!
//! Unknown members of a response are ignored, so older clients accept responses of newer services. These types are for
//! JSON only: in other formats, exact numbers would not be numbers.
//!
//! | module | content |
//! |---|---|
//! | [`header`] | the names of headers |
//! | this one | bodies of requests and responses |
//! | [`problem`] | problem types of RFC 9457 and their additional members |

mod batch;
mod dead_letters;
pub mod header;
mod orders;
mod positions;
pub mod problem;
mod purchases;
#[cfg(feature = "csv")]
mod rows;
mod users;

pub use batch::{BatchPurchaseBody, BatchResultBody, BatchStatus, NDJSON};
pub use dead_letters::{BytesBody, DeadLetterBody, RecordBody, RecordHeaderBody};
pub use orders::{NewOrderBody, OrderBody};
pub use positions::{PartitionPosition, PositionsBody};
pub use problem::{ProblemError, ProblemMembers};
pub use purchases::{
    BucketBody, DurabilityName, NewPurchaseBody, PageBody, PositionBody, PublishedBody, PurchaseBody,
    ReceiptBody, SummaryBody, TotalsBody,
};
#[cfg(feature = "csv")]
pub use rows::{InvalidRowFormat, RowFormat};
pub use users::{NewUserBody, UserBody, UserOrdersBody};
