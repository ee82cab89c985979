//! A consumer group: the owners and epochs of partitions, and rebalancing.
//!
//! Each partition is *owned* by at most one member. The *epoch* of a partition increases with each
//! new owner. A member commits with the epoch under which it read. A commit with an earlier epoch is
//! *fenced*, which means refused.
//!
//! A *rebalance* runs whenever a member joins, leaves, or gives up partitions. It moves partitions
//! in two steps:
//!
//! ```text
//! owned ──(revoke)──▶ revoked, not read any more ──(give_up or timeout)──▶ free
//! free ──(assign_unowned)──▶ owned, next epoch
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::log::{CommitOffset, CommitOutcome, Partition, RevocationCause};

/// The partitions that a rebalance revokes from their owners.
///
/// Kafka supports these two protocols, and the members of a group may use either. Ingest must lose
/// and double nothing under both, so its tests run with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rebalancing {
    /// Only partitions that move to another member are revoked.
    Cooperative,
    /// All partitions of all members are revoked, before any partition is assigned again.
    Eager,
}

/// The number of a member, which is unique in its log.
pub(super) type MemberId = u64;

/// The state of one consumer group.
#[derive(Debug)]
pub(super) struct ConsumerGroup {
    /// The committed position per partition: the offset of the next record to consume.
    pub(super) committed: BTreeMap<u32, u64>,
    members: BTreeMap<MemberId, MemberState>,
    /// The last epoch of each partition of the log.
    epochs: BTreeMap<u32, u64>,
    rebalancing: Rebalancing,
    revocation_timeout: Duration,
}

/// The partitions of a member, and the revocations that it has not received yet.
#[derive(Debug, Default)]
struct MemberState {
    owned: BTreeMap<u32, OwnedPartition>,
    /// The pending revocations: the index and the epoch of each partition, and the cause.
    events: VecDeque<(Vec<(u32, u64)>, RevocationCause)>,
}

/// A partition that a member owns.
#[derive(Debug)]
pub(super) struct OwnedPartition {
    pub(super) epoch: u64,
    /// The offset of the next record to deliver; `None` for the earliest record.
    pub(super) fetch_offset: Option<u64>,
    /// The end of the revocation of this partition, if it is being revoked. At this time, the
    /// rebalance takes the partition even if its owner has not given it up.
    revocation_end: Option<Instant>,
}

impl ConsumerGroup {
    /// Creates a group without members for a log of `partitions` partitions.
    pub(super) fn new(
        partitions: u32,
        rebalancing: Rebalancing,
        revocation_timeout: Duration,
    ) -> Self {
        Self {
            committed: BTreeMap::new(),
            members: BTreeMap::new(),
            epochs: (0..partitions).map(|index| (index, 0)).collect(),
            rebalancing,
            revocation_timeout,
        }
    }

    /// Adds a member, and rebalances.
    pub(super) fn join(&mut self, member: MemberId) {
        self.members.insert(member, MemberState::default());
        self.rebalance();
    }

    /// Removes a member with its partitions, and rebalances. Does nothing if `member` does not
    /// belong to this group.
    pub(super) fn leave(&mut self, member: MemberId) {
        if self.members.remove(&member).is_some() {
            self.rebalance();
        }
    }

    /// Evicts a member, as the coordinator of a group does after a missed session timeout.
    ///
    /// The member loses its partitions before it is notified. It joins again at once, without
    /// partitions.
    pub(super) fn evict(&mut self, member: MemberId) {
        let Some(mut evicted_member) = self.members.remove(&member) else {
            return;
        };
        let lost_partitions = std::mem::take(&mut evicted_member.owned)
            .into_iter()
            .map(|(index, owned)| (index, owned.epoch))
            .collect();
        evicted_member
            .events
            .push_back((lost_partitions, RevocationCause::Lost));

        // The first rebalance, without the member, gives its partitions to the other members, if
        // there are any. The second one lets the member join again.
        self.rebalance();
        self.members.insert(member, evicted_member);
        self.rebalance();
    }

    /// Returns the members of this group.
    pub(super) fn members(&self) -> impl Iterator<Item = MemberId> {
        self.members.keys().copied()
    }

    /// Checks whether `member` belongs to this group.
    pub(super) fn has_member(&self, member: MemberId) -> bool {
        self.members.contains_key(&member)
    }

