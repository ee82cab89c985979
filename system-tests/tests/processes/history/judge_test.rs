//! Each violation is found in a history into which it was planted.

use shop_client::{Price, Purchase, PurchaseId, Summary, Total, UserId};
use shop_core::Timestamp;

use super::judge::judge;
use super::{Call, History, Outcome, Sees};

fn id(number: u128) -> PurchaseId {
    uuid::Builder::from_random_bytes(number.to_be_bytes())
        .into_uuid()
        .into()
}

fn ada() -> UserId {
    "ada".parse().unwrap()
}

/// The price of a purchase. Numbers from 90 on are of refunds.
fn price(number: u128) -> Price {
    let price: Price = format!("{}.25", number % 90).parse().unwrap();
    if number < 90 { price } else { price.negated() }
}

fn purchase(number: u128) -> Purchase {
    let time = Timestamp::from_millis(1_000 * i64::try_from(number).unwrap()).unwrap();
    let name = "Ada".parse().unwrap();
    Purchase::new(id(number), ada(), name, price(number), time)
}

/// A history of sequential calls.
#[derive(Default)]
struct Script(History);

impl Script {
    fn call(self, call: Call, outcome: Outcome) -> Self {
        let began = self.0.begin(call);
        self.0.end(began, outcome);
        self
    }

    fn attempt(self, number: u128, outcome: Outcome) -> Self {
        let call = Call::Buy {
            id: Some(id(number)),
            user: ada(),
            price: price(number),
        };
        self.call(call, outcome)
    }

    fn buy(self, number: u128) -> Self {
        self.buy_at(number, number)
    }

    fn buy_at(self, number: u128, position: u128) -> Self {
        let outcome = Outcome::Bought {
            id: id(number),
            position: Some((0, u64::try_from(position).unwrap())),
        };
        self.attempt(number, outcome)
    }

    fn buy_unnamed(self) -> Self {
        let call = Call::Buy {
            id: None,
            user: ada(),
            price: price(4),
        };
        self.call(call, Outcome::Unknown)
    }

    fn list(self, sees: Sees, numbers: &[u128]) -> Self {
        let listed = numbers.iter().map(|number| purchase(*number)).collect();
        self.call(Call::List { user: ada(), sees }, Outcome::Listed(listed))
    }

    fn sum(self, sees: Sees, numbers: &[u128]) -> Self {
        let count = numbers.iter().filter(|number| **number < 90).count();
        let total = Total::checked_sum(numbers.iter().map(|number| price(*number))).unwrap();
        let summed = Outcome::Summed(Summary::new(count as u64, total));
        self.call(Call::Sum { user: ada(), sees }, summed)
    }
}

/// Three purchases, the third of which has an unknown outcome.
fn three() -> Script {
    Script::default().buy(1).buy(2).attempt(3, Outcome::Unknown)
}

#[test]
fn correct_histories_pass() {
    let script = three()
        .list(Sees::Own(id(2)), &[2])
        .list(Sees::Earlier, &[1, 2])
        .sum(Sees::Earlier, &[1, 2, 3])
        .sum(Sees::Own(id(2)), &[1, 2])
        .list(Sees::All, &[1, 2, 3])
        .sum(Sees::All, &[1, 2, 3])
        .buy(91)
        .sum(Sees::All, &[1, 2, 3, 91])
        .buy_unnamed()
        .list(Sees::All, &[1, 2, 3, 4, 91]);
    let verdict = script.0.judge();
    assert_eq!(verdict.violations, Vec::<String>::new());
    assert_eq!(
        verdict.to_string(),
        "acknowledged 3, missing 0, twice 0, stale own reads 0 of 8, violations 0"
    );
}

/// Concurrent calls may have either order.
#[test]
fn concurrent_calls_pass() {
    let mut entries = Script::default()
        .buy(2)
        .buy(1)
        .list(Sees::Earlier, &[1, 2])
        .list(Sees::Earlier, &[])
        .0
        .entries();
    entries[0].end = entries[1].begin + 1;
    entries[2].end = entries[3].begin + 1;
    assert_eq!(judge(&entries).violations, Vec::<String>::new());
}

#[test]
fn violations_are_found() {
    let mut changed = purchase(2);
    changed.price = price(7);
    let listing = Call::List {
        user: ada(),
        sees: Sees::Earlier,
    };
    for (violation, script) in [
        ("an acknowledged purchase", three().list(Sees::All, &[2])),
        ("twice", three().list(Sees::All, &[1, 2, 2])),
        ("its own purchase", three().list(Sees::Own(id(2)), &[1])),
        (
            "an earlier seen purchase",
            three()
                .list(Sees::Earlier, &[1, 3])
                .list(Sees::Earlier, &[1, 2]),
        ),
        ("did not buy", three().list(Sees::All, &[1, 2, 4])),
        (
            "did not buy",
            three()
                .attempt(4, Outcome::NotApplied)
                .list(Sees::All, &[1, 2, 4]),
        ),
        (
            "did not buy",
            Script::default().list(Sees::All, &[1]).buy(1),
        ),
        (
            "found 2 purchases that they did not buy",
            three().buy_unnamed().list(Sees::All, &[1, 2, 4, 5]),
        ),
        (
            "did not buy",
            three().call(listing, Outcome::Listed(vec![purchase(1), changed])),
        ),
        ("not of 2 to 3", three().sum(Sees::All, &[1])),
        ("not of 0 to 3", three().sum(Sees::Earlier, &[1, 2, 3, 4])),
        (
            "not of 1 to 3",
            three().list(Sees::Earlier, &[1]).sum(Sees::Earlier, &[]),
        ),
        ("another order", three().list(Sees::All, &[2, 1])),
        ("its position is (0, 1)", Script::default().buy(2).buy(1)),
        (
            "its time is",
            Script::default()
                .buy_at(2, 1)
                .buy_at(1, 2)
                .list(Sees::All, &[1, 2]),
        ),
        ("with one position", Script::default().buy(1).buy_at(3, 1)),
    ] {
        let violations = script.0.judge().violations;
        let is_found = violations.iter().any(|one| one.contains(violation));
        assert!(is_found, "{violation}: {violations:?}");
    }
}

#[test]
fn a_verdict_names_the_purchases() {
    let script = three()
        .list(Sees::All, &[2, 2])
        .list(Sees::Own(id(2)), &[1]);
    let verdict = script.0.judge();
    assert_eq!(verdict.missing, [id(1)].into());
    assert_eq!(verdict.twice, [id(2)].into());
    assert_eq!(verdict.stale, [id(2)].into());
}
