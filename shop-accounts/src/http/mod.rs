//! The routes of users and orders under `/v1`.
//!
//! | module | content |
//! |---|---|
//! | `form` | the form of the requests, which another role may replace for its own paths |
//! | `strict` | reads the values of the form of `/v1` |
//! | `resources` | the handlers |
//! | `role` | the roles of a service |

mod form;
mod resources;
mod role;
mod strict;

pub use form::{OrderFields, RequestForm, StrictForm, UserFields};
pub use role::{Accounts, EntityRole, OrdersRole, UsersRole};
