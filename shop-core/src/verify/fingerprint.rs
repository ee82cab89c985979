//! Fingerprints of purchases: 16 bytes that stand for the id and the content of a purchase.
//!
//! | bits | content |
//! |---|---|
//! | the upper 72 | a hash of the id |
//! | the lower 56 | a hash of the content |
//!
//! The hashes are keyed, with a key that is random for each verification. So no client can construct
//! purchases whose fingerprints are equal, although clients choose ids and contents.
//!
//! Two of n ids have the same hash with a probability of n² / 2 / 2^72: with 10,000,000 ids, in one
//! of 100,000,000 verifications. If both ids are stored, one of them is reported as a duplicate. If
//! one is stored and the other one is missing, the missing one is overlooked, provided that the
//! contents are the same, too. Another content of a stored id is overlooked once in 2^56.

use std::hash::{BuildHasher, RandomState};

use crate::{Purchase, PurchaseId};

/// The bits of [`Fingerprint::tail`] that are a hash of the content.
const CONTENT_MASK: u64 = (1 << 56) - 1;
/// The average number of fingerprints in a bucket of a set that is full.
///
/// An insertion into a bucket moves half of its fingerprints, so they should be few.
const FULL_BUCKET: usize = 320;
/// The number of fingerprints by which a short bucket grows, and the divisor of the growth of a long
/// one: it grows by a sixteenth.
const GROWTH: usize = 16;

/// A fingerprint of a purchase; or of an id alone, with zero in place of a hash of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// The first 64 bits of the hash of the id.
    id_head: u64,
    /// The last 8 bits of the hash of the id, and the 56 bits of the hash of the content.
    tail: u64,
}

impl Fingerprint {
    /// Returns the 72 bits that are a hash of the id.
    const fn id_bits(self) -> (u64, u64) {
        (self.id_head, self.tail & !CONTENT_MASK)
    }

    /// Returns the position of the id: a number below [`IdRange::END`], evenly distributed.
    ///
    /// The position consists of other bits than those that choose a bucket of a
    /// [`FingerprintSet`], so the ids of a small range are in all buckets.
    const fn position(self) -> u64 {
        self.id_head % IdRange::END
    }
}

/// The random key of the fingerprints of one verification.
#[derive(Debug, Clone, Default)]
pub(super) struct FingerprintKey(RandomState);

impl FingerprintKey {
    /// Returns the fingerprint of `id` alone.
    pub(super) fn fingerprint_id(&self, id: &PurchaseId) -> Fingerprint {
        // One hash has 64 bits. The first member makes the three hashes independent.
        Fingerprint {
            id_head: self.0.hash_one((0_u8, id)),
            tail: self.0.hash_one((1_u8, id)) & !CONTENT_MASK,
        }
    }

    /// Returns the fingerprint of the id of `purchase`, and of the content that
    /// [`Purchase::same_content`] compares.
    ///
    /// Purchases with the same content may have different fingerprints, such as when one purchase
    /// lacks its currency.
    pub(super) fn fingerprint(&self, purchase: &Purchase) -> Fingerprint {
        let content_hash = self.0.hash_one((
            2_u8,
            &purchase.user_id,
            &purchase.user_name,
            purchase.price,
            purchase.details.to_json(),
        ));

        let mut fingerprint = self.fingerprint_id(&purchase.id);
        fingerprint.tail |= content_hash & CONTENT_MASK;
        fingerprint
    }
}

/// A range of ids, by the [positions](Fingerprint::position) of their fingerprints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IdRange {
    start: u64,
    end: u64,
}

impl IdRange {
    /// The end of the positions of all ids.
    const END: u64 = 1 << 32;
    /// The range of all ids.
    pub(super) const ALL: Self = Self {
        start: 0,
        end: Self::END,
    };

    /// Returns whether this range contains the id of `fingerprint`.
    pub(super) const fn contains(self, fingerprint: Fingerprint) -> bool {
        let position = fingerprint.position();
        self.start <= position && position < self.end
    }

