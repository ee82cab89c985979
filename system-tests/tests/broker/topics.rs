//! Topics that others have changed: a log that was created again, and dead letters that were deleted or are too large.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use shop_core::Bytes;
use shop_core::log::{GapCause, Headers, Resolution};

use crate::prelude::*;
use crate::settings::administrator;

const BEFORE: u64 = 20;
const AFTER: u64 = 100;

async fn create_again(fixture: &KafkaFixture) {
    let admin = administrator(fixture);
    let topic = fixture.topic();
    let options = AdminOptions::new();
    let deleted = admin.delete_topics(&[topic], &options).await.unwrap();
    deleted[0].as_ref().unwrap();
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    // The deletion is not complete at once.
    let create = async || admin.create_topics([&new], &options).await.unwrap()[0].is_err();
    soon("create", async { while create().await {} }).await;

    // Until the broker has applied both, it acknowledges records in the former topic, which are deleted with it.
    let is_former = || {
        let watermarks = admin
            .inner()
            .fetch_watermarks(topic, 0, Duration::from_secs(10));
        watermarks.ok() != Some((0, 0))
    };
    soon("serve", async {
        while is_former() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn publish(fixture: &KafkaFixture, count: u64) {
    let sink = fixture.log().sink();
    for number in 0..count {
        publish_with_retries(&sink, &purchase(number)).await;
    }
}

/// Commits what `source` delivers, until it has delivered `count` offsets in order. Returns them, and the causes of gaps.
async fn read(source: &dyn LogSource, count: u64) -> (BTreeSet<u64>, BTreeSet<GapCause>) {
    let mut offsets = BTreeSet::new();
    let mut causes = BTreeSet::new();
    while (offsets.len() as u64) < count {
        let event = soon("next", source.next()).await;
        let (partition, next) = match event.unwrap_or(SourceEvent::Closed) {
            SourceEvent::Batch(batch) => {
                offsets.extend(batch.records.iter().map(|record| record.offset));
                (batch.partition, offsets.last().unwrap() + 1)
            }
            SourceEvent::Gap(gap) => {
                causes.insert(gap.cause);
                (gap.partition, gap.next_offset)
            }
            // A revocation, or an error while there is no topic.
            _ => continue,
        };
        let _fenced_or_gone = source.commit(&[CommitOffset::new(partition, next)]).await;
    }
    (offsets, causes)
}

/// A topic that is deleted and created again is another log: its records are read from the first one on, and a tail of the
/// former one ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_reads_a_topic_that_was_created_again_from_its_start() {
    let Some(fixture) = on_broker_with(|options| options.partitions = 1).await else {
        return;
    };
    publish(&fixture, BEFORE).await;
    let source = fixture.source("group").await;
    let first = read(&*source, BEFORE).await;
    assert_eq!(first, ((0..BEFORE).collect(), BTreeSet::new()));
    let end = BTreeMap::from([(0, BEFORE)]);
    let tail = async || {
        soon("tail", fixture.log().scan(&end, ScanEnd::Never))
            .await
            .unwrap()
    };
    let mut before = tail().await;

    create_again(&fixture).await;
    publish(&fixture, AFTER).await;
    let (offsets, causes) = read(&*source, AFTER).await;
    assert_eq!(offsets.first(), Some(&0));
    assert_eq!(causes, BTreeSet::from([GapCause::Recreated]));
    let ended = soon("the end", before.batches.next()).await;
    assert!(ended.unwrap().is_err());
    let generations = BTreeSet::from([before.generation, tail().await.generation]);
    assert!(!generations.contains(&None) && generations.len() == 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_may_be_deleted_or_too_large() {
    let Some(fixture) = on_broker().await else {
        return;
    };
    let log = fixture.log();
    for value in ["poison 1", "poison 2", "poison 3"] {
        log.append(record(Some("u1"), value)).await.unwrap();
    }
    let mut letters = scanned(log).await;
    letters[2].record.value = Some(vec![0; 20 << 20].into());
    letters[2].record.headers = Headers::EMPTY.with("of", Some(b"a client"));
    log.put_dead_letters(&letters[..2]).await.unwrap();
    // An operator may have given the topic of dead letters a retention.
    let dead_letter_topic = format!("{}.dlq", letters[0].partition.topic);
    let first = RecordPosition::new(dead_letter_topic, 0, 1);
    fixture.delete_before(&first).await;
    log.put_dead_letters(&letters[2..]).await.unwrap();
    let kept = soon("list", log.pending_dead_letters()).await.unwrap();
    assert_eq!((&kept[0], kept.len()), (&letters[1], 2));

    // Of one that is too large, the head is kept, which cannot be replayed.
    let head = kept[1].record.value.as_ref().map(Bytes::len);
    assert_eq!(head, Some(64 << 10));
    assert!(kept[1].record.headers.get("of").is_some());
    let detail = kept[1].reason.detail();
    assert!(detail.contains("; of its 2097"), "{detail}");
    let replay = async |letter: usize| {
        log.resolve(&kept[letter..=letter], OF, Resolution::Replayed)
            .await
    };
    assert_eq!(replay(0).await.unwrap(), 1);
    assert!(replay(1).await.is_err());
}
