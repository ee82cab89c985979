//! The HTTP API of our own services, `/v1`: bodies, problem types and header names, which the services and
//! `shop-client` share. Feature `api`.
//!
//! Unknown members of an answer are ignored, so that an older client understands a newer service. These types are for
//! JSON only: in another format an exact number would not be a number.
//!
//! | module | what it holds |
//! |---|---|
//! | [`header`] | the names of headers |
//! | this one | the bodies of requests and answers |
//! | `schema` | the forms of values in an OpenAPI document (feature `openapi`) |
//! | [`problem`] | the RFC 9457 problems: their types and what stands in them besides the standard members |

pub mod header;
mod orders;
pub mod problem;
mod purchases;
#[cfg(feature = "openapi")]
pub mod schema;
mod users;

pub use orders::{NewOrderBody, OrderBody};
pub use problem::{ProblemError, ProblemMembers};
pub use purchases::{
    DurabilityName, NewPurchaseBody, PageBody, PositionBody, PublishedBody, PurchaseBody, ReceiptBody,
    SummaryBody,
};
pub use users::{NewUserBody, UserBody, UserOrdersBody};
