//! The test of [`PurchaseQuery::next_name`](crate::ports::PurchaseQuery::next_name).

use super::StoreFixture;
use super::fixture::soon;
use super::query::fill;
use super::sample::purchase_of;
use crate::{ErrorKind, Purchase};

/// Each step leads to the least name that is not less than a text, in the order of bytes.
pub async fn names_are_ordered_by_their_bytes(fixture: &dyn StoreFixture) {
    let (store, query) = (fixture.store().await, fixture.query().await);
    let next = async |from: &str| soon("next_name", query.next_name(from)).await;
    if next("").await.is_err_and(|error| error.kind() == ErrorKind::Unsupported) {
        return;
    }
    assert_eq!(next("").await.expect("next_name"), None, "the store is empty");
    // None has a character from U+E000 to U+FFFF: servers that only speak MongoDB's protocol sort these after 😀.
    let mut names = ["ada", "Ada", "ada b", "ad", "adz", "Zoë", "Zoe", "ädä", "名前", "😀", "%_", "5"];
    let of = |(name, number): (&&str, u64)| Purchase {
        user_name: name.parse().unwrap(),
        ..purchase_of("u", number)
    };
    // Each name has several purchases, of several users.
    let mut all: Vec<_> = names.iter().cycle().zip(0..names.len() as u64 * 3).map(of).collect();
    all[names.len()].user_id = "v".parse().unwrap();
    fill(&*store, &all).await;
    names.sort_unstable();
    let (mut found, mut from) = (Vec::new(), String::new());
    while let Some(name) = next(&from).await.expect("next_name") {
        // No name has a control character.
        from = format!("{name}\u{1}");
        found.push(name);
        assert!(found.len() <= names.len(), "the names end: {found:?}");
    }
    assert_eq!(found, names);
    for (from, name) in [("ada", Some("ada")), ("Adb", Some("Zoe")), ("adaa", Some("adz")), ("😁", None)] {
        assert_eq!(next(from).await.expect("next_name").as_deref(), name, "{from}");
    }
}
