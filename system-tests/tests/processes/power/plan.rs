//! The moments of power cuts, and the changes that survive.

use crate::kills::Random;

/// An operation on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Write,
    Resize,
    Sync,
    /// Creating, renaming or deleting a name.
    Name,
}

/// A moment among the operations of a disk.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    /// `None` for any.
    operation: Option<Operation>,
    /// The suffix of the file name.
    file: &'static str,
    /// The number of remaining operations.
    left: u64,
}

impl Moment {
    /// The `nth` of any operations.
    pub(super) const fn any(nth: u64) -> Self {
        Self {
            operation: None,
            ..Self::of(Operation::Write, "", nth)
        }
    }

    /// The `nth` operation of this kind on files with this suffix.
    pub(super) const fn of(operation: Operation, file: &'static str, nth: u64) -> Self {
        Self {
            operation: Some(operation),
            file,
            left: nth,
        }
    }

    pub(super) fn has_come(&mut self, operation: Operation, file: &str) -> bool {
        if self.operation.is_none_or(|wanted| wanted == operation) && file.ends_with(self.file) {
            self.left = self.left.saturating_sub(1);
            return self.left == 0;
        }
        false
    }
}

/// The unsynced changes that survive a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Survival {
    Nothing,
    Everything,
    /// All names, and no contents.
    Names,
    /// The first changes of each file, the last of which is torn.
    Prefix,
    /// Random sectors and names.
    Torn,
}

impl Survival {
    /// The survival of a cut. On a defective disk mostly `Nothing`, and always at first: surviving changes are as good as
    /// synced.
    pub(super) fn of(cut: u64, is_defective: bool, random: &mut Random) -> Self {
        let any = random.below(5);
        if is_defective && (cut < 4 || cut.is_multiple_of(2)) {
            return Self::Nothing;
        }
        match any {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 => Self::Names,
            3 => Self::Prefix,
            _ => Self::Torn,
        }
    }

    /// The number of `count` changes that survive entirely, counted from the first.
    pub(super) fn prefix(self, count: usize, random: &mut Random) -> usize {
        if self == Self::Prefix {
            usize::try_from(random.below(count as u64 + 1)).unwrap()
        } else {
            0
        }
    }
}

/// The activity during a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    /// The first start, on an empty disk.
    FirstStart,
    /// Purchases, users and orders are written.
    Load,
    /// A write-ahead log is copied into its database.
    Checkpoint,
    /// After a checkpoint, the write-ahead log is written from its beginning.
    AfterCheckpoint,
    /// A file gets smaller: after a start, the log deletes the records that are older than its retention.
    Truncation,
    /// A start after a crash.
    Restart,
    /// A clean shutdown and the start after it.
    Shutdown,
}

impl Scene {
    const ALL: [Self; 7] = [
        Self::FirstStart,
        Self::Load,
        Self::Checkpoint,
        Self::AfterCheckpoint,
        Self::Truncation,
        Self::Restart,
        Self::Shutdown,
    ];

    /// The scene of a cut: each in turn, since a run has few cuts, then a random one.
    pub(super) fn of(cut: u64, random: &mut Random) -> Self {
        let scenes = Self::ALL.len() as u64;
        // A disk is empty only once.
        let any = 1 + random.below(scenes - 1);
        let scene = if cut < scenes { cut } else { any };
        Self::ALL[usize::try_from(scene).unwrap()]
    }

    /// Whether the services are started before the cut.
    pub(super) fn starts_services(self) -> bool {
        matches!(
            self,
            Self::FirstStart | Self::Truncation | Self::Restart | Self::Shutdown
        )
    }

    /// Whether its moment comes only when a write-ahead log is copied.
    pub(super) fn needs_checkpoint(self) -> bool {
        matches!(
            self,
            Self::Checkpoint | Self::AfterCheckpoint | Self::Truncation
        )
    }

    pub(super) fn moment(self, random: &mut Random) -> Moment {
        match self {
            Self::FirstStart => Moment::any(1 + random.below(400)),
            Self::Restart | Self::Shutdown => Moment::any(1 + random.below(120)),
            Self::Load => Moment::of(Operation::Write, "-wal", 1 + random.below(2_000)),
            Self::Checkpoint => Moment::of(Operation::Write, ".db", 1 + random.below(40)),
            Self::AfterCheckpoint => Moment::of(Operation::Sync, ".db", 1 + random.below(3)),
            Self::Truncation => Moment::of(Operation::Resize, ".db", 1 + random.below(3)),
        }
    }
}
