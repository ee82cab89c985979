//! The tests of the administrative ports of every log: [`Log`](crate::log::Log),
//! [`LogWriter`](crate::log::LogWriter) and [`LogAdmin`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::LogFixture;
use super::fixture::{sink_and_source, soon};
use super::log_calls::{GROUP, close, commit, expected, ids, positions, publish, read};
pub use super::log_tail::{
    a_tail_starts_at_offsets, a_tail_yields_later_records, groups_are_listed_reset_and_forgotten,
    positions_are_the_committed_offsets_of_a_group,
};
use super::sample::{at, purchases};
use crate::log::{
    Batch, DeadLetter, DeadLetterFilter, DeadLetterState, Gap, GapCause, Headers, LogAdmin,
    LogAdminExt, LogRecord, Reason, ReasonKind, RecordPosition, RecordType, Resolution,
    ResolveOptions, ResolvedDeadLetter, resolve,
};
use crate::record::{Record, decode};
use crate::{ErrorKind, Purchase, Timestamp};

const OF: RecordType = Purchase::TYPE;
const EVENT: RecordType = RecordType::new("record");

/// Appends raw records with `values` and without an id, as another producer would.
async fn append(fixture: &dyn LogFixture, values: &[&'static str]) {
    let writer = fixture.log().writer();
    let headers = Headers::builder()
        .with("their", Some(b"own"))
        .with("none", None)
        .build();
    for value in values {
        let record = LogRecord::new(0, at(0), Some(Bytes::from_static(value.as_bytes())))
            .with_key(Some(Bytes::from_static(b"u1")))
            .with_headers(headers.clone());
        soon("append", writer.append(record)).await.expect("append");
    }
    soon("check", writer.check())
        .await
        .expect("check of the writer");
}

const ADA: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

async fn scan(admin: &dyn LogAdmin) -> Vec<Batch> {
    let batches = async {
        admin
            .scan()
            .await
            .expect("scan")
            .try_collect()
            .await
            .expect("scan")
    };
    soon("scan", batches).await
}

/// The records of `fixture` as dead letters, ordered by position.
async fn as_dead_letters(fixture: &dyn LogFixture, of: RecordType) -> Vec<DeadLetter> {
    let mut dead_letters = Vec::new();
    for Batch { partition, records } in scan(&*fixture.log().admin()).await {
        let dead_letter =
            |record| DeadLetter::new(record, partition.clone(), Reason::conflict(of), 3);
        dead_letters.extend(records.into_iter().map(dead_letter));
    }
    dead_letters.sort_by_key(DeadLetter::position);
    dead_letters
}

/// Appends records and puts dead letters about them.
async fn put(fixture: &dyn LogFixture, values: &[&'static str], of: RecordType) -> Vec<DeadLetter> {
    append(fixture, values).await;
    let dead_letters = as_dead_letters(fixture, of).await;
    soon("put", fixture.log().dead_letters().put(&dead_letters))
        .await
        .expect("put");
    dead_letters
}

/// The pending dead letters ordered by position, and the resolved ones.
async fn states(fixture: &dyn LogFixture) -> (Vec<DeadLetter>, Vec<ResolvedDeadLetter>) {
    let admin = fixture.log().admin();
    let all = async {
        admin
            .scan_dead_letters()
            .await
            .expect("scan")
            .try_collect::<Vec<_>>()
            .await
    };
    let mut pending = Vec::new();
    let mut resolved = Vec::new();
    for state in soon("scan the dead letters", all)
        .await
        .expect("the dead letters")
    {
        match state {
            DeadLetterState::Pending(mut dead_letter) => {
                // Dead letters have no epoch.
                dead_letter.partition.epoch = 0;
                pending.push(dead_letter);
            }
            DeadLetterState::Resolved(dead_letter) => resolved.push(dead_letter),
        }
    }
    pending.sort_by_key(DeadLetter::position);
    (pending, resolved)
}

/// Appended records are in the log with their key, headers and value.
pub async fn appended_records_are_unchanged(fixture: &dyn LogFixture) {
    append(fixture, &[ADA, "", "no purchase"]).await;
    let dead_letters = as_dead_letters(fixture, OF).await;
    let values: Vec<_> = dead_letters
        .iter()
        .map(|dead_letter| dead_letter.record.value.as_deref().unwrap())
        .collect();
    assert_eq!(values, [ADA.as_bytes(), b"", b"no purchase"]);
    for DeadLetter { record, .. } in &dead_letters {
        assert_eq!(record.key.as_deref(), Some(&b"u1"[..]));
        let headers: Vec<_> = record.headers.iter().collect();
        assert_eq!(headers, [("their", Some(&b"own"[..])), ("none", None)]);
    }
}

/// A scan yields the records that exist when it begins, per partition in order, and no later ones.
pub async fn a_scan_yields_the_whole_log(fixture: &dyn LogFixture) {
    let sink = fixture.sink().await;
    let admin = fixture.log().admin();
    assert!(scan(&*admin).await.is_empty(), "a new log has no records");
    publish(&*sink, &purchases(0..35)).await;
    let begun = soon("scan", admin.scan()).await.expect("scan");
    publish(&*sink, &purchases(35..40)).await;
    let batches: Vec<Batch> = soon("scan", begun.try_collect()).await.expect("scan");
    assert_eq!(ids(&batches), expected(0..35));
    assert_eq!(
        batches
            .iter()
            .map(|batch| batch.records.len())
            .sum::<usize>(),
        35
    );
    let mut next = BTreeMap::new();
    for Batch { partition, records } in &batches {
        let next = next
            .entry(partition.index)
            .or_insert_with(|| admin.first_offset());
        for record in records {
            assert_eq!(
                record.offset, *next,
                "offsets have no gaps, and begin at the first"
            );
            *next += 1;
        }
    }
    assert_eq!(ids(&scan(&*admin).await), expected(0..40));
}

/// A scan moves no position and takes no partition from a member.
pub async fn a_scan_disturbs_no_group(fixture: &dyn LogFixture) {
    let (sink, source) = sink_and_source(fixture, GROUP).await;
    publish(&*sink, &purchases(0..5)).await;
    let batches = read(&*source, 5).await;
    commit(&*source, &positions(&batches)).await;
    assert_eq!(ids(&scan(&*fixture.log().admin()).await), expected(0..5));
    publish(&*sink, &purchases(5..8)).await;
    assert_eq!(ids(&read(&*source, 3).await), expected(5..8));
    close(&*source).await;
    let source = fixture.source(GROUP).await;
    assert_eq!(ids(&read(&*source, 3).await), expected(5..8));
}

/// Resolves the dead letters at `positions`. Returns these for each, and whether it was resolved.
async fn resolved(
    fixture: &dyn LogFixture,
    positions: &BTreeSet<RecordPosition>,
    resolution: Resolution,
    dry_run: bool,
) -> Vec<(RecordPosition, bool)> {
    let admin = fixture.log().admin();
    let mut found = Vec::new();
    let filter = DeadLetterFilter::default().positions(positions.clone());
    let selected = soon("select", admin.select_dead_letters(filter))
        .await
        .expect("select");
    let options = ResolveOptions::new(resolution).dry_run(dry_run);
    let done = resolve(&*admin, OF, selected, &options, |letter, refused| {
        found.push((letter.position(), refused.is_none()));
        true
    });
    soon("resolve", done).await.expect("resolve");
    found
}

/// [`resolve`] resolves only the dead letters at the given positions, and leaves out positions
/// without one. A dry run changes nothing, and a repetition finds nothing.
pub async fn dead_letters_are_resolved_by_position(fixture: &dyn LogFixture) {
    let all = put(fixture, &[ADA, "poison", ""], OF).await;
    let replay = Resolution::Replayed;
    let drop = Resolution::Dropped;
    let of = |dead_letters: &[DeadLetter]| {
        dead_letters
            .iter()
            .map(DeadLetter::position)
            .collect::<BTreeSet<_>>()
    };
    let done = |dead_letters: &[DeadLetter]| {
        of(dead_letters)
            .into_iter()
            .map(|position| (position, true))
            .collect::<Vec<_>>()
    };
    let mut asked = of(&all[..1]);
    asked.insert(RecordPosition::new("elsewhere", 0, 7));
    for resolution in [replay, drop] {
        assert_eq!(
            resolved(fixture, &asked, resolution, true).await,
            done(&all[..1])
        );
    }
    assert_eq!(
        states(fixture).await,
        (all.clone(), vec![]),
        "a dry run changes nothing"
    );
    assert_eq!(
        resolved(fixture, &asked, replay, false).await,
        done(&all[..1])
    );
    assert_eq!(
        resolved(fixture, &asked, replay, false).await,
        [],
        "a record is replayed once"
    );
    assert_eq!(
        resolved(fixture, &of(&all), drop, false).await,
        done(&all[1..])
    );
    assert_eq!(states(fixture).await.0, []);
    let records: usize = scan(&*fixture.log().admin())
        .await
        .iter()
        .map(|batch| batch.records.len())
        .sum();
    assert_eq!(records, 4, "one was published again");
}

/// Pages follow each other by position, whatever the order of the puts, and have those that the
/// filter selects.
pub async fn dead_letters_are_found_by_position(fixture: &dyn LogFixture) {
    append(fixture, &["one", "two", "three", "four"]).await;
    let mut all = as_dead_letters(fixture, OF).await;
    all[2].reason = Reason::parked("by hand");
    all.rotate_left(1);
    soon("put", fixture.log().dead_letters().put(&all))
        .await
        .expect("put");
    all.sort_by_key(DeadLetter::position);
    let admin = fixture.log().admin();
    let mut filter = DeadLetterFilter::default();
    let mut found = Vec::new();
    loop {
        let page = soon("list", admin.dead_letters(&filter, 3))
            .await
            .expect("a page");
        let Some(last) = page.last() else { break };
        filter = filter.after(Some(last.position()));
        found.extend(page);
        assert!(found.len() <= all.len(), "the pages end");
    }
    assert_eq!(found, all);
    let parked = DeadLetterFilter::default().reason(Some(ReasonKind::Parked));
    let found = soon("list", admin.dead_letters(&parked, 3))
        .await
        .expect("a page");
    let expected: Vec<_> = all
        .iter()
        .filter(|one| one.reason.kind() == ReasonKind::Parked)
        .cloned()
        .collect();
    assert_eq!((found.len(), found), (1, expected));
    let none = DeadLetterFilter::default().since(Some(Timestamp::MAX));
    assert_eq!(
        soon("list", admin.dead_letters(&none, 3))
            .await
            .expect("a page"),
        []
    );
    let none = DeadLetterFilter::default().until(Some(Timestamp::MIN));
    assert_eq!(
        soon("list", admin.dead_letters(&none, 3))
            .await
            .expect("a page"),
        []
    );
    let positions = BTreeSet::from([all[1].position(), RecordPosition::new("elsewhere", 0, 7)]);
    let at = DeadLetterFilter::default().positions(positions);
    assert_eq!(
        soon("find", admin.dead_letters(&at, 3))
            .await
            .expect("found"),
        all[1..2]
    );
    let selected = admin.select_dead_letters(at).await.expect("select");
    assert_eq!(
        soon("select", selected.try_collect::<Vec<_>>())
            .await
            .expect("select"),
        all[1..2]
    );
}

/// A dead letter that was put twice is listed once, with its record and reason.
pub async fn pending_dead_letters_are_listed_once(fixture: &dyn LogFixture) {
    let dead_letters = put(fixture, &[ADA, "poison", ""], OF).await;
    soon("put", fixture.log().dead_letters().put(&dead_letters))
        .await
        .expect("put");
    assert_eq!(states(fixture).await, (dead_letters, vec![]));
}

/// Dead letters of one partition are listed in the order in which they were put, not by offset.
pub async fn pending_dead_letters_keep_their_order(fixture: &dyn LogFixture) {
    append(fixture, &["one", "two", "three"]).await;
    let mut dead_letters = as_dead_letters(fixture, OF).await;
    dead_letters.rotate_left(1);
    let port = fixture.log().dead_letters();
    for dead_letter in &dead_letters {
        soon("put", port.put(std::slice::from_ref(dead_letter)))
            .await
            .expect("put");
    }
    let listed = soon("list", fixture.log().admin().pending_dead_letters())
        .await
        .expect("the dead letters");
    let positions = |dead_letters: &[DeadLetter]| {
        dead_letters
            .iter()
            .map(DeadLetter::position)
            .collect::<Vec<_>>()
    };
    assert_eq!(positions(&listed), positions(&dead_letters));
}

/// A listing excludes dead letters that are put after it began.
pub async fn a_listing_excludes_later_dead_letters(fixture: &dyn LogFixture) {
    append(fixture, &["one", "two"]).await;
    let dead_letters = as_dead_letters(fixture, OF).await;
    let log = fixture.log();
    soon("put", log.dead_letters().put(&dead_letters[..1]))
        .await
        .expect("put");
    let listing = soon("list", log.admin().scan_dead_letters())
        .await
        .expect("a listing");
    soon("put", log.dead_letters().put(&dead_letters[1..]))
        .await
        .expect("put");
    let listed: Vec<_> = soon("list", listing.try_collect())
        .await
        .expect("the dead letters");
    let listed: Vec<_> = listed
        .into_iter()
        .filter_map(DeadLetterState::into_pending)
        .collect();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0].position(), dead_letters[0].position());
}

