//! Erases the events about a registered user from the log of users.

use shop_core::erase::{Erase, EraseProgress, has_key};
use shop_core::log::{LogRecord, Partition};
use shop_core::operations::Operations;
use shop_core::record::Record as _;
use shop_core::{Result, UserId};

use crate::users::{User, UserNumber};

/// Returns the number of the user whose data is erased, if the user is registered.
///
/// The id of a registered user is the text of its number, such as `1`. Another spelling such as
/// `01` is the id of a buyer who is not registered.
#[must_use]
pub fn user_number(user: &UserId) -> Option<UserNumber> {
    let id = user.as_str();
    let number = UserNumber::new(id.parse().ok()?);
    if number.to_string() != id {
        return None;
    }
    Some(number)
}

/// Erases the events about the registered user `number` from the log of users that `operations`
/// operate on, and from its dead letters. The report of `erase` calls the log `name`.
///
/// The row of the user must be erased first. Otherwise the outbox of the user's store may publish
/// another event afterwards.
///
/// # Errors
/// The errors of [`Operations::erase_records`].
///
/// # Cancel safety
/// See [`Operations::erase_records`].
pub async fn erase_user_events<F: Fn(EraseProgress) + Send + Sync>(
    erase: &mut Erase<F>,
    name: &str,
    operations: &Operations,
    number: UserNumber,
) -> Result<()> {
    // A record that cannot be decoded, such as an event of a later version, is recognized by its
    // key.
    let is_about_user =
        |record: &LogRecord, partition: &Partition| match User::decode(record, partition) {
            Ok(user) => user.id == number,
            Err(_) => has_key(record, &number.to_string()),
        };
    operations.erase_records(erase, name, is_about_user).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_of_a_number_is_one() {
        let number = |user: &str| user_number(&user.parse().unwrap());
        assert_eq!(
            ["1", "01", "u1"].map(number),
            [Some(UserNumber::new(1)), None, None]
        );
    }
}
