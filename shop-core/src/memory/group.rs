//! A consumer group: the owners and epochs of partitions, and rebalancing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::log::{CommitOffset, CommitOutcome, Partition, RevocationCause};

/// Which partitions a rebalance revokes.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rebalancing {
    /// Only partitions that move to another member.
    Cooperative,
    /// All partitions of all members, before any is assigned again.
    Eager,
}

pub(super) type MemberId = u64;

#[derive(Debug)]
pub(super) struct ConsumerGroup {
    pub(super) committed: BTreeMap<u32, u64>,
    members: BTreeMap<MemberId, MemberState>,
    epochs: BTreeMap<u32, u64>,
    rebalancing: Rebalancing,
    revocation_timeout: Duration,
}

#[derive(Debug, Default)]
struct MemberState {
    owned: BTreeMap<u32, OwnedPartition>,
    events: VecDeque<(Vec<(u32, u64)>, RevocationCause)>,
}

#[derive(Debug)]
struct OwnedPartition {
    epoch: u64,
    /// The offset of the next record to deliver; `None` for the earliest.
    fetch: Option<u64>,
    /// When the rebalance takes the partition without its owner's consent.
    revoked_at: Option<Instant>,
}

impl ConsumerGroup {
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

    pub(super) fn join(&mut self, member: MemberId) {
        self.members.insert(member, MemberState::default());
        self.rebalance();
    }

    pub(super) fn leave(&mut self, member: MemberId) {
        if self.members.remove(&member).is_some() {
            self.rebalance();
        }
    }

    /// Evicts a member, as a coordinator does after a missed session timeout: its partitions are lost before it is
    /// notified. It joins again at once, without partitions.
    pub(super) fn expel(&mut self, member: MemberId) {
        let Some(mut expelled) = self.members.remove(&member) else {
            return;
        };
        let owned = std::mem::take(&mut expelled.owned);
        let lost = owned.into_iter().map(|(index, owned)| (index, owned.epoch));
        expelled
            .events
            .push_back((lost.collect(), RevocationCause::Lost));
        // The others are served first, so the partitions change owners where possible.
        self.rebalance();
        self.members.insert(member, expelled);
        self.rebalance();
    }

    pub(super) fn has(&self, member: MemberId) -> bool {
        self.members.contains_key(&member)
    }

    /// The pending revocation of `member`, which it receives before further records.
    pub(super) fn take_event(
        &mut self,
        member: MemberId,
    ) -> Option<(Vec<(u32, u64)>, RevocationCause)> {
        self.members.get_mut(&member)?.events.pop_front()
    }

    /// The partitions that `member` may read: index, epoch and offset.
    pub(super) fn readable(
        &self,
        member: MemberId,
    ) -> impl Iterator<Item = (u32, u64, Option<u64>)> {
        let owned = self
            .members
            .get(&member)
            .into_iter()
            .flat_map(|member| &member.owned);
        owned
            .filter(|(_, owned)| owned.revoked_at.is_none())
            .map(|(index, owned)| (*index, owned.epoch, owned.fetch))
    }

    pub(super) fn advance(&mut self, member: MemberId, partition: u32, fetch: u64) {
        let member = self.members.get_mut(&member);
        if let Some(owned) = member.and_then(|member| member.owned.get_mut(&partition)) {
            owned.fetch = Some(fetch);
        }
    }

    pub(super) fn commit(&mut self, member: MemberId, at: &CommitOffset) -> CommitOutcome {
        let Partition { index, epoch, .. } = at.partition;
        let member = self.members.get(&member);
        let owned = member.and_then(|member| member.owned.get(&index));
        if owned.is_some_and(|owned| owned.epoch == epoch) {
            self.committed.insert(index, at.next_offset);
            CommitOutcome::Committed
        } else {
            CommitOutcome::Fenced
        }
    }

    /// Ends the revocation of `partitions`.
    pub(super) fn give_up(&mut self, member: MemberId, partitions: &[(u32, u64)]) {
        let Some(member) = self.members.get_mut(&member) else {
            return;
        };
        member
            .owned
            .retain(|index, owned| !partitions.contains(&(*index, owned.epoch)));
        self.rebalance();
    }

