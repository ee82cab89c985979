//! The tests of [`PurchaseQuery`](crate::ports::PurchaseQuery) by names and by references.

use super::StoreFixture;
use super::fixture::{soon, store_and_query};
use super::query::{fill, listed};
use super::sample::purchase_of;
use crate::ports::{ListOrder, Period, Selector, TimeRange, TotalsRequest};
use crate::{ErrorKind, Purchase};

/// Each step leads to the least name that is not less than a text, in the order of bytes.
pub async fn names_are_ordered_by_their_bytes(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let next = async |from: &str| soon("next_name", query.next_name(from)).await;
    if next("")
        .await
        .is_err_and(|error| error.kind() == ErrorKind::Unsupported)
    {
        return;
    }
    assert_eq!(
        next("").await.expect("next_name"),
        None,
        "the store is empty"
    );
    // None has a character from U+E000 to U+FFFF: servers that only speak MongoDB's protocol sort
    // these after 😀.
    let mut names = [
        "ada", "Ada", "ada b", "ad", "adz", "Zoë", "Zoe", "ädä", "名前", "😀", "%_", "5",
    ];
    let of = |(name, number): (&&str, u64)| Purchase {
        user_name: name.parse().unwrap(),
        ..purchase_of("u", number)
    };
    // Each name has several purchases, of several users.
    let mut all: Vec<_> = names
        .iter()
        .cycle()
        .zip(0..names.len() as u64 * 3)
        .map(of)
        .collect();
    all[names.len()].user_id = "v".parse().unwrap();
    fill(&*store, &all).await;
    names.sort_unstable();
    let mut found = Vec::new();
    let mut from = String::new();
    while let Some(name) = next(&from).await.expect("next_name") {
        // No name has a control character.
        from = format!("{name}\u{1}");
        found.push(name);
        assert!(found.len() <= names.len(), "the names end: {found:?}");
    }
    assert_eq!(found, names);
    for (from, name) in [
        ("ada", Some("ada")),
        ("Adb", Some("Zoe")),
        ("adaa", Some("adz")),
        ("😁", None),
    ] {
        assert_eq!(
            next(from).await.expect("next_name").as_deref(),
            name,
            "{from}"
        );
    }
}

/// A reference selects the purchases with exactly this text, of one user or of all.
pub async fn a_reference_selects_its_purchases_only(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let references = ["order-7", "ORDER-7", "order-70"];
    let make = |(number, reference): (u64, &str)| {
        let mut purchase = purchase_of(["a", "b"][usize::from(number.is_multiple_of(2))], number);
        purchase.details.reference = Some(reference.parse().unwrap());
        purchase
    };
    let mut all: Vec<_> = (0..30)
        .zip(references.into_iter().cycle())
        .map(make)
        .collect();
    all.push(purchase_of("a", 32));
    fill(&*store, &all).await;
    let user = |user: &str| Some(user.parse().unwrap());
    for (reference, user) in [
        ("order-7", None),
        ("order-7", user("b")),
        ("order-7", user("c")),
        ("order", None),
    ] {
        let selector = Selector::Reference(reference.parse().unwrap(), user);
        let mut expected = all.clone();
        expected.retain(|purchase| selector.matches(purchase));
        expected.reverse();
        let (found, _) = listed(&*query, &selector, ListOrder::NewestFirst, 3).await;
        assert_eq!(found, expected, "{selector:?}");
        let summary = soon("summary", query.summary(&selector))
            .await
            .expect("summary");
        assert_eq!(summary.count, expected.len() as u64, "{selector:?}");
        let per_hour = TotalsRequest::new(TimeRange::ALL, Period::Hour);
        let totals = soon("totals", query.totals(&selector, &per_hour))
            .await
            .expect("totals");
        assert_eq!(
            totals.iter().map(|hour| hour.summary.count).sum::<u64>(),
            summary.count,
            "{selector:?}"
        );
    }
}
