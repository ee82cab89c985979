//! The listeners of a service, and which routes each of them has.

use crate::auth::{Action, Authorize, Decision, Policy, Principal};
use shop_core::ports::Selector;

/// The listener that a router is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Listener {
    /// The only one: it has all routes.
    #[default]
    Single,
    /// The one for clients, beside an admin listener.
    Public,
    /// The one for probes, metrics and operators.
    Admin,
}

/// The policy of a public listener. What needs an operator is refused to all.
#[derive(Debug)]
pub(crate) struct WithoutOperations(pub(crate) Policy);

impl Authorize for WithoutOperations {
    fn may(&self, principal: &Principal, action: &Action<'_>) -> Decision {
        match (action, &self.0.authorize) {
            (Action::Operate | Action::ReadPurchases(Selector::All), _) => {
                Decision::deny("is served by the admin listener alone")
            }
            (_, Some(policy)) => policy.may(principal, action),
            (_, None) => Decision::Allow,
        }
    }
}
