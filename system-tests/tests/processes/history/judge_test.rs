//! Each violation is found in a history into which it was planted.
//!
//! A script has the calls of one user, one after the other. Purchases are numbers; those from 90 on are refunds.
//!
//! | call | its outcome |
//! |---|---|
//! | `buy 1`, `buy 2 at 1` | bought, at the position of its number, or at another one |
//! | `try 3`, `try unnamed` | unknown, of a purchase with a key, or without one |
//! | `fail 4` | not applied |
//! | `list all 1 2`, `sum all 1 2` | a read when all is stored has found these |
//! | `list earlier 1 2!` | a read has found these, the second one with another price |
//! | `list after:2 1 2` | a read that waits for purchase 2 has found these |

use shop_client::{Price, Purchase, PurchaseId, Summary, Total, UserId};
use shop_core::Timestamp;

use super::judge::judge;
use super::{Call, History, Outcome, Sees};

fn id(number: u64) -> PurchaseId {
    uuid::Builder::from_random_bytes(u128::from(number).to_be_bytes())
        .into_uuid()
        .into()
}

fn ada() -> UserId {
    "ada".parse().unwrap()
}

fn price(number: u64) -> Price {
    let price: Price = format!("{}.25", number % 90).parse().unwrap();
    if number < 90 { price } else { price.negated() }
}

/// The purchase of a number, which has another price if `!` follows.
fn purchase(number: &str) -> Purchase {
    let unchanged = number.trim_end_matches('!');
    let is_changed = unchanged != number;
    let number: u64 = unchanged.parse().unwrap();
    let time = Timestamp::from_millis(1_000 * i64::try_from(number).unwrap()).unwrap();
    let price = price(number + u64::from(is_changed));
    Purchase::new(id(number), ada(), "Ada".parse().unwrap(), price, time)
}

/// Returns the call and the outcome that a part of a script says.
fn call(text: &str) -> (Call, Outcome) {
    let words: Vec<_> = text.split(' ').collect();
    let (verb, subject) = (words[0], words[1]);
    if verb == "list" || verb == "sum" {
        let user = ada();
        let sees = match subject.strip_prefix("after:") {
            Some(own) => Sees::Own(id(own.parse().unwrap())),
            None if subject == "all" => Sees::All,
            None => Sees::Earlier,
        };
        let found: Vec<_> = words[2..].iter().map(|number| purchase(number)).collect();
        if verb == "list" {
            return (Call::List { user, sees }, Outcome::Listed(found));
        }
        let prices = || found.iter().map(|purchase| purchase.price);
        let count = prices().filter(|price| !price.is_negative()).count();
        let total = Total::checked_sum(prices()).unwrap();
        let summed = Outcome::Summed(Summary::new(count as u64, total));
        return (Call::Sum { user, sees }, summed);
    }
    let named: Option<u64> = subject.parse().ok();
    let buy = Call::Buy {
        id: named.map(id),
        user: ada(),
        price: price(named.unwrap_or(4)),
    };
    let outcome = match verb {
        "buy" => Outcome::Bought {
            id: id(named.unwrap()),
            position: Some((0, words.last().unwrap().parse().unwrap())),
        },
        "fail" => Outcome::NotApplied,
        _ => Outcome::Unknown,
    };
    (buy, outcome)
}

fn history(script: &str) -> History {
    let history = History::default();
    for part in script.split(", ") {
        let (call, outcome) = call(part);
        let began = history.begin(call);
        history.end(began, outcome);
    }
    history
}

#[test]
fn correct_histories_pass() {
    let verdict = history(
        "buy 1, buy 2, try 3, list after:2 2, list earlier 1 2, sum earlier 1 2 3, sum after:2 1 2, list all 1 2 3, \
         sum all 1 2 3, buy 91, sum all 1 2 3 91, try unnamed, list all 1 2 3 4 91",
    )
    .judge();
    assert_eq!(verdict.violations, Vec::<String>::new());
    assert_eq!(
        [verdict.figures["acknowledged"], verdict.figures["reads"]],
        [3, 8]
    );
}

/// Concurrent calls may have either order.
#[test]
fn concurrent_calls_pass() {
    let mut entries = history("buy 2, buy 1, list earlier 1 2, list earlier").entries();
    entries[0].end = entries[1].begin + 1;
    entries[2].end = entries[3].begin + 1;
    assert_eq!(judge(&entries).violations, Vec::<String>::new());
}

#[test]
fn violations_are_found() {
    for (violation, script) in [
        ("an acknowledged purchase", "buy 1, buy 2, list all 2"),
        ("twice", "buy 1, buy 2, list all 1 2 2"),
        ("its own purchase", "buy 1, buy 2, list after:2 1"),
        (
            "an earlier seen purchase",
            "buy 1, buy 2, try 3, list earlier 1 3, list earlier 1 2",
        ),
        ("did not buy", "buy 1, buy 2, list all 1 2 4"),
        ("did not buy", "buy 1, fail 4, list all 1 4"),
        ("did not buy", "list all 1, buy 1"),
        ("did not buy", "buy 1, buy 2, list earlier 1 2!"),
        (
            "found 2 purchases that they did not buy",
            "buy 1, try unnamed, list all 1 4 5",
        ),
        ("not of 2 to 3", "buy 1, buy 2, try 3, sum all 1"),
        ("not of 0 to 3", "buy 1, buy 2, try 3, sum earlier 1 2 3 4"),
        ("not of 1 to 2", "buy 1, buy 2, list earlier 1, sum earlier"),
        ("another order", "buy 1, buy 2, list all 2 1"),
        ("its position is (0, 1)", "buy 2, buy 1"),
        ("its time is", "buy 2 at 1, buy 1 at 2, list all 1 2"),
        ("with one position", "buy 1, buy 3 at 1"),
    ] {
        let violations = history(script).judge().violations;
        let is_found = violations.iter().any(|one| one.contains(violation));
        assert!(is_found, "{violation}: {violations:?}");
    }
}

#[test]
fn a_verdict_counts_what_is_lost() {
    let verdict = history("buy 1, buy 2, list all 2 2, list after:2 1").judge();
    for figure in ["missing", "twice", "stale own reads"] {
        assert_eq!(verdict.figures[figure], 1, "{figure}");
    }
}
