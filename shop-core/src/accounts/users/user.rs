//! A user, and its `user_created` event.

use serde::{Deserialize, Serialize};

use super::Email;
use crate::accounts::entity::{Entity, row_number};
use crate::accounts::orders::Order;
use crate::domain::text::{short, text_type};
use crate::log::RecordType;
use crate::record::JsonEvent;
use crate::{IdempotencyKey, RequestContext};

row_number! {
    /// The number of a user: from 1, without gaps.
    UserNumber
}

text_type! {
    /// The name of a user: up to 256 characters, possibly empty, stored unchanged. Not unique.
    PersonName: "the name", 256, short
}

/// A user to register. Its JSON is the body of a request, which has the key in a header.
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
    /// A user with this address and name.
    #[must_use]
    pub const fn new(key: IdempotencyKey, email: Email, name: PersonName) -> Self {
        Self {
            key,
            email,
            name,
            context: None,
        }
    }

    /// The same user with the context of the request.
    #[must_use]
    pub fn with_context(mut self, context: Option<Box<RequestContext>>) -> Self {
        self.context = context;
        self
    }
}

/// A user. As an [`Event`](crate::record::Event) it is `user_created`, with the same JSON as in responses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct User {
    /// The number.
    pub id: UserNumber,
    /// The address.
    pub email: Email,
    /// The name.
    pub name: PersonName,
}

impl User {
    /// A user read from a store.
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
    type Other = Order;

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
}
