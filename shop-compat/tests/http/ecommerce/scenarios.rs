//! The scenarios of users and orders: what clients of the replaced system send, and what they get.

use crate::scenario::scenarios;
use crate::services::Services;

scenarios! {
    Services, in "ecommerce":
    outages
    pending_events
    roles
    users_and_orders
    waiting
}
