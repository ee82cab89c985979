//! What every log promises to its operators: [`Log`](crate::log::Log), [`LogWriter`](crate::log::LogWriter) and
//! [`LogAdmin`].

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::LogFixture;
use super::fixture::soon;
use super::log_calls::{commit, expected, ids, positions, publish, read};
use super::sample::{at, purchases};
use crate::Purchase;
use crate::log::{
    Batch, DeadLetter, DeadLetterState, Headers, LogAdmin, LogAdminExt, LogRecord, Reason, RecordType,
    Resolution, ResolvedDeadLetter,
};
use crate::record::{Record, decode};
use crate::users::User;

const GROUP: &str = "group";
const DEADLINE: Duration = Duration::from_secs(10);
const OF: RecordType = Purchase::TYPE;

/// Appends a purchase as another producer writes one, without an id, and each of `values`.
async fn append(fixture: &dyn LogFixture, values: &[&'static str]) {
    let writer = fixture.log().writer();
    let headers = Headers::builder().with("their", Some(b"own")).with("none", None).build();
    for value in values {
        let record = LogRecord::new(0, at(0), Some(Bytes::from_static(value.as_bytes())))
            .with_key(Some(Bytes::from_static(b"u1")))
            .with_headers(headers.clone());
        soon("append", writer.append(record)).await.expect("append");
    }
    soon("check", writer.check()).await.expect("check of the writer");
}

const ADA: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

async fn scan(admin: &dyn LogAdmin) -> Vec<Batch> {
    let batches = async { admin.scan().await.expect("scan").try_collect().await.expect("scan") };
    soon("scan", batches).await
}

/// The records of `fixture`, each as the dead letter that could be made of it, in the order of their positions.
async fn as_letters(fixture: &dyn LogFixture, of: RecordType) -> Vec<DeadLetter> {
    let mut letters = Vec::new();
    for Batch { partition, records } in scan(&*fixture.log().admin()).await {
        let letter = |record| DeadLetter::new(record, partition.clone(), Reason::conflict(of), 3);
        letters.extend(records.into_iter().map(letter));
    }
    letters.sort_by_key(DeadLetter::position);
    letters
}

/// Letters about what was appended, put among the dead letters.
async fn put(fixture: &dyn LogFixture, values: &[&'static str], of: RecordType) -> Vec<DeadLetter> {
    append(fixture, values).await;
    let letters = as_letters(fixture, of).await;
    soon("put", fixture.log().dead_letters().put(&letters)).await.expect("put");
    letters
}

/// The pending letters in the order of their positions, and those that were resolved.
async fn states(fixture: &dyn LogFixture) -> (Vec<DeadLetter>, Vec<ResolvedDeadLetter>) {
    let admin = fixture.log().admin();
    let all = async { admin.scan_dead_letters().await.expect("scan").try_collect::<Vec<_>>().await };
    let (mut pending, mut resolved) = (Vec::new(), Vec::new());
    for state in soon("scan the dead letters", all).await.expect("the dead letters") {
        match state {
            DeadLetterState::Pending(mut letter) => {
                // No letter is of an epoch.
                letter.partition.epoch = 0;
                pending.push(letter);
            }
            DeadLetterState::Resolved(letter) => resolved.push(letter),
        }
    }
    pending.sort_by_key(DeadLetter::position);
    (pending, resolved)
}

/// What a writer has appended is in the log with its key, headers and value.
pub async fn appended_records_are_kept_as_given(fixture: &dyn LogFixture) {
    append(fixture, &[ADA, "", "no purchase"]).await;
    let letters = as_letters(fixture, OF).await;
    let values: Vec<_> = letters.iter().map(|letter| letter.record.value.as_deref().unwrap()).collect();
    assert_eq!(values, [ADA.as_bytes(), b"", b"no purchase"]);
    for DeadLetter { record, .. } in &letters {
        assert_eq!(record.key.as_deref(), Some(&b"u1"[..]));
        let headers: Vec<_> = record.headers.iter().collect();
        assert_eq!(headers, [("their", Some(&b"own"[..])), ("none", None)]);
    }
}

/// A scan yields each record that was there when it began, partition by partition in order, and nothing later.
pub async fn a_scan_yields_the_log_as_it_is(fixture: &dyn LogFixture) {
    let (sink, admin) = (fixture.sink().await, fixture.log().admin());
    assert!(scan(&*admin).await.is_empty(), "a new log has no records");
    publish(&*sink, &purchases(0..35)).await;
    let begun = soon("scan", admin.scan()).await.expect("scan");
    publish(&*sink, &purchases(35..40)).await;
    let batches: Vec<Batch> = soon("scan", begun.try_collect()).await.expect("scan");
    assert_eq!(ids(&batches), expected(0..35));
    assert_eq!(batches.iter().map(|batch| batch.records.len()).sum::<usize>(), 35);
    let mut next = BTreeMap::new();
    for Batch { partition, records } in &batches {
        let next = next.entry(partition.index).or_insert_with(|| admin.first_offset());
        for record in records {
            assert_eq!(record.offset, *next, "offsets have no gaps, and begin at the first");
            *next += 1;
        }
    }
    assert_eq!(ids(&scan(&*admin).await), expected(0..40));
}

/// A scan moves no group's position, and takes no partition from a member.
pub async fn a_scan_disturbs_no_group(fixture: &dyn LogFixture) {
    let (sink, source) = (fixture.sink().await, fixture.source(GROUP).await);
    publish(&*sink, &purchases(0..5)).await;
    let batches = read(&*source, 5).await;
    commit(&*source, &positions(&batches)).await;
    assert_eq!(ids(&scan(&*fixture.log().admin()).await), expected(0..5));
    publish(&*sink, &purchases(5..8)).await;
    assert_eq!(ids(&read(&*source, 3).await), expected(5..8));
    soon("close", source.close(DEADLINE)).await.expect("close");
    let source = fixture.source(GROUP).await;
    assert_eq!(ids(&read(&*source, 3).await), expected(5..8));
}

/// A letter that was put twice is listed once, with its record and reason.
pub async fn pending_letters_are_listed_once(fixture: &dyn LogFixture) {
    let letters = put(fixture, &[ADA, "poison", ""], OF).await;
    soon("put", fixture.log().dead_letters().put(&letters)).await.expect("put");
    assert_eq!(states(fixture).await, (letters, vec![]));
}

/// Letters of one partition are listed in the order in which they were put, not in that of their records.
pub async fn pending_letters_keep_their_order(fixture: &dyn LogFixture) {
    append(fixture, &["one", "two", "three"]).await;
    let mut letters = as_letters(fixture, OF).await;
    letters.rotate_left(1);
    let dead_letters = fixture.log().dead_letters();
    for letter in &letters {
        soon("put", dead_letters.put(std::slice::from_ref(letter))).await.expect("put");
    }
    let listed = soon("list", fixture.log().admin().pending_dead_letters()).await.expect("the letters");
    let positions = |letters: &[DeadLetter]| letters.iter().map(DeadLetter::position).collect::<Vec<_>>();
    assert_eq!(positions(&listed), positions(&letters));
}

/// A listing that has begun leaves out a letter that is put before it ends.
pub async fn a_listing_leaves_out_what_comes_later(fixture: &dyn LogFixture) {
    append(fixture, &["one", "two"]).await;
    let (letters, log) = (as_letters(fixture, OF).await, fixture.log());
    soon("put", log.dead_letters().put(&letters[..1])).await.expect("put");
    let listing = soon("list", log.admin().scan_dead_letters()).await.expect("a listing");
    soon("put", log.dead_letters().put(&letters[1..])).await.expect("put");
    let listed: Vec<_> = soon("list", listing.try_collect()).await.expect("the letters");
    let listed: Vec<_> = listed.into_iter().filter_map(DeadLetterState::into_pending).collect();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0].position(), letters[0].position());
}

