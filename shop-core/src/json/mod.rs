//! JSON: how purchases are read leniently from whoever sends them, and the exact form in which our own
//! services and `shop-client` speak with each other under `/v1`.
//!
//! These types are for JSON only. In another format an exact number would not be a number: every other
//! format has types of its own, in its own crate.

mod accounts;
mod form;
mod members;
mod problem;
mod scalar;
mod wire;

pub use accounts::{
    EMAIL_TAKEN, InvalidBody, NewOrderBody, NewUserBody, ORDER_KEY_TAKEN, OrderBody, OrderEventBody,
    UNKNOWN_ORDER, UNKNOWN_USER, USER_KEY_TAKEN, UserBody, UserOrdersBody,
};
pub use form::{number, text};
pub use members::Members;
pub use problem::{ProblemError, ProblemMembers, UNKNOWN_PURCHASE, kind_of_problem, problem_type};
pub use scalar::Scalar;
pub use wire::{
    DurabilityName, NewPurchaseBody, PageBody, PositionBody, PublishedBody, PurchaseBody, ReceiptBody,
    SummaryBody,
};
