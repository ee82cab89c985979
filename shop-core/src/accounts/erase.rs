//! Erases the events about a registered user from the log of users.

use super::users::{User, UserNumber};
use crate::Result;
use crate::erase::{Erase, EraseProgress, has_key};
use crate::log::{LogAdmin, LogRecord, Partition};
use crate::record::Record as _;

impl<F: Fn(EraseProgress) + Send + Sync> Erase<F> {
    /// Returns the number of the user whose data is erased, if the user is registered.
    ///
    /// The id of a registered user is the text of its number, such as `1`. Another spelling such as
    /// `01` is the id of a buyer who is not registered.
    pub fn user_number(&self) -> Option<UserNumber> {
        let id = self.report.user.as_str();
        let number = UserNumber::new(id.parse().ok()?);
        if number.to_string() != id {
            return None;
        }
        Some(number)
    }

    /// Erases the events about the registered user `number` from `log`, and from its dead letters.
    /// The report calls the log `name`.
    ///
    /// The row of the user must be erased first. Otherwise the outbox of the user's store may
    /// publish another event afterwards.
    ///
    /// # Errors
    /// The errors of [`erase_purchases`](Self::erase_purchases).
    ///
    /// # Cancel safety
    /// See [`erase_purchases`](Self::erase_purchases).
    pub async fn erase_user_events(
        &mut self,
        name: &str,
        log: &dyn LogAdmin,
        number: UserNumber,
    ) -> Result<()> {
        // A record that cannot be decoded, such as an event of a later version, is recognized by
        // its key.
        let is_about_user =
            |record: &LogRecord, partition: &Partition| match User::decode(record, partition) {
                Ok(user) => user.id == number,
                Err(_) => has_key(record, &number.to_string()),
            };
        self.erase_records(name, log, &is_about_user, None).await?;
        self.erase_dead_letters(log, User::TYPE, &is_about_user)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_of_a_number_is_one() {
        let number = |user: &str| Erase::new(user.parse().unwrap(), |_| ()).user_number();
        assert_eq!(
            ["1", "01", "u1"].map(number),
            [Some(UserNumber::new(1)), None, None]
        );
    }
}
