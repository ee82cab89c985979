//! Orders. Their [store](crate::accounts::entity::EntityStore) learns of users from `user_created` events, and publishes
//! `order_created`.

mod order;
mod total_price;

pub use order::{NewOrder, Order, OrderNumber, Product};
pub use total_price::TotalPrice;
