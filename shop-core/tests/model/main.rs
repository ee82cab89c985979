//! Ingest against a model: for any sequence of faults of its members, its log and its store, the
//! position never passes a record that is not durable, and all acknowledged records are stored exactly once.
//!
//! Each case is a plan, made from a seed by proptest, and runs on one thread and on paused time: the same
//! plan always gives the same run. A failure prints the seed, and the smallest plan that still fails.
//!
//! - `PROPTEST_CASES` sets the number of cases of each test.
//! - `SHOP_TEST_SEED` runs only the case of this seed.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod driver;
mod oracle;
mod plan;
mod publisher;
mod summary;
mod watch;

use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use shop_core::memory::Rebalancing;

use summary::Summary;

/// From this number of cases on, every kind of step and event must have happened.
const MANY: u32 = 5_000;

/// `SHOP_TEST_SEED`, if there is one.
#[expect(
    clippy::disallowed_methods,
    reason = "a failure is replayed by the seed that it has printed"
)]
fn chosen_seed() -> Option<u64> {
    std::env::var("SHOP_TEST_SEED")
        .ok()
        .map(|text| text.parse().unwrap())
}

/// A runner for the case of `seed`.
fn runner(seed: u64) -> TestRunner {
    TestRunner::new(Config {
        cases: 1,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 5_000,
        ..Config::default()
    })
}

/// Runs the case of `seed`; fails with the smallest plan that fails.
fn run_case(seed: u64, rebalancing: Rebalancing, total: &Mutex<Summary>) {
    let result = runner(seed).run(&plan::plans(), |plan| {
        let ran = driver::run(&plan, rebalancing);
        total.lock().unwrap().add_all(&ran.summary);
        ran.violation
            .map_or(Ok(()), |violation| Err(TestCaseError::fail(violation)))
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(violation, plan)) => {
            panic!(
                "{violation}\nthis plan reproduces it: {plan:#?}\nSHOP_TEST_SEED={seed} reproduces it in this test"
            )
        }
        Err(TestError::Abort(why)) => panic!("no case could be generated: {why}"),
    }
}

fn run_cases(rebalancing: Rebalancing) {
    let total = Mutex::new(Summary::default());
    if let Some(seed) = chosen_seed() {
        return run_case(seed, rebalancing, &total);
    }
    let cases = Config::default().cases;
    let first = RandomState::new().hash_one(0);
    (0..u64::from(cases)).for_each(|case| run_case(first.wrapping_add(case), rebalancing, &total));
    let total = total.into_inner().unwrap();
    println!("{rebalancing:?}: {cases} cases, seeds from {first}\n{total}");
    if cases >= MANY {
        assert_eq!(
            total.never_happened(),
            Vec::<&str>::new(),
            "these were not tested"
        );
    }
}

#[test]
fn a_cooperative_group_loses_and_duplicates_nothing() {
    run_cases(Rebalancing::Cooperative);
}

#[test]
fn an_eager_group_loses_and_duplicates_nothing() {
    run_cases(Rebalancing::Eager);
}

/// A seed always reproduces the same run.
#[test]
fn a_plan_is_deterministic() {
    for seed in 0..20 {
        let plan = plan::plans().new_tree(&mut runner(seed)).unwrap().current();
        let [first, second] = [(); 2].map(|()| driver::run(&plan, Rebalancing::Cooperative));
        assert_eq!(first.trace, second.trace, "{plan:#?}");
        assert!(!first.trace.is_empty());
    }
}
