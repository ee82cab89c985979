//! A [`Disk`] with power: at a chosen moment it is cut, and programs wait until the next boot.

use std::ffi::OsStr;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard};

use fastrand::Rng;
use shop_faults::disk::{Disk, ROOT, Survivors};
use tokio::sync::watch;

use super::plan::{Moment, Operation};
use crate::prelude::*;

/// The disk, and the power in this boot. Programs access it through [`PoweredDisk::enter`].
#[derive(Debug)]
pub(super) struct State {
    pub(super) disk: Disk,
    random: Rng,
    /// The number of cuts. Requests of an earlier boot fail.
    boot: u64,
    is_cut_off: bool,
    /// When the power is cut.
    moment: Option<Moment>,
    /// The sync that fails.
    failing: Option<Moment>,
    /// The capacity for all files, in bytes.
    limit: usize,
}

impl State {
    /// The free space, in bytes.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.disk.used_bytes())
    }
}

#[derive(Debug)]
pub(super) struct PoweredDisk {
    state: Mutex<State>,
    booted: Condvar,
    cut_off: watch::Sender<bool>,
}

impl PoweredDisk {
    /// Turns the power of `disk` on. `seed` determines what survives its cuts.
    pub(super) fn new(disk: Disk, seed: u64) -> Self {
        let state = State {
            disk,
            random: Rng::with_seed(seed),
            boot: 0,
            is_cut_off: false,
            moment: None,
            failing: None,
            limit: usize::MAX,
        };
        Self {
            state: Mutex::new(state),
            booted: Condvar::new(),
            cut_off: watch::Sender::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Access for a program of this boot. While the power is off it waits for the next boot; then it is `None`, as the
    /// program has ended.
    pub(super) fn enter(&self, boot: u64) -> Option<MutexGuard<'_, State>> {
        let is_off = |state: &mut State| state.is_cut_off && state.boot == boot;
        let state = self.booted.wait_while(self.state(), is_off).unwrap();
        (state.boot == boot).then_some(state)
    }

    /// Counts an operation, and cuts the power at the chosen moment.
    pub(super) fn count(&self, state: &mut State, operation: Operation, node: u64) {
        let name = state.disk.last_name(node);
        let moment = state.moment.as_mut();
        if moment.is_some_and(|moment| moment.has_come(operation, name)) && !state.is_cut_off {
            state.is_cut_off = true;
            self.cut_off.send_replace(true);
        }
    }

    /// Makes a file's contents or a folder's names durable. `None` if the sync fails or the power is cut before.
    pub(super) fn sync(&self, boot: u64, node: u64) -> Option<()> {
        let mut state = self.enter(boot)?;
        self.count(&mut state, Operation::Sync, node);
        drop(state);

        let mut state = self.enter(boot)?;
        let State {
            disk,
            random,
            failing,
            ..
        } = &mut *state;
        let has_come = |moment: &mut Moment| moment.has_come(Operation::Sync, disk.last_name(node));
        if failing.take_if(has_come).is_some() {
            disk.sync_with_losses(node, random);
            return None;
        }
        disk.sync(node);
        Some(())
    }

    /// Fails one sync of a file, which loses writes.
    pub(super) fn fail_sync(&self, moment: Moment) {
        self.state().failing = Some(moment);
    }

    /// Whether the failing sync is still pending.
    pub(super) fn is_failing(&self) -> bool {
        self.state().failing.is_some()
    }

    /// Limits the free space, in bytes.
    pub(super) fn limit(&self, room: usize) {
        let mut state = self.state();
        state.limit = state.disk.used_bytes().saturating_add(room);
    }

    /// Whether syncs are omitted.
    pub(super) fn is_defective(&self) -> bool {
        self.state().disk.is_defective()
    }

    pub(super) fn boot(&self) -> u64 {
        self.state().boot
    }

    /// Cuts the power at this moment.
    pub(super) fn arm(&self, moment: Moment) {
        self.state().moment = Some(moment);
    }

    /// Cuts the power now.
    pub(super) fn cut_off(&self) {
        self.state().is_cut_off = true;
        self.cut_off.send_replace(true);
    }

    /// Waits until the power is cut.
    pub(super) async fn until_cut_off(&self) {
        let mut cut_off = self.cut_off.subscribe();
        cut_off.wait_for(|is_cut_off| *is_cut_off).await.unwrap();
    }

    /// Discards unsynced changes but for the survivors, and starts another boot.
    pub(super) fn forget(&self, survivors: Survivors) {
        let mut state = self.state();
        let State { disk, random, .. } = &mut *state;
        *disk = disk.after_power_cut(survivors, random);
        state.boot += 1;
        state.is_cut_off = false;
        state.moment = None;
        state.failing = None;
        self.cut_off.send_replace(false);
        self.booted.notify_all();
    }

    /// Writes the cached files of a folder in the root folder to a folder of this machine. This process
    /// must not use the mounted files: if it waits for its own thread to read a page, that thread may wait for it.
    pub(super) fn export(&self, folder: &str, to: &Path) -> io::Result<()> {
        let state = self.state();
        let Some(folder) = state.disk.find(ROOT, OsStr::new(folder)) else {
            return Ok(());
        };
        for (name, content) in state.disk.files(folder) {
            std::fs::write(to.join(name), content)?;
        }
        Ok(())
    }
}