/// A caller that replays each listed dead letter terminates, even if the records are dead-lettered
/// again meanwhile.
pub async fn a_listing_does_not_repeat_a_replayed_dead_letter(fixture: &dyn LogFixture) {
    let dead_letters = put(fixture, &["one", "two", "three"], OF).await;
    let log = fixture.log();
    let mut listing = soon("list", log.admin().scan_dead_letters())
        .await
        .expect("a listing");
    let mut yielded = Vec::new();
    while let Some(state) = soon("list", listing.try_next())
        .await
        .expect("a dead letter")
    {
        let Some(dead_letter) = state.into_pending() else {
            continue;
        };
        yielded.push(dead_letter.position());
        assert!(yielded.len() <= dead_letters.len(), "the listing ends");
        soon(
            "replay",
            log.admin()
                .resolve(&[dead_letter], OF, Resolution::Replayed),
        )
        .await
        .expect("replay");
        let mut failed_again = as_dead_letters(fixture, OF).await;
        failed_again.retain(|record| !dead_letters.contains(record));
        soon("put", log.dead_letters().put(&failed_again))
            .await
            .expect("put");
    }
    assert_eq!(
        yielded,
        dead_letters
            .iter()
            .map(DeadLetter::position)
            .collect::<Vec<_>>()
    );
    assert_eq!(
        states(fixture).await.0.len(),
        3,
        "all replayed records are dead-lettered again"
    );
}