/// A caller that replays what a listing yields, and whose records are dead-lettered again meanwhile, comes to its end.
pub async fn a_listing_does_not_meet_a_replayed_letter_again(fixture: &dyn LogFixture) {
    let (letters, log) = (put(fixture, &["one", "two", "three"], OF).await, fixture.log());
    let mut listing = soon("list", log.admin().scan_dead_letters()).await.expect("a listing");
    let mut yielded = Vec::new();
    while let Some(state) = soon("list", listing.try_next()).await.expect("a letter") {
        let Some(letter) = state.into_pending() else { continue };
        yielded.push(letter.position());
        soon("replay", log.admin().replay(std::slice::from_ref(&letter), OF)).await.expect("replay");
        soon("put", log.dead_letters().put(&[letter])).await.expect("put");
    }
    assert_eq!(yielded, letters.iter().map(DeadLetter::position).collect::<Vec<_>>());
    assert_eq!(states(fixture).await.0.len(), 3, "all are pending again");
}

/// A purchase that has its id from its position keeps it when its record is published again.
pub async fn a_replayed_record_keeps_its_id(fixture: &dyn LogFixture) {
    let letters = put(fixture, &[ADA], OF).await;
    let replayed = soon("replay", fixture.log().admin().replay(&letters, OF)).await.expect("replay");
    assert_eq!(replayed, 1);
    let records = as_letters(fixture, OF).await;
    let purchases =
        records.iter().map(|letter| decode(&letter.record, &letter.partition).expect("a purchase"));
    let ids: Vec<_> = purchases.map(|purchase| purchase.id).collect();
    assert_eq!(ids, [ids[0]; 2]);
    assert_eq!(records[1].record.headers.get("their"), Some(&b"own"[..]));
    assert_eq!(
        (&records[1].record.key, &records[1].record.value),
        (&letters[0].record.key, &letters[0].record.value)
    );
}

