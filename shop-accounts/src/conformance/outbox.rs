//! The tests of every [`Outbox`], and of a relay that publishes from it.

use super::faulty::faulty_outbox;
use super::prelude::*;
use crate::outbox::{Backlog, Relay, RelayOptions};
use futures_util::future::join;
use futures_util::{FutureExt, TryStreamExt};
use shop_core::conformance::declared;
use shop_core::conformance::fault::{Call, Fault, Faults};
use shop_core::log::{LogExt as _, LogRecord};
use shop_core::memory::InMemoryLog;
use shop_core::record::Event;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

async fn write(fixture: &dyn OutboxFixture, count: usize) -> Vec<LogRecord> {
    let mut written = Vec::new();
    for _ in 0..count {
        written.push(soon("write", fixture.write()).await);
    }
    written
}

/// Returns the records of the pending entries.
async fn pending_records(outbox: &dyn Outbox) -> Vec<LogRecord> {
    let entries = pending(outbox).await.into_iter();
    entries.map(|entry| entry.record).collect()
}

async fn delete(outbox: &dyn Outbox, entries: &[&OutboxEntry]) {
    let ids: Vec<i64> = entries.iter().map(|entry| entry.id).collect();
    succeed(outbox.delete(&ids)).await;
}

/// Entries are in the order of the writes, with the records' keys and headers. The oldest are listed
/// first.
pub async fn entries_keep_their_order(fixture: &dyn OutboxFixture) {
    let outbox = fixture.outbox().await;
    assert_eq!(pending(&*outbox).await, []);
    let written = write(fixture, 5).await;
    assert_eq!(pending_records(&*outbox).await, written);
    let found = pending(&*outbox).await;
    let is_ascending = found.is_sorted_by(|one, next| one.id < next.id && one.time <= next.time);
    assert!(is_ascending, "{found:?}");
    assert_eq!(succeed(outbox.pending(2)).await, found[..2]);
}

/// Writes `event`, runs `meanwhile` before the commit, and commits when `meanwhile` ends, or when it
/// notifies its argument.
async fn write_slowly<T>(
    fixture: &dyn OutboxFixture,
    event: &User,
    meanwhile: impl AsyncFnOnce(&Notify) -> T,
) -> T {
    let written = Notify::new();
    let released = Notify::new();
    let before_commit = async {
        written.notify_one();
        released.notified().await;
    };
    let meanwhile = async {
        written.notified().await;
        let result = meanwhile(&released).await;
        released.notify_one();
        result
    };
    let write = fixture.write_event(event, before_commit.boxed());
    soon("two writes", join(write, meanwhile)).await.1
}

async fn write_at_once(fixture: &dyn OutboxFixture, event: &User) {
    fixture
        .write_event(event, std::future::ready(()).boxed())
        .await;
}

/// An event with the key `number`.
fn event(number: i64, name: &str) -> User {
    let new = NewUser {
        name: name.parse().expect("a name"),
        ..User::sample(number)
    };
    User::with_number(&new, UserNumber::new(number))
}

fn encoded<const N: usize>(events: [&User; N]) -> [LogRecord; N] {
    events.map(|event| event.encode().expect("a record"))
}

/// Of two open writes of one key, the later one commits first, or waits for the earlier one. The
/// entries are in the order of the commits.
pub async fn open_writes_of_a_key_keep_their_order(fixture: &dyn OutboxFixture) {
    if !declared(fixture.capabilities().open_writes, "several open writes") {
        return;
    }
    let outbox = fixture.outbox().await;
    let earlier = event(1, "earlier");
    let later = event(1, "later");
    let is_first = write_slowly(fixture, &earlier, async |released| {
        let mut write = std::pin::pin!(write_at_once(fixture, &later));
        let first = timeout(Duration::from_millis(500), &mut write).await;
        released.notify_one();
        if first.is_err() {
            write.await;
        }
        first.is_ok()
    });
    let is_first = is_first.await;
    let committed = if is_first {
        [&later, &earlier]
    } else {
        [&earlier, &later]
    };
    assert_eq!(
        pending_records(&*outbox).await,
        encoded(committed),
        "the later committed first: {is_first}"
    );
}

/// An entry that is committed after later ones of other keys were published is pending then. It
/// does not delay them.
pub async fn a_late_commit_is_not_skipped(fixture: &dyn OutboxFixture) {
    if !declared(fixture.capabilities().open_writes, "several open writes") {
        return;
    }
    let outbox = fixture.outbox().await;
    let late = event(1, "late");
    let early = event(2, "early");
    let found = write_slowly(fixture, &late, async |_released| {
        write_at_once(fixture, &early).await;
        let records = pending_records(&*outbox).await;
        delete(&*outbox, &[&pending(&*outbox).await[0]]).await;
        records
    });
    assert_eq!(found.await, encoded([&early]));
    assert_eq!(pending_records(&*outbox).await, encoded([&late]));
}