/// A purchase whose id is derived from its position keeps it when it is replayed.
pub async fn a_replayed_record_keeps_its_id(fixture: &dyn LogFixture) {
    let dead_letters = put(fixture, &[ADA], OF).await;
    let replayed = soon(
        "replay",
        fixture
            .log()
            .admin()
            .resolve(&dead_letters, OF, Resolution::Replayed),
    )
    .await
    .expect("replay");
    assert_eq!(replayed, 1);
    let records = as_dead_letters(fixture, OF).await;
    let purchases = records.iter().map(|dead_letter| {
        decode(&dead_letter.record, &dead_letter.partition).expect("a purchase")
    });
    let ids: Vec<_> = purchases.map(|purchase| purchase.id).collect();
    assert_eq!(ids, [ids[0]; 2]);
    assert_eq!(records[1].record.headers.get("their"), Some(&b"own"[..]));
    assert_eq!(
        (&records[1].record.key, &records[1].record.value),
        (&dead_letters[0].record.key, &dead_letters[0].record.value)
    );
}

/// An event, whose type has no id header, is replayed unchanged.
pub async fn a_replayed_event_is_unchanged(fixture: &dyn LogFixture) {
    let dead_letters = put(fixture, &["no user"], EVENT).await;
    let replayed = fixture.log().admin();
    assert_eq!(
        soon(
            "replay",
            replayed.resolve(&dead_letters, EVENT, Resolution::Replayed)
        )
        .await
        .expect("replay"),
        1
    );
    let records = as_dead_letters(fixture, EVENT).await;
    let [first, second] = &records[..] else {
        panic!("two records: {records:?}")
    };
    assert_eq!(first.record.headers, second.record.headers);
    assert_eq!(
        (&first.record.key, &first.record.value),
        (&second.record.key, &second.record.value)
    );
    assert_eq!(states(fixture).await.1[0].id, None);
}

