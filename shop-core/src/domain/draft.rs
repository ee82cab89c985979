//! [`NewPurchaseDraft`]: builds a new purchase member by member.

use super::{Details, IntoValid, Invalid, NewPurchase, Price, UserId, UserName};
use crate::Result;

/// A [`NewPurchase`] without its price, which [`NewPurchase::for_user`] begins.
///
/// The first member that is not valid becomes the error of [`with_price`](Self::with_price), which
/// completes the draft.
#[derive(Debug, Clone)]
#[must_use = "a draft is complete with its price"]
pub struct NewPurchaseDraft<T>(Result<T, Invalid>, Details);

impl NewPurchaseDraft<UserId> {
    pub(super) fn new(user_id: impl IntoValid<UserId>) -> Self {
        Self(user_id.into_valid(), Details::default())
    }

    /// Sets the name of the user.
    pub fn with_user_name(
        self,
        user_name: impl IntoValid<UserName>,
    ) -> NewPurchaseDraft<(UserId, UserName)> {
        NewPurchaseDraft(
            self.0.and_then(|id| Ok((id, user_name.into_valid()?))),
            self.1,
        )
    }
}

impl NewPurchaseDraft<(UserId, UserName)> {
    /// Completes the purchase with its price. It is made now, and carries no key.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) about the first member that is not valid.
    pub fn with_price(self, price: impl IntoValid<Price>) -> Result<NewPurchase> {
        let (user_id, user_name) = self.0?;
        Ok(NewPurchase::new(user_id, user_name, price.into_valid()?).with_details(self.1))
    }

    pub(super) fn with_detail(
        mut self,
        set: impl FnOnce(&mut Details) -> Result<(), Invalid>,
    ) -> Self {
        self.0 = self.0.and_then(|user| set(&mut self.1).map(|()| user));
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
            .with_price("29.99")
            .unwrap();
        let (id, name): (UserId, UserName) = ("u1".parse().unwrap(), "ada".parse().unwrap());
        assert_eq!(
            NewPurchase::for_user(id)
                .with_user_name(name)
                .with_price(Decimal::new(2999, 2))
                .unwrap(),
            by_text
        );
        assert_eq!(
            (by_text.user_id, by_text.user_name),
            ("u1".parse().unwrap(), "ada".parse().unwrap())
        );
    }

    #[test]
    fn the_first_invalid_member_is_the_error() {
        let blank = NewPurchase::for_user("")
            .with_user_name("")
            .with_price("x")
            .unwrap_err();
        assert_eq!(blank.to_string(), "the user id must not be blank");
        let unnamed = NewPurchase::for_user("u1")
            .with_user_name("")
            .with_price("x")
            .unwrap_err();
        assert_eq!(unnamed.to_string(), "the user name must not be blank");
        let many = NewPurchase::for_user("u1")
            .with_user_name("ada")
            .quantity(0)
            .item("")
            .with_price("x")
            .unwrap_err();
        assert_eq!(
            many.to_string(),
            "the quantity must be a whole number from 1 to 1000000"
        );
        let negative = NewPurchase::for_user("u1")
            .with_user_name("ada")
            .with_price("-1")
            .unwrap_err();
        assert_eq!(negative.kind(), ErrorKind::Invalid);
        assert_eq!(negative.to_string(), "the price must not be negative");
    }
}
