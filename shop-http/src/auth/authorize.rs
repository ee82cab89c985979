//! Who sends a request, and what they may do.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use shop_core::UserId;
use shop_core::ports::Selector;

use crate::response::{HttpError, HttpResult};

/// The sender of a request.
///
/// An authentication layer inserts it into the extensions of the request, and an [`Authorize`] policy reads it. A request
/// without a principal is [anonymous](Self::anonymous).
///
/// ```
/// use shop_http::Principal;
///
/// let principal = Principal::new("u1").with_scopes(["purchases:read:any"]);
/// assert_eq!(principal.subject(), Some("u1"));
/// assert!(principal.has_scope("purchases:read:any"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(Option<Arc<PrincipalData>>);

/// What is known of a sender. Shared, because each request clones its principal.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PrincipalData {
    name: String,
    subject: Option<String>,
    /// No user has the id of a service: it begins with a control character.
    owner: String,
    scopes: BTreeSet<String>,
}

impl Principal {
    /// The sender of a request without valid credentials.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self(None)
    }

    /// The sender that an authentication layer has identified as `subject`, such as the claim `sub` of a token. Its name
    /// is the subject.
    #[must_use]
    pub fn new(subject: impl Into<String>) -> Self {
        let subject = subject.into();
        Self(Some(Arc::new(PrincipalData {
            name: subject.clone(),
            owner: subject.clone(),
            subject: Some(subject),
            scopes: BTreeSet::new(),
        })))
    }

    /// A sender that is not a user, such as the holder of an API key with this name. It owns nothing.
    #[must_use]
    pub fn service(name: impl Into<String>) -> Self {
        let name = name.into();
        Self(Some(Arc::new(PrincipalData {
            owner: format!("\0{name}"),
            name,
            subject: None,
            scopes: BTreeSet::new(),
        })))
    }

    /// The same sender with this name, such as that of the API key of a user.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        if let Some(identity) = &mut self.0 {
            Arc::make_mut(identity).name = name.into();
        }
        self
    }

    /// The same sender with these scopes. Their meaning is up to the policy.
    #[must_use]
    pub fn with_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        if let Some(identity) = &mut self.0 {
            Arc::make_mut(identity).scopes = scopes.into_iter().map(Into::into).collect();
        }
        self
    }

    /// The name for logs: by default the subject of a user. `None` if the sender is anonymous.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|identity| identity.name.as_str())
    }

    /// The subject: the user id of the sender. `None` if the sender is anonymous or a service.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.0.as_ref()?.subject.as_deref()
    }

    /// Whose requests these are, for limits and idempotency keys: a user's, whatever its keys are, else a service's.
    pub(crate) fn owner(&self) -> Option<&str> {
        self.0.as_ref().map(|identity| identity.owner.as_str())
    }

    /// Whether the sender has `scope`.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.0
            .as_ref()
            .is_some_and(|identity| identity.scopes.contains(scope))
    }
}

