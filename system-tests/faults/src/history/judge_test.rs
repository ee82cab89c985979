//! Each violation is found in a history into which it was planted.
//!
//! A script has the calls of one user, one after the other. Purchases are numbers; those from 90 on are refunds. `2!` is
//! purchase 2 with another price.
//!
//! | call | its outcome |
//! |---|---|
//! | `buy 1`, `buy 2 at 1` | acknowledged, at the position of its number, or at another one |
//! | `store 1` | acknowledged and stored |
//! | `again 1`, `again 1!` | acknowledged as bought before, as this purchase |
//! | `try 3`, `try unnamed` | unknown, of a purchase with a key, or of purchase 4 without one |
//! | `fail 4` | not applied |
//! | `conflict 1`, `gone 1`, `gone unnamed` | refused, as the key has another purchase, or one that was erased |
//! | `erase ada`, `erase unconfirmed` | the user is erased, or may be |
//! | `list all 1 2`, `sum all 1 2` | a read when all is stored has found these |
//! | `list earlier 1 2`, `newest earlier 2 1` | a read has found these, in this order |
//! | `list after:2 1 2` | a read that waits for purchase 2 has found these |
//! | `pair 1 2 with 1` | a listing of 1 and 2, with the sum of 1, in one moment |
//! | `sums 1 1 2` | the sums of the shop, of the days, and of the users, which are those of one purchase each |
//! | `follow 1 2` | who follows from the beginning has seen these |
//! | `poison 7`, `poison 7 maybe`, `letters 7` | a record is appended, or may be; these are dead letters |

use shop_core::ports::{ListOrder, Summary};
use shop_core::{Price, Purchase, PurchaseId, Timestamp, UserId};

use super::{Acknowledgement, Call, Clock, Entry, History, Outcome, Sees, Sums, judge, summary_of};

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

fn number(text: &str) -> u64 {
    text.trim_end_matches('!').parse().unwrap()
}

fn purchase(text: &str) -> Purchase {
    let number = number(text);
    let time = Timestamp::from_millis(1_000 * i64::try_from(number).unwrap()).unwrap();
    let price = price(number + u64::from(text.ends_with('!')));
    Purchase::new(id(number), ada(), "Ada".parse().unwrap(), price, time)
}

fn purchases(words: &[&str]) -> Vec<Purchase> {
    words.iter().map(|word| purchase(word)).collect()
}

fn sum(words: &[&str]) -> Summary {
    summary_of(&purchases(words)).unwrap()
}

fn bought(words: &[&str]) -> Acknowledgement {
    let purchase = purchase(words[1]);
    Acknowledgement {
        id: purchase.id,
        purchase: Some(purchase),
        position: Some((0, number(words.last().unwrap()))),
        is_replayed: words[0] == "again",
        is_stored: words[0] != "buy",
    }
}

/// Returns the call and the outcome of a read.
fn read(words: &[&str]) -> Option<(Call, Outcome)> {
    let user = ada();
    let subject = words.get(1).copied().unwrap_or_default();
    let sees = match subject.strip_prefix("after:") {
        Some(own) => Sees::Own(id(number(own))),
        None if subject == "all" => Sees::All,
        None => Sees::Earlier,
    };
    let order = if words[0] == "newest" {
        ListOrder::NewestFirst
    } else {
        ListOrder::OldestFirst
    };
    let list = |user, sees, order| Call::List { user, sees, order };
    Some(match words[0] {
        "list" | "newest" => (
            list(user, sees, order),
            Outcome::Listed(purchases(&words[2..]).into(), None),
        ),
        "sum" => (Call::Sum { user, sees }, Outcome::Summed(sum(&words[2..]))),
        "pair" => {
            let with = words.iter().position(|word| *word == "with").unwrap();
            let found = purchases(&words[1..with]).into();
            let summed = sum(&words[with + 1..]);
            (
                list(user, sees, order),
                Outcome::Listed(found, Some(summed)),
            )
        }
        "sums" => {
            let [of_shop, of_days, of_users] = [1, 2, 3].map(|at| sum(&words[at..=at]));
            let sums = Sums {
                of_shop,
                of_days,
                of_users,
            };
            (Call::SumAll, Outcome::SummedAll(sums))
        }
        "follow" => (
            Call::Follow,
            Outcome::Followed(purchases(&words[1..]).into()),
        ),
        "letters" => {
            let numbers = words[1..].iter().map(|word| number(word));
            (
                Call::ListDeadLetters,
                Outcome::DeadLetters(numbers.collect()),
            )
        }
        _ => return None,
    })
}

