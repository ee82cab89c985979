//! A simulated disk that loses unsynced changes when the power is cut.
//!
//! The contents of a file are durable after its sync, a name after the sync of its folder. Any part of the rest may
//! survive a cut: see [`Survival`].

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::{fs, io};

use tokio::sync::watch;

use super::plan::{Moment, Operation, Survival};
use crate::kills::Random;

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

/// A file or a folder, with its cached and its durable state.
#[derive(Debug)]
enum Node {
    File {
        live: Vec<u8>,
        synced: Vec<u8>,
        pending: Vec<Change>,
    },
    Folder {
        live: Names,
        synced: Names,
    },
}

/// An unsynced change of names: the new target of each name. A rename changes two at once.
#[derive(Debug)]
struct NameChange(Vec<(u64, OsString, Option<u64>)>);

/// The attributes of a file or a folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    pub(super) is_folder: bool,
    pub(super) size: usize,
}

/// The contents of the disk. Programs access it through [`Disk::enter`].
#[derive(Debug)]
pub(super) struct State {
    nodes: BTreeMap<u64, Node>,
    /// The name that each inode was created with.
    titles: BTreeMap<u64, String>,
    next: u64,
    /// Unsynced changes of names, oldest first.
    names: Vec<NameChange>,
    /// The number of cuts. Requests of an earlier boot fail.
    boot: u64,
    is_cut_off: bool,
    moment: Option<Moment>,
    /// The sync that fails.
    failing: Option<Moment>,
    /// Whether all later operations on its file fail.
    breaks: bool,
    /// The file that has failed so.
    broken: Option<u64>,
    /// The number of failed syncs, by file name.
    failed: BTreeMap<String, u64>,
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
        let root = Node::Folder {
            live: Names::new(),
            synced: Names::new(),
        };
        let state = State {
            nodes: BTreeMap::from([(ROOT, root)]),
            titles: BTreeMap::from([(ROOT, "/".to_owned())]),
            next: ROOT + 1,
            names: Vec::new(),
            boot: 0,
            is_cut_off: false,
            moment: None,
            failing: None,
            breaks: false,
            broken: None,
            failed: BTreeMap::new(),
            limit: usize::MAX,
            left_out,
        };
        Self {
            state: Mutex::new(state),
            booted: Condvar::new(),
            cut_off: watch::Sender::new(false),
        }
    }

    /// Access for a program of this boot. While the power is off it waits for the next boot; then it is `None`, as the
    /// program has ended.
    pub(super) fn enter(&self, boot: u64) -> Option<MutexGuard<'_, State>> {
        let state = self.state.lock().unwrap();
        let state = self
            .booted
            .wait_while(state, |state| state.is_cut_off && state.boot == boot)
            .unwrap();
        (state.boot == boot).then_some(state)
    }

    /// Counts an operation, and cuts the power at the chosen moment.
    pub(super) fn count(&self, state: &mut State, operation: Operation, node: u64) {
        let title = state
            .titles
            .get(&node)
            .map(String::as_str)
            .unwrap_or_default();
        let is_due = state
            .moment
            .as_mut()
            .is_some_and(|moment| moment.has_come(operation, title));
        if is_due && !state.is_cut_off {
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
        self.state.lock().unwrap().failing = Some(moment);
    }

    /// The same. All later operations on the file fail until [`heal`](Self::heal).
    pub(super) fn break_file(&self, moment: Moment) {
        let mut state = self.state.lock().unwrap();
        state.failing = Some(moment);
        state.breaks = true;
    }

    pub(super) fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        state.breaks = false;
        state.broken = None;
    }

    /// The number of failed syncs, by file name.
    pub(super) fn failed(&self) -> BTreeMap<String, u64> {
        self.state.lock().unwrap().failed.clone()
    }

    /// Whether the failing sync is still pending.
    pub(super) fn is_failing(&self) -> bool {
        self.state.lock().unwrap().failing.is_some()
    }

    /// Limits the free space, in bytes.
    pub(super) fn limit(&self, room: usize) {
        let mut state = self.state.lock().unwrap();
        state.limit = state.used().saturating_add(room);
    }

    /// Whether syncs are omitted.
    pub(super) fn is_defective(&self) -> bool {
        self.state.lock().unwrap().left_out.is_some()
    }

    pub(super) fn boot(&self) -> u64 {
        self.state.lock().unwrap().boot
    }

    /// Cuts the power at this moment.
    pub(super) fn arm(&self, moment: Moment) {
        self.state.lock().unwrap().moment = Some(moment);
    }

    /// Cuts the power now.
    pub(super) fn cut_off(&self) {
        self.state.lock().unwrap().is_cut_off = true;
        self.cut_off.send_replace(true);
    }

    /// Waits until the power is cut.
    pub(super) async fn until_cut_off(&self) {
        let mut cut_off = self.cut_off.subscribe();
        cut_off.wait_for(|is_cut_off| *is_cut_off).await.unwrap();
    }

    /// Discards unsynced changes, except for those that survive, and starts another boot.
    pub(super) fn forget(&self, survival: Survival, random: &mut Random) {
        let mut state = self.state.lock().unwrap();
        state.forget(survival, random);
        state.boot += 1;
        state.is_cut_off = false;
        state.moment = None;
        state.failing = None;
        state.breaks = false;
        state.broken = None;
        self.cut_off.send_replace(false);
        self.booted.notify_all();
    }

    /// Writes the cached files of a folder in the root folder to a folder of this machine. This process
    /// must not use the mounted files: if it waits for its own thread to read a page, that thread may wait for it.
    pub(super) fn export(&self, folder: &str, to: &Path) -> io::Result<()> {
        let state = self.state.lock().unwrap();
        let folder = state
            .find(ROOT, OsStr::new(folder))
            .and_then(|folder| state.names(folder));
        for (name, node) in folder.into_iter().flatten() {
            if let Some(Node::File { live, .. }) = state.nodes.get(node) {
                fs::write(to.join(name), live)?;
            }
        }
        Ok(())
    }

    /// Replaces the contents of such a folder durably. The disk must not be mounted.
    pub(super) fn import(&self, folder: &str, from: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let Some(folder) = state.find(ROOT, OsStr::new(folder)) else {
            return Ok(());
        };
        for name in state
            .names(folder)
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect::<Vec<_>>()
        {
            state.remove(folder, &name);
        }
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let node = state.create(folder, &entry.file_name(), false);
            let bytes = fs::read(entry.path())?;
            let synced = bytes.clone();
            state.nodes.insert(
                node,
                Node::File {
                    live: bytes,
                    synced,
                    pending: Vec::new(),
                },
            );
        }
        state.sync_names(folder);
        Ok(())
    }
}

