//! The tests of [`Operations`] on any log and any store from which purchases can be erased.

use super::erase::mark;
use super::pipeline_calls::Running;
use super::prelude::*;
use crate::backend::Backend;
use crate::erase::Erase;
use crate::log::{DeadLetterFilter, ResolveOptions};
use crate::operations::{Operations, ResolveReport};
use crate::verify::VerifyOptions;

/// Publishes purchases 0 to 4, and returns the operations on the log and the store of the fixtures,
/// and the positions of the purchases.
async fn published(
    log: &dyn LogFixture,
    store: &dyn EraseFixture,
) -> (Operations, Vec<RecordPosition>) {
    let mut positions = Vec::new();
    let sink = log.sink().await;
    for purchase in purchases(0..5) {
        let receipt = succeed(sink.publish(&purchase)).await;
        positions.push(receipt.position.expect("a position"));
    }
    let topic = &*positions[0].topic;
    let mut backend = Backend::of_log(topic, log.log()).with_group(log.group(GROUP));
    backend.store = Some(store.store().await);
    backend.query = Some(store.query().await);
    backend.erase = Some(store.erase().await);
    (Operations::new(backend), positions)
}

/// Returns the positions of the pending dead letters.
#[track_caller]
fn pending(operations: &Operations) -> impl Future<Output = Vec<RecordPosition>> {
    succeed(async {
        let pending = operations.dead_letters(DeadLetterFilter::default()).await?;
        pending
            .map_ok(|dead_letter| dead_letter.position())
            .try_collect()
            .await
    })
}

/// An operation without the log, the group or the store that it needs is unsupported.
pub async fn a_missing_part_is_unsupported(log: &dyn LogFixture, store: &dyn EraseFixture) {
    let (_, positions) = published(log, store).await;
    let only_log = Operations::new(Backend::of_log("t", log.log()));
    let filter = DeadLetterFilter::default();
    let no_progress = |_progress| ();
    let errors = [
        Operations::default().dead_letters(filter).await.err(),
        only_log.status().await.err(),
        only_log.park(&positions, "stuck").await.err(),
        only_log
            .verify(VerifyOptions::default(), no_progress)
            .await
            .err(),
        only_log.export(None).err(),
    ];
    assert_eq!(
        errors.map(|error| error.unwrap().kind()),
        [ErrorKind::Unsupported; 5]
    );
}

/// The status counts what the group has not consumed, and the pending dead letters by their reason.
pub async fn a_status_counts_lag_and_dead_letters(log: &dyn LogFixture, store: &dyn EraseFixture) {
    let (operations, positions) = published(log, store).await;
    succeed(operations.park(&positions[..2], "stuck")).await;
    let status = succeed(operations.status()).await;
    let parked = status.dead_letters.get(&ReasonKind::Parked);
    assert_eq!((status.lag, parked), (5, Some(&2)));
    assert_eq!(status.findings(), [""; 0]);

    Running::ingest(log, store, 5).await;
    assert_eq!(succeed(operations.status()).await.lag, 0);
}