/// An event, whose type has no id in a header, is published again as it was.
pub async fn a_replayed_event_is_unchanged(fixture: &dyn LogFixture) {
    let letters = put(fixture, &["no user"], User::TYPE).await;
    let replayed = fixture.log().admin();
    assert_eq!(soon("replay", replayed.replay(&letters, User::TYPE)).await.expect("replay"), 1);
    let records = as_letters(fixture, User::TYPE).await;
    let [first, second] = &records[..] else { panic!("two records: {records:?}") };
    assert_eq!(first.record.headers, second.record.headers);
    assert_eq!((&first.record.key, &first.record.value), (&second.record.key, &second.record.value));
    assert_eq!(states(fixture).await.1[0].id, None);
}

/// A letter that was replayed is known as resolved, with the ids of its record.
pub async fn a_replayed_letter_is_resolved(fixture: &dyn LogFixture) {
    let letters = put(fixture, &[ADA, "poison"], OF).await;
    soon("replay", fixture.log().admin().replay(&letters[..1], OF)).await.expect("replay");
    let resolved = ResolvedDeadLetter::new(letters[0].record_id(), letters[0].id(OF), Resolution::Replayed);
    assert!(resolved.id.is_some());
    assert_eq!(states(fixture).await, (letters[1..].to_vec(), vec![resolved]));
    let admin = fixture.log().admin();
    let pending = soon("list the pending letters", admin.pending_dead_letters()).await.expect("the letters");
    assert_eq!(pending.len(), 1);
}

/// A letter that was discarded is known as resolved, and its record is not published again.
pub async fn a_discarded_letter_is_resolved(fixture: &dyn LogFixture) {
    let letters = put(fixture, &["poison", "more poison"], OF).await;
    let discarded = soon("discard", fixture.log().admin().discard(&letters[..1], OF)).await.expect("discard");
    assert_eq!(discarded, 1);
    let resolved = ResolvedDeadLetter::new(letters[0].record_id(), letters[0].id(OF), Resolution::Dropped);
    assert_eq!(states(fixture).await, (letters[1..].to_vec(), vec![resolved]));
    assert_eq!(as_letters(fixture, OF).await.len(), 2);
}

/// A letter that is put again after it was resolved is pending again.
pub async fn a_letter_put_again_is_pending_again(fixture: &dyn LogFixture) {
    let letters = put(fixture, &["poison"], OF).await;
    soon("discard", fixture.log().admin().discard(&letters, OF)).await.expect("discard");
    assert_eq!(states(fixture).await.0, []);
    soon("put", fixture.log().dead_letters().put(&letters)).await.expect("put");
    assert_eq!(states(fixture).await.0, letters);
}

/// To replay or to discard nothing succeeds, and changes nothing.
pub async fn resolving_nothing_changes_nothing(fixture: &dyn LogFixture) {
    let letters = put(fixture, &["poison"], OF).await;
    let admin = fixture.log().admin();
    assert_eq!(soon("replay", admin.replay(&[], OF)).await.expect("replay"), 0);
    assert_eq!(soon("discard", admin.discard(&[], OF)).await.expect("discard"), 0);
    assert_eq!(states(fixture).await, (letters, vec![]));
    assert_eq!(as_letters(fixture, OF).await.len(), 1);
}

/// Writer, sources, dead letters and admin of one log are of one topic.
pub async fn the_ports_share_one_topic(fixture: &dyn LogFixture) {
    append(fixture, &[ADA]).await;
    let source = fixture.source(GROUP).await;
    let batches = read(&*source, 1).await;
    let letters = as_letters(fixture, OF).await;
    assert_eq!(letters[0].record, batches[0].records[0]);
    let Batch { partition, records } = &batches[0];
    let letter = DeadLetter::new(records[0].clone(), partition.clone(), Reason::conflict(OF), 1);
    assert_eq!((letter.position(), letter.record_id()), (letters[0].position(), letters[0].record_id()));
    soon("put", fixture.log().dead_letters().put(&[letter])).await.expect("put");
    assert_eq!(states(fixture).await.0.len(), 1);
}
