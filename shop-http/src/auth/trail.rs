//! What the routes find out about a request, for its lines in the access log and the audit log.

use std::sync::OnceLock;

use shop_core::ports::Selector;

use super::authorize::{Action, Principal};

/// What the routes find out about a request. The first value counts.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    pub(crate) principal: OnceLock<Principal>,
    pub(crate) audited: OnceLock<Audited>,
    /// The number of dead letters that were resolved.
    pub(crate) resolved: OnceLock<usize>,
}

/// An action with a line in the audit log.
#[derive(Debug, Default)]
pub(crate) struct Audited {
    pub(crate) action: &'static str,
    /// The user whose data it is about. `None` where that is not one user with a known id.
    pub(crate) user: Option<String>,
    /// Whether the policy allowed it.
    pub(crate) is_allowed: bool,
    /// Of a batch: the number of purchases, and of those that the policy denied.
    pub(crate) batch: Option<(usize, usize)>,
    /// The positions of the dead letters to resolve, separated by spaces.
    pub(crate) positions: Option<String>,
    /// Why they are resolved, as the sender says.
    pub(crate) reason: Option<String>,
}

/// The name of `action`, the user that it is about, and whether it is a write. `None` if it is not about users.
pub(super) fn described(action: &Action<'_>) -> Option<(&'static str, Option<String>, bool)> {
    Some(match action {
        Action::Buy(user) => ("buy", Some(user.to_string()), true),
        Action::ReadPurchases(Selector::User(user)) => ("read_purchases", Some(user.to_string()), false),
        // A name is personal data, and not an id.
        Action::ReadPurchases(Selector::Name(_)) => ("read_purchases_by_name", None, false),
        Action::ReadPurchases(_) => ("read_all_purchases", None, false),
        Action::RegisterUser => ("register_user", None, true),
        Action::ReadUser(user) => ("read_user", Some(user.to_string()), false),
        Action::PlaceOrder(user) => ("place_order", Some(user.to_string()), true),
        Action::ReadOrders(user) => ("read_orders", Some(user.to_string()), false),
        Action::ReadErased | Action::ReadPositions | Action::Observe | Action::Operate => return None,
    })
}