    /// Removes and returns the oldest pending revocation of `member`: the index and the epoch of each
    /// partition, and the cause.
    ///
    /// The member receives the revocation before further records.
    pub(super) fn take_event(
        &mut self,
        member: MemberId,
    ) -> Option<(Vec<(u32, u64)>, RevocationCause)> {
        self.members.get_mut(&member)?.events.pop_front()
    }

    /// Returns the partitions that `member` may read, with their indices.
    ///
    /// A partition that is being revoked is not read any more.
    pub(super) fn readable(
        &self,
        member: MemberId,
    ) -> impl Iterator<Item = (&u32, &OwnedPartition)> {
        let owned_partitions = self
            .members
            .get(&member)
            .into_iter()
            .flat_map(|member_state| &member_state.owned);
        owned_partitions.filter(|(_index, owned)| owned.revocation_end.is_none())
    }

    /// Sets the offset of the next record that `member` reads from `partition`, if it owns the
    /// partition.
    pub(super) fn set_fetch_offset(&mut self, member: MemberId, partition: u32, fetch_offset: u64) {
        let member_state = self.members.get_mut(&member);
        if let Some(owned) = member_state.and_then(|state| state.owned.get_mut(&partition)) {
            owned.fetch_offset = Some(fetch_offset);
        }
    }

    /// Commits `position`, unless the member does not own the partition in the epoch of
    /// `position`.
    ///
    /// A partition that is being revoked is still owned, so that its owner can commit before it
    /// gives the partition up.
    pub(super) fn commit(&mut self, member: MemberId, position: &CommitOffset) -> CommitOutcome {
        let Partition { index, epoch, .. } = position.partition;
        let member_state = self.members.get(&member);
        let owned = member_state.and_then(|state| state.owned.get(&index));
        let owns_epoch = owned.is_some_and(|owned| owned.epoch == epoch);
        if !owns_epoch {
            return CommitOutcome::Fenced;
        }
        self.committed.insert(index, position.next_offset);
        CommitOutcome::Committed
    }

    /// Ends the revocation of `partitions`, each an index and an epoch: the member gives them up,
    /// and a rebalance assigns them to others.
    ///
    /// A partition that the member owns in a newer epoch is not given up. Does nothing if `member`
    /// has left the group.
    pub(super) fn give_up(&mut self, member: MemberId, partitions: &[(u32, u64)]) {
        let Some(member_state) = self.members.get_mut(&member) else {
            return;
        };
        member_state
            .owned
            .retain(|index, owned| !partitions.contains(&(*index, owned.epoch)));
        self.rebalance();
    }

    /// Takes the partitions whose revocation timed out from their owners, and rebalances if there
    /// are any.
    ///
    /// Returns the end of the next revocation that is still running.
    pub(super) fn expire_revocations(&mut self, now: Instant) -> Option<Instant> {
        let is_due = |end: &Instant| *end <= now;
        let (due_ends, later_ends): (Vec<_>, Vec<_>) = self.revocation_ends().partition(is_due);
        if !due_ends.is_empty() {
            for member_state in self.members.values_mut() {
                member_state
                    .owned
                    .retain(|_index, owned| !owned.revocation_end.as_ref().is_some_and(is_due));
            }
            self.rebalance();
        }
        later_ends.into_iter().min()
    }

    /// Returns the end of each revocation that is still running.
    fn revocation_ends(&self) -> impl Iterator<Item = Instant> {
        self.members
            .values()
            .flat_map(|member| member.owned.values())
            .filter_map(|owned| owned.revocation_end)
    }

    /// Rebalances the group: revokes partitions that should move, and assigns partitions without an
    /// owner.
    ///
    /// An eager group assigns nothing until all revocations end.
    fn rebalance(&mut self) {
        let targets = self.target_owners();
        // Partitions that are being revoked already do not start another revocation.
        let must_revoke = self.members.iter().any(|(id, member)| {
            member.owned.iter().any(|(index, owned)| {
                owned.revocation_end.is_none() && targets.get(index) != Some(id)
            })
        });
        if must_revoke {
            self.revoke(&targets);
        }

        let is_revocation_running = self.revocation_ends().next().is_some();
        if self.rebalancing == Rebalancing::Cooperative || !is_revocation_running {
            self.assign_unowned(&targets);
        }
    }

