//! A simulated disk that loses unsynced changes when the power is cut.
//!
//! The contents of a file are durable after its sync, a name after the sync of its folder. Of the rest, nothing survives a
//! cut, or random names and sectors do.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::{fs, io};

use tokio::sync::watch;

use super::plan::{Moment, Operation};
use crate::prelude::*;

/// The size of an atomic write, in bytes.
const SECTOR: usize = 512;
/// The inode of the root folder.
pub(super) const ROOT: u64 = 1;

type Names = BTreeMap<OsString, u64>;

/// A change to a file that is not synced.
#[derive(Debug)]
enum Change {
    Write { at: usize, data: Vec<u8> },
    Resize(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { at, data } => write_at(bytes, *at, data),
            Self::Resize(size) => bytes.resize(*size, 0),
        }
    }

    /// Applies a random part: each sector of a write by chance.
    fn apply_torn(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let Self::Write { at, data } = self else {
            if random.below(2) == 0 {
                self.apply(bytes);
            }
            return;
        };
        let mut from = 0;
        while from < data.len() {
            let to = data.len().min(from + SECTOR - (at + from) % SECTOR);
            if random.below(2) == 0 {
                write_at(bytes, at + from, &data[from..to]);
            }
            from = to;
        }
    }
}

fn write_at(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(data);
}

/// The cached and the durable content of a file.
#[derive(Debug, Default)]
struct File {
    live: Vec<u8>,
    synced: Vec<u8>,
    pending: Vec<Change>,
}

/// The cached and the durable names in a folder.
#[derive(Debug, Default)]
struct Folder {
    live: Names,
    synced: Names,
}

/// An unsynced change of names: the new target of each name. A rename changes two at once.
#[derive(Debug)]
struct NameChange(Vec<(u64, OsString, Option<u64>)>);

/// The contents of the disk. Programs access it through [`Disk::enter`].
#[derive(Debug, Default)]
pub(super) struct State {
    files: BTreeMap<u64, File>,
    folders: BTreeMap<u64, Folder>,
    /// The last name of each inode.
    titles: BTreeMap<u64, String>,
    /// Unsynced changes of names, oldest first.
    names: Vec<NameChange>,
    /// The number of cuts. Requests of an earlier boot fail.
    boot: u64,
    is_cut_off: bool,
    moment: Option<Moment>,
    /// The sync that fails.
    failing: Option<Moment>,
    /// The capacity for all files, in bytes.
    limit: usize,
    /// Planted defect: the names of files whose syncs are omitted.
    left_out: Option<String>,
}

#[derive(Debug)]
pub(super) struct Disk {
    state: Mutex<State>,
    booted: Condvar,
    cut_off: watch::Sender<bool>,
}

impl Disk {
    /// An empty disk. Syncs of the file `left_out` do nothing; `*` means all files.
    pub(super) fn new(left_out: Option<String>) -> Self {
        let state = State {
            folders: BTreeMap::from([(ROOT, Folder::default())]),
            titles: BTreeMap::from([(ROOT, "/".to_owned())]),
            limit: usize::MAX,
            left_out,
            ..State::default()
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
        let title = state.titles.get(&node).map_or("", String::as_str);
        let moment = state.moment.as_mut();
        if moment.is_some_and(|moment| moment.has_come(operation, title)) && !state.is_cut_off {
            state.is_cut_off = true;
            self.cut_off.send_replace(true);
        }
    }

    /// Makes a file's contents or a folder's names durable. `None` if the sync fails or the power is cut before.
    pub(super) fn sync(&self, boot: u64, node: u64) -> Option<()> {
        let mut state = self.enter(boot)?;
        self.count(&mut state, Operation::Sync, node);
        drop(state);
        self.enter(boot)?.sync(node)
    }

    /// Fails one sync of a file and loses its writes, as Linux does: programs read them until the
    /// power is cut, and later syncs succeed without them.
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
        state.limit = state.used().saturating_add(room);
    }

    /// Whether syncs are omitted.
    pub(super) fn is_defective(&self) -> bool {
        self.state().left_out.is_some()
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

    /// Discards unsynced changes, or random ones of them if some are kept, and starts another boot.
    pub(super) fn forget(&self, is_kept: bool, random: &mut Random) {
        let mut state = self.state();
        state.forget(is_kept, random);
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
        let folder = state.find(ROOT, OsStr::new(folder));
        for (name, node) in folder
            .and_then(|node| state.names(node))
            .into_iter()
            .flatten()
        {
            if let Some(file) = state.files.get(node) {
                fs::write(to.join(name), &file.live)?;
            }
        }
        Ok(())
    }
}

impl State {
    pub(super) fn is_folder(&self, node: u64) -> bool {
        self.folders.contains_key(&node)
    }

