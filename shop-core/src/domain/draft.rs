//! [`NewPurchaseDraft`]: builds a new purchase member by member.

use super::{Details, Invalid, NewPurchase, Price, UserId, UserName};
use crate::Result;

/// A [`NewPurchase`] without its price, which [`NewPurchase::for_user`] begins.
///
/// The first member that is not valid becomes the error of [`with_price`](Self::with_price), which
/// completes the draft.
#[derive(Debug, Clone)]
#[must_use = "a draft is complete with its price"]
pub struct NewPurchaseDraft<T> {
    /// The members that are set so far besides the details, or the error of the first member that
    /// is not valid.
    members: Result<T, Invalid>,
    details: Details,
}

impl NewPurchaseDraft<UserId> {
    /// Begins a purchase of the user with this id.
    pub(super) fn new(user_id: impl TryInto<UserId, Error: Into<Invalid>>) -> Self {
        Self {
            members: user_id.try_into().map_err(Into::<Invalid>::into),
            details: Details::default(),
        }
    }

    /// Sets the name of the user.
    pub fn with_user_name(
        self,
        user_name: impl TryInto<UserName, Error: Into<Invalid>>,
    ) -> NewPurchaseDraft<(UserId, UserName)> {
        NewPurchaseDraft {
            members: self.members.and_then(|user_id| {
                Ok((
                    user_id,
                    user_name.try_into().map_err(Into::<Invalid>::into)?,
                ))
            }),
            details: self.details,
        }
    }
}

impl NewPurchaseDraft<(UserId, UserName)> {
    /// Completes the purchase with its price. The purchase is made now, and carries no key.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) about the first member that is not valid.
    pub fn with_price(
        self,
        price: impl TryInto<Price, Error: Into<Invalid>>,
    ) -> Result<NewPurchase> {
        let (user_id, user_name) = self.members?;
        let purchase = NewPurchase::new(
            user_id,
            user_name,
            price.try_into().map_err(Into::<Invalid>::into)?,
        );
        Ok(purchase.with_details(self.details))
    }

    /// Changes the details by `set_detail`. Does nothing if an earlier member is not valid, so that
    /// its error is kept.
    pub(super) fn with_detail(
        mut self,
        set_detail: impl FnOnce(&mut Details) -> Result<(), Invalid>,
    ) -> Self {
        if self.members.is_ok()
            && let Err(invalid) = set_detail(&mut self.details)
        {
            self.members = Err(invalid);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decimal, ErrorKind};

    #[test]
    fn members_are_texts_or_values() {
        let by_text = NewPurchase::for_user("u1")
            .with_user_name("ada".to_owned())
            .with_price("29.99");
        let (id, name): (UserId, UserName) = ("u1".parse().unwrap(), "ada".parse().unwrap());
        let by_value = NewPurchase::for_user(id)
            .with_user_name(name)
            .with_price(Decimal::new(2999, 2));
        assert_eq!(by_text.unwrap(), by_value.unwrap());
    }

    #[test]
    fn the_first_invalid_member_is_the_error() {
        let ada = || NewPurchase::for_user("u1").with_user_name("ada");
        for (new, expected) in [
            (
                NewPurchase::for_user("").with_user_name(""),
                "the user id must not be blank",
            ),
            (
                NewPurchase::for_user("u1").with_user_name(""),
                "the user name must not be blank",
            ),
            (
                ada().with_quantity(0).with_item(""),
                "the quantity must be a whole number from 1 to 1000000",
            ),
            (ada(), "the price must not be negative"),
        ] {
            let error = new.with_price("-1").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert_eq!(error.to_string(), expected);
        }
    }
}
