//! The default policy: scopes, and a user's own purchases, account and orders.
//!
//! An action on data of any user requires a scope that ends with `:any`, or `observe` to list
//! everybody's purchases. For data of the principal itself, the same name without `:any` is enough.

use shop_core::ports::Selector;

use super::authorize::{Action, Authorize, Decision, Principal};

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
/// A purchase is a principal's own if its user id is the [subject](Principal::subject); a user and
/// an order are, if the subject is the user's number.
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
    /// All scopes that this policy knows, separated by spaces.
    pub const ALL: &str = "purchases:write purchases:write:any purchases:refund purchases:refund:any purchases:read purchases:read:any users:write:any users:read users:read:any orders:write orders:write:any orders:read orders:read:any observe operate";
}

/// The scope to read what an operator may change.
const OBSERVE: &str = "observe";
/// The scope of an operator.
const OPERATE: &str = "operate";

impl Authorize for Scopes {
    fn may(&self, principal: &Principal, action: &Action<'_>) -> Decision {
        let any_user_scope = scope_for_any_user(action);
        // For the data of the principal itself, the same scope without `:any` is enough.
        let required_scope = if action.is_limited_to(principal) {
            any_user_scope.trim_end_matches(":any")
        } else {
            any_user_scope
        };

        // The scope `operate` includes `observe`.
        let may_observe_as_operator = any_user_scope == OBSERVE && principal.has_scope(OPERATE);
        let is_allowed = may_observe_as_operator
            || principal.has_scope(any_user_scope)
            || principal.has_scope(required_scope);
        if is_allowed {
            return Decision::Allow;
        }
        // `format!` would cost more. Refusals are frequent, because a route may ask the policy only
        // to find out how much its response shows.
        Decision::deny(["The scope ", required_scope, " is required"].concat())
    }
}

/// Returns the scope that allows `action` for the data of any user.
const fn scope_for_any_user(action: &Action<'_>) -> &'static str {
    match action {
        Action::Buy(_) => "purchases:write:any",
        Action::Refund(_) => "purchases:refund:any",
        Action::ReadPurchases(Selector::All) | Action::Observe => OBSERVE,
        Action::Operate => OPERATE,
        Action::ReadPurchases(_) | Action::ReadErased | Action::ReadPositions => {
            "purchases:read:any"
        }
        Action::RegisterUser => "users:write:any",
        Action::ReadUser(_) => "users:read:any",
        Action::PlaceOrder(_) => "orders:write:any",
        Action::ReadOrders(_) => "orders:read:any",
    }
}
