//! The scenarios of purchases on the paths of the replaced systems, and in their forms.

use crate::scenario::scenarios;
use crate::shops::Shops;

scenarios! {
    Shops:
    bad_bodies bad_requests currency dialect_default dialect_purchase_tracking dialect_scalable_shop
    dialect_shopping_system dialect_user_buy_list dialects_by_path dialects_health
    dialects_of_all_users dialects_outages differences idempotency members overload oversized_heads
    queries values_by_dialect
}
