//! Erases the events about a registered user.

use super::users::{User, UserNumber};
use crate::Result;
use crate::erase::{Erase, EraseProgress, has_key};
use crate::log::{LogAdmin, LogRecord, Partition};
use crate::record::Record as _;

impl<F: Fn(EraseProgress) + Send + Sync> Erase<F> {
    /// The number of the user, if the id is the text of one: the id of a registered user.
    pub fn user_number(&self) -> Option<UserNumber> {
        let number = self
            .report
            .user
            .as_str()
            .parse()
            .ok()
            .map(UserNumber::new)?;
        (number.to_string() == self.report.user.as_str()).then_some(number)
    }

    /// Erases the events about the registered user `number` from `log`, which is `name` in the report. Its row must have
    /// been erased before: otherwise its outbox may publish another event.
    ///
    /// # Errors
    /// As [`purchases`](Self::purchases).
    ///
    /// # Cancel safety
    /// As [`purchases`](Self::purchases).
    pub async fn erase_user_events(
        &mut self,
        name: &str,
        log: &dyn LogAdmin,
        number: UserNumber,
    ) -> Result<()> {
        let is_about =
            |record: &LogRecord, partition: &Partition| match User::decode(record, partition) {
                Ok(user) => user.id == number,
                Err(_) => has_key(record, &number.to_string()),
            };
        self.records(name, log, &is_about, None).await?;
        self.dead_letters(log, User::TYPE, &is_about).await
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