    /// Returns this range without its last sixteenth, or `None` if it is too narrow to be divided.
    pub(super) fn narrowed(self) -> Option<Self> {
        let width = self.end - self.start;
        (width > 1).then_some(Self {
            end: self.end - (width / 16).max(1),
            ..self
        })
    }

    /// Returns the range of all ids behind this range, or `None` if there are none.
    pub(super) fn rest(self) -> Option<Self> {
        (self.end < Self::END).then_some(Self {
            start: self.end,
            end: Self::END,
        })
    }

    /// Returns the number of ranges as wide as this one that contain all ids behind this range.
    pub(super) const fn further_ranges(self) -> u64 {
        (Self::END - self.end).div_ceil(self.end - self.start)
    }
}

/// A set of fingerprints, with at most one fingerprint for each id.
///
/// The set consists of sorted buckets. The first bits of a fingerprint choose its bucket. A large
/// set takes about 17 bytes for each fingerprint. A hash map would take up to 50: its number of
/// places is a power of two, and a growing map exists twice for a while.
#[derive(Debug)]
pub(super) struct FingerprintSet {
    buckets: Vec<Vec<Fingerprint>>,
    /// The number of fingerprints in all buckets.
    len: usize,
}

impl FingerprintSet {
    /// Creates an empty set for about `capacity` fingerprints. More are possible, and slower.
    pub(super) fn new(capacity: usize) -> Self {
        let bucket_count = (capacity / FULL_BUCKET).max(1);
        Self {
            buckets: vec![Vec::new(); bucket_count],
            len: 0,
        }
    }

    /// Returns the number of fingerprints.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the set contains this id with this content.
    pub(super) fn contains(&self, fingerprint: Fingerprint) -> bool {
        let bucket = &self.buckets[self.bucket_index(fingerprint)];
        search(bucket, fingerprint).is_ok_and(|index| bucket[index] == fingerprint)
    }

    /// Returns whether the set contains this id, with any content.
    pub(super) fn contains_id(&self, fingerprint: Fingerprint) -> bool {
        let bucket = &self.buckets[self.bucket_index(fingerprint)];
        search(bucket, fingerprint).is_ok()
    }

    /// Inserts `fingerprint`. It replaces the fingerprint of the same id, if there is one.
    ///
    /// Returns whether the id is new.
    pub(super) fn insert(&mut self, fingerprint: Fingerprint) -> bool {
        let bucket_index = self.bucket_index(fingerprint);
        let bucket = &mut self.buckets[bucket_index];
        let insertion_index = match search(bucket, fingerprint) {
            Ok(present_index) => {
                bucket[present_index] = fingerprint;
                return false;
            }
            Err(insertion_index) => insertion_index,
        };

        if bucket.len() == bucket.capacity() {
            bucket.reserve_exact((bucket.len() / GROWTH).max(GROWTH));
        }
        bucket.insert(insertion_index, fingerprint);
        self.len += 1;
        true
    }

    /// Removes the fingerprints whose ids are outside of `range`. Their memory is kept for others.
    pub(super) fn retain_range(&mut self, range: IdRange) {
        self.len = 0;
        for bucket in &mut self.buckets {
            bucket.retain(|fingerprint| range.contains(*fingerprint));
            self.len += bucket.len();
        }
    }

    /// Removes all fingerprints. Their memory is kept for others.
    pub(super) fn clear(&mut self) {
        for bucket in &mut self.buckets {
            bucket.clear();
        }
        self.len = 0;
    }

    /// Returns the index of the bucket of `fingerprint`: its first 64 bits, scaled from 2^64 to the
    /// number of buckets.
    fn bucket_index(&self, fingerprint: Fingerprint) -> usize {
        let scaled = u128::from(fingerprint.id_head) * self.buckets.len() as u128;
        // The index is below the number of buckets, so the default never applies.
        usize::try_from(scaled >> 64).unwrap_or_default()
    }
}

