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

/// Erases the events about the registered user `number` from the log of users of `operations`, and
/// from its dead letters. Adds the counts to the report of `erase`, in which the log is called
/// `log_name`.
///
/// Erase the row of the user first: until then, the outbox of the user's store may publish another
/// event.
///
/// # Errors
/// The errors of [`Operations::erase_records`].
///
/// # Cancel safety
/// See [`Operations::erase_records`].
pub async fn erase_user_events<F: Fn(EraseProgress) + Send + Sync>(
    erase: &mut Erase<F>,
    log_name: &str,
    operations: &Operations,
    number: UserNumber,
) -> Result<()> {
    // A record that cannot be decoded, such as an event of a later version, is about the user if
    // its key is the user's number.
    let is_about_user =
        |record: &LogRecord, partition: &Partition| match User::decode(record, partition) {
            Ok(user) => user.id == number,
            Err(_undecodable) => has_key(record, &number.to_string()),
        };
    operations
        .erase_records(erase, log_name, is_about_user)
        .await
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