/// What a request is about to do.
///
/// The probes, the documentation and the page are not actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action<'a> {
    /// Buy for this user.
    Buy(&'a UserId),
    /// Refund a purchase of this user.
    Refund(&'a UserId),
    /// List or sum up the selected purchases. A look-up of one purchase by its id selects its user.
    ReadPurchases(&'a Selector),
    /// Learn that the id of a purchase was erased. Its user is not known any more.
    ReadErased,
    /// Read how far the log of purchases is ingested, and the positions in receipts.
    ReadPositions,
    /// Register a user.
    RegisterUser,
    /// Read the user with this number.
    ReadUser(i64),
    /// Place an order for the user with this number.
    PlaceOrder(i64),
    /// Read orders of the user with this number.
    ReadOrders(i64),
    /// Observe the service: read `/metrics`, the details of `/health` and dead letters, also what a replay or a discard
    /// of them would do.
    Observe,
    /// Operate the service: replay or discard dead letters, park stuck records, or write a purchase or a refund into the
    /// store of management without the log.
    Operate,
}

impl Action<'_> {
    /// The only user whose purchases the action concerns.
    ///
    /// Purchases that are selected by a user name are not of one user: names are not unique.
    ///
    /// ```
    /// use shop_core::ports::Selector;
    /// use shop_http::Action;
    ///
    /// let own = Selector::User("u1".parse()?);
    /// assert_eq!(Action::ReadPurchases(&own).user_id().map(|user| user.as_str()), Some("u1"));
    /// assert_eq!(Action::ReadPurchases(&Selector::All).user_id(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn user_id(&self) -> Option<&UserId> {
        match *self {
            Self::Buy(id)
            | Self::Refund(id)
            | Self::ReadPurchases(Selector::User(id) | Selector::Reference(_, Some(id))) => {
                Some(id)
            }
            _ => None,
        }
    }

    /// The number of the registered user whom, or whose orders, the action concerns. It is unrelated to the ids of purchases.
    #[must_use]
    pub const fn user_number(&self) -> Option<i64> {
        match self {
            Self::ReadUser(number) | Self::PlaceOrder(number) | Self::ReadOrders(number) => {
                Some(*number)
            }
            _ => None,
        }
    }

    /// The id or the number of the only user that the action concerns, as text.
    fn user(&self) -> Option<String> {
        match self.user_id() {
            Some(id) => Some(id.to_string()),
            None => self.user_number().map(|number| number.to_string()),
        }
    }

    /// Whether the action is limited to the user whose id, or whose number, is the subject.
    pub(super) fn is_limited_to(&self, sender: &Principal) -> bool {
        sender.subject().is_some_and(|subject| {
            self.user_id().is_some_and(|id| id.as_str() == subject)
                || self
                    .user_number()
                    .is_some_and(|number| number.to_string() == subject)
        })
    }
}

/// The decision of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// The request continues.
    Allow,
    /// The response is 403 with this text, in the dialect of the path.
    Deny(Cow<'static, str>),
}

impl Decision {
    /// A refusal with this text for the client.
    #[must_use]
    pub fn deny(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Deny(reason.into())
    }
}

/// A policy: decides what a principal may do. See [`RouterBuilder::authorize`](crate::RouterBuilder::authorize).
///
/// It is asked for every request for purchases, users, orders, `/metrics` and `/health`, after the request was validated and before anything is
/// written or returned. It is called on the thread that serves the request and must not block: a policy that depends on
/// a database belongs into the authentication layer, which stores the result in the scopes of the principal.
///
/// ```
/// use shop_http::{Action, Authorize, Decision, Principal};
///
/// /// Everyone may buy for and list themselves, support may list everyone.
/// #[derive(Debug)]
/// struct OwnPurchases;
///
/// impl Authorize for OwnPurchases {
///     fn may(&self, principal: &Principal, action: &Action<'_>) -> Decision {
///         let is_own = action.user_id().is_some_and(|user| principal.subject() == Some(user.as_str()));
///         let is_read = matches!(action, Action::ReadPurchases(_));
///         if is_own || (is_read && principal.has_scope("purchases:read:any")) {
///             Decision::Allow
///         } else {
///             Decision::deny("only your own purchases")
///         }
///     }
/// }
/// ```
pub trait Authorize: fmt::Debug + Send + Sync + 'static {
    /// Whether `principal` may perform `action`.
    fn may(&self, principal: &Principal, action: &Action<'_>) -> Decision;
}

impl<T: Authorize + ?Sized> Authorize for Arc<T> {
    fn may(&self, principal: &Principal, action: &Action<'_>) -> Decision {
        (**self).may(principal, action)
    }
}

/// The sender of a request.
pub(crate) struct Caller {
    /// That of an authentication layer, or an anonymous one.
    pub(crate) principal: Principal,
    /// The record for the access log, if there is one.
    trail: Option<Arc<Trail>>,
}

impl Caller {
    pub(crate) fn new(principal: Principal, trail: Option<Arc<Trail>>) -> Self {
        if let Some(trail) = &trail {
            trail.principal.get_or_init(|| principal.clone());
        }
        Self { principal, trail }
    }

    /// Records `action` for the audit log, if it is a write, or a read of what belongs to others by a known sender.
    pub(crate) fn note(&self, action: &Action<'_>, is_allowed: bool) {
        if self.trail.is_none() {
            return;
        }
        let is_foreign = self.principal.name().is_some() && !action.is_limited_to(&self.principal);
        if let Some((name, is_write)) = described(action)
            && (is_write || is_foreign)
        {
            self.audit(Audited {
                action: name,
                user: action.user(),
                is_allowed,
                ..Audited::default()
            });
        }
    }