/// Returns the call and the outcome that a part of a script says.
fn call(text: &str) -> (Call, Outcome) {
    let words: Vec<_> = text.split(' ').collect();
    if let Some(read) = read(&words) {
        return read;
    }
    match words[0] {
        "erase" if words[1] == "ada" => return (Call::Erase(ada()), Outcome::Done),
        "erase" => return (Call::Erase(ada()), Outcome::Unknown),
        "poison" if words.len() == 2 => {
            return (Call::AppendPoison(number(words[1])), Outcome::Done);
        }
        "poison" => return (Call::AppendPoison(number(words[1])), Outcome::Unknown),
        _ => {}
    }
    let named = (words[1] != "unnamed").then(|| number(words[1]));
    // A conflict is of the next price.
    let of_price = named.unwrap_or(4) + u64::from(words[0] == "conflict");
    let buy = Call::Buy {
        id: named.map(id),
        user: ada(),
        price: price(of_price),
    };
    let outcome = match words[0] {
        "buy" | "store" | "again" => Outcome::Bought(bought(&words)),
        "fail" => Outcome::NotApplied,
        "conflict" => Outcome::Conflict,
        "gone" => Outcome::BoughtBeforeErasure,
        _ => Outcome::Unknown,
    };
    (buy, outcome)
}

fn entries(script: &str) -> Vec<Entry> {
    let history = History::default();
    for part in script.split(", ") {
        let (call, outcome) = call(part);
        let began = history.begin(call);
        history.end(began, outcome);
    }
    let mut entries = history.entries();
    for entry in &mut entries {
        if matches!(entry.call, Call::Follow) {
            entry.begin = 0;
        }
    }
    entries
}

fn violations(script: &str) -> Vec<String> {
    judge(&entries(script), Clock::Steady).violations
}

#[test]
fn correct_histories_pass() {
    let script = "buy 1, buy 2, try 3, list after:2 2, list earlier 1 2, sum earlier 1 2 3, sum after:2 1 2, \
        list all 1 2 3, sum all 1 2 3, buy 91, sum all 1 2 3 91, try unnamed, list all 1 2 3 4 91, \
        newest all 91 4 3 2 1, pair 1 2 3 4 91 with 1 2 3 4 91, sums 1 1 1";
    let verdict = judge(&entries(script), Clock::Steady);
    assert_eq!(verdict.violations, Vec::<String>::new());
    assert_eq!(
        [verdict.figures["acknowledged"], verdict.figures["reads"]],
        [3, 11]
    );
    for script in [
        "store 1, again 1, conflict 1, list earlier 1, again 1",
        "try 1, again 1, list earlier 1",
        "store 1, erase ada, gone 1, list earlier, store 2, list earlier 2",
        "store 1, erase unconfirmed, list earlier 1, list earlier",
        "try unnamed, list earlier 4, erase ada, list earlier",
        // It was only in the log when its user was erased.
        "buy 1, erase ada, list all 1, list all",
        "store 1, try 2, follow 1 2",
        "store 1, erase ada, follow",
        "poison 7, poison 8 maybe, letters 7, letters 7 8",
    ] {
        assert_eq!(violations(script), Vec::<String>::new(), "{script}");
    }
}

/// Concurrent calls may have either order.
#[test]
fn concurrent_calls_pass() {
    let mut entries = entries("buy 2, buy 1, list earlier 1 2, list earlier");
    entries[0].end = entries[1].begin + 1;
    entries[2].end = entries[3].begin + 1;
    assert_eq!(
        judge(&entries, Clock::Steady).violations,
        Vec::<String>::new()
    );
}

