//! The scenarios of users and orders: what clients send, and what they get.

use crate::scenario::scenarios;
use crate::services::Services;

scenarios! {
    Services:
    outages
    pending_events
    roles
    v1
    waiting
}
