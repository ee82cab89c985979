//! Who sends a request, and what they may do.

#[cfg(feature = "auth")]
mod api_keys;
mod authenticate;
mod authorize;
#[cfg(feature = "auth")]
mod key_set;
mod scopes;
#[cfg(feature = "auth")]
mod token;
mod trail;

#[cfg(feature = "auth")]
pub use api_keys::{ApiKeys, InvalidApiKeys};
pub use authenticate::{AnyOf, Authenticate, Rejection};
pub(crate) use authenticate::{Credential, bearer};
pub use authorize::{Action, Authorize, Decision, Principal};
pub(crate) use authorize::{Caller, Policy};
#[cfg(feature = "auth")]
pub use key_set::{InvalidKeySet, KeySet};
pub use scopes::Scopes;
#[cfg(feature = "auth")]
pub use token::TokenVerifier;
pub(crate) use trail::{Audited, Trail};
