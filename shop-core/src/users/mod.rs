//! Users, and the port of the store that owns them. The store publishes `user_created`, from which other services learn
//! of users.

mod email;
mod erase;
mod store;
mod user;

pub use email::{Email, InvalidEmail};
#[cfg(feature = "mock")]
pub use erase::MockUserErase;
pub use erase::UserErase;
#[cfg(feature = "mock")]
pub use store::MockUserStore;
pub use store::{MAX_LISTED_ORDERS, Registration, UserStore};
pub use user::{NewUser, PersonName, User, UserNumber};
