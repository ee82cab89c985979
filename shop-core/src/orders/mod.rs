//! Orders, and the port of the store that owns them. It knows users only by their events, and others know of its orders
//! by `order_created`.

mod order;
mod store;
mod total_price;

pub use order::{NewOrder, Order, OrderNumber, Product};
#[cfg(feature = "mock")]
pub use store::MockOrderStore;
pub use store::{OrderStore, Placement};
pub use total_price::{InvalidTotalPrice, TotalPrice};
