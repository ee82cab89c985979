//! Listings of the embedded store: the first page and the summary of a user with very many purchases beside those
//! of a user with few, and all of very many as JSON.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use shop_core::memory::InMemoryLog;
use shop_core::ports::{PageRequest, PurchaseQuery, PurchaseStore, Selector};
use shop_core::{Clock, NewPurchase, Purchase, SystemClock};
use shop_http::{Facing, HttpOptions, facing};
use shop_store::embedded::{EmbeddedStore, EmbeddedStoreOptions};
use tower::ServiceExt;

use super::hot_path::two_threads;
use crate::row::{Goal, Row, Unit, thousands};
use crate::run::Run;
use crate::scale::Scale;
use crate::usage::{Memory, median};

/// The user with very many purchases, and the one with few.
const MANY: &str = "many";
const FEW: &str = "few";
/// As many as a first page holds.
const PAGE: u64 = 50;

/// Lookups in a store that is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lookups {
    folder: PathBuf,
    what: What,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum What {
    /// So many times in turn, for each user so many calls.
    InTurn { summary: bool, pairs: usize, calls: u32 },
    /// The whole listing of a user.
    Whole(String),
}

/// What lookups found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Found {
    /// Microseconds for each call, of the user with many and of the one with few.
    InTurn(Vec<f64>, Vec<f64>),
    /// A whole listing as JSON.
    Whole {
        /// Its length in bytes.
        bytes: u64,
        /// How long that took.
        seconds: f64,
        /// The most memory that it took, in MiB, over what the process had before.
        grown: f64,
    },
}

impl Lookups {
    /// Looks.
    #[must_use]
    pub fn run(&self) -> Found {
        two_threads().block_on(async {
            let store = open(&self.folder).await;
            match &self.what {
                What::InTurn { summary, pairs, calls } => in_turn(&store, *summary, *pairs, *calls).await,
                What::Whole(user) => whole(store, user).await,
            }
        })
    }
}

async fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, EmbeddedStoreOptions::default()).await.unwrap()
}

/// `count` purchases of `user`.
fn bought(user: &str, count: u64) -> impl Iterator<Item = Purchase> {
    let (id, name) = (user.parse().unwrap(), user.parse().unwrap());
    let new = NewPurchase::new(id, name, "1195.30".parse().unwrap());
    (0..count).map(move |_| new.clone().identified(SystemClock.now(), || SystemClock.fresh_id()))
}

async fn fill(folder: &Path, many: u64) {
    let store = open(folder).await;
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
    // The first ones warm up.
    for number in 0..=pairs {
        let mut users = [(MANY, &mut many), (FEW, &mut few)];
        // The one that goes first in a process is not always the same.
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

/// Through facing's router, as a client reads it.
async fn whole(store: EmbeddedStore, user: &str) -> Found {
    let parts = Facing::new(Arc::new(InMemoryLog::default().sink()), Arc::new(store));
    let router = facing(parts, HttpOptions::default());
    let before = Memory::of("self").peak;
    let start = Instant::now();
    let request = Request::get(format!("/getAllUserBuys/{user}")).body(Body::empty()).unwrap();
    let answer = router.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let (mut body, mut bytes) = (answer.into_body(), 0);
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().into_data().unwrap().len() as u64;
    }
    Found::Whole { bytes, seconds: start.elapsed().as_secs_f64(), grown: Memory::of("self").peak - before }
}

/// First page, summary, and the whole listing.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn rows(scale: Scale, tell: &mut dyn FnMut(Row)) {
    let count = scale.pick(2_000, 100_000, 1_000_000);
    let folder = tempfile::tempdir().unwrap();
    two_threads().block_on(fill(folder.path(), count));
    let size = thousands(count as f64);
    let look = |what| Run::Lookups(Lookups { folder: folder.path().to_owned(), what });
    let (pairs, calls) = (scale.pairs(), scale.pick(10, 200, 1_000));
    for (summary, name, goal) in [(false, "first page of 50", 1.5), (true, "summary", 1.5)] {
        let found = look(What::InTurn { summary, pairs, calls }).in_own_process();
        let Found::InTurn(many, few) = found else { unreachable!("asked for") };
        let say = |times: &[f64]| format!("{:.0} µs", median(&mut times.to_vec()));
        let what = format!("{name}, embedded, a user with {size} purchases");
        let row = Row::ratios(what, &many, &few).with_goal(Goal::AtMost(goal));
        tell(row.saying(say(&many), format!("a user with {PAGE}, {}", say(&few))));
    }
    let runs = if scale == Scale::Full { pairs.min(5) } else { 1 };
    let (mut grown, mut few_grown, mut said) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..runs {
        let wholes = [MANY, FEW].map(|user| look(What::Whole(user.to_owned())).in_own_process());
        let [Found::Whole { bytes, seconds, grown: many }, Found::Whole { grown: few, .. }] = wholes else {
            unreachable!("asked for")
        };
        grown.push(many);
        few_grown.push(few);
        let megabytes = bytes as f64 / 1e6;
        said = format!("{megabytes:.0} MB of JSON in {seconds:.1} s, {:.0} MB/s", megabytes / seconds);
    }
    let what = format!("memory that {size} purchases take, streamed as JSON");
    let beside = format!("{PAGE} purchases, {:.1} MiB", median(&mut few_grown));
    tell(Row::figures(what, grown, Unit::Mebibytes).saying(said, beside));
}