#[test]
fn violations_are_found() {
    for (violation, script) in [
        ("an acknowledged purchase", "buy 1, buy 2, list all 2"),
        ("an acknowledged purchase", "store 1, list earlier"),
        ("twice", "buy 1, buy 2, list all 1 2 2"),
        ("its own purchase", "buy 1, buy 2, list after:2 1"),
        (
            "an earlier seen purchase",
            "buy 1, buy 2, try 3, list earlier 1 3, list earlier 1 2",
        ),
        (
            "an earlier seen purchase",
            "erase ada, try unnamed, list earlier 4, list earlier",
        ),
        ("did not buy", "buy 1, buy 2, list all 1 2 4"),
        ("did not buy", "buy 1, fail 4, list all 1 4"),
        ("did not buy", "list all 1, buy 1"),
        ("did not buy", "buy 1, buy 2, list earlier 1 2!"),
        ("did not buy", "buy 1, try unnamed, list all 1 5"),
        ("did not buy", "try unnamed, list all 4, follow 5"),
        ("not of 2 to 3", "buy 1, buy 2, try 3, sum all 1"),
        ("not of 0 to 3", "buy 1, buy 2, try 3, sum earlier 1 2 3 4"),
        ("not of 1 to 2", "buy 1, buy 2, list earlier 1, sum earlier"),
        ("in its sums", "buy 1, buy 2, pair 1 2 with 1"),
        ("1.25 } by days", "sums 2 1 2"),
        ("1.25 } together", "sums 2 2 1"),
        ("another order", "buy 1, buy 2, list all 2 1"),
        ("another order", "buy 1, buy 2, newest all 1 2"),
        ("its position is (0, 1)", "buy 2, buy 1"),
        ("its time is", "buy 2 at 1, buy 1 at 2, list all 1 2"),
        ("with one position", "buy 1, buy 3 at 1"),
        ("which was erased", "store 1, erase ada, list earlier 1"),
        ("is bought again", "store 1, erase ada, again 1"),
        ("is bought again", "store 1, erase ada, store 1"),
        ("and again as", "store 1, store 1"),
        ("said to be bought before", "again 1"),
        ("said to be bought before", "fail 1, again 1"),
        ("used for another purchase", "store 1, again 1!"),
        ("refused as a conflict", "conflict 1"),
        ("refused as a conflict", "fail 1, conflict 1"),
        ("refused as erased", "store 1, gone 1"),
        ("without a key", "store 1, conflict unnamed"),
        ("without a key", "store 1, erase ada, gone unnamed"),
        ("has no event", "store 1, store 2, follow 1"),
        ("has two events", "store 1, follow 1 1"),
        ("is no dead letter", "poison 7, letters"),
        ("[8] are unexpected", "poison 7, letters 7 8"),
        ("[7] are unexpected", "poison 7, letters 7 7"),
    ] {
        let violations = violations(script);
        let is_found = violations.iter().any(|one| one.contains(violation));
        assert!(is_found, "{violation} in {script}: {violations:?}");
    }
}

/// A clock that is set may give a later purchase an earlier time.
#[test]
fn times_are_judged_if_the_clock_is_steady() {
    let entries = entries("buy 2 at 1, buy 1 at 2, list all 1 2");
    assert_eq!(
        judge(&entries, Clock::IsSet).violations,
        Vec::<String>::new()
    );
}

#[test]
fn a_verdict_counts_what_is_lost() {
    let verdict = judge(
        &entries("buy 1, buy 2, list all 2 2, list after:2 1"),
        Clock::Steady,
    );
    for figure in ["missing", "twice", "stale own reads"] {
        assert_eq!(verdict.figures[figure], 1, "{figure}");
    }
}

/// A copy has what ended before it was begun, and may have the rest.
#[test]
fn a_copy_may_lack_what_was_bought_meanwhile() {
    for (found, is_correct) in [("1 2", true), ("1", true), ("2", false)] {
        let history = History::default();
        let mut times = Vec::new();
        for script in ["store 1", "store 2"] {
            let (call, outcome) = call(script);
            let began = history.begin(call);
            history.end(began, outcome);
            times.push(history.now());
        }
        let copy = history.of_copy_since(times[0]);
        let (call, outcome) = call(&format!("list all {found}"));
        let began = copy.begin(call);
        copy.end(began, outcome);
        assert_eq!(copy.judge().violations.is_empty(), is_correct, "{found}");
    }
}
