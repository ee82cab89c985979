//! The tests of every [`Outbox`], and of a relay that publishes from it.

use super::faulty::faulty_outbox;
use super::prelude::*;
use crate::outbox::{Backlog, Relay, RelayOptions};
use futures_util::future::join;
use futures_util::{FutureExt, TryStreamExt};
use shop_core::Bytes;
use shop_core::conformance::declared;
use shop_core::conformance::fault::{Call, Fault, Faults};
use shop_core::log::{Headers, LogAdmin, LogRecord};
use shop_core::memory::InMemoryLog;
use shop_core::record::Event;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

async fn pending(outbox: &dyn Outbox, limit: usize) -> Vec<OutboxEntry> {
    soon("pending", outbox.pending(limit))
        .await
        .expect("pending")
}

async fn write(fixture: &dyn OutboxFixture, count: usize) -> Vec<LogRecord> {
    let mut written = Vec::new();
    for _ in 0..count {
        written.push(soon("write", fixture.write()).await);
    }
    written
}

/// The parts of a record that an outbox stores; the log assigns offset and timestamp.
type Content = (Option<Bytes>, Headers, Option<Bytes>);

fn content(record: LogRecord) -> Content {
    (record.key, record.headers, record.value)
}

fn contents(records: impl IntoIterator<Item = LogRecord>) -> Vec<Content> {
    records.into_iter().map(content).collect()
}

fn contents_of_entries(entries: Vec<OutboxEntry>) -> Vec<Content> {
    contents(entries.into_iter().map(|entry| entry.record))
}

/// Entries are in the order of the writes, with the records' keys and headers. The oldest are listed
/// first.
pub async fn entries_keep_their_order(fixture: &dyn OutboxFixture) {
    let outbox = fixture.outbox().await;
    assert_eq!(pending(&*outbox, 10).await, []);
    let written = write(fixture, 5).await;
    let found = pending(&*outbox, 10).await;
    let is_ascending = found.is_sorted_by(|one, next| one.id < next.id && one.time <= next.time);
    assert!(is_ascending, "{found:?}");
    assert_eq!(pending(&*outbox, 2).await, found[..2]);
    assert_eq!(contents_of_entries(found), contents(written));
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

fn encoded<const N: usize>(events: [&User; N]) -> Vec<Content> {
    contents(events.map(|event| event.encode().expect("a record")))
}

async fn pending_contents(outbox: &dyn Outbox) -> Vec<Content> {
    contents_of_entries(pending(outbox, 10).await)
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
    let pending = pending_contents(&*outbox).await;
    assert_eq!(
        pending,
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
        let found = pending(&*outbox, 10).await;
        outbox.delete(&[found[0].id]).await.expect("delete");
        contents_of_entries(found)
    });
    assert_eq!(found.await, encoded([&early]));
    assert_eq!(pending_contents(&*outbox).await, encoded([&late]));
}

/// Ids ascend even after some of the newest entries were deleted, or all, or none. A relay loses
/// events whose ids are used again.
pub async fn an_id_is_never_reused(fixture: &dyn OutboxFixture) {
    let outbox = fixture.outbox().await;
    let mut greatest = i64::MIN;
    for deleted in [1, 2, 5, 1, 0, 3] {
        write(fixture, 2).await;
        let all = pending(&*outbox, 100).await;
        let mut ids: Vec<i64> = all.iter().map(|entry| entry.id).collect();
        let newest = ids.len().saturating_sub(2);
        for id in &ids[newest..] {
            assert!(*id > greatest, "{id} after {greatest}");
            greatest = *id;
        }
        ids.reverse();
        ids.truncate(deleted);
        soon("delete", outbox.delete(&ids)).await.expect("delete");
    }
}

/// Deleted entries stay deleted even if nothing else was written. The backlog has the number of
/// pending entries, and the time of the oldest.
pub async fn deleted_entries_stay_deleted(fixture: &dyn OutboxFixture) {
    let outbox = fixture.outbox().await;
    let delete = async |entries: &[&OutboxEntry]| {
        let ids: Vec<i64> = entries.iter().map(|entry| entry.id).collect();
        soon("delete", outbox.delete(&ids)).await.expect("delete");
    };
    let backlog = async || soon("backlog", outbox.backlog()).await.expect("backlog");
    assert_eq!(backlog().await, Backlog::default());
    write(fixture, 4).await;
    let all = pending(&*outbox, 10).await;
    assert_eq!(backlog().await, Backlog::new(4, Some(all[0].time)));
    for deleted in [&[&all[0], &all[2]][..], &[&all[0], &all[2]], &[]] {
        delete(deleted).await;
        let left = pending(&*outbox, 10).await;
        assert_eq!(left, [all[1].clone(), all[3].clone()]);
        assert_eq!(backlog().await, Backlog::new(2, Some(all[1].time)));
    }
    delete(&[&all[1], &all[3]]).await;
    assert_eq!(pending(&*outbox, 10).await, []);
    let written = write(fixture, 1).await;
    assert_eq!(pending_contents(&*outbox).await, contents(written));
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

async fn published(log: &InMemoryLog) -> Vec<Content> {
    let batches: Vec<_> = log
        .scan()
        .await
        .expect("a scan")
        .try_collect()
        .await
        .expect("the records");
    contents(batches.into_iter().flat_map(|batch| batch.records))
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
    let start = || {
        let relay = Relay::new(
            faulty_outbox(Arc::clone(&outbox), &faults),
            faults.writer(Arc::new(log.clone())),
            options.clone(),
        );
        (
            relay.monitor(),
            tokio::spawn(relay.run(std::future::pending())),
        )
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
        let (monitor, relay) = start();
        let is_done = async || match crashes {
            true => faults.injected().contains_key(&(Call::Delete, "Refuse")),
            false => outbox.pending(1).await.unwrap().is_empty(),
        };
        let done = async {
            while monitor.status().published < 8 || !is_done().await {
                sleep(Duration::from_millis(1)).await;
            }
        };
        soon("the relay publishes", done).await;
        relay.abort();
        drop(relay.await);
        faults.clear(Call::Delete);
    }
    assert_eq!(faults.injected().len(), 7, "{faults:?}");
    let mut first: Vec<Content> = Vec::new();
    for content in published(&log).await {
        if !first.contains(&content) {
            first.push(content);
        }
    }
    assert_eq!(by_key(first), by_key(contents(written)));
}

fn by_key(contents: Vec<Content>) -> BTreeMap<Option<Bytes>, Vec<Content>> {
    let mut keys = BTreeMap::<_, Vec<_>>::new();
    contents
        .into_iter()
        .for_each(|content| keys.entry(content.0.clone()).or_default().push(content));
    keys
}