/// A replayed dead letter is listed as resolved, with the ids of its record.
pub async fn a_replayed_dead_letter_is_resolved(fixture: &dyn LogFixture) {
    let dead_letters = put(fixture, &[ADA, "poison"], OF).await;
    soon(
        "replay",
        fixture
            .log()
            .admin()
            .resolve(&dead_letters[..1], OF, Resolution::Replayed),
    )
    .await
    .expect("replay");
    let resolved = ResolvedDeadLetter::new(
        dead_letters[0].record_id(),
        dead_letters[0].id(OF),
        Resolution::Replayed,
    );
    assert!(resolved.id.is_some());
    assert_eq!(
        states(fixture).await,
        (dead_letters[1..].to_vec(), vec![resolved])
    );
    let admin = fixture.log().admin();
    let pending = soon(
        "list the pending dead letters",
        admin.pending_dead_letters(),
    )
    .await
    .expect("the dead letters");
    assert_eq!(pending.len(), 1);
}

/// A discarded dead letter is listed as resolved, and its record is not published again.
pub async fn a_discarded_dead_letter_is_resolved(fixture: &dyn LogFixture) {
    let dead_letters = put(fixture, &["poison", "more poison"], OF).await;
    let discarded = soon(
        "discard",
        fixture
            .log()
            .admin()
            .resolve(&dead_letters[..1], OF, Resolution::Dropped),
    )
    .await
    .expect("discard");
    assert_eq!(discarded, 1);
    let resolved = ResolvedDeadLetter::new(
        dead_letters[0].record_id(),
        dead_letters[0].id(OF),
        Resolution::Dropped,
    );
    assert_eq!(
        states(fixture).await,
        (dead_letters[1..].to_vec(), vec![resolved])
    );
    assert_eq!(as_dead_letters(fixture, OF).await.len(), 2);
}

