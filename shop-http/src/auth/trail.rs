//! What the routes find out about a request, for its lines in the access log and the audit log.

use std::sync::OnceLock;

use shop_core::UserId;
use shop_core::ports::Selector;

use super::authorize::{Action, Principal};

/// What the routes find out about a request. It is an extension of requests that are logged.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    principal: OnceLock<Principal>,
    audited: OnceLock<Audited>,
}

/// An action with a line in the audit log.
#[derive(Debug)]
pub(crate) struct Audited {
    pub(crate) action: &'static str,
    /// The user whose data it is about. `None` where that is not one user with a known id.
    pub(crate) user: Option<String>,
    /// Whether the policy allowed it.
    pub(crate) is_allowed: bool,
    /// Of a batch: the number of purchases, and of those that the policy denied.
    pub(crate) batch: Option<(usize, usize)>,
}

impl Trail {
    /// Sets the sender. The first call wins.
    pub(crate) fn identify(&self, principal: &Principal) {
        self.principal.get_or_init(|| principal.clone());
    }

    /// The name of the sender.
    pub(crate) fn principal(&self) -> Option<&str> {
        self.principal.get()?.name()
    }

    /// The action for the audit log.
    pub(crate) fn audited(&self) -> Option<&Audited> {
        self.audited.get()
    }

    /// Records `action`, if it is a write, or a read of what belongs to others by a known sender.
    pub(super) fn note(&self, sender: Option<&Principal>, action: &Action<'_>, is_allowed: bool) {
        if let Some(sender) = sender {
            self.identify(sender);
        }
        let is_foreign = sender.is_some_and(|sender| {
            let is_own = sender.subject().is_some_and(|subject| action.is_limited_to(subject));
            sender.name().is_some() && !is_own
        });
        if let Some((name, user, is_write)) = described(action)
            && (is_write || is_foreign)
        {
            self.audited.get_or_init(|| Audited { action: name, user, is_allowed, batch: None });
        }
    }

    /// Records a batch of so many purchases, of which `denied` were denied. `user` is the only buyer.
    pub(super) fn note_batch(
        &self,
        sender: Option<&Principal>,
        user: Option<&UserId>,
        purchases: usize,
        denied: usize,
    ) {
        if let Some(sender) = sender {
            self.identify(sender);
        }
        let (user, batch) = (user.map(UserId::to_string), Some((purchases, denied)));
        self.audited.get_or_init(|| Audited { action: "buy_batch", user, is_allowed: denied == 0, batch });
    }
}

/// The name of `action`, the user that it is about, and whether it is a write. `None` if it is not about users.
fn described(action: &Action<'_>) -> Option<(&'static str, Option<String>, bool)> {
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
        Action::ReadErased | Action::ReadPositions | Action::Operate => return None,
    })
}
