//! What librdkafka's statistics say of a consumer's partitions.

use std::collections::BTreeMap;

use rdkafka::Statistics;
use rdkafka::statistics::Partition;

/// Returns the consumer lag of each partition of `topic` for which it is known. `delivered` returns the offset after
/// the last record of a partition that was delivered, if there is one.
pub(crate) fn lag(
    statistics: &Statistics,
    topic: &str,
    delivered: impl Fn(u32) -> Option<i64>,
) -> BTreeMap<u32, u64> {
    let lag = |(index, partition): (u32, &Partition)| {
        let Partition { committed_offset, app_offset, hi_offset, lo_offset, .. } = *partition;
        let position = if committed_offset < 0 {
            // Without a committed offset, the lag is the whole partition: the group starts at its first record.
            lo_offset.max(0)
        } else if delivered(index).is_none_or(|next| next <= committed_offset) {
            // Every delivered record is committed. What was passed behind them is no record.
            committed_offset.max(app_offset)
        } else {
            committed_offset
        };
        (hi_offset >= 0).then(|| (index, u64::try_from(hi_offset - position).unwrap_or_default()))
    };
    partitions(statistics, topic).filter_map(lag).collect()
}

/// Returns the last stable offset of each partition of `topic` that has records behind it.
pub(crate) fn unstable(statistics: &Statistics, topic: &str) -> BTreeMap<u32, i64> {
    let is_unstable =
        |(_, partition): &(u32, &Partition)| (0..partition.hi_offset).contains(&partition.ls_offset);
    partitions(statistics, topic).filter(is_unstable).map(|(index, found)| (index, found.ls_offset)).collect()
}

fn partitions<'a>(statistics: &'a Statistics, topic: &str) -> impl Iterator<Item = (u32, &'a Partition)> {
    let partitions = statistics.topics.get(topic).into_iter().flat_map(|topic| topic.partitions.values());
    // -1 is librdkafka's internal partition for records without one.
    partitions.filter_map(|found| Some((u32::try_from(found.partition).ok()?, found)))
}