/// Returns the index in the sorted `bucket` of the fingerprint with the same id as `fingerprint`.
///
/// # Errors
/// The index at which `fingerprint` is to be inserted, if the bucket does not contain its id.
fn search(bucket: &[Fingerprint], fingerprint: Fingerprint) -> Result<usize, usize> {
    bucket.binary_search_by_key(&fingerprint.id_bits(), |other| other.id_bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Uuid;

    fn fingerprint(key: &FingerprintKey, number: u128) -> Fingerprint {
        key.fingerprint_id(&PurchaseId::from_uuid(Uuid::from_u128(number)))
    }

    #[test]
    fn a_set_contains_what_was_inserted_in_any_number_of_buckets() {
        let key = FingerprintKey::default();
        for capacity in [0, 1, 1_000, 100_000] {
            let mut set = FingerprintSet::new(capacity);
            for number in 0..2_000 {
                assert!(set.insert(fingerprint(&key, number)), "{capacity}");
            }
            assert!((0..2_000).all(|number| set.contains(fingerprint(&key, number))));
            assert!(!(2_000..4_000).any(|number| set.contains_id(fingerprint(&key, number))));

            // An id with another content replaces the first one.
            let mut other_content = fingerprint(&key, 7);
            other_content.tail |= 1;
            assert!(set.contains_id(other_content) && !set.contains(other_content));
            assert!(!set.insert(other_content));
            assert!(set.contains(other_content) && !set.contains(fingerprint(&key, 7)));
            assert_eq!(set.len(), 2_000);
            set.clear();
            assert!(set.len() == 0 && !set.contains_id(other_content));
        }
    }

    #[test]
    fn the_ids_of_one_range_are_in_all_buckets() {
        let key = FingerprintKey::default();
        let mut narrow = IdRange::ALL;
        for _ in 0..40 {
            narrow = narrow.narrowed().unwrap();
        }
        let mut set = FingerprintSet::new(4 * FULL_BUCKET);
        for number in 0..2_000 {
            set.insert(fingerprint(&key, number));
        }
        set.retain_range(narrow);
        let kept: usize = set.buckets.iter().map(Vec::len).sum();
        // About (15 / 16)^40 = 7.6 % of them.
        assert!((80..=240).contains(&kept) && set.len() == kept, "{kept}");
        assert!(set.buckets.iter().all(|bucket| !bucket.is_empty()));
    }

    #[test]
    fn ranges_divide_all_ids() {
        let key = FingerprintKey::default();
        assert_eq!(IdRange::ALL.rest(), None);
        let mut ranges = vec![IdRange::ALL.narrowed().unwrap()];
        assert_eq!(ranges[0].further_ranges(), 1);
        while let Some(rest) = ranges.last().unwrap().rest() {
            let narrowed = rest.narrowed().filter(|_| ranges.len() < 50);
            ranges.push(narrowed.unwrap_or(rest));
        }
        for number in 0..1_000 {
            let fingerprint = fingerprint(&key, number);
            let containing = ranges.iter().filter(|range| range.contains(fingerprint));
            assert_eq!(containing.count(), 1);
        }
    }

    #[test]
    fn a_range_is_narrowed_until_it_contains_a_single_position() {
        let mut range = IdRange::ALL;
        while let Some(narrowed) = range.narrowed() {
            assert!(narrowed.end < range.end && narrowed.start < narrowed.end);
            range = narrowed;
        }
        assert_eq!(range, IdRange { start: 0, end: 1 });
    }

    #[test]
    fn every_verification_has_a_key_of_its_own() {
        let [first, other] = [FingerprintKey::default(), FingerprintKey::default()];
        assert_ne!(fingerprint(&first, 1), fingerprint(&other, 1));
        assert_eq!(fingerprint(&first, 1), fingerprint(&first.clone(), 1));
    }
}
