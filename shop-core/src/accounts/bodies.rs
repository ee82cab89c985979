//! The bodies of `/v1` that are not the JSON of a type of this folder.

use serde::{Deserialize, Serialize};

use super::orders::OrderNumber;
use super::users::UserNumber;

/// The known orders of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserOrdersBody {
    /// The user's number.
    pub user_id: UserNumber,
    /// The numbers of the orders in ascending order.
    pub orders: Vec<OrderNumber>,
}
