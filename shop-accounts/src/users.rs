//! Users, and the ports of the store that owns them: [`EntityStore`], [`UserOrders`] and
//! [`UserErase`].
//!
//! The store publishes an event `user_created` for each user, from which other services learn of
//! users.

use std::fmt::Debug;

use async_trait::async_trait;
use compact_str::CompactString;
use email_address::{EmailAddress, Error, Options};
use serde::{Deserialize, Serialize};
use shop_core::domain::validate_length;
use shop_core::log::RecordType;
use shop_core::record::JsonEvent;
use shop_core::{IdempotencyKey, Invalid, RequestContext, Result};

use crate::entity::{Entity, EntityStore, row_number};
use crate::orders::{Order, OrderNumber};

row_number! {
    /// The number of a user: from 1, without gaps.
    UserNumber
}

shop_core::text_type! {
    /// The name of a user: up to 256 characters, possibly empty, stored unchanged. Not unique.
    PersonName: "the name", 256, validate_length
}

/// A user to register. Its JSON is the body of the request. The key is a header of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NewUser {
    /// The idempotency key. Keys of users and of orders are independent.
    #[serde(skip)]
    pub key: IdempotencyKey,
    /// The address, which is unique.
    pub email: Email,
    /// The name.
    pub name: PersonName,
    /// The context of the request, which is part of the event.
    #[serde(skip)]
    pub context: Option<Box<RequestContext>>,
}

impl NewUser {
    /// Creates a user to register, without the context of a request.
    #[must_use]
    pub const fn new(key: IdempotencyKey, email: Email, name: PersonName) -> Self {
        Self {
            key,
            email,
            name,
            context: None,
        }
    }

    /// Sets the context of the request.
    #[must_use]
    pub fn with_context(mut self, context: Option<Box<RequestContext>>) -> Self {
        self.context = context;
        self
    }
}

/// A user. As an [`Event`](shop_core::record::Event) it is `user_created`, with the same JSON as in
/// responses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct User {
    /// The number of the user.
    pub id: UserNumber,
    /// The address.
    pub email: Email,
    /// The name.
    pub name: PersonName,
}

impl User {
    /// Creates a user from its values in a store.
    #[must_use]
    pub const fn new(id: UserNumber, email: Email, name: PersonName) -> Self {
        Self { id, email, name }
    }
}

impl JsonEvent for User {
    const TOPIC: &'static str = "user_created";
    const TYPE: RecordType = RecordType::new("record");

    fn key(&self) -> String {
        self.id.to_string()
    }
}

impl Entity for User {
    type Number = UserNumber;
    type New = NewUser;
    type ForeignEvent = Order;

    fn key(new: &NewUser) -> &IdempotencyKey {
        &new.key
    }

    fn context(new: &NewUser) -> Option<&RequestContext> {
        new.context.as_deref()
    }

    fn unique(new: &NewUser) -> Option<(&'static str, &str)> {
        Some(("email", new.email.as_str()))
    }

    fn with_number(new: &NewUser, number: UserNumber) -> Self {
        Self {
            id: number,
            email: new.email.clone(),
            name: new.name.clone(),
        }
    }

    fn number(&self) -> UserNumber {
        self.id
    }

    fn reference(order: &Order) -> (i64, Option<i64>) {
        (order.id.get(), Some(order.user_id.get()))
    }
}

shop_core::text_type! {
    /// An e-mail address, which is normalized so that equal addresses compare equal.
    ///
    /// The domain is converted to lower case, because domains are case-insensitive. The local part
    /// stays unchanged, because only its host can interpret it. The maximum length is 254 bytes, as
    /// stated by RFC 5321, errata 1690.
    Email: "the email address", 254, normalize_email
}

/// Checks and normalizes a plain address, which has no display name and no quotes, and whose domain
/// has at least one dot. The normalized address has at most `max_bytes` bytes.
///
/// # Errors
/// [`Invalid`] with the reason. Common errors use the words of Python's email-validator.
fn normalize_email(
    text: &str,
    max_bytes: usize,
    _usual_length_error: Invalid,
) -> Result<CompactString, Invalid> {
    let invalid = |reason| Invalid::malformed("the email address is not valid:", reason);

    let (local, domain) = text
        .rsplit_once('@')
        .ok_or_else(|| invalid("An email address must have an @-sign."))?;
    if local.is_empty() {
        return Err(invalid("There must be something before the @-sign."));
    }
    if domain.is_empty() {
        return Err(invalid("There must be something after the @-sign."));
    }
    if local.starts_with('"') {
        return Err(invalid(
            "Quoting the part before the @-sign is not allowed here.",
        ));
    }
    if !domain.contains('.') {
        return Err(invalid(
            "The part after the @-sign is not valid. It should have a period.",
        ));
    }

    // The address is validated after the conversion to lower case, which may change or lengthen a
    // character.
    let normalized = compact_str::format_compact!("{local}@{}", domain.to_lowercase());
    let too_long = invalid("The email address is too long.");
    if normalized.len() > max_bytes {
        return Err(too_long);
    }

    let options = Options::default()
        .with_required_tld()
        .without_display_text()
        .without_domain_literal();
    EmailAddress::parse_with_options(&normalized, options).map_err(|error| match error {
        Error::InvalidCharacter => invalid("The email address contains invalid characters."),
        Error::LocalPartTooLong | Error::DomainTooLong | Error::SubDomainTooLong => too_long,
        // The other errors are about the form.
        _ => invalid("The email address is not well-formed."),
    })?;
    Ok(normalized)
}

