//! Who sends a request, and what they may do.
//!
//! A handler asks the [`Policy`] of its service whether the [`Caller`] may perform an [`Action`].
//! The policy asks an [`Authorize`]: the embedder's, or [`Scopes`](super::Scopes) where requests
//! need a token. Without an `Authorize`, everything is allowed. The caller records the action in
//! its [`Trail`], from which the audit log is written after the response.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use shop_core::UserId;
use shop_core::ports::Selector;

use crate::response::{HttpError, HttpResult};

/// The identity of the sender of a request: a user, a service, or an anonymous sender.
///
/// An authentication layer inserts the principal into the extensions of the request, and an
/// [`Authorize`] policy reads it. A request without a principal is [anonymous](Self::anonymous).
///
/// ```
/// use shop_http::Principal;
///
/// let principal = Principal::new("u1").with_scopes(["purchases:read:any"]);
/// assert_eq!(principal.subject(), Some("u1"));
/// assert!(principal.has_scope("purchases:read:any"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(Option<Arc<Identity>>);

/// The identity of a sender. It is shared, because each request clones its principal.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    name: String,
    subject: Option<String>,
    /// The subject of a user, or a control character and the name of a service. No user id begins
    /// with a control character.
    owner: String,
    scopes: BTreeSet<String>,
}

impl Principal {
    /// Creates the sender of a request without valid credentials.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self(None)
    }

    /// Creates the sender that an authentication layer identified as `subject`, such as the claim
    /// `sub` of a token. Its name is the subject.
    #[must_use]
    pub fn new(subject: impl Into<String>) -> Self {
        let subject = subject.into();
        Self(Some(Arc::new(Identity {
            name: subject.clone(),
            owner: subject.clone(),
            subject: Some(subject),
            scopes: BTreeSet::new(),
        })))
    }

    /// Creates a sender that is not a user, such as the holder of an API key with this name. This
    /// sender has no [subject](Self::subject), so no purchase, user or order is its own.
    #[must_use]
    pub fn service(name: impl Into<String>) -> Self {
        let name = name.into();
        Self(Some(Arc::new(Identity {
            owner: format!("\0{name}"),
            name,
            subject: None,
            scopes: BTreeSet::new(),
        })))
    }

    /// Replaces the name of the sender, such as by the name of a user's API key.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        if let Some(identity) = &mut self.0 {
            Arc::make_mut(identity).name = name.into();
        }
        self
    }

    /// Replaces the scopes of the sender. Their meaning is up to the policy.
    #[must_use]
    pub fn with_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        if let Some(identity) = &mut self.0 {
            Arc::make_mut(identity).scopes = scopes.into_iter().map(Into::into).collect();
        }
        self
    }

    /// Returns the name for logs: by default the subject of a user. `None` if the sender is
    /// anonymous.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|identity| identity.name.as_str())
    }

    /// Returns the subject: the user id of the sender. `None` if the sender is anonymous or a
    /// service.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.0.as_ref()?.subject.as_deref()
    }

    /// Returns the id whose limits and idempotency keys the request uses. All API keys of a user
    /// share one id, and no service shares the id of a user. `None` if the sender is anonymous.
    pub(crate) fn owner(&self) -> Option<&str> {
        self.0.as_ref().map(|identity| identity.owner.as_str())
    }

    /// Returns whether the sender was granted `scope`.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.0
            .as_ref()
            .is_some_and(|identity| identity.scopes.contains(scope))
    }
}

/// The action that a request is about to perform.
///
/// A request for a probe, the documentation or the page performs no action.
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
    /// Observe the service: read `/metrics`, the details of `/health` and dead letters, also the
    /// dry run of a replay or a discard.
    Observe,
    /// Operate the service: replay or discard dead letters, park stuck records, or write a purchase
    /// or a refund into the store of management without the log.
    Operate,
}