/// Ids ascend even after some of the newest entries were deleted, or all, or none. A relay loses
/// events whose ids are used again.
pub async fn an_id_is_never_reused(fixture: &dyn OutboxFixture) {
    let outbox = fixture.outbox().await;
    let mut greatest = i64::MIN;
    for deleted in [1, 2, 5, 1, 0, 3] {
        write(fixture, 2).await;
        let entries = pending(&*outbox).await;
        for entry in &entries[entries.len() - 2..] {
            assert!(entry.id > greatest, "{entry:?} after {greatest}");
            greatest = entry.id;
        }
        let newest: Vec<_> = entries.iter().rev().take(deleted).collect();
        delete(&*outbox, &newest).await;
    }
}

/// Deleted entries stay deleted even if nothing else was written. The backlog has the number of
/// pending entries, and the time of the oldest.
pub async fn deleted_entries_stay_deleted(fixture: &dyn OutboxFixture) {
    let outbox = fixture.outbox().await;
    assert_eq!(succeed(outbox.backlog()).await, Backlog::default());
    write(fixture, 4).await;
    let all = pending(&*outbox).await;
    let assert_left = async |left: &[&OutboxEntry]| {
        let entries = pending(&*outbox).await;
        assert_eq!(entries.iter().collect::<Vec<_>>(), left);
        let backlog = Backlog::new(left.len() as u64, left.first().map(|oldest| oldest.time));
        assert_eq!(succeed(outbox.backlog()).await, backlog);
    };
    assert_left(&[&all[0], &all[1], &all[2], &all[3]]).await;
    for deleted in [&[&all[0], &all[2]][..], &[&all[0], &all[2]], &[]] {
        delete(&*outbox, deleted).await;
        assert_left(&[&all[1], &all[3]]).await;
    }
    delete(&*outbox, &[&all[1], &all[3]]).await;
    assert_left(&[]).await;
    let written = write(fixture, 1).await;
    assert_eq!(pending_records(&*outbox).await, written);
}

/// A write before or during the wait completes it.
pub async fn a_write_notifies_the_relay(fixture: &dyn OutboxFixture) {
    let outbox = fixture.outbox().await;
    write(fixture, 1).await;
    soon("an earlier change", outbox.wait_for_entries()).await;
    // Two notifications must not complete the next wait.
    let mut left = 0..100;
    while timeout(Duration::ZERO, outbox.wait_for_entries())
        .await
        .is_ok()
    {
        assert!(
            left.next().is_some(),
            "without a change, a wait does not end"
        );
    }
    let waiting = {
        let outbox = Arc::clone(&outbox);
        tokio::spawn(async move { outbox.wait_for_entries().await })
    };
    write(fixture, 1).await;
    soon("a change", waiting).await.expect("a change");
}

/// Under faults and restarts every event is published at least once, and events of one key in
/// order.
pub async fn a_relay_under_faults_loses_nothing(fixture: &dyn OutboxFixture) {
    let outbox = fixture.outbox().await;
    let log = InMemoryLog::default();
    let faults = Faults::new();
    let options = RelayOptions {
        initial_backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(20),
        ..RelayOptions::default()
    };
    let refused = Fault::unavailable;
    let late = Fault::CompleteAfterTimeout(Duration::from_millis(10));
    let mut written = Vec::new();
    // The first relay ends between publishing and deleting, the second one completes.
    for crashes in [true, false] {
        for fault in [refused(), Fault::LoseAnswer] {
            faults.once(Call::Pending, fault);
        }
        for fault in [refused(), Fault::LoseAnswer, late.clone(), refused()] {
            faults.once(Call::Append, fault);
        }
        if crashes {
            faults.always(Call::Delete, refused());
        } else {
            faults.once(Call::Delete, refused());
            faults.once(Call::Delete, Fault::LoseAnswer);
        }
        written.extend(write(fixture, 8).await);
        let relay = Relay::new(
            faulty_outbox(Arc::clone(&outbox), &faults),
            faults.log(Arc::new(log.clone())),
            options.clone(),
        );
        let monitor = relay.monitor();
        let relay = tokio::spawn(relay.run(std::future::pending()));
        let done = async {
            while monitor.status().published < 8
                || faults.calls(Call::Delete) == 0
                || !crashes && !pending(&*outbox).await.is_empty()
            {
                sleep(Duration::from_millis(1)).await;
            }
        };
        soon("the relay publishes", done).await;
        relay.abort();
        drop(relay.await);
        faults.clear(Call::Delete);
    }
    assert_eq!(faults.injected().len(), 7, "{faults:?}");

    let batches: Vec<_> = succeed(async { log.scan_all().await?.try_collect().await }).await;
    let mut published: Vec<LogRecord> = Vec::new();
    for mut record in batches.into_iter().flat_map(|batch| batch.records) {
        // The log has assigned these.
        record.offset = written[0].offset;
        record.time = written[0].time;
        if !published.contains(&record) {
            published.push(record);
        }
    }
    // These keep the order of the records of each key.
    published.sort_by_key(|record| record.key.clone());
    written.sort_by_key(|record| record.key.clone());
    assert_eq!(published, written);
}
