//! Listings of the embedded store: the first page and the summary of a user with very many purchases compared with
//! those of a user with few, and all of very many as JSON.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use shop_core::Purchase;
use shop_core::memory::InMemoryLog;
use shop_core::ports::{
    PageRequest, Period, PurchaseQuery, PurchaseStore, Selector, TimeRange, TotalsRequest,
};
use shop_http::{HttpOptions, Parts, router};
use shop_store::embedded::{EmbeddedStore, EmbeddedStoreOptions};
use tower::ServiceExt;

use super::two_threads;
use crate::row::{Goal, Row, Unit, thousands};
use crate::run::{Pairs, Run};
use crate::sample::purchase;
use crate::scale::Scale;
use crate::usage::{as_f64, median, peak_memory};

/// The name of a look-up in a child process.
pub(crate) const RUN: &str = "listing";

/// The user with very many purchases, and the one with few.
const MANY: &str = "many";
const FEW: &str = "few";
/// The size of a first page.
const PAGE: u64 = 50;

/// The reads to measure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Lookup {
    /// Alternating first pages or summaries of both users.
    InTurn {
        /// Summaries instead of first pages.
        summary: bool,
        /// The number of repetitions.
        pairs: usize,
        /// Calls per user and repetition.
        calls: u32,
    },
    /// The whole listing of a user.
    Whole(String),
    /// The totals of a user per day.
    Totals(String),
}

/// The result of a measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Found {
    /// Microseconds per call, of the user with many purchases and of the user with few.
    InTurn(Vec<f64>, Vec<f64>),
    /// A whole listing as JSON.
    Whole {
        /// Its length in bytes.
        bytes: u64,
        /// Its duration.
        seconds: f64,
        /// The peak memory in MiB, minus the memory before.
        grown: f64,
    },
    /// Seconds of totals, and their peak memory as above.
    Totals(f64, f64),
}

/// Reads from the store in `folder`.
#[must_use]
pub fn look(folder: &Path, lookup: Lookup) -> Found {
    two_threads().block_on(async {
        let store = open(folder).await;
        match lookup {
            Lookup::InTurn {
                summary,
                pairs,
                calls,
            } => in_turn(&store, summary, pairs, calls).await,
            Lookup::Whole(user) => whole(store, &user).await,
            Lookup::Totals(user) => totals(&store, &user).await,
        }
    })
}

async fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, EmbeddedStoreOptions::default())
        .await
        .unwrap()
}

async fn fill(folder: &Path, many: u64) {
    let store = open(folder).await;
    let bought =
        |user: &'static str, count: u64| (0..count).map(move |_| purchase(user, user, "1195.30"));
    let mut all = bought(MANY, many).chain(bought(FEW, PAGE)).peekable();
    while all.peek().is_some() {
        let batch: Arc<[Purchase]> = all.by_ref().take(1_000).collect();
        store.insert(batch).await.unwrap();
    }
    let closed = store.closed();
    drop(store);
    closed.await;
}

async fn in_turn(store: &EmbeddedStore, summary: bool, pairs: usize, calls: u32) -> Found {
    let (mut many, mut few) = (Vec::new(), Vec::new());
    let request = PageRequest::default();
    // Warm-up.
    for number in 0..=pairs {
        let mut users = [(MANY, &mut many), (FEW, &mut few)];
        // Alternates which user is first.
        if number % 2 == 1 {
            users.reverse();
        }
        for (user, times) in users {
            let selector = Selector::User(user.parse().unwrap());
            let start = Instant::now();
            for _ in 0..calls {
                if summary {
                    store.summary(&selector).await.unwrap();
                } else {
                    store.page(&selector, &request).await.unwrap();
                }
            }
            times.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(calls));
        }
    }
    Found::InTurn(many.split_off(1), few.split_off(1))
}

/// Through facing's router, like a client.
async fn whole(store: EmbeddedStore, user: &str) -> Found {
    let parts = Parts::facing(Arc::new(InMemoryLog::default().sink()), Arc::new(store));
    let router = router(parts, HttpOptions::default());
    let before = peak_memory();
    let start = Instant::now();
    let request = Request::get(format!("/getAllUserBuys/{user}"))
        .body(Body::empty())
        .unwrap();
    let answer = router.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let (mut body, mut bytes) = (answer.into_body(), 0);
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().into_data().unwrap().len() as u64;
    }
    Found::Whole {
        bytes,
        seconds: start.elapsed().as_secs_f64(),
        grown: peak_memory() - before,
    }
}

async fn totals(store: &EmbeddedStore, user: &str) -> Found {
    let (before, start) = (peak_memory(), Instant::now());
    let request = TotalsRequest::new(TimeRange::ALL, Period::Day);
    let days = store
        .totals(&Selector::User(user.parse().unwrap()), &request)
        .await
        .unwrap();
    assert!(!days.is_empty());
    Found::Totals(start.elapsed().as_secs_f64(), peak_memory() - before)
}

/// Measures the first page, the summary, the whole listing, and totals per day.
pub fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    let count = scale.pick(2_000, 100_000, 1_000_000);
    let folder = tempfile::tempdir().unwrap();
    two_threads().block_on(fill(folder.path(), count));
    let size = thousands(as_f64(count));
    let look = |lookup| -> Found { Run::new(RUN, &(folder.path(), lookup)).in_own_process() };
    let (pairs, calls) = (scale.pairs(), scale.pick(10, 200, 1_000));
    for (summary, name) in [(false, "first page of 50"), (true, "summary")] {
        let Found::InTurn(ours, baseline) = look(Lookup::InTurn {
            summary,
            pairs,
            calls,
        }) else {
            unreachable!("asked for")
        };
        let what = format!("{name}, embedded, a user with {size} purchases");
        let show = |times: &[f64]| format!("{:.0} µs", median(times.to_vec()));
        let row =
            Pairs { ours, baseline }.row(what, |time| *time, &format!("a user with {PAGE}"), show);
        emit(row.with_goal(Goal::AtMost(1.5)));
    }
    let (mut grown, mut few_grown, mut ours) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..scale.long_runs() {
        for (user, grown_of) in [(MANY, &mut grown), (FEW, &mut few_grown)] {
            let Found::Whole {
                bytes,
                seconds,
                grown,
            } = look(Lookup::Whole(user.to_owned()))
            else {
                unreachable!("asked for")
            };
            grown_of.push(grown);
            if user == MANY {
                let megabytes = as_f64(bytes) / 1e6;
                let rate = megabytes / seconds;
                ours = format!("{megabytes:.0} MB of JSON in {seconds:.1} s, {rate:.0} MB/s");
            }
        }
    }
    let totals = || {
        let Found::Totals(seconds, grown) = look(Lookup::Totals(MANY.to_owned())) else {
            unreachable!("asked for")
        };
        (seconds, grown)
    };
    let (seconds, memory): (Vec<_>, Vec<_>) = (0..scale.long_runs()).map(|_| totals()).unzip();
    let shown = format!(
        "{:.2} s, {:.1} MiB more memory",
        median(seconds.clone()),
        median(memory)
    );
    let rates = seconds
        .iter()
        .map(|seconds| as_f64(count) / seconds)
        .collect();
    let what = format!("totals per day, embedded, a user with {size} purchases");
    emit(Row::new(what, rates, Unit::PerSecond, shown).with_goal(Goal::AtLeast(1e6)));
    let what = format!("memory that {size} purchases take, streamed as JSON");
    let baseline = format!("{PAGE} purchases, {:.1} MiB", median(few_grown));
    emit(Row {
        baseline,
        ..Row::new(what, grown, Unit::Mebibytes, ours)
    });
}
