//! The moments of power cuts and of failed syncs.

use fastrand::Rng;
use rustix::process::Signal;

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
    /// The `nth` operation of this kind on files with this suffix.
    pub(super) const fn of(operation: Option<Operation>, file: &'static str, nth: u64) -> Self {
        Self {
            operation,
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

/// What the services do when the power is cut, or when a sync fails before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene {
    pub(super) name: &'static str,
    /// How the services end before they start again. `None` if they go on.
    pub(super) ends_by: Option<Signal>,
    /// Whether its moment comes only when a write-ahead log is copied into its database.
    pub(super) needs_checkpoint: bool,
    /// Whether a sync fails at its moment. Otherwise the power is cut.
    pub(super) fails_sync: bool,
    operation: Option<Operation>,
    file: &'static str,
    /// The moment is one of as many operations.
    within: u64,
}

/// Purchases, users and orders are written.
const LOAD: Scene = Scene {
    name: "load",
    ends_by: None,
    needs_checkpoint: false,
    fails_sync: false,
    operation: Some(Operation::Write),
    file: "-wal",
    within: 2_000,
};

/// The power cuts.
pub(super) const CUTS: [Scene; 7] = [
    // On an empty disk, where the files are created.
    Scene {
        name: "first start",
        ends_by: Some(Signal::TERM),
        operation: None,
        file: "",
        within: 400,
        ..LOAD
    },
    LOAD,
    Scene {
        name: "checkpoint",
        needs_checkpoint: true,
        file: ".db",
        within: 40,
        ..LOAD
    },
    // The write-ahead log is written from its beginning.
    Scene {
        name: "after a checkpoint",
        needs_checkpoint: true,
        operation: Some(Operation::Sync),
        file: ".db",
        within: 3,
        ..LOAD
    },
    // After a start, the log deletes the records that are older than its retention.
    Scene {
        name: "truncation",
        ends_by: Some(Signal::TERM),
        needs_checkpoint: true,
        operation: Some(Operation::Resize),
        file: ".db",
        within: 3,
        ..LOAD
    },
    Scene {
        name: "restart",
        ends_by: Some(Signal::KILL),
        operation: None,
        file: "",
        within: 120,
        ..LOAD
    },
    Scene {
        name: "shutdown",
        ends_by: Some(Signal::TERM),
        operation: None,
        file: "",
        within: 120,
        ..LOAD
    },
];

impl Scene {
    /// A sync of this file fails, some time before the power is cut.
    pub(super) fn failing(file: &'static str) -> Self {
        let is_log = file.ends_with("-wal");
        Self {
            name: file,
            needs_checkpoint: !is_log,
            fails_sync: true,
            operation: Some(Operation::Sync),
            file,
            within: if is_log { 20 } else { 2 },
            ..LOAD
        }
    }

    pub(super) fn moment(&self, random: &mut Rng) -> Moment {
        Moment::of(self.operation, self.file, 1 + random.u64(..self.within))
    }
}