/// A dead letter that was replayed or discarded is not pending again when its record is delivered
/// again.
pub async fn a_resolved_dead_letter_stays_resolved(fixture: &dyn LogFixture) {
    let dead_letters = put(fixture, &["one", "two", "three"], OF).await;
    let log = fixture.log();
    soon(
        "replay",
        log.admin()
            .resolve(&dead_letters[..1], OF, Resolution::Replayed),
    )
    .await
    .expect("replay");
    soon(
        "discard",
        log.admin()
            .resolve(&dead_letters[1..2], OF, Resolution::Dropped),
    )
    .await
    .expect("discard");
    let before = states(fixture).await;
    assert_eq!((&before.0[..], before.1.len()), (&dead_letters[2..], 2));
    soon("put", log.dead_letters().put(&dead_letters))
        .await
        .expect("put");
    assert_eq!(states(fixture).await, before);
}

/// A record at a reused offset, and gaps that end there, are separate dead letters. Their
/// position selects all of them.
pub async fn dead_letters_at_one_offset_are_distinct(fixture: &dyn LogFixture) {
    let letters = put(fixture, &["one", "two"], OF).await;
    let log = fixture.log();
    let [other, first] = &letters[..] else {
        panic!("two records of {letters:?}")
    };
    let mut reused = first.clone();
    reused.record.time = first.record.time.saturating_add(Duration::from_millis(1));
    let offset = first.record.offset;
    let gap = |from| {
        Gap::new(
            first.partition.clone(),
            from,
            offset + 1,
            GapCause::Truncated,
        )
        .to_dead_letter(at(1))
    };
    let gaps = [gap(offset), gap(offset - 1)];
    let all = [
        first.clone(),
        reused.clone(),
        gaps[0].clone(),
        gaps[1].clone(),
    ];
    let pending = async || {
        states(fixture)
            .await
            .0
            .iter()
            .map(DeadLetter::record_id)
            .collect::<BTreeSet<_>>()
    };
    let ids = |letters: &[&[DeadLetter]]| {
        letters
            .iter()
            .copied()
            .flatten()
            .map(DeadLetter::record_id)
            .collect::<BTreeSet<_>>()
    };
    let rest = std::slice::from_ref(other);
    for _ in 0..2 {
        soon("put", log.dead_letters().put(&all))
            .await
            .expect("put");
        assert_eq!(pending().await, ids(&[rest, &all]));
    }
    let contains = log
        .dead_letters()
        .contains(&reused.record, &reused.partition)
        .await;
    assert!(contains.expect("contains"));
    soon(
        "discard",
        log.admin().resolve(&all[..1], OF, Resolution::Dropped),
    )
    .await
    .expect("discard");
    assert_eq!(pending().await, ids(&[rest, &all[1..]]), "the others stay");

    let chosen = BTreeSet::from([first.position()]);
    let run = async |resolution: Resolution| {
        let all = resolved(fixture, &chosen, resolution, false).await;
        all.into_iter().map(|(_, done)| done).collect::<Vec<_>>()
    };
    assert_eq!(run(Resolution::Replayed).await, [false, false, true]);
    assert_eq!(pending().await, ids(&[rest, &gaps]), "no gap is replayed");
    assert_eq!(run(Resolution::Replayed).await, [false; 2]);
    assert_eq!(run(Resolution::Dropped).await, [true; 2]);
    assert_eq!(pending().await, ids(&[rest]));
    soon("put", log.dead_letters().put(&all))
        .await
        .expect("put");
    assert_eq!(
        pending().await,
        ids(&[rest, &gaps]),
        "the same offsets may be lost again"
    );
}