    /// Records an action for the audit log.
    pub(crate) fn audit(&self, audited: Audited) {
        if let Some(trail) = &self.trail {
            trail.audited.get_or_init(|| audited);
        }
    }

    /// Records the number of dead letters that were resolved.
    pub(crate) fn note_resolved(&self, count: usize) {
        if let Some(trail) = &self.trail {
            trail.resolved.get_or_init(|| count);
        }
    }
}

/// What the routes find out about a request. The first value counts.
#[derive(Default)]
pub(crate) struct Trail {
    pub(crate) principal: OnceLock<Principal>,
    pub(crate) audited: OnceLock<Audited>,
    /// The number of dead letters that were resolved.
    pub(crate) resolved: OnceLock<usize>,
}

/// An action with a line in the audit log.
#[derive(Default)]
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

/// The name of `action`, and whether it is a write. `None` if it is not about users.
const fn described(action: &Action<'_>) -> Option<(&'static str, bool)> {
    Some(match action {
        Action::Buy(_) => ("buy", true),
        Action::Refund(_) => ("refund", true),
        Action::ReadPurchases(Selector::User(_) | Selector::Reference(_, Some(_))) => {
            ("read_purchases", false)
        }
        Action::ReadPurchases(Selector::Reference(_, None)) => {
            ("read_purchases_by_reference", false)
        }
        // A name is personal data, and not an id.
        Action::ReadPurchases(Selector::Name(_)) => ("read_purchases_by_name", false),
        Action::ReadPurchases(_) => ("read_all_purchases", false),
        Action::RegisterUser => ("register_user", true),
        Action::ReadUser(_) => ("read_user", false),
        Action::PlaceOrder(_) => ("place_order", true),
        Action::ReadOrders(_) => ("read_orders", false),
        Action::ReadErased | Action::ReadPositions | Action::Observe | Action::Operate => {
            return None;
        }
    })
}

/// The policy of a service. Without one, everything is allowed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    pub(crate) authorize: Option<Arc<dyn Authorize>>,
    /// Whether requests need a token.
    pub(crate) requires_token: bool,
}

impl Policy {
    /// Asks whether `caller` may perform `action`, and records that.
    pub(crate) fn check(&self, caller: &Caller, action: &Action<'_>) -> HttpResult<()> {
        let decision = self.decide(caller, action);
        caller.note(action, decision.is_ok());
        decision
    }

    /// Asks whether `caller` may perform `action`, which is not about users, and records a refusal as one of `name`.
    pub(crate) fn check_as(
        &self,
        caller: &Caller,
        action: &Action<'_>,
        name: &'static str,
    ) -> HttpResult<()> {
        self.decide(caller, action).inspect_err(|_denied| {
            caller.audit(Audited {
                action: name,
                ..Audited::default()
            });
        })
    }

    /// Asks whether `caller` may perform `action`.
    pub(crate) fn decide(&self, caller: &Caller, action: &Action<'_>) -> HttpResult<()> {
        let Some(policy) = &self.authorize else {
            return Ok(());
        };
        match policy.may(&caller.principal, action) {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) => Err(HttpError::denied(self.requires_token, reason)),
        }
    }

    /// Those of `selectors` that `caller` may read. Records a refusal: of the last one, as a text that can be an id or a
    /// name, in this order, counts as a name.
    ///
    /// # Errors
    /// When there are none of them.
    pub(crate) fn readable(
        &self,
        caller: &Caller,
        selectors: &[Selector],
    ) -> HttpResult<Vec<Selector>> {
        let mut readable = Vec::with_capacity(selectors.len());
        let mut denied = None;
        for selector in selectors {
            match self.decide(caller, &Action::ReadPurchases(selector)) {
                Ok(()) => readable.push(selector.clone()),
                Err(failure) => denied = denied.or(Some(failure)),
            }
        }
        match (denied, selectors.last()) {
            (Some(failure), Some(last)) if readable.is_empty() => {
                caller.note(&Action::ReadPurchases(last), false);
                Err(failure)
            }
            _ => Ok(readable),
        }
    }
}