impl State {
    pub(super) fn attributes(&self, node: u64) -> Option<Attributes> {
        Some(match self.nodes.get(&node)? {
            Node::File { live, .. } => Attributes {
                is_folder: false,
                size: live.len(),
            },
            Node::Folder { .. } => Attributes {
                is_folder: true,
                size: 0,
            },
        })
    }

    pub(super) fn names(&self, folder: u64) -> Option<&Names> {
        match self.nodes.get(&folder)? {
            Node::Folder { live, .. } => Some(live),
            Node::File { .. } => None,
        }
    }

    pub(super) fn find(&self, folder: u64, name: &OsStr) -> Option<u64> {
        self.names(folder)?.get(name).copied()
    }

    /// Creates an empty file or folder.
    pub(super) fn create(&mut self, folder: u64, name: &OsStr, is_folder: bool) -> u64 {
        let node = self.next;
        self.next += 1;
        self.nodes.insert(
            node,
            if is_folder {
                Node::Folder {
                    live: Names::new(),
                    synced: Names::new(),
                }
            } else {
                Node::File {
                    live: Vec::new(),
                    synced: Vec::new(),
                    pending: Vec::new(),
                }
            },
        );
        self.titles
            .insert(node, name.to_string_lossy().into_owned());
        self.change_names(NameChange(vec![(folder, name.to_owned(), Some(node))]));
        node
    }

    /// Adds a name to a file.
    pub(super) fn link(&mut self, node: u64, folder: u64, name: &OsStr) {
        self.titles
            .insert(node, name.to_string_lossy().into_owned());
        self.change_names(NameChange(vec![(folder, name.to_owned(), Some(node))]));
    }

    pub(super) fn remove(&mut self, folder: u64, name: &OsStr) {
        self.change_names(NameChange(vec![(folder, name.to_owned(), None)]));
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Option<()> {
        let node = self.find(from.0, from.1)?;
        self.titles
            .insert(node, to.1.to_string_lossy().into_owned());
        let removed = (from.0, from.1.to_owned(), None);
        self.change_names(NameChange(vec![
            removed,
            (to.0, to.1.to_owned(), Some(node)),
        ]));
        Some(())
    }

    fn change_names(&mut self, change: NameChange) {
        self.apply_names(&change, false);
        self.names.push(change);
    }

    fn apply_names(&mut self, NameChange(changes): &NameChange, is_durable: bool) {
        for (folder, name, node) in changes {
            let Some(Node::Folder { live, synced }) = self.nodes.get_mut(folder) else {
                continue;
            };
            let names = if is_durable { synced } else { live };
            match node {
                Some(node) => names.insert(name.clone(), *node),
                None => names.remove(name),
            };
        }
    }

    pub(super) fn read(&self, node: u64, at: usize, size: usize) -> Option<&[u8]> {
        let Node::File { live, .. } = self.nodes.get(&node)? else {
            return None;
        };
        Some(&live[at.min(live.len())..live.len().min(at + size)])
    }

    pub(super) fn write(&mut self, node: u64, at: usize, data: &[u8]) -> Option<()> {
        self.change(
            node,
            Change::Write {
                at,
                data: data.to_vec(),
            },
        )
    }

    fn used(&self) -> usize {
        let size = |node: &Node| {
            if let Node::File { live, .. } = node {
                live.len()
            } else {
                0
            }
        };
        self.nodes.values().map(size).sum()
    }

    /// The free space, in bytes.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.used())
    }

