//! Orders, and the port of the store that owns them. The store learns of users from `user_created` events, and
//! publishes `order_created`.

mod order;
mod store;
mod total_price;

pub use order::{NewOrder, Order, OrderNumber, Product};
#[cfg(feature = "mock")]
pub use store::MockOrderStore;
pub use store::{OrderStore, Placement};
pub use total_price::{InvalidTotalPrice, TotalPrice};