/// The maximum number of orders that are listed per user.
pub const MAX_LISTED_ORDERS: usize = 1_000;

/// A store of users that also lists their orders. Every type that implements both ports implements
/// this trait.
pub trait UserStore: EntityStore<User> + UserOrders {}

impl<S: EntityStore<User> + UserOrders + ?Sized> UserStore for S {}

/// Lists the orders of users.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `orders_of` lists each applied order event once (`users::applied_orders_are_listed_once`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait UserOrders: Debug + Send + Sync + 'static {
    /// Returns the numbers of the known orders of this user in ascending order, at most
    /// [`MAX_LISTED_ORDERS`], or `None` if there is no such user.
    ///
    /// # Errors
    /// The errors of [`EntityStore::get`].
    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>>;
}

/// The response body of `/v1` that lists the known orders of a user.
#[cfg(any(feature = "client", feature = "http"))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserOrdersBody {
    /// The user's number.
    pub user_id: UserNumber,
    /// The numbers of the orders in ascending order.
    pub orders: Vec<OrderNumber>,
}

/// Erases users.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `erase_user` erases the address, the name, the idempotency key and the pending event of the
///   user, and returns whether there was such a user (`erase_users::an_erased_user_is_unknown`).
/// - The number stays taken, and the address and the key are free again
///   (`erase_users::only_the_number_of_an_erased_user_stays_taken`).
/// - Other users do not change (`erase_users::an_erased_user_is_unknown`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait UserErase: Debug + Send + Sync + 'static {
    /// Erases the user with this number, durably. Returns `false` if there is no such user.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) and other transient errors. Repeating the
    /// call is safe.
    ///
    /// # Cancel safety
    /// Dropping the future erases the user completely, or does nothing.
    async fn erase_user(&self, id: UserNumber) -> Result<bool>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_length_of_a_name_counts() {
        for text in ["", " ", "a\nb", &*"ä".repeat(256)] {
            assert_eq!(text.parse::<PersonName>().unwrap().as_str(), text);
        }
        assert!("ä".repeat(257).parse::<PersonName>().is_err());
    }

    #[test]
    fn the_domain_of_an_address_has_no_case_and_the_rest_has() {
        let longest = format!("a@{0}.{0}.{0}.example.com", "x".repeat(60));
        for (text, normalized) in [
            ("Ada@Example.COM", "Ada@example.com"),
            ("ada@example.com", "ada@example.com"),
            ("a.b+c@x-y.example.com", "a.b+c@x-y.example.com"),
            ("ünï@exämple.com", "ünï@exämple.com"),
            ("o'hara@example.org", "o'hara@example.org"),
            ("1@2.de", "1@2.de"),
            (&longest, &longest),
        ] {
            let email: Email = text.parse().unwrap();
            assert_eq!(email.as_str(), normalized);
        }
        // A normalized address parses.
        for text in [
            "ada@İstanbul.com",
            "ada@ȺȾ.com",
            "ada@Ünïcode.COM",
            "ada@ΣΑΣ.gr",
        ] {
            if let Ok(email) = text.parse::<Email>() {
                assert_eq!(email.as_str().parse(), Ok(email));
            }
        }
    }

    #[test]
    fn an_invalid_address_states_its_cause() {
        let error = "ada".parse::<Email>().unwrap_err();
        assert_eq!(error.reason(), "An email address must have an @-sign.");
        let long = format!("ada@{}.com", "x.".repeat(130));
        for text in [
            "",
            "@",
            "ada@",
            "@example.com",
            "a b@example.com",
            "ada@example",
            "ada@@example.com",
            "ada@.com",
            "ada@exa mple.com",
            "Ada <ada@example.com>",
            "\"a b\"@example.com",
            "ada@[127.0.0.1]",
            "a..b@example.com",
            ".a@example.com",
            "ada@example.com\n",
            "ada@-x.com",
            &long,
        ] {
            assert!(text.parse::<Email>().is_err(), "{text:?}");
        }
    }
}
