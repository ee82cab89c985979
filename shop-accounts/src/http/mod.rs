//! The routes of users and orders under `/v1`, and as in the replaced system `ecommerce`: a FastAPI
//! service for users, and one for orders.
//!
//! | | |
//! |---|---|
//! | system | (paths of 002) |
//! | always in this form | `/users`, `/orders` |
//! | a buy | |
//! | a listing | |
//! | an error | `{"detail"}` |
//!
//! An invalid request of the replaced system is 422 with a list of pydantic's entries, an
//! unavailable store 503.

mod pydantic;
mod request;
mod resources;
mod role;
mod strict;

pub use role::{Accounts, EntityRole, OrdersRole, UsersRole};
