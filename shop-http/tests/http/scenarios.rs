//! The scenarios of purchases: what clients send, and what they get.

use crate::scenario::scenarios;
use crate::shops::Shops;

scenarios! {
    Shops:
    authentication_that_panics
    bad_bodies bad_requests
    batch batch_large batch_limits batch_of_an_export batch_outcomes
    buying
    currency
    dead_letters dead_letters_bad_requests dead_letters_replayed
    events exports
    files
    idempotency
    imports
    listing_v1
    media_types members
    overload oversized_heads
    queries
    ranges_v1 records
    refunds refunds_by_scopes refunds_in_batches refunds_of_other_origins refunds_off refunds_pending
    reported_errors
    short_paths short_paths_refunds
    timeouts
    usernames
    waiting_for_own_writes waiting_for_purchases
}
