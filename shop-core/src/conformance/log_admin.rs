//! The tests of a log outside of any group, and of its dead letters: [`Log`].

pub use super::log_tail::*;
use super::prelude::*;
use crate::log::{
    DeadLetterFilter, DeadLetterState, RecordType, ResolveOptions, ResolvedDeadLetter, ScanEnd,
    resolve,
};
use crate::record::DecodeError;

const OF: RecordType = Purchase::TYPE;
const EVENT: RecordType = RecordType::new("record");
const ADA: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

/// Appends raw records with `values` and without an id, as another producer would.
async fn append_values(fixture: &dyn LogFixture, values: &[&'static str]) {
    let headers = Headers::builder()
        .with("their", Some(b"own"))
        .with("none", None)
        .build();
    for value in values {
        let record = LogRecord::new(0, at(0), Some(Bytes::from_static(value.as_bytes())))
            .with_key(Some("u1".into()))
            .with_headers(headers.clone());
        append(fixture, record).await;
    }
}

#[track_caller]
fn scan(log: &dyn Log) -> impl Future<Output = Vec<Batch>> {
    succeed(async { log.scan_all().await?.try_collect().await })
}

/// Returns the records of the log as dead letters, ordered by position.
async fn as_dead_letters(fixture: &dyn LogFixture, of: RecordType) -> Vec<DeadLetter> {
    let mut dead_letters = Vec::new();
    for Batch { partition, records } in scan(&*fixture.log()).await {
        let dead_letter =
            |record| DeadLetter::new(record, partition.clone(), Reason::conflict(of), 3);
        dead_letters.extend(records.into_iter().map(dead_letter));
    }
    dead_letters.sort_by_key(DeadLetter::position);
    dead_letters
}

#[track_caller]
fn put(fixture: &dyn LogFixture, dead_letters: &[DeadLetter]) -> impl Future<Output = ()> {
    succeed(async move { fixture.log().put_dead_letters(dead_letters).await })
}

/// Appends records and puts dead letters about them.
async fn put_values(fixture: &dyn LogFixture, values: &[&'static str]) -> Vec<DeadLetter> {
    append_values(fixture, values).await;
    let dead_letters = as_dead_letters(fixture, OF).await;
    put(fixture, &dead_letters).await;
    dead_letters
}

/// Resolves dead letters, and returns how many.
#[track_caller]
fn resolve_all(
    fixture: &dyn LogFixture,
    dead_letters: &[DeadLetter],
    of: RecordType,
    resolution: Resolution,
) -> impl Future<Output = u64> {
    succeed(async move { fixture.log().resolve(dead_letters, of, resolution).await })
}

/// Returns the pending dead letters in their order, and the resolved ones.
async fn states(fixture: &dyn LogFixture) -> (Vec<DeadLetter>, Vec<ResolvedDeadLetter>) {
    let log = fixture.log();
    let all = async { log.scan_dead_letters().await?.try_collect::<Vec<_>>().await };
    let mut pending = Vec::new();
    let mut resolved = Vec::new();
    for state in succeed(all).await {
        match state {
            DeadLetterState::Pending(mut dead_letter) => {
                // Dead letters have no epoch.
                dead_letter.partition.epoch = 0;
                pending.push(dead_letter);
            }
            DeadLetterState::Resolved(dead_letter) => resolved.push(dead_letter),
        }
    }
    (pending, resolved)
}

/// Returns the positions of `dead_letters`, in their order.
fn places(dead_letters: &[DeadLetter]) -> Vec<RecordPosition> {
    dead_letters.iter().map(DeadLetter::position).collect()
}

/// Scans, sources and lookups by position of one log have the records that its writer has appended,
/// unchanged, even if they are not purchases. A position without a record has none.
pub async fn the_ports_share_one_topic(fixture: &dyn LogFixture) {
    for record in odd_records() {
        append(fixture, record).await;
    }
    succeed(fixture.log().check()).await;
    let delivered = read_as_member(fixture, GROUP, 3).await.into_iter();
    let delivered: Vec<_> = delivered.flat_map(|batch| batch.records).collect();
    let scanned = as_dead_letters(fixture, OF).await;
    let records: Vec<_> = scanned.iter().map(|letter| letter.record.clone()).collect();
    assert_eq!(delivered, records);

    let log = fixture.log();
    for (letter, appended) in scanned.into_iter().zip(odd_records()) {
        let record = letter.record;
        assert_eq!(
            (&record.key, &record.headers, &record.value),
            (&appended.key, &appended.headers, &appended.value)
        );
        let found = succeed(log.find(letter.partition.index, record.offset)).await;
        assert_eq!(found, Some((letter.partition, record)));
    }
    for (index, offset) in [(0, 1_000), (1_000, log.info().first_offset)] {
        assert_eq!(succeed(log.find(index, offset)).await, None);
    }
}

/// A scan yields the records that exist when it begins, from the first or from given offsets on, per
/// partition in order, and no later ones. It moves no position, and takes no partition from a member.
pub async fn a_scan_yields_the_whole_log(fixture: &dyn LogFixture) {
    let log = fixture.log();
    assert!(scan(&*log).await.is_empty(), "a new log has no records");
    publish(fixture, &purchases(0..35)).await;
    let source = fixture.source(GROUP).await;
    commit(&*source, &positions(&read(&*source, 35).await)).await;

    let begun = succeed(log.scan_all()).await;
    publish(fixture, &purchases(35..40)).await;
    let batches: Vec<Batch> = succeed(begun.try_collect()).await;
    assert_eq!(ids(&batches), ids_from(0..35));
    let mut next_offsets = BTreeMap::new();
    for Batch { partition, records } in &batches {
        let next = next_offsets
            .entry(partition.index)
            .or_insert_with(|| log.info().first_offset);
        for record in records {
            assert_eq!(
                record.offset, *next,
                "offsets have no gaps, and begin at the first"
            );
            *next += 1;
        }
    }
    assert_eq!(ids(&scan(&*log).await), ids_from(0..40));
    let later = succeed(log.scan(&next_offsets, ScanEnd::Current)).await;
    let batches: Vec<Batch> = succeed(later.batches.try_collect()).await;
    assert_eq!(ids(&batches), ids_from(35..40), "from given offsets on");

    assert_eq!(ids(&read(&*source, 5).await), ids_from(35..40));
    close(&*source).await;
    assert_eq!(
        ids(&read_as_member(fixture, GROUP, 5).await),
        ids_from(35..40)
    );
}

/// Each dead letter is listed once, unchanged, also if it was put twice: those of one partition in
/// the order in which they were put, not by offset. A listing excludes those that are put later.
pub async fn pending_dead_letters_are_listed_once(fixture: &dyn LogFixture) {
    append_values(fixture, &[ADA]).await;
    let partition = as_dead_letters(fixture, OF).await.remove(0).partition;
    // Not conflicts: a log may delete an old conflict whose record it does not have.
    let reason = Reason::from(DecodeError::Empty);
    let mut dead_letters =
        odd_records().map(|record| DeadLetter::new(record, partition.clone(), reason.clone(), 3));
    dead_letters.rotate_left(1);
    put(fixture, &dead_letters[..1]).await;
    put(fixture, &dead_letters[1..2]).await;
    let listing = succeed(fixture.log().scan_dead_letters()).await;
    put(fixture, &dead_letters[2..]).await;
    put(fixture, &dead_letters).await;
    let listed: Vec<_> = succeed(listing.try_collect()).await;
    let pending = listed.into_iter().filter_map(DeadLetterState::into_pending);
    assert_eq!(
        places(&pending.collect::<Vec<_>>()),
        places(&dead_letters[..2])
    );
    assert_eq!(states(fixture).await, (dead_letters.into(), vec![]));
}

/// Pages of dead letters follow each other by position, whatever the order of the puts, and have
/// those that the filter selects.
pub async fn dead_letters_are_found_by_position(fixture: &dyn LogFixture) {
    append_values(fixture, &["one", "two", "three", "four"]).await;
    let mut all = as_dead_letters(fixture, OF).await;
    all[2].reason = Reason::parked("by hand");
    all.rotate_left(1);
    put(fixture, &all).await;
    all.sort_by_key(DeadLetter::position);

    let log = fixture.log();
    let any = DeadLetterFilter::default;
    let first = succeed(log.dead_letters(&any(), 3)).await;
    let after_first = any().after(Some(first[2].position()));
    assert_eq!(first, all[..3]);
    let known_and_unknown =
        BTreeSet::from([all[1].position(), RecordPosition::new("elsewhere", 0, 7)]);
    let by_position = any().positions(known_and_unknown);
    for (filter, expected) in [
        (after_first, &all[3..]),
        (any().after(Some(all[3].position())), &[]),
        (any().reason(Some(ReasonKind::Parked)), &all[2..3]),
        (any().since(Some(Timestamp::MAX)), &[]),
        (any().until(Some(Timestamp::MIN)), &[]),
        (by_position.clone(), &all[1..2]),
    ] {
        assert_eq!(
            succeed(log.dead_letters(&filter, 3)).await,
            expected,
            "{filter:?}"
        );
    }
    let selected = succeed(log.select_dead_letters(by_position)).await;
    assert_eq!(succeed(selected.try_collect::<Vec<_>>()).await, all[1..2]);
}

/// A caller that replays each listed dead letter terminates, even if the records are dead-lettered
/// again meanwhile.
pub async fn a_listing_does_not_repeat_a_replayed_dead_letter(fixture: &dyn LogFixture) {
    let dead_letters = put_values(fixture, &["one", "two", "three"]).await;
    let mut listing = succeed(fixture.log().scan_dead_letters()).await;
    let mut yielded = Vec::new();
    while let Some(state) = succeed(listing.try_next()).await {
        let Some(dead_letter) = state.into_pending() else {
            continue;
        };
        yielded.push(dead_letter.position());
        assert!(yielded.len() <= dead_letters.len(), "the listing ends");
        resolve_all(fixture, &[dead_letter], OF, Resolution::Replayed).await;
        let mut failed_again = as_dead_letters(fixture, OF).await;
        failed_again.retain(|record| !dead_letters.contains(record));
        put(fixture, &failed_again).await;
    }
    assert_eq!(yielded, places(&dead_letters));
    let pending = states(fixture).await.0;
    assert_eq!(
        pending.len(),
        3,
        "all replayed records are dead-lettered again"
    );
}

/// A replayed record is unchanged, except for a header with the id of a purchase whose id is derived
/// from its position. An event, whose type has no id header, has the same headers too.
pub async fn a_replayed_record_keeps_its_id(fixture: &dyn LogFixture) {
    for (value, of) in [(ADA, OF), ("no user", EVENT)] {
        append_values(fixture, &[value]).await;
        let records = as_dead_letters(fixture, of).await;
        let failed = &records[records.len() - 1..];
        put(fixture, failed).await;
        assert_eq!(
            resolve_all(fixture, failed, of, Resolution::Replayed).await,
            1
        );

        let records = as_dead_letters(fixture, of).await;
        let [.., first, second] = &records[..] else {
            panic!("two records: {records:?}")
        };
        let [before, after] = [first, second].map(|letter| &letter.record);
        assert_eq!((&after.key, &after.value), (&before.key, &before.value));
        assert_eq!(after.headers.get("their"), Some(&b"own"[..]));
        let resolved = states(fixture).await.1;
        if value == ADA {
            let id_of = |letter: &DeadLetter| {
                decode(&letter.record, &letter.partition)
                    .expect("a purchase")
                    .id
            };
            assert_eq!(id_of(second), id_of(first));
            assert_eq!(resolved[0].id, Some(id_of(first).to_string()));
        } else {
            assert_eq!(after.headers, before.headers);
            assert!(
                resolved.iter().any(|letter| letter.id.is_none()),
                "{resolved:?}"
            );
        }
    }
}

/// A dead letter that was replayed or discarded is listed as resolved, with the ids of its record,
/// and is not pending again when its record is delivered again. Resolving nothing changes nothing.
/// The dead letters contain a record from the time its dead letter was put, also when it is resolved.
pub async fn a_resolved_dead_letter_stays_resolved(fixture: &dyn LogFixture) {
    append_values(fixture, &[ADA, "poison", "more poison"]).await;
    let all = as_dead_letters(fixture, OF).await;
    let log = fixture.log();
    let contained = async || {
        let mut contained = Vec::new();
        for DeadLetter {
            partition, record, ..
        } in &all
        {
            contained.push(succeed(log.contains_dead_letter(record, partition)).await);
        }
        contained
    };
    assert_eq!(contained().await, [false, false, false]);
    put(fixture, &all[..2]).await;
    assert_eq!(contained().await, [true, true, false]);
    put(fixture, &all[2..]).await;

    let resolutions = [Resolution::Replayed, Resolution::Dropped];
    let mut resolved = Vec::new();
    for (letter, resolution) in all.iter().zip(resolutions) {
        let letters = std::slice::from_ref(letter);
        assert_eq!(resolve_all(fixture, letters, OF, resolution).await, 1);
        resolved.push(ResolvedDeadLetter::new(
            letter.record_id(),
            letter.id(OF),
            resolution,
        ));
        let (pending, of_log) = states(fixture).await;
        assert_eq!(pending, all[resolved.len()..]);
        assert!(
            of_log.len() == resolved.len() && of_log.contains(&resolved[resolved.len() - 1]),
            "{of_log:?}"
        );
    }
    assert!(resolved[0].id.is_some());
    let records = as_dead_letters(fixture, OF).await.len();
    assert_eq!(records, 4, "one was published again");

    let before = states(fixture).await;
    for resolution in resolutions {
        assert_eq!(resolve_all(fixture, &[], OF, resolution).await, 0);
    }
    put(fixture, &all).await;
    assert_eq!(states(fixture).await, before);
    assert_eq!(contained().await, [true, true, true]);
}

/// A record at a reused offset, and gaps that end there, are separate dead letters, and a gap that is
/// detected again is the same one. Their position selects all of them. A gap has no record to replay
/// and can be discarded.
pub async fn dead_letters_at_one_offset_are_distinct(fixture: &dyn LogFixture) {
    let letters = put_values(fixture, &["one", "two"]).await;
    let [other, first] = &letters[..] else {
        panic!("two records of {letters:?}")
    };
    let mut reused = first.clone();
    reused.record.time = first.record.time.saturating_add(Duration::from_millis(1));
    let end = first.record.offset + 1;
    let gaps = [end - 1, end - 2]
        .map(|from| Gap::new(first.partition.clone(), from, end, GapCause::Truncated));
    let detected = |time| gaps.clone().map(|gap| gap.to_dead_letter(time));
    let [narrow, wide] = detected(at(1));
    let all = [first.clone(), reused.clone(), narrow, wide];
    let assert_pending = async |expected: &[DeadLetter], why: &str| {
        let pending = states(fixture).await.0;
        let pending: BTreeSet<_> = pending.iter().map(DeadLetter::record_id).collect();
        let expected = expected.iter().chain([other]).map(DeadLetter::record_id);
        assert_eq!(pending, expected.collect(), "{why}");
    };
    put(fixture, &all).await;
    assert_pending(&all, "all are pending").await;
    put(fixture, &detected(at(2))).await;
    assert_pending(&all, "the gaps are known").await;
    let listed: Vec<_> = states(fixture)
        .await
        .0
        .iter()
        .filter_map(DeadLetter::gap)
        .collect();
    assert_eq!(listed, gaps);
    let log = fixture.log();
    assert!(succeed(log.contains_dead_letter(&reused.record, &reused.partition)).await);
    resolve_all(fixture, &all[..1], OF, Resolution::Dropped).await;
    assert_pending(&all[1..], "the others stay").await;

    let log = fixture.log();
    let chosen = DeadLetterFilter::default().positions([first.position()].into());
    let resolve_chosen = async |resolution: Resolution| {
        let selected = succeed(log.select_dead_letters(chosen.clone())).await;
        let mut are_resolved = Vec::new();
        let options = ResolveOptions::new(resolution);
        let resolving = resolve(&*log, OF, selected, &options, |_, refusal| {
            are_resolved.push(refusal.is_none());
            true
        });
        succeed(resolving).await;
        are_resolved
    };
    assert_eq!(
        resolve_chosen(Resolution::Replayed).await,
        [false, false, true]
    );
    assert_pending(&all[2..], "no gap is replayed").await;
    let error = fail(log.resolve(&all[2..], OF, Resolution::Replayed)).await;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        as_dead_letters(fixture, OF).await.len(),
        3,
        "one record was published again"
    );
    assert_eq!(resolve_chosen(Resolution::Dropped).await, [true; 2]);
    assert_pending(&[], "gaps are dropped").await;
    put(fixture, &all).await;
    assert_pending(&all[2..], "the same offsets may be lost again").await;
}

/// Consumers receive an erased record at its position, without its content. Erasing it again
/// changes nothing.
pub async fn an_erased_record_keeps_its_position(fixture: &dyn LogFixture) {
    append_values(fixture, &[ADA, ADA, "poison"]).await;
    let log = fixture.log();
    let positions = places(&as_dead_letters(fixture, OF).await);
    let Some(eraser) = log.info().eraser else {
        return;
    };
    assert_eq!(succeed(eraser.erase(&positions[1..])).await, 2);
    let is_erased: Vec<_> = as_dead_letters(fixture, OF)
        .await
        .iter()
        .map(|letter| letter.record.is_erased())
        .collect();
    assert_eq!(is_erased, [false, true, true]);
    assert_eq!(succeed(eraser.erase(&positions)).await, 1);

    for record in read_as_member(fixture, GROUP, 3)
        .await
        .iter()
        .flat_map(|batch| &batch.records)
    {
        assert!(record.is_erased());
        assert_eq!((&record.key, &record.value), (&None, &None));
    }
    assert_eq!(places(&as_dead_letters(fixture, OF).await), positions);
}