/// A topic is unread while its group has not consumed a record and has no member; not when all is
/// consumed, nor while a member consumes.
pub async fn a_topic_without_a_reader_is_unread(log: &dyn LogFixture, store: &dyn EraseFixture) {
    let (operations, positions) = published(log, store).await;
    let unread = succeed(operations.unread_topic()).await.expect("unread");
    assert_eq!(
        (unread.topic, unread.lag),
        (positions[0].topic.to_string(), 5)
    );

    // A member that commits nothing is a member.
    let member = log.source(GROUP).await;
    next(&*member).await;
    assert_eq!(succeed(operations.unread_topic()).await, None);
    close(&*member).await;
    drop(member);
    let left = async {
        while succeed(operations.unread_topic()).await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon("the topic is unread again", left).await;

    Running::ingest(log, store, 5).await;
    assert_eq!(succeed(operations.unread_topic()).await, None);
}

/// A parked record is a pending dead letter. A record is not parked if there is none at its position,
/// if it is dead-lettered, stored or erased, or with one of another topic.
pub async fn parked_records_are_dead_letters(log: &dyn LogFixture, store: &dyn EraseFixture) {
    let (operations, positions) = published(log, store).await;
    insert(store, &[purchase(0)]).await;
    mark(store, &[id(1)]).await;
    let mut absent = positions[0].clone();
    absent.offset += 1_000_000;
    let mut elsewhere = positions[3].clone();
    elsewhere.topic = "elsewhere".into();
    let parked = &positions[2..3];
    for (chosen, expected, problem) in [
        (&positions[..1], 0, " is stored"),
        (&positions[1..2], 0, " is erased"),
        (parked, 1, ""),
        (parked, 0, " is dead-"),
        (&[absent], 0, ""),
        (&[elsewhere, positions[3].clone()], 0, ""),
    ] {
        let report = succeed(operations.park(chosen, "stuck")).await;
        assert_eq!(
            (report.parked, report.problems.len()),
            (expected, 1 - expected),
            "{report:?}"
        );
        let begin = format!("{}{problem}", chosen[0]);
        let is_about = |found: &String| problem.is_empty() || found.starts_with(&begin);
        assert!(report.problems.iter().all(is_about), "{report:?}");
    }
    assert_eq!(pending(&operations).await, parked);
}

/// The pending dead letters are listed in the order of their positions, those of a page at most at
/// `limit` positions, and each is found by its position.
pub async fn dead_letters_are_listed_by_position(log: &dyn LogFixture, store: &dyn EraseFixture) {
    let (operations, mut positions) = published(log, store).await;
    succeed(operations.park(&positions, "stuck")).await;
    positions.sort();
    let operations = &operations;
    let read = |filter: DeadLetterFilter, limit: usize| async move {
        let page = operations.dead_letters_by_position(filter, limit)?;
        page.map_ok(|dead_letter| dead_letter.position())
            .try_collect::<Vec<_>>()
            .await
    };

    let everything = succeed(read(DeadLetterFilter::default(), usize::MAX)).await;
    assert_eq!(everything, positions);
    let mut paged = Vec::new();
    for expected in [2, 2, 1, 0] {
        let filter = DeadLetterFilter::default().after(paged.last().cloned());
        let page = succeed(read(filter, 2)).await;
        assert_eq!(page.len(), expected);
        paged.extend(page);
    }
    assert_eq!(paged, positions);

    let found = succeed(operations.dead_letter(&positions[3])).await;
    assert_eq!(found.expect("pending").position(), positions[3]);
    let mut absent = positions[3].clone();
    absent.offset += 1_000_000;
    assert_eq!(succeed(operations.dead_letter(&absent)).await, None);
}

/// A replayed purchase would be dead-lettered again if another purchase is stored under its id, and
/// not if the same one or none is.
pub async fn a_forecast_says_what_becomes_a_dead_letter_again(
    log: &dyn LogFixture,
    store: &dyn EraseFixture,
) {
    let (operations, positions) = published(log, store).await;
    succeed(operations.park(&positions[..3], "stuck")).await;
    let mut other = purchase(1);
    other.user_name = "another name".parse().expect("a name");
    insert(store, &[purchase(0), other]).await;
    let mut reasons = Vec::new();
    for position in &positions[..3] {
        let dead_letter = succeed(operations.dead_letter(position)).await;
        let dead_letter = dead_letter.expect("pending");
        reasons.push(succeed(operations.forecast_replay(&dead_letter)).await);
    }
    let conflict = Reason::conflict(Purchase::TYPE);
    assert_eq!(reasons, [None, Some(conflict), None]);
}

/// Resolving counts the dead letters at the chosen positions that were resolved, or in a dry run
/// would be, and returns the positions without one.
pub async fn resolved_dead_letters_are_counted(log: &dyn LogFixture, store: &dyn EraseFixture) {
    let (operations, positions) = published(log, store).await;
    succeed(operations.park(&positions[..2], "stuck")).await;
    for (position, resolution) in positions
        .iter()
        .zip([Resolution::Replayed, Resolution::Dropped])
    {
        let chosen = [position.clone(), positions[4].clone()];
        let filter = DeadLetterFilter::default().positions(chosen.clone().into());
        for (is_dry_run, resolved) in [(true, 1), (false, 1), (false, 0)] {
            let before = pending(&operations).await;
            let options = ResolveOptions::new(resolution).dry_run(is_dry_run);
            let mut report = ResolveReport::new(&options);
            succeed(operations.resolve(filter.clone(), &options, &mut report, |_| true)).await;
            let unknown = chosen[usize::from(resolved == 1)..]
                .iter()
                .cloned()
                .collect();
            assert_eq!((report.resolved, &report.unknown), (resolved, &unknown));
            let mut expected = before;
            expected.retain(|pending| is_dry_run || pending != position);
            assert_eq!(pending(&operations).await, expected);
        }
    }
}

/// An export of everything yields each purchase before its refund, and each once.
pub async fn an_export_yields_purchases_before_refunds(
    log: &dyn LogFixture,
    store: &dyn EraseFixture,
) {
    let (operations, _) = published(log, store).await;
    let mut all = purchases(1..100);
    let refund = |bought: &Purchase| bought.refund(None, at(0)).unwrap();
    all.extend(all.clone().iter().map(refund));
    insert(store, &all).await;
    for buyer in [None, Some(user("user-1"))] {
        let mut expected = all.clone();
        expected.retain(|entry| buyer.as_ref().is_none_or(|buyer| *buyer == entry.user_id));
        let mut seen = BTreeSet::new();
        let mut batches = operations.export(buyer).unwrap();
        while let Some(batch) = succeed(batches.try_next()).await {
            for entry in batch.purchases {
                assert!(
                    entry.details.of.is_none_or(|of| seen.contains(&of)),
                    "{entry:?}"
                );
                assert!(seen.insert(entry.id), "{entry:?}");
            }
        }
        assert_eq!(seen, ids_of(&expected));
    }
}

/// Nothing of an erased user is left in the store, in the dead letters and, if it can erase
/// records, in the log; and both agree.
pub async fn an_erased_user_leaves_nothing(log: &dyn LogFixture, store: &dyn EraseFixture) {
    let (operations, positions) = published(log, store).await;
    succeed(operations.park(&positions[1..2], "stuck")).await;
    insert(store, &[0, 2, 3, 4].map(purchase)).await;
    let mut erase = Erase::new(user("user-1"), |_progress| ());
    succeed(operations.erase_purchases(&mut erase, "log")).await;
    let kept: u64 = erase.report.kept.iter().map(|kept| kept.records).sum();
    assert_eq!(
        (erase.report.records + kept, erase.report.dead_letters),
        (1, 1)
    );
    assert_eq!(pending(&operations).await, []);
    let verified = succeed(operations.verify(VerifyOptions::default(), |_progress| ())).await;
    assert!(verified.is_clean(), "{}", verified.details());
}