/// Replaying or discarding nothing succeeds and changes nothing.
pub async fn resolving_nothing_changes_nothing(fixture: &dyn LogFixture) {
    let dead_letters = put(fixture, &["poison"], OF).await;
    let admin = fixture.log().admin();
    assert_eq!(
        soon("replay", admin.resolve(&[], OF, Resolution::Replayed))
            .await
            .expect("replay"),
        0
    );
    assert_eq!(
        soon("discard", admin.resolve(&[], OF, Resolution::Dropped))
            .await
            .expect("discard"),
        0
    );
    assert_eq!(states(fixture).await, (dead_letters, vec![]));
    assert_eq!(as_dead_letters(fixture, OF).await.len(), 1);
}

/// The dead letter of a gap is listed with its offsets and can be discarded. It has no record to
/// replay.
pub async fn a_gap_is_not_replayed(fixture: &dyn LogFixture) {
    append(fixture, &[ADA]).await;
    let [first] = &as_dead_letters(fixture, OF).await[..] else {
        panic!("one record")
    };
    let gap = Gap::new(
        first.partition.clone(),
        first.record.offset + 1,
        450,
        GapCause::Deleted,
    );
    let dead_letters = fixture.log().dead_letters();
    for detected_at in [at(1), at(2)] {
        soon("put", dead_letters.put(&[gap.to_dead_letter(detected_at)]))
            .await
            .expect("put");
    }
    let (pending, _) = states(fixture).await;
    let [dead_letter] = &pending[..] else {
        panic!("one dead letter of {pending:?}")
    };
    assert_eq!(dead_letter.gap(), Some(gap));
    let admin = fixture.log().admin();
    let error = soon("replay", admin.resolve(&pending, OF, Resolution::Replayed))
        .await
        .expect_err("nothing to replay");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        as_dead_letters(fixture, OF).await.len(),
        1,
        "nothing was published"
    );
    assert_eq!(
        soon("discard", admin.resolve(&pending, OF, Resolution::Dropped))
            .await
            .expect("discard"),
        1
    );
    assert!(states(fixture).await.0.is_empty());
}