    /// Takes partitions whose revocation has timed out. Returns when the next timeout ends.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Instant> {
        let is_due = |at: &Instant| *at <= now;
        let (due, later): (Vec<_>, Vec<_>) = self.revocation_ends().partition(is_due);
        if !due.is_empty() {
            for member in self.members.values_mut() {
                member
                    .owned
                    .retain(|_, owned| !owned.revoked_at.as_ref().is_some_and(is_due));
            }
            self.rebalance();
        }
        later.into_iter().min()
    }

    /// When each revocation that has not ended times out.
    fn revocation_ends(&self) -> impl Iterator<Item = Instant> {
        self.members
            .values()
            .flat_map(|member| member.owned.values())
            .filter_map(|owned| owned.revoked_at)
    }

    /// Rebalances: revokes partitions that move, and assigns those without an owner.
    fn rebalance(&mut self) {
        let wanted = self.wanted();
        let moves = self.members.iter().any(|(id, member)| {
            let keeps = |(index, owned): (&u32, &OwnedPartition)| {
                owned.revoked_at.is_some() || wanted.get(index) == Some(id)
            };
            !member.owned.iter().all(keeps)
        });
        if moves {
            self.revoke(&wanted);
        }
        let all_given_up = self.revocation_ends().next().is_none();
        if self.rebalancing == Rebalancing::Cooperative || all_given_up {
            self.give_out(&wanted);
        }
    }

    /// The target owner of each partition. Shares differ by at most one, and members keep as many partitions as that
    /// allows.
    fn wanted(&self) -> BTreeMap<u32, MemberId> {
        // Members with more partitions come first, so they keep the larger shares.
        let mut by_size: Vec<_> = self.members.iter().collect();
        by_size.sort_by_key(|(id, member)| (std::cmp::Reverse(member.owned.len()), **id));
        let partitions = self.epochs.len();
        let members = self.members.len().max(1);
        let mut wanted = BTreeMap::new();
        let mut places = Vec::new();
        for (rank, (id, member)) in by_size.into_iter().enumerate() {
            let quota = partitions / members + usize::from(rank < partitions % members);
            wanted.extend(member.owned.keys().take(quota).map(|index| (*index, *id)));
            places.extend(std::iter::repeat_n(
                *id,
                quota.saturating_sub(member.owned.len()),
            ));
        }
        places.sort_unstable();
        let free: Vec<u32> = self
            .epochs
            .keys()
            .copied()
            .filter(|index| !wanted.contains_key(index))
            .collect();
        wanted.extend(free.into_iter().zip(places));
        wanted
    }

    fn revoke(&mut self, wanted: &BTreeMap<u32, MemberId>) {
        let until = Instant::now() + self.revocation_timeout;
        for (id, member) in &mut self.members {
            let mut revoked = Vec::new();
            for (index, owned) in &mut member.owned {
                let moves = self.rebalancing == Rebalancing::Eager || wanted.get(index) != Some(id);
                if moves && owned.revoked_at.is_none() {
                    owned.revoked_at = Some(until);
                    revoked.push((*index, owned.epoch));
                }
            }
            if !revoked.is_empty() {
                member
                    .events
                    .push_back((revoked, RevocationCause::Rebalance));
            }
        }
    }

    fn give_out(&mut self, wanted: &BTreeMap<u32, MemberId>) {
        for (index, id) in wanted {
            let is_owned = self
                .members
                .values()
                .any(|member| member.owned.contains_key(index));
            let Some(member) = self.members.get_mut(id).filter(|_| !is_owned) else {
                continue;
            };
            let epoch = self.epochs.entry(*index).or_default();
            *epoch += 1;
            let fetch = self.committed.get(index).copied();
            member.owned.insert(
                *index,
                OwnedPartition {
                    epoch: *epoch,
                    fetch,
                    revoked_at: None,
                },
            );
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
        group.readable(member).map(|(index, ..)| index).collect()
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