    pub(super) fn resize(&mut self, node: u64, size: usize) -> Option<()> {
        self.change(node, Change::Resize(size))
    }

    fn change(&mut self, node: u64, change: Change) -> Option<()> {
        let is_broken = self.broken == Some(node);
        let Node::File { live, pending, .. } = self.nodes.get_mut(&node).filter(|_| !is_broken)?
        else {
            return None;
        };
        change.apply(live);
        pending.push(change);
        Some(())
    }

    fn sync(&mut self, node: u64) -> Option<()> {
        let title = self.titles.get(&node).cloned().unwrap_or_default();
        let is_left_out = self
            .left_out
            .as_ref()
            .is_some_and(|name| name == "*" || *name == title);
        let is_file = matches!(self.nodes.get(&node), Some(Node::File { .. }));
        if self.broken == Some(node) {
            return None;
        }
        let failing = self
            .failing
            .take_if(|moment| is_file && moment.has_come(Operation::Sync, &title));
        if failing.is_some() {
            *self.failed.entry(title.clone()).or_default() += 1;
            self.broken = self.breaks.then_some(node);
        }
        if is_left_out {
            return Some(());
        }
        match self.nodes.get_mut(&node) {
            Some(Node::File {
                synced, pending, ..
            }) => {
                // The size is metadata of the file system, which it keeps.
                let is_kept =
                    |change: &Change| failing.is_none() || matches!(change, Change::Resize(_));
                pending
                    .drain(..)
                    .filter(is_kept)
                    .for_each(|change| change.apply(synced));
            }
            Some(Node::Folder { .. }) => self.sync_names(node),
            None => {}
        }
        failing.is_none().then_some(())
    }

    fn sync_names(&mut self, folder: u64) {
        let concerns =
            |change: &mut NameChange| change.0.iter().any(|(changed, ..)| *changed == folder);
        let changes: Vec<_> = self.names.extract_if(.., concerns).collect();
        changes
            .iter()
            .for_each(|change| self.apply_names(change, true));
    }

    fn forget(&mut self, survival: Survival, random: &mut Random) {
        let names = std::mem::take(&mut self.names);
        let kept = survival.prefix(names.len(), random);
        for (index, change) in names.iter().enumerate() {
            let survives = match survival {
                Survival::Nothing => false,
                Survival::Everything | Survival::Names => true,
                Survival::Prefix => index < kept,
                Survival::Torn => random.below(2) == 0,
            };
            if survives {
                self.apply_names(change, true);
            }
        }
        for node in self.nodes.values_mut() {
            match node {
                Node::Folder { live, synced } => live.clone_from(synced),
                Node::File {
                    live,
                    synced,
                    pending,
                } => {
                    forget_changes(synced, std::mem::take(pending), survival, random);
                    live.clone_from(synced);
                }
            }
        }
        self.remove_unreachable();
    }

    fn remove_unreachable(&mut self) {
        let mut found = BTreeMap::new();
        let mut folders = vec![ROOT];
        while let Some(folder) = folders.pop() {
            let Some(node) = self.nodes.remove(&folder) else {
                continue;
            };
            if let Node::Folder { live, .. } = &node {
                folders.extend(live.values());
            }
            found.insert(folder, node);
        }
        self.nodes = found;
    }
}

/// Applies the changes to a file that survive.
fn forget_changes(
    synced: &mut Vec<u8>,
    changes: Vec<Change>,
    survival: Survival,
    random: &mut Random,
) {
    let kept = survival.prefix(changes.len(), random);
    for (index, change) in changes.into_iter().enumerate() {
        match survival {
            Survival::Nothing | Survival::Names => {}
            Survival::Everything => change.apply(synced),
            Survival::Prefix if index < kept => change.apply(synced),
            Survival::Prefix if index == kept => change.apply_torn(synced, random),
            Survival::Prefix => {}
            Survival::Torn => change.apply_torn(synced, random),
        }
    }
}