impl Action<'_> {
    /// Returns the user if the action concerns the purchases of exactly one user.
    ///
    /// Returns `None` for purchases that are selected by a user name, because names are not unique,
    /// for purchases with a reference that are not limited to a user, and for actions that are not
    /// about purchases. See [`user_number`](Self::user_number) for registered users.
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
            // Several users, or no purchases.
            _ => None,
        }
    }

    /// Returns the number of the registered user if the action concerns one user or the orders of
    /// one user. The number is unrelated to the user ids of purchases.
    #[must_use]
    pub const fn user_number(&self) -> Option<i64> {
        match self {
            Self::ReadUser(number) | Self::PlaceOrder(number) | Self::ReadOrders(number) => {
                Some(*number)
            }
            _ => None,
        }
    }

    /// Returns the id or the number of the only user that the action concerns, as text.
    fn user_text(&self) -> Option<String> {
        match self.user_id() {
            Some(id) => Some(id.to_string()),
            None => self.user_number().map(|number| number.to_string()),
        }
    }

    /// Returns whether the action concerns only `sender`: whether the subject of the sender is the
    /// id, or the number, of the only user that the action concerns.
    pub(crate) fn is_limited_to(&self, sender: &Principal) -> bool {
        let Some(subject) = sender.subject() else {
            return false;
        };
        if let Some(id) = self.user_id() {
            return id.as_str() == subject;
        }
        self.user_number()
            .is_some_and(|number| number.to_string() == subject)
    }

    /// Returns whether the action changes data of a user.
    const fn is_write(&self) -> bool {
        matches!(
            self,
            Self::Buy(_) | Self::Refund(_) | Self::RegisterUser | Self::PlaceOrder(_)
        )
    }

    /// Returns the name of the action in the audit log. `None` if the action is not about users.
    const fn audit_name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Buy(_) => "buy",
            Self::Refund(_) => "refund",
            Self::ReadPurchases(Selector::User(_) | Selector::Reference(_, Some(_))) => {
                "read_purchases"
            }
            Self::ReadPurchases(Selector::Reference(_, None)) => "read_purchases_by_reference",
            // The line names no user: a name is personal data, and not an id.
            Self::ReadPurchases(Selector::Name(_)) => "read_purchases_by_name",
            Self::ReadPurchases(_) => "read_all_purchases",
            Self::RegisterUser => "register_user",
            Self::ReadUser(_) => "read_user",
            Self::PlaceOrder(_) => "place_order",
            Self::ReadOrders(_) => "read_orders",
            Self::ReadErased | Self::ReadPositions | Self::Observe | Self::Operate => return None,
        })
    }
}

/// The decision of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// The request continues.
    Allow,
    /// The response is 403 with this text, in the form of the path.
    Deny(Cow<'static, str>),
}

impl Decision {
    /// Creates a refusal with this text for the client.
    #[must_use]
    pub fn deny(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Deny(reason.into())
    }
}

/// A policy: decides what a principal may do. See
/// [`RouterBuilder::authorize`](crate::RouterBuilder::authorize).
///
/// It is asked for every request for purchases, users, orders, `/metrics` and `/health`, after the
/// request was validated and before anything is written or returned. It is called on the thread
/// that serves the request and must not block: a policy that depends on a database belongs into the
/// authentication layer, which stores the result in the scopes of the principal.
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
    /// Decides whether `principal` may perform `action`.
    fn may(&self, principal: &Principal, action: &Action<'_>) -> Decision;
}

impl<T: Authorize + ?Sized> Authorize for Arc<T> {
    fn may(&self, principal: &Principal, action: &Action<'_>) -> Decision {
        (**self).may(principal, action)
    }
}

/// The sender of a request, with the [`Trail`] in which its actions are recorded for the audit log.
#[derive(Debug)]
pub struct Caller {
    /// The principal that an authentication layer found, or an anonymous one.
    pub(crate) principal: Principal,
    /// `None` without an access log, and where a stream verifies its token again.
    trail: Option<Arc<Trail>>,
}

impl Caller {
    /// Creates the sender of a request, and records its principal in `trail`.
    pub(crate) fn new(principal: Principal, trail: Option<Arc<Trail>>) -> Self {
        if let Some(trail) = &trail {
            trail.principal.get_or_init(|| principal.clone());
        }
        Self { principal, trail }
    }

    /// Returns the id whose idempotency keys the request uses. `None` if the sender is anonymous.
    pub fn owner(&self) -> Option<&str> {
        self.principal.owner()
    }

    /// Records `action` for the audit log, if the action is a write, or if a sender with a name reads
    /// data of others. Does nothing for an action that is not about users.
    pub(crate) fn audit_action(&self, action: &Action<'_>, is_allowed: bool) {
        if self.trail.is_none() {
            return;
        }
        let Some(name) = action.audit_name() else {
            return;
        };

        let reads_data_of_others =
            self.principal.name().is_some() && !action.is_limited_to(&self.principal);
        if action.is_write() || reads_data_of_others {
            self.audit(Audited {
                action: name,
                user: action.user_text(),
                is_allowed,
                ..Audited::default()
            });
        }
    }

    /// Records an action for the audit log, unless an action of this request was recorded before.
    pub(crate) fn audit(&self, audited: Audited) {
        if let Some(trail) = &self.trail {
            trail.audited.get_or_init(|| audited);
        }
    }

