//! Finds the names of users by their beginning, in upper or lower case.
//!
//! A store steps from name to name in the order of its index. Each step begins at the least text that a found name can have,
//! so what is between the forms of a beginning (`AD`, `Ad`, `aD`, `ad`) is skipped.

use std::collections::BTreeSet;

use serde::Serialize;
use shop_core::ports::PurchaseQuery;
use shop_core::{Result, UserName};

/// Maximum number of names that are found.
const MAX_NAMES: usize = 20;
/// Maximum number of steps. Only a long beginning that many names have in part, in mixed case, needs more than two for each name.
const MAX_STEPS: usize = 100;

/// The names that begin with a prefix, ordered by their bytes.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Names {
    items: Vec<UserName>,
    /// Whether there may be others.
    has_more: bool,
}

/// The first names that begin with `prefix`, in any case.
pub(crate) async fn find(query: &dyn PurchaseQuery, prefix: &UserName) -> Result<Names> {
    let prefix = Prefix::new(prefix.as_str());
    let mut from = String::new();
    let mut items = Vec::new();
    for _ in 0..MAX_STEPS {
        let name = match prefix.least_from(&from) {
            Some(least) => query.next_name(&least).await?,
            None => None,
        };
        let Some(name) = name else {
            return Ok(Names {
                items,
                has_more: false,
            });
        };
        if !prefix.begins(&name) {
            from = name;
            continue;
        }
        if items.len() == MAX_NAMES {
            break;
        }
        // A name has no control character, so none is skipped.
        from = format!("{name}\u{1}");
        // Another program may have written a name that is none.
        items.extend(name.parse::<UserName>());
    }
    Ok(Names {
        items,
        has_more: true,
    })
}

/// The beginning of a text in any case: the forms that each of its characters may have, in their order.
struct Prefix(Vec<BTreeSet<char>>);

impl Prefix {
    fn new(text: &str) -> Self {
        // A form of several characters, such as SS of ß, is none.
        let single =
            |of: char, mut forms: Box<dyn ExactSizeIterator<Item = char>>| match forms.len() {
                1 => forms.next().unwrap_or(of),
                _ => of,
            };
        let lower = |of: char| single(of, Box::new(of.to_lowercase()));
        let upper = |of: char| single(of, Box::new(of.to_uppercase()));
        Self(
            text.chars()
                .map(|of| BTreeSet::from([of, lower(of), upper(of), lower(upper(of))]))
                .collect(),
        )
    }

    /// The number of characters at the beginning of `text` that fit.
    fn fits(&self, text: &[char]) -> usize {
        self.0
            .iter()
            .zip(text)
            .take_while(|(forms, char)| forms.contains(char))
            .count()
    }

    fn begins(&self, text: &str) -> bool {
        self.fits(&text.chars().collect::<Vec<_>>()) == self.0.len()
    }

    /// The least text that is `from` or greater, and begins so.
    fn least_from(&self, from: &str) -> Option<String> {
        let chars: Vec<char> = from.chars().collect();
        let fits = self.fits(&chars);
        if fits == self.0.len() {
            return Some(from.to_owned());
        }
        // The last place at which a greater form fits, after which the least forms follow.
        let (place, greater) = (0..=fits).rev().find_map(|place| {
            let greater = self.0[place]
                .iter()
                .find(|form| Some(*form) > chars.get(place));
            greater.map(|greater| (place, *greater))
        })?;
        let least = self.0[place + 1..].iter().filter_map(BTreeSet::first);
        Some(
            chars[..place]
                .iter()
                .chain([&greater])
                .chain(least)
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shop_core::memory::InMemoryStore;
    use shop_core::ports::RecordStore as _;
    use shop_core::{Price, Purchase, PurchaseId, Timestamp, Uuid};

    use super::*;

    async fn store(names: impl IntoIterator<Item = String>) -> InMemoryStore {
        let purchase = |(name, number): (String, u128)| {
            let id = PurchaseId::from_uuid(Uuid::from_u128(number));
            Purchase::new(
                id,
                "u1".parse().unwrap(),
                name.parse().unwrap(),
                Price::ZERO,
                Timestamp::MIN,
            )
        };
        let all: Arc<[Purchase]> = names.into_iter().zip(1..).map(purchase).collect();
        let store = InMemoryStore::new();
        store.apply(all).await.unwrap();
        store
    }

    async fn found(store: &InMemoryStore, prefix: &str) -> (Vec<String>, bool) {
        let Names { items, has_more } = find(store, &prefix.parse().unwrap()).await.unwrap();
        (items.iter().map(ToString::to_string).collect(), has_more)
    }

    #[tokio::test]
    async fn a_beginning_is_found_in_any_case_and_nothing_else() {
        let names = [
            "ada", "Ada", "ADA", "aDa B", "ad", "a", "b", "Adam", "adz", "bad", "ÄDA", "äda",
            "Straße", "ΣΑΣ", "σας", "名前", "😀", "%", "a%",
        ];
        let store = store(names.map(str::to_owned)).await;
        for (prefix, expected) in [
            ("ada", &["ADA", "Ada", "Adam", "aDa B", "ada"][..]),
            ("AD", &["ADA", "Ada", "Adam", "aDa B", "ad", "ada", "adz"]),
            ("Adam", &["Adam"]),
            ("adaM!", &[]),
            ("äd", &["ÄDA", "äda"]),
            ("STRASSE", &[]),
            ("straß", &["Straße"]),
            ("σα", &["ΣΑΣ", "σας"]),
            ("名", &["名前"]),
            ("😀", &["😀"]),
            ("%", &["%"]),
            ("z", &[]),
        ] {
            assert_eq!(
                found(&store, prefix).await,
                (expected.iter().map(ToString::to_string).collect(), false),
                "{prefix}"
            );
        }
    }

    #[tokio::test]
    async fn at_most_20_names_are_found() {
        let store = store((10..40).map(|number| format!("user {number}"))).await;
        let (names, has_more) = found(&store, "USER").await;
        assert_eq!((names.len(), &*names[19], has_more), (20, "user 29", true));
        let (names, has_more) = found(&store, "user 1").await;
        assert_eq!((names.len(), has_more), (10, false));
        let all = self::store((0..20).map(|number| format!("x{number}"))).await;
        assert!(!found(&all, "x").await.1, "exactly as many as fit");
    }

    #[tokio::test]
    async fn names_with_a_part_of_the_beginning_are_skipped() {
        // Both forms of each character are in use, so each step leads to another form.
        let mixed = (0..1024u32).map(|bits| {
            (0..10)
                .map(|bit| if bits >> bit & 1 == 0 { 'a' } else { 'A' })
                .chain(['x'])
                .collect::<String>()
        });
        let store = store(mixed.chain((0..1_000).map(|number| format!("b{number}")))).await;
        assert_eq!(
            found(&store, "b999").await,
            (vec!["b999".to_owned()], false)
        );
        let (names, has_more) = found(&store, "aaaaaaaaaaz").await;
        assert_eq!((names.len(), has_more), (0, true), "it gives up");
    }
}
