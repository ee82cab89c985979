//! The default policy: scopes, and a user's own purchases, account and orders.

use super::authorize::{Action, Authorize, Decision, Principal};
use shop_core::ports::Selector;

/// The default policy: decides by the scopes of a principal.
///
/// | action | of the principal itself | of any user |
/// |---|---|---|
/// | buy | `purchases:write` | `purchases:write:any` |
/// | refund a purchase | `purchases:refund` | `purchases:refund:any` |
/// | list, sum up or look up purchases | `purchases:read` | `purchases:read:any` |
/// | list purchases by a user name, which is not unique; learn that an id was erased | | `purchases:read:any` |
/// | list everybody's purchases | | `observe` |
/// | register a user | | `users:write:any` |
/// | read a user | `users:read` | `users:read:any` |
/// | place an order | `orders:write` | `orders:write:any` |
/// | read orders | `orders:read` | `orders:read:any` |
/// | `/metrics`, details of `/health`, list and show dead letters, dry runs | | `observe` |
/// | replay and discard dead letters, park stuck records, write into management's store | | `operate` |
///
/// `operate` includes `observe`.
///
/// A purchase is a principal's own if its user id is the [subject](Principal::subject); a user and an order are, if the
/// subject is the user's number.
///
/// ```
/// use shop_http::{Action, Authorize, Decision, Principal, Scopes};
///
/// let ada = Principal::new("ada").with_scopes(["purchases:write"]);
/// let (own, other) = ("ada".parse()?, "bob".parse()?);
/// assert_eq!(Scopes.may(&ada, &Action::Buy(&own)), Decision::Allow);
/// assert_eq!(
///     Scopes.may(&ada, &Action::Buy(&other)),
///     Decision::deny("The scope purchases:write:any is required")
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Scopes;

impl Scopes {
    /// The scopes that it knows, separated by spaces.
    #[doc(hidden)]
    pub const ALL: &str = "purchases:write purchases:write:any purchases:refund purchases:refund:any purchases:read purchases:read:any users:write:any users:read users:read:any orders:write orders:write:any orders:read orders:read:any observe operate";
}

/// The scope of who reads what an operator may change.
const OBSERVE: &str = "observe";
/// The scope of an operator.
const OPERATE: &str = "operate";

impl Authorize for Scopes {
    fn may(&self, principal: &Principal, action: &Action<'_>) -> Decision {
        let (own, any) = required(action);
        let own = own.filter(|_| action.is_limited_to(principal));
        let is_included = any == OBSERVE && principal.has_scope(OPERATE);
        if is_included
            || principal.has_scope(any)
            || own.is_some_and(|own| principal.has_scope(own))
        {
            return Decision::Allow;
        }
        Decision::deny(format!("The scope {} is required", own.unwrap_or(any)))
    }
}

/// The scope for what is the principal's own, and the one for everything.
const fn required(action: &Action<'_>) -> (Option<&'static str>, &'static str) {
    match action {
        Action::Buy(_) => (Some("purchases:write"), "purchases:write:any"),
        Action::Refund(_) => (Some("purchases:refund"), "purchases:refund:any"),
        Action::ReadPurchases(Selector::All) | Action::Observe => (None, OBSERVE),
        Action::Operate => (None, OPERATE),
        Action::ReadErased | Action::ReadPositions => (None, "purchases:read:any"),
        Action::ReadPurchases(_) => (Some("purchases:read"), "purchases:read:any"),
        Action::RegisterUser => (None, "users:write:any"),
        Action::ReadUser(_) => (Some("users:read"), "users:read:any"),
        Action::PlaceOrder(_) => (Some("orders:write"), "orders:write:any"),
        Action::ReadOrders(_) => (Some("orders:read"), "orders:read:any"),
    }
}

#[cfg(test)]
mod tests {
    use shop_core::UserId;

    use super::*;

    #[test]
    fn own_scopes_are_for_the_subject_alone() {
        let (own, other): (UserId, UserId) = ("7".parse().unwrap(), "8".parse().unwrap());
        let (own_number, other_number) = (7, 8);
        let selectors = [&own, &other].map(|user| Selector::User(user.clone()));
        for (scope, own, other) in [
            ("purchases:write", Action::Buy(&own), Action::Buy(&other)),
            (
                "purchases:refund",
                Action::Refund(&own),
                Action::Refund(&other),
            ),
            (
                "purchases:read",
                Action::ReadPurchases(&selectors[0]),
                Action::ReadPurchases(&selectors[1]),
            ),
            (
                "users:read",
                Action::ReadUser(own_number),
                Action::ReadUser(other_number),
            ),
            (
                "orders:write",
                Action::PlaceOrder(own_number),
                Action::PlaceOrder(other_number),
            ),
            (
                "orders:read",
                Action::ReadOrders(own_number),
                Action::ReadOrders(other_number),
            ),
        ] {
            assert!(Scopes::ALL.split(' ').any(|known| known == scope));
            let user = Principal::new("7").with_scopes([scope]);
            assert_eq!(Scopes.may(&user, &own), Decision::Allow, "{scope}");
            let missing = format!("The scope {scope}:any is required");
            assert_eq!(
                Scopes.may(&user, &other),
                Decision::deny(missing),
                "{scope}"
            );
            let service = Principal::service("7").with_scopes([scope]);
            assert_ne!(
                Scopes.may(&service, &own),
                Decision::Allow,
                "a service owns nothing"
            );
            let any = Principal::service("7").with_scopes([format!("{scope}:any")]);
            assert_eq!(
                [Scopes.may(&any, &own), Scopes.may(&any, &other)],
                [Decision::Allow, Decision::Allow]
            );
            let without = Scopes.may(&Principal::new("7"), &own);
            assert_eq!(
                without,
                Decision::deny(format!("The scope {scope} is required"))
            );
        }
    }

    #[test]
    fn actions_without_a_user_require_the_scope_for_all() {
        let name = Selector::Name("7".parse().unwrap());
        for (scope, action) in [
            ("operate", Action::Operate),
            ("observe", Action::Observe),
            ("observe", Action::ReadPurchases(&Selector::All)),
            ("purchases:read:any", Action::ReadPurchases(&name)),
            ("purchases:read:any", Action::ReadErased),
            ("purchases:read:any", Action::ReadPositions),
            ("users:write:any", Action::RegisterUser),
        ] {
            // Who operates, observes.
            let includes =
                |other: &str| other == scope || (scope == "observe" && other == "operate");
            let others = Scopes::ALL.split(' ').filter(|other| !includes(other));
            assert_ne!(
                Scopes.may(&Principal::new("7").with_scopes(others), &action),
                Decision::Allow,
                "{scope}"
            );
            assert_eq!(
                Scopes.may(&Principal::new("7").with_scopes([scope]), &action),
                Decision::Allow,
                "{scope}"
            );
        }
    }
}