    /// Records the number of dead letters that were resolved.
    pub(crate) fn record_resolved(&self, count: usize) {
        if let Some(trail) = &self.trail {
            trail.resolved_count.get_or_init(|| count);
        }
    }
}

/// The facts about a request that its routes find out for the access log and the audit log.
///
/// Each fact is recorded once: a later value does not replace it.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    pub(crate) principal: OnceLock<Principal>,
    pub(crate) audited: OnceLock<Audited>,
    /// The number of dead letters that were resolved.
    pub(crate) resolved_count: OnceLock<usize>,
}

/// The fields of a line in the audit log that describe the action of the request.
#[derive(Debug, Default)]
pub(crate) struct Audited {
    pub(crate) action: &'static str,
    /// The user whose data the action is about. `None` if that is not one user with a known id.
    pub(crate) user: Option<String>,
    /// Whether the policy allowed the action.
    pub(crate) is_allowed: bool,
    /// The number of purchases in a batch.
    pub(crate) purchases: Option<usize>,
    /// The number of purchases in a batch that the policy denied.
    pub(crate) denied: Option<usize>,
    /// The positions of the dead letters to resolve, separated by spaces.
    pub(crate) positions: Option<String>,
    /// Why the dead letters are resolved, as the sender says.
    pub(crate) reason: Option<String>,
}

/// The policy of a service. Without an [`Authorize`], everything is allowed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    pub(crate) authorize: Option<Arc<dyn Authorize>>,
    /// Whether requests need a token.
    pub(crate) requires_token: bool,
}

impl Policy {
    /// Checks that `caller` may perform `action`, and records the action with the decision.
    ///
    /// # Errors
    /// 403 if the policy denies the action.
    pub(crate) fn check(&self, caller: &Caller, action: &Action<'_>) -> HttpResult<()> {
        let decision = self.decide(caller, action);
        caller.audit_action(action, decision.is_ok());
        decision
    }

    /// Checks that `caller` may perform `action`, which is not about users. Records a refusal in the
    /// audit log under `audit_name`.
    ///
    /// # Errors
    /// 403 if the policy denies the action.
    pub(crate) fn check_as(
        &self,
        caller: &Caller,
        action: &Action<'_>,
        audit_name: &'static str,
    ) -> HttpResult<()> {
        let decision = self.decide(caller, action);
        if decision.is_err() {
            caller.audit(Audited {
                action: audit_name,
                ..Audited::default()
            });
        }
        decision
    }

    /// Checks that `caller` may perform `action`, and records nothing.
    ///
    /// # Errors
    /// 403 if the policy denies the action.
    pub(crate) fn decide(&self, caller: &Caller, action: &Action<'_>) -> HttpResult<()> {
        match self.ask(&caller.principal, action) {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) => Err(HttpError::denied(self.requires_token, reason)),
        }
    }

    /// Returns whether `caller` may perform `action`, and records nothing.
    ///
    /// In contrast to [`decide`](Self::decide), this builds no error: the answer to the client does
    /// not mention a refusal.
    pub(crate) fn allows(&self, caller: &Caller, action: &Action<'_>) -> bool {
        self.ask(&caller.principal, action) == Decision::Allow
    }

    /// Returns the decision of the [`Authorize`]. Without an `Authorize`, everything is allowed.
    pub(crate) fn ask(&self, principal: &Principal, action: &Action<'_>) -> Decision {
        match &self.authorize {
            Some(policy) => policy.may(principal, action),
            None => Decision::Allow,
        }
    }

    /// Returns those of `selectors` whose purchases `caller` may read.
    ///
    /// If the policy denies all selectors, one refusal is recorded in the audit log: that of the last
    /// selector. A text that can be an id or a name has the selector of the id first, so its refusal
    /// is recorded as a read by name.
    ///
    /// # Errors
    /// 403 if the policy denies all selectors, with its reason for the first one.
    pub(crate) fn readable_selectors(
        &self,
        caller: &Caller,
        selectors: &[Selector],
    ) -> HttpResult<Vec<Selector>> {
        let mut readable_selectors = Vec::with_capacity(selectors.len());
        let mut first_reason = None;
        for selector in selectors {
            match self.ask(&caller.principal, &Action::ReadPurchases(selector)) {
                Decision::Allow => readable_selectors.push(selector.clone()),
                Decision::Deny(reason) => first_reason = first_reason.or(Some(reason)),
            }
        }

        if readable_selectors.is_empty()
            && let Some(reason) = first_reason
            && let Some(last) = selectors.last()
        {
            let is_allowed = false;
            caller.audit_action(&Action::ReadPurchases(last), is_allowed);
            return Err(HttpError::denied(self.requires_token, reason));
        }
        Ok(readable_selectors)
    }
}
