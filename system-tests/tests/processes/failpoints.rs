//! Exits between every two steps on servers; afterwards every acknowledged purchase is stored once. `sim` does it for the
//! embedded log and store.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use futures_util::future::join_all;
use rustix::process::Signal;
use shop_client::NewPurchase;
use shop_core::log::{DeadLetter, LogAdmin, LogAdminExt as _, LogRecord};
use shop_core::{Clock as _, SystemClock};
use shop_kafka::KafkaLog;

use crate::history::History;
use crate::kafka;
use crate::process::{Binary, Process, borrow_settings, soon, until};
use crate::servers::Servers;

/// In the order in which a purchase passes them.
const FAILPOINTS: [&str; 10] = [
    "before-publish",
    "during-publish",
    "after-publish",
    "before-apply",
    "after-apply",
    "before-dead-letters",
    "after-dead-letters",
    "before-commit",
    "after-commit",
    "before-close",
];

/// The number of passes before a failpoint ends the process.
const PASSED: [u32; 2] = [1, 4];
/// Concurrent calls.
const CALLERS: u64 = 8;

const USERS: u64 = 7;

/// The shared state of the rounds.
struct Rounds<'a, Append> {
    folder: &'a Path,
    settings: Vec<(&'static str, String)>,
    /// Appends any record to the log.
    append: Append,
    history: History,
    bought: u64,
    poisoned: usize,
}

#[expect(clippy::future_not_send, reason = "a test stays in its thread")]
impl<'a, Append: AsyncFn(LogRecord)> Rounds<'a, Append> {
    fn new(folder: &'a Path, settings: Vec<(&'static str, String)>, append: Append) -> Self {
        Self {
            folder,
            settings,
            append,
            history: History::default(),
            bought: 0,
            poisoned: 0,
        }
    }

    /// Ends the process at every failpoint.
    async fn end_everywhere(&mut self, log: &impl LogAdmin) {
        for point in FAILPOINTS {
            for passed in PASSED {
                soon(point, self.buy_until_the_end(point, passed)).await;
            }
        }
        self.count(log).await;
    }

    async fn start(&self, failpoint: Option<&str>) -> Process {
        let mut settings = borrow_settings(&self.settings);
        settings.extend(failpoint.map(|point| ("FAILPOINTS", point)));
        Process::start(Binary::Facing, self.folder, &settings).await
    }

    /// Buys until the failpoint has ended the process. Every few purchases there is a record
    /// that can never be stored.
    async fn buy_until_the_end(&mut self, point: &str, passed: u32) {
        // A source is closed only once.
        let action = if point == "before-close" {
            "return".to_owned()
        } else {
            format!("{passed}*off->return")
        };
        let mut facing = self.start(Some(&format!("{point}={action}"))).await;
        let client = facing.client();
        let before = self.history.bought();
        let end = loop {
            (self.append)(poison(self.poisoned)).await;
            self.poisoned += 1;
            let buys = (0..CALLERS)
                .map(|caller| self.history.buy(&client, purchase(self.bought + caller)));
            soon("answer", join_all(buys)).await;
            self.bought += CALLERS;
            if let Some(end) = facing.end() {
                break end;
            }
            if point == "before-close" && self.history.bought() > before + 20 {
                facing.signal(Signal::TERM);
                break facing.ended().await;
            }
        };
        assert_eq!(
            end.signal(),
            Some(Signal::ABORT.as_raw()),
            "{point}: {end:?}"
        );
    }

    /// Waits for all acknowledged purchases and all poison records, and judges the history.
    async fn count(&self, log: &impl LogAdmin) {
        let facing = self.start(None).await;
        self.history.settle(&facing.client()).await.unwrap();
        // The last poison may be in another partition than the last purchases, and not be read yet.
        let dead_letters = async || log.pending_dead_letters().await.unwrap();
        until("dead letters", async || {
            dead_letters().await.len() >= self.poisoned
        })
        .await;
        println!(
            "{} ends, {} dead letters",
            FAILPOINTS.len() * PASSED.len(),
            self.poisoned
        );
        facing.stop().await;
        assert_all_poison(dead_letters().await, self.poisoned);
    }
}

fn purchase(number: u64) -> NewPurchase {
    let new = NewPurchase::for_user(format!("user-{}", number % USERS))
        .with_user_name("ada")
        .with_price(format!("{number}.5"))
        .unwrap();
    new.with_key(format!("order-{number}")).unwrap()
}

/// A distinct record that can never be stored.
fn poison(number: usize) -> LogRecord {
    LogRecord::new(
        0,
        SystemClock.now(),
        Some(format!("poison {number}").into()),
    )
}

/// Asserts that each poison record is dead-lettered once, unchanged.
fn assert_all_poison(dead_letters: Vec<DeadLetter>, count: usize) {
    assert_eq!(dead_letters.len(), count);
    let kept: BTreeSet<_> = dead_letters
        .into_iter()
        .map(|letter| letter.record.value)
        .collect();
    assert_eq!(
        kept,
        (0..count).map(|number| poison(number).value).collect()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_between_any_two_steps_loses_nothing_on_kafka_and_mongodb() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let log = KafkaLog::open(servers.log("purchases")).await.unwrap();
    let append = async |record: LogRecord| {
        until("append", async || log.append(record.clone()).await.is_ok()).await;
    };
    let mut settings = kafka::settings(&servers);
    // Partitions return at once, not when the session of the ended process ends.
    settings.push(("KAFKA_INSTANCE_ID", "facing-0".to_owned()));
    let mut rounds = Rounds::new(folder.path(), settings, append);
    rounds.end_everywhere(&log).await;
}