    /// Returns the member that should own each partition.
    ///
    /// The shares of members differ by at most one partition, and each member keeps as many of its
    /// partitions as its share allows.
    fn target_owners(&self) -> BTreeMap<u32, MemberId> {
        // Members with more partitions come first, so they keep the larger shares.
        let mut by_size: Vec<_> = self.members.iter().collect();
        by_size.sort_by_key(|(id, member)| (std::cmp::Reverse(member.owned.len()), **id));

        let partition_count = self.epochs.len();
        let member_count = self.members.len().max(1);
        let base_share = partition_count / member_count;
        // This number of members get one partition more.
        let larger_share_count = partition_count % member_count;
        let mut targets = BTreeMap::new();
        // The id of a member, once for each partition that the member needs to reach its share.
        let mut vacancies = Vec::new();
        for (rank, (id, member)) in by_size.into_iter().enumerate() {
            let share = base_share + usize::from(rank < larger_share_count);
            targets.extend(member.owned.keys().take(share).map(|index| (*index, *id)));
            let needed_count = share.saturating_sub(member.owned.len());
            vacancies.extend(std::iter::repeat_n(*id, needed_count));
        }

        vacancies.sort_unstable();
        let free_partitions: Vec<u32> = self
            .epochs
            .keys()
            .copied()
            .filter(|index| !targets.contains_key(index))
            .collect();
        targets.extend(free_partitions.into_iter().zip(vacancies));
        targets
    }

    /// Starts the revocation of the partitions whose owner differs from the one in `targets`, or of
    /// all partitions of an eager group.
    fn revoke(&mut self, targets: &BTreeMap<u32, MemberId>) {
        let revocation_end = Instant::now() + self.revocation_timeout;
        for (id, member) in &mut self.members {
            let mut revoked_partitions = Vec::new();
            for (index, owned) in &mut member.owned {
                let must_be_revoked =
                    self.rebalancing == Rebalancing::Eager || targets.get(index) != Some(id);
                if must_be_revoked && owned.revocation_end.is_none() {
                    owned.revocation_end = Some(revocation_end);
                    revoked_partitions.push((*index, owned.epoch));
                }
            }
            if !revoked_partitions.is_empty() {
                member
                    .events
                    .push_back((revoked_partitions, RevocationCause::Rebalance));
            }
        }
    }

    /// Assigns each partition without an owner to its member in `targets`, which starts at the
    /// committed position.
    fn assign_unowned(&mut self, targets: &BTreeMap<u32, MemberId>) {
        for (index, id) in targets {
            let is_owned = self
                .members
                .values()
                .any(|member| member.owned.contains_key(index));
            if is_owned {
                continue;
            }
            // Each target is a member of the group, so there is one.
            let Some(member) = self.members.get_mut(id) else {
                continue;
            };
            let epoch = self.epochs.entry(*index).or_default();
            *epoch += 1;
            let owned = OwnedPartition {
                epoch: *epoch,
                fetch_offset: self.committed.get(index).copied(),
                revocation_end: None,
            };
            member.owned.insert(*index, owned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(rebalancing: Rebalancing) -> ConsumerGroup {
        ConsumerGroup::new(5, rebalancing, Duration::from_secs(3))
    }

    fn owns(group: &ConsumerGroup, member: MemberId) -> Vec<u32> {
        group
            .readable(member)
            .map(|(index, _owned)| *index)
            .collect()
    }

    fn give_up_all(group: &mut ConsumerGroup, member: MemberId) -> usize {
        let mut count = 0;
        while let Some((partitions, _)) = group.take_event(member) {
            count += partitions.len();
            group.give_up(member, &partitions);
        }
        count
    }

    #[tokio::test]
    async fn cooperative_moves_the_minimum_of_partitions() {
        let mut group = group(Rebalancing::Cooperative);
        group.join(1);
        assert_eq!(owns(&group, 1), [0, 1, 2, 3, 4]);
        group.join(2);
        assert_eq!(
            owns(&group, 1),
            [0, 1, 2],
            "two are revoked, three are read on"
        );
        assert!(owns(&group, 2).is_empty());
        assert_eq!(give_up_all(&mut group, 1), 2);
        assert_eq!(owns(&group, 2), [3, 4]);
        group.leave(1);
        assert_eq!(owns(&group, 2), [0, 1, 2, 3, 4]);
        assert_eq!(give_up_all(&mut group, 2), 0);
    }

    #[tokio::test]
    async fn eager_revokes_all_before_it_assigns_any() {
        let mut group = group(Rebalancing::Eager);
        group.join(1);
        group.join(2);
        assert_eq!((owns(&group, 1), owns(&group, 2)), (vec![], vec![]));
        assert_eq!(give_up_all(&mut group, 1), 5);
        assert_eq!((owns(&group, 1).len(), owns(&group, 2).len()), (3, 2));
    }
}