    /// The size of a file. A folder has none.
    pub(super) fn size(&self, node: u64) -> usize {
        self.files.get(&node).map_or(0, |file| file.live.len())
    }

    pub(super) fn names(&self, folder: u64) -> Option<&Names> {
        Some(&self.folders.get(&folder)?.live)
    }

    pub(super) fn find(&self, folder: u64, name: &OsStr) -> Option<u64> {
        self.names(folder)?.get(name).copied()
    }

    /// Creates an empty file or folder.
    pub(super) fn create(&mut self, folder: u64, name: &OsStr, is_folder: bool) -> u64 {
        let node = ROOT + self.titles.len() as u64;
        if is_folder {
            self.folders.insert(node, Folder::default());
        } else {
            self.files.insert(node, File::default());
        }
        self.link(node, folder, name);
        node
    }

    /// Adds a name to a file or folder.
    pub(super) fn link(&mut self, node: u64, folder: u64, name: &OsStr) {
        self.titles
            .insert(node, name.to_string_lossy().into_owned());
        self.change_names(vec![(folder, name.to_owned(), Some(node))]);
    }

    pub(super) fn remove(&mut self, folder: u64, name: &OsStr) {
        self.change_names(vec![(folder, name.to_owned(), None)]);
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Option<()> {
        let node = self.find(from.0, from.1)?;
        self.titles
            .insert(node, to.1.to_string_lossy().into_owned());
        let removed = (from.0, from.1.to_owned(), None);
        self.change_names(vec![removed, (to.0, to.1.to_owned(), Some(node))]);
        Some(())
    }

    fn change_names(&mut self, changes: Vec<(u64, OsString, Option<u64>)>) {
        let change = NameChange(changes);
        self.apply_names(&change, |folder| &mut folder.live);
        self.names.push(change);
    }

    fn apply_names(
        &mut self,
        NameChange(changes): &NameChange,
        names_of: fn(&mut Folder) -> &mut Names,
    ) {
        for (folder, name, node) in changes {
            let names = names_of(self.folders.get_mut(folder).unwrap());
            match node {
                Some(node) => names.insert(name.clone(), *node),
                None => names.remove(name),
            };
        }
    }

    pub(super) fn read(&self, node: u64, at: usize, size: usize) -> Option<&[u8]> {
        let live = &self.files.get(&node)?.live;
        Some(&live[at.min(live.len())..live.len().min(at + size)])
    }

    pub(super) fn write(&mut self, node: u64, at: usize, data: &[u8]) -> Option<()> {
        let data = data.to_vec();
        self.change(node, Change::Write { at, data })
    }

    pub(super) fn resize(&mut self, node: u64, size: usize) -> Option<()> {
        self.change(node, Change::Resize(size))
    }

    fn change(&mut self, node: u64, change: Change) -> Option<()> {
        let file = self.files.get_mut(&node)?;
        change.apply(&mut file.live);
        file.pending.push(change);
        Some(())
    }

    fn used(&self) -> usize {
        self.files.values().map(|file| file.live.len()).sum()
    }

    /// The free space, in bytes.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.used())
    }

    fn sync(&mut self, node: u64) -> Option<()> {
        let title = self.titles[&node].clone();
        let left_out = self.left_out.as_ref();
        if left_out.is_some_and(|name| name == "*" || *name == title) {
            return Some(());
        }
        let Some(file) = self.files.get_mut(&node) else {
            self.sync_names(node);
            return Some(());
        };
        let failing = self
            .failing
            .take_if(|moment| moment.has_come(Operation::Sync, &title));
        for change in file.pending.drain(..) {
            // The size is metadata of the file system, which it keeps.
            if failing.is_none() || matches!(change, Change::Resize(_)) {
                change.apply(&mut file.synced);
            }
        }
        if failing.is_none() {
            return Some(());
        }
        None
    }

    fn sync_names(&mut self, folder: u64) {
        let concerns =
            |change: &mut NameChange| change.0.iter().any(|(changed, ..)| *changed == folder);
        let changes: Vec<_> = self.names.extract_if(.., concerns).collect();
        for change in changes {
            self.apply_names(&change, |folder| &mut folder.synced);
        }
    }

    fn forget(&mut self, is_kept: bool, random: &mut Random) {
        for change in std::mem::take(&mut self.names) {
            if is_kept && random.below(2) == 0 {
                self.apply_names(&change, |folder| &mut folder.synced);
            }
        }
        for folder in self.folders.values_mut() {
            folder.live.clone_from(&folder.synced);
        }
        for file in self.files.values_mut() {
            for change in file.pending.drain(..) {
                if is_kept {
                    change.apply_torn(&mut file.synced, random);
                }
            }
            file.live.clone_from(&file.synced);
        }
    }
}
