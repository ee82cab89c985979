//! Who sends a request, and what they may do.
//!
//! | file | decides |
//! |---|---|
//! | `authenticate` | whether a request carries a bearer token, and what an authenticator is |
//! | `api_keys`, `token` | whose an API key, or a JSON Web Token, is |
//! | `authorize` | who a sender is, what an action is, and what the policy of a service says about both |
//! | `scopes` | what a sender may do by default |

#[cfg(feature = "auth")]
mod api_keys;
mod authenticate;
mod authorize;
mod scopes;
#[cfg(feature = "auth")]
mod token;

#[cfg(feature = "auth")]
pub use api_keys::{ApiKeys, InvalidApiKeys};
pub use authenticate::{AnyOf, Authenticate, Rejection};
pub(crate) use authenticate::{Credential, bearer};
pub use authorize::Caller;
pub use authorize::{Action, Authorize, Decision, Principal};
pub(crate) use authorize::{Audited, Policy, Trail};
pub use scopes::Scopes;
#[cfg(feature = "auth")]
pub use token::{InvalidKeySet, KeySet, TokenVerifier};
