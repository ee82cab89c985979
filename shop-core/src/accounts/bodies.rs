//! The bodies of `/v1` that are not the JSON of a type of this folder.

use serde::{Deserialize, Serialize};

use super::orders::OrderNumber;
use super::users::UserNumber;

/// The known orders of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserOrdersBody {
    /// The user's number.
    pub user_id: UserNumber,
    /// The numbers of the orders in ascending order.
    pub orders: Vec<OrderNumber>,
}

impl UserOrdersBody {
    /// The orders of `user`.
    #[must_use]
    pub const fn new(user_id: UserNumber, orders: Vec<OrderNumber>) -> Self {
        Self { user_id, orders }
    }
}
