//! Users: who they are, and the port of the store that owns them. Other services know them only by the events that
//! such a store tells, `user_created`.

mod email;
mod store;
mod user;

pub use email::{Email, InvalidEmail};
#[cfg(feature = "mock")]
pub use store::MockUserStore;
pub use store::{MAX_LISTED_ORDERS, Registration, UserStore};
pub use user::{NewUser, PersonName, User, UserNumber};
