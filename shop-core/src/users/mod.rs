//! Users, and ports of the [store](crate::entity::EntityStore) that owns them. The store publishes `user_created`, from
//! which other services learn of users.

mod email;
mod store;
mod user;

pub use email::{Email, InvalidEmail};
pub use store::{MAX_LISTED_ORDERS, UserErase, UserOrders, UserStore};
#[cfg(feature = "mock")]
pub use store::{MockUserErase, MockUserOrders};
pub use user::{NewUser, PersonName, User, UserNumber};
