//! Each violation is found in a history into which it was planted.

use shop_client::{Price, Purchase, PurchaseId, Summary, Total, UserId};
use shop_core::Timestamp;

use super::judge::{Verdict, judge};
use super::{Call, Entry, History, Outcome, Sees};

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
    Purchase::new(
        id(number),
        ada(),
        "Ada".parse().unwrap(),
        price(number),
        time,
    )
}

fn purchases(numbers: &[u128]) -> Outcome {
    Outcome::Listed(numbers.iter().map(|number| purchase(*number)).collect())
}

fn sum(numbers: &[u128]) -> Outcome {
    let total = Total::checked_sum(numbers.iter().map(|number| price(*number))).unwrap();
    Outcome::Summed(Summary::new(
        numbers.iter().filter(|number| **number < 90).count() as u64,
        total,
    ))
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

    fn buy(self, number: u128) -> Self {
        let outcome = Outcome::Bought {
            id: id(number),
            position: Some((0, u64::try_from(number).unwrap())),
        };
        self.call(buy(number), outcome)
    }

    fn list(self, sees: Sees, numbers: &[u128]) -> Self {
        self.call(Call::List { user: ada(), sees }, purchases(numbers))
    }

    fn sum(self, sees: Sees, numbers: &[u128]) -> Self {
        self.call(Call::Sum { user: ada(), sees }, sum(numbers))
    }

    fn entries(&self) -> Vec<Entry> {
        self.0.entries()
    }

    fn judge(&self) -> Verdict {
        judge(&self.entries())
    }
}

fn buy(number: u128) -> Call {
    Call::Buy {
        id: Some(id(number)),
        user: ada(),
        price: price(number),
    }
}

/// Three purchases, the third of which has an unknown outcome.
fn three() -> Script {
    Script::default()
        .buy(1)
        .buy(2)
        .call(buy(3), Outcome::Unknown)
}

#[track_caller]
fn assert_found(script: &Script, what: &str) {
    let verdict = script.judge();
    let is_found = verdict
        .violations
        .iter()
        .any(|violation| violation.contains(what));
    assert!(is_found, "{what}: {:?}", verdict.violations);
}

#[test]
fn correct_histories_pass() {
    let mut script = three()
        .list(Sees::Own(id(2)), &[2])
        .list(Sees::Earlier, &[1, 2]);
    script = script
        .sum(Sees::Earlier, &[1, 2, 3])
        .sum(Sees::Own(id(2)), &[1, 2]);
    script = script
        .list(Sees::All, &[1, 2, 3])
        .sum(Sees::All, &[1, 2, 3]);
    let verdict = script.judge();
    assert_eq!(verdict.violations, Vec::<String>::new());
    assert_eq!((verdict.acknowledged, verdict.reads), (2, 6));
    assert!(
        verdict
            .to_string()
            .starts_with("acknowledged 2, missing 0, twice 0, stale own reads 0 of 6")
    );
}

#[test]
fn missing_purchases_are_found() {
    let script = three().list(Sees::All, &[2]);
    assert_found(&script, "an acknowledged purchase");
    assert_eq!(script.judge().missing, [id(1)].into());
}

#[test]
fn purchases_found_twice_are_found() {
    let script = three().list(Sees::All, &[1, 2, 2]);
    assert_found(&script, "twice");
    assert_eq!(script.judge().twice, [id(2)].into());
}

#[test]
fn stale_own_reads_are_found() {
    let script = three().list(Sees::Own(id(2)), &[1]);
    assert_found(&script, "its own purchase");
    assert_eq!(script.judge().stale, [id(2)].into());
    assert_eq!(
        three().sum(Sees::Own(id(2)), &[1]).judge().stale,
        [id(2)].into()
    );
}

#[test]
fn vanished_purchases_are_found() {
    assert_found(
        &three()
            .list(Sees::Earlier, &[1, 3])
            .list(Sees::Earlier, &[1, 2]),
        "an earlier seen purchase",
    );
    // A read that began before the first one had ended may miss it.
    let mut entries = three()
        .list(Sees::Earlier, &[1])
        .list(Sees::Earlier, &[])
        .entries();
    entries[3].end = entries[4].begin + 1;
    assert_eq!(judge(&entries).violations, Vec::<String>::new());
}