/// Writer, sources, dead letters and admin of one log share its topic.
pub async fn the_ports_share_one_topic(fixture: &dyn LogFixture) {
    append(fixture, &[ADA]).await;
    let source = fixture.source(GROUP).await;
    let batches = read(&*source, 1).await;
    let dead_letters = as_dead_letters(fixture, OF).await;
    assert_eq!(dead_letters[0].record, batches[0].records[0]);
    let Batch { partition, records } = &batches[0];
    let dead_letter = DeadLetter::new(
        records[0].clone(),
        partition.clone(),
        Reason::conflict(OF),
        1,
    );
    assert_eq!(
        (dead_letter.position(), dead_letter.record_id()),
        (dead_letters[0].position(), dead_letters[0].record_id())
    );
    soon("put", fixture.log().dead_letters().put(&[dead_letter]))
        .await
        .expect("put");
    assert_eq!(states(fixture).await.0.len(), 1);
}

/// A record is found by its position. A position without a record has none.
pub async fn a_record_is_found_by_its_position(fixture: &dyn LogFixture) {
    append(fixture, &[ADA, "poison", ""]).await;
    let admin = fixture.log().admin();
    for DeadLetter {
        partition, record, ..
    } in as_dead_letters(fixture, OF).await
    {
        let found = soon("find", admin.find(partition.index, record.offset))
            .await
            .expect("find");
        assert_eq!(found, Some((partition, record)));
    }
    for (index, offset) in [(0, 1_000), (1_000, admin.first_offset())] {
        assert_eq!(
            soon("find", admin.find(index, offset)).await.expect("find"),
            None
        );
    }
}

/// The dead letters contain a record from the time its dead letter was put, also when it is
/// resolved, and no others.
pub async fn a_dead_letter_is_found_by_its_record(fixture: &dyn LogFixture) {
    append(fixture, &["poison", "more poison"]).await;
    let all = as_dead_letters(fixture, OF).await;
    let reader = fixture.log().dead_letters();
    let log = fixture.log();
    let contained = async || {
        let mut contained = Vec::new();
        for DeadLetter {
            partition, record, ..
        } in &all
        {
            contained.push(
                soon("contains", reader.contains(record, partition))
                    .await
                    .expect("contains"),
            );
        }
        contained
    };
    assert_eq!(contained().await, [false, false]);
    soon("put", log.dead_letters().put(&all[..1]))
        .await
        .expect("put");
    assert_eq!(contained().await, [true, false]);
    soon(
        "discard",
        log.admin().resolve(&all[..1], OF, Resolution::Dropped),
    )
    .await
    .expect("discard");
    soon("put", log.dead_letters().put(&all[1..]))
        .await
        .expect("put");
    assert_eq!(contained().await, [true, true]);
}

/// Consumers receive an erased record at its position, without its content. Erasing it again
/// changes nothing.
pub async fn an_erased_record_keeps_its_position(fixture: &dyn LogFixture) {
    append(fixture, &[ADA, ADA, "poison"]).await;
    let admin = fixture.log().admin();
    let positions: Vec<_> = as_dead_letters(fixture, OF)
        .await
        .iter()
        .map(DeadLetter::position)
        .collect();
    let erased = soon("erase", admin.erase(&positions[1..])).await;
    if erased
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::Unsupported)
    {
        assert_eq!(as_dead_letters(fixture, OF).await.len(), 3);
        return;
    }
    assert_eq!(erased.expect("erase"), 2);
    let is_erased = async || -> Vec<bool> {
        as_dead_letters(fixture, OF)
            .await
            .iter()
            .map(|letter| letter.record.is_erased())
            .collect()
    };
    assert_eq!(is_erased().await, [false, true, true]);
    assert_eq!(
        soon("erase", admin.erase(&positions)).await.expect("erase"),
        1
    );
    assert_eq!(is_erased().await, [true, true, true]);
    for DeadLetter { record, .. } in as_dead_letters(fixture, OF).await {
        assert_eq!((record.key, record.value), (None, None));
    }
    let source = fixture.source(GROUP).await;
    let delivered = read(&*source, 3).await;
    assert!(
        delivered
            .iter()
            .flat_map(|batch| &batch.records)
            .all(LogRecord::is_erased),
        "{delivered:?}"
    );
}
