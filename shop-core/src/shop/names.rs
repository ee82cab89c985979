//! Finds the names of users by their beginning, in upper or lower case.
//!
//! A store steps from name to name in the order of its index. Each step begins at the least text
//! that a matching name can be, so the names between the forms of a beginning (`AD`, `Ad`, `aD`,
//! `ad`) are skipped.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Shop;
#[cfg(doc)]
use crate::ports::UserNames;
use crate::{Error, ErrorKind, Result, UserName};

/// The maximum number of names that are returned.
const MAX_NAMES: usize = 20;
/// The maximum number of steps. Only a long prefix needs more than two steps for each name, if many
/// names begin with a part of the prefix, in mixed case.
const MAX_STEPS: usize = 100;

/// The names of users that begin with a text: the result of [`Shop::names`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Names {
    /// The names, ordered by their bytes.
    pub items: Vec<UserName>,
    /// Whether there may be more names.
    pub has_more: bool,
}

impl Shop {
    /// Finds the first 20 names of users that begin with `prefix`, in upper or lower case.
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) if the store finds no names by their beginning
    /// - the errors of [`UserNames::next_name`]
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn names(&self, prefix: &UserName) -> Result<Names> {
        let user_names = self.ports.query.info().user_names.ok_or_else(|| {
            let message = "this store finds no names by their beginning";
            Error::new(ErrorKind::Unsupported, message)
        })?;
        let prefix = Prefix::new(prefix.as_str());
        let mut from = String::new();
        let mut items = Vec::new();
        // Stays true if the loop ends at one of the two maximums.
        let mut has_more = true;
        for _step in 0..MAX_STEPS {
            let next_name = match prefix.least_match_from(&from) {
                Some(least_match) => user_names.next_name(&least_match).await?,
                None => None,
            };
            let Some(name) = next_name else {
                has_more = false;
                break;
            };

            if !prefix.matches(&name) {
                from = name;
                continue;
            }
            if items.len() == MAX_NAMES {
                break;
            }

            // The next step begins behind this name. A name contains no control character, so no
            // name is between this name and this text.
            from = format!("{name}\u{1}");
            // Another program may have written a name that is not valid. It is left out.
            items.extend(name.parse::<UserName>());
        }
        Ok(Names { items, has_more })
    }
}

/// The beginning of a text in any case: the forms of each of its characters, in their order.
struct Prefix(Vec<BTreeSet<char>>);

impl Prefix {
    /// Creates the prefix `text`.
    fn new(text: &str) -> Self {
        Self(text.chars().map(case_forms).collect())
    }

    /// Counts the characters at the beginning of `text` that match this prefix.
    fn count_matching(&self, text: &str) -> usize {
        self.0
            .iter()
            .zip(text.chars())
            .take_while(|(forms, char)| forms.contains(char))
            .count()
    }

    /// Returns whether `text` begins with this prefix.
    fn matches(&self, text: &str) -> bool {
        self.count_matching(text) == self.0.len()
    }

    /// Returns the least text that begins with this prefix and is not less than `from`, or `None` if
    /// there is no such text.
    ///
    /// For the prefix `ad`: from `AE`, the least text is `aD`.
    fn least_match_from(&self, from: &str) -> Option<String> {
        let matching_count = self.count_matching(from);
        if matching_count == self.0.len() {
            return Some(from.to_owned());
        }

        // The result keeps as many characters of `from` as possible. The next character is the least
        // form that is greater than the one in `from`, and the further ones are the least forms.
        let from_chars: Vec<char> = from.chars().collect();
        for index in (0..=matching_count).rev() {
            let mut forms = self.0[index].iter();
            let greater_form = forms.find(|form| Some(*form) > from_chars.get(index));
            if let Some(greater_form) = greater_form {
                let kept_chars = from_chars[..index].iter();
                let least_forms = self.0[index + 1..].iter().filter_map(BTreeSet::first);
                return Some(
                    kept_chars
                        .chain([greater_form])
                        .chain(least_forms)
                        .collect(),
                );
            }
        }
        None
    }
}

/// Returns the forms of `char` in upper and in lower case, and `char` itself.
fn case_forms(char: char) -> BTreeSet<char> {
    let lower = single_form(char.to_lowercase()).unwrap_or(char);
    let upper = single_form(char.to_uppercase()).unwrap_or(char);
    let lower_of_upper = single_form(upper.to_lowercase()).unwrap_or(upper);
    BTreeSet::from([char, lower, upper, lower_of_upper])
}

/// Returns the only character of `chars`, or `None` if there are several, such as `SS` for `ß`.
fn single_form(mut chars: impl ExactSizeIterator<Item = char>) -> Option<char> {
    if chars.len() > 1 {
        return None;
    }
    chars.next()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::memory::{InMemoryLog, InMemoryStore};
    use crate::ports::RecordStore as _;
    use crate::{Price, Purchase, PurchaseId, Timestamp, Uuid};

    #[tokio::test]
    async fn names_with_a_part_of_the_beginning_are_skipped() {
        let mut names: Vec<_> = (0..1_000).map(|number| format!("b{number}")).collect();
        // Both forms of each character are in use, so each step leads to another form.
        for bits in 0..1_024 {
            let form = |bit: u32| if bits >> bit & 1 == 0 { 'a' } else { 'A' };
            let mixed: String = (0..10).map(form).collect();
            names.push(mixed + "x");
        }
        let purchase = |(name, number): (&String, u128)| {
            let id = PurchaseId::from_uuid(Uuid::from_u128(number));
            let user = "u1".parse().unwrap();
            Purchase::new(id, user, name.parse().unwrap(), Price::ZERO, Timestamp::MIN)
        };
        let purchases: Arc<[Purchase]> = names.iter().zip(1..).map(purchase).collect();
        let store = InMemoryStore::new();
        store.apply(purchases).await.unwrap();
        let shop = Shop::new(InMemoryLog::default().sink(), store);

        let found = shop.names(&"b999".parse().unwrap()).await.unwrap();
        assert_eq!((found.items.len(), found.has_more), (1, false));
        let found = shop.names(&"aaaaaaaaaaz".parse().unwrap()).await.unwrap();
        assert_eq!(
            (found.items.len(), found.has_more),
            (0, true),
            "it gives up"
        );
    }
}