#[test]
fn unrequested_purchases_are_found() {
    assert_found(&three().list(Sees::All, &[1, 2, 4]), "did not buy");
    assert_found(
        &three()
            .call(buy(4), Outcome::NotApplied)
            .list(Sees::All, &[1, 2, 4]),
        "did not buy",
    );
    let early = Script::default().list(Sees::All, &[1]).buy(1);
    assert_found(&early, "did not buy");
    let unnamed = |script: Script| {
        script.call(
            Call::Buy {
                id: None,
                user: ada(),
                price: price(4),
            },
            Outcome::Unknown,
        )
    };
    let found = unnamed(three())
        .list(Sees::All, &[1, 2, 4])
        .sum(Sees::All, &[1, 2, 4]);
    assert_eq!(found.judge().violations, Vec::<String>::new());
    assert_found(
        &unnamed(three()).list(Sees::All, &[1, 2, 4, 5]),
        "did not buy",
    );
}

#[test]
fn changed_purchases_are_found() {
    let mut changed = purchase(2);
    changed.price = price(7);
    let script = three().call(
        Call::List {
            user: ada(),
            sees: Sees::Earlier,
        },
        Outcome::Listed(vec![purchase(1), changed]),
    );
    assert_found(&script, "did not buy");
}

#[test]
fn inexact_sums_are_found() {
    assert_found(&three().sum(Sees::All, &[1]), "found Summary");
    assert_found(&three().sum(Sees::All, &[1, 4]), "found Summary");
    assert_found(&three().sum(Sees::Earlier, &[1, 2, 3, 4]), "found Summary");
    assert_found(
        &three().list(Sees::Earlier, &[1]).sum(Sees::Earlier, &[2]),
        "found Summary",
    );
    assert_found(
        &three().list(Sees::Earlier, &[1]).sum(Sees::Earlier, &[2]),
        "not the sum of as many",
    );
}

#[test]
fn sums_of_refunds_are_found() {
    let later = three()
        .sum(Sees::Earlier, &[1, 2])
        .buy(91)
        .list(Sees::All, &[1, 2, 91]);
    assert_eq!(
        later.sum(Sees::All, &[1, 2, 91]).judge().violations,
        Vec::<String>::new()
    );
    let listed = || three().buy(91).list(Sees::All, &[1, 2, 91]);
    assert_found(&listed().sum(Sees::All, &[1, 2]), "not the sum of as many");
    // Too many to try their sums: a refund is none of the purchases that are counted.
    let unknown = |script: Script, number| script.call(buy(number), Outcome::Unknown);
    let sums = |last| {
        let all: Vec<_> = (1..=last).collect();
        (4..20)
            .chain([91])
            .fold(three(), unknown)
            .sum(Sees::All, &all)
            .judge()
            .violations
    };
    assert_eq!((sums(19).len(), sums(20).len()), (0, 1));
}

#[test]
fn wrong_order_is_found() {
    assert_found(&three().list(Sees::All, &[2, 1]), "another order");
    assert_found(&Script::default().buy(2).buy(1), "its position is (0, 1)");
    assert_found(
        &Script::default().buy(2).buy(1).list(Sees::All, &[1, 2]),
        "its time is",
    );
    // Concurrent purchases may have either order.
    let mut entries = Script::default()
        .buy(2)
        .buy(1)
        .list(Sees::All, &[1, 2])
        .entries();
    entries[0].end = entries[1].begin + 1;
    assert_eq!(judge(&entries).violations, Vec::<String>::new());
}

#[test]
fn duplicate_positions_are_found() {
    let again = Outcome::Bought {
        id: id(3),
        position: Some((0, 1)),
    };
    assert_found(
        &Script::default().buy(1).call(buy(3), again),
        "with one position",
    );
}
