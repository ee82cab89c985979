//! A simulated disk, which loses unsynced changes when the power is cut.
//!
//! The content of a file is durable after a sync of the file, a name after a sync of its folder. What else a power cut
//! leaves is chosen by [`Survivors`]. The disk decides nothing by itself: its users decide when the power is cut and which
//! sync fails, and connect it to programs. `sim` does so by functions of libc, the process tests by a FUSE file system.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use fastrand::Rng;

/// The smallest part of a write that a disk keeps or loses, in bytes. Sectors are aligned to this size.
const SECTOR: usize = 512;

/// The inode of the root folder.
pub const ROOT: u64 = 1;

/// The inodes of the files and folders in a folder, by name.
pub type Names = BTreeMap<OsString, u64>;

/// The unsynced changes that survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survivors {
    /// No change survives.
    Nothing,
    /// All changes survive, as if they were synced.
    All,
    /// The changes of each file before a random one survive.
    Prefix,
    /// Random changes survive, each as a whole.
    Changes,
    /// Random sectors of each write survive.
    Sectors,
}

impl Survivors {
    const KINDS: [Self; 5] = [
        Self::Nothing,
        Self::All,
        Self::Prefix,
        Self::Changes,
        Self::Sectors,
    ];

    /// Chooses a random kind.
    pub fn random(random: &mut Rng) -> Self {
        Self::KINDS[random.usize(..Self::KINDS.len())]
    }

    /// Returns, for each of `count` consecutive changes, whether it survives as a whole.
    fn choose(self, count: usize, random: &mut Rng) -> Vec<bool> {
        let prefix = random.usize(..=count);
        let survives = |number| match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Prefix => number < prefix,
            Self::Changes | Self::Sectors => random.bool(),
        };
        (0..count).map(survives).collect()
    }
}

/// A change to the content of a file.
#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => write_at(content, *offset, data),
            Self::Resize(size) => content.resize(*size, 0),
        }
    }

    /// Applies random sectors of a write, or by chance the whole of another change.
    fn apply_torn(&self, content: &mut Vec<u8>, random: &mut Rng) {
        let Self::Write { offset, data } = self else {
            if random.bool() {
                self.apply(content);
            }
            return;
        };
        let mut start = 0;
        while start < data.len() {
            let end = data.len().min(start + SECTOR - (offset + start) % SECTOR);
            if random.bool() {
                write_at(content, offset + start, &data[start..end]);
            }
            start = end;
        }
    }
}

fn write_at(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(data);
}

/// The content of a file.
#[derive(Debug, Default)]
struct File {
    /// The content that programs read.
    cached: Vec<u8>,
    synced: Vec<u8>,
    /// The unsynced changes, oldest first.
    pending: Vec<Change>,
}

impl File {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.pending.push(change);
    }

    fn content_after_power_cut(&self, survivors: Survivors, random: &mut Rng) -> Vec<u8> {
        let mut content = self.synced.clone();
        let survives = survivors.choose(self.pending.len(), random);
        for (change, survives) in self.pending.iter().zip(survives) {
            if survivors == Survivors::Sectors {
                change.apply_torn(&mut content, random);
            } else if survives {
                change.apply(&mut content);
            }
        }
        content
    }
}

/// The names in a folder.
#[derive(Debug, Default)]
struct Folder {
    /// The names that programs find.
    cached: Names,
    synced: Names,
}

/// An unsynced change of names: a folder, a name in it and its new inode each. A rename changes two names at once.
#[derive(Debug)]
struct NameChange(Vec<(u64, OsString, Option<u64>)>);

impl NameChange {
    fn apply(&self, folders: &mut BTreeMap<u64, Folder>, names_of: fn(&mut Folder) -> &mut Names) {
        for (folder, name, node) in &self.0 {
            let Some(folder) = folders.get_mut(folder) else {
                continue;
            };
            match node {
                Some(node) => names_of(folder).insert(name.clone(), *node),
                None => names_of(folder).remove(name),
            };
        }
    }
}

/// The files and folders of a disk.
#[derive(Debug)]
pub struct Disk {
    files: BTreeMap<u64, File>,
    folders: BTreeMap<u64, Folder>,
    /// The last name of each inode.
    last_names: BTreeMap<u64, String>,
    /// The unsynced changes of names, oldest first.
    pending_names: Vec<NameChange>,
    next_node: u64,
    /// The last name of the inodes whose syncs are omitted.
    omitted_syncs: Option<String>,
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk {
    /// Creates an empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self {
            files: BTreeMap::new(),
            folders: BTreeMap::from([(ROOT, Folder::default())]),
            last_names: BTreeMap::from([(ROOT, "/".to_owned())]),
            pending_names: Vec::new(),
            next_node: ROOT + 1,
            omitted_syncs: None,
        }
    }

    /// Creates an empty disk with a defect: syncs of files and folders named `name` do nothing. `*` means all of them.
    #[must_use]
    pub fn without_syncs_of(name: String) -> Self {
        Self {
            omitted_syncs: Some(name),
            ..Self::new()
        }
    }

    /// Returns whether this disk omits syncs.
    #[must_use]
    pub const fn is_defective(&self) -> bool {
        self.omitted_syncs.is_some()
    }

    /// Returns whether `node` is a folder.
    #[must_use]
    pub fn is_folder(&self, node: u64) -> bool {
        self.folders.contains_key(&node)
    }

    /// Returns the size of a file in bytes, or 0 for a folder.
    #[must_use]
    pub fn size(&self, node: u64) -> usize {
        self.files.get(&node).map_or(0, |file| file.cached.len())
    }

    /// Returns the size of all files in bytes.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.files.values().map(|file| file.cached.len()).sum()
    }

    /// Returns the names in a folder. `None` if `folder` is a file.
    #[must_use]
    pub fn names(&self, folder: u64) -> Option<&Names> {
        Some(&self.folders.get(&folder)?.cached)
    }

    /// Returns the last name of an inode, without its folder.
    #[must_use]
    pub fn last_name(&self, node: u64) -> &str {
        self.last_names.get(&node).map_or("", String::as_str)
    }

    /// Returns the inode with this name in a folder.
    #[must_use]
    pub fn find(&self, folder: u64, name: &OsStr) -> Option<u64> {
        self.names(folder)?.get(name).copied()
    }

    /// Returns the names and the contents of the files in a folder, as programs read them.
    pub fn files(&self, folder: u64) -> impl Iterator<Item = (&OsStr, &[u8])> {
        let names = self.names(folder).into_iter().flatten();
        names.filter_map(|(name, node)| {
            let file = self.files.get(node)?;
            Some((name.as_os_str(), file.cached.as_slice()))
        })
    }

    /// Creates an empty file. Returns its inode.
    pub fn create_file(&mut self, folder: u64, name: &OsStr) -> u64 {
        let node = self.take_node();
        self.files.insert(node, File::default());
        self.link(node, folder, name);
        node
    }

    /// Creates an empty folder. Returns its inode.
    pub fn create_folder(&mut self, folder: u64, name: &OsStr) -> u64 {
        let node = self.take_node();
        self.folders.insert(node, Folder::default());
        self.link(node, folder, name);
        node
    }

    const fn take_node(&mut self) -> u64 {
        let node = self.next_node;
        self.next_node += 1;
        node
    }

    /// Adds a name to a file or folder.
    fn link(&mut self, node: u64, folder: u64, name: &OsStr) {
        self.last_names
            .insert(node, name.to_string_lossy().into_owned());
        self.change_names(vec![(folder, name.to_owned(), Some(node))]);
    }

    /// Removes a name.
    pub fn remove(&mut self, folder: u64, name: &OsStr) {
        self.change_names(vec![(folder, name.to_owned(), None)]);
    }

    /// Moves a name, in one change. Returns `None` if there is nothing with the name `from`.
    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Option<()> {
        let node = self.find(from.0, from.1)?;
        self.last_names
            .insert(node, to.1.to_string_lossy().into_owned());
        let removed = (from.0, from.1.to_owned(), None);
        self.change_names(vec![removed, (to.0, to.1.to_owned(), Some(node))]);
        Some(())
    }

    fn change_names(&mut self, changes: Vec<(u64, OsString, Option<u64>)>) {
        let change = NameChange(changes);
        change.apply(&mut self.folders, |folder| &mut folder.cached);
        self.pending_names.push(change);
    }

    /// Returns at most `size` bytes of a file from `offset` on. `None` if `node` is a folder.
    #[must_use]
    pub fn read(&self, node: u64, offset: usize, size: usize) -> Option<&[u8]> {
        let content = &self.files.get(&node)?.cached;
        let end = content.len().min(offset.saturating_add(size));
        Some(&content[offset.min(end)..end])
    }

    /// Writes to a file. Returns `None` if `node` is a folder.
    pub fn write(&mut self, node: u64, offset: usize, data: &[u8]) -> Option<()> {
        let data = data.to_vec();
        self.files
            .get_mut(&node)?
            .change(Change::Write { offset, data });
        Some(())
    }

    /// Sets the size of a file. New bytes are zero. Returns `None` if `node` is a folder.
    pub fn resize(&mut self, node: u64, size: usize) -> Option<()> {
        self.files.get_mut(&node)?.change(Change::Resize(size));
        Some(())
    }

    /// Makes the content of a file, or the names in a folder, durable.
    pub fn sync(&mut self, node: u64) {
        let omitted = self.omitted_syncs.as_deref();
        if omitted.is_some_and(|name| name == "*" || name == self.last_name(node)) {
            return;
        }
        match self.files.get_mut(&node) {
            Some(file) => {
                for change in file.pending.drain(..) {
                    change.apply(&mut file.synced);
                }
            }
            None => self.sync_names(node),
        }
    }

    /// Syncs a file, and loses random writes of it for good, as Linux does after an error of the disk: programs read them
    /// until the power is cut, and later syncs succeed without them. The size is metadata of the file system, which keeps
    /// it.
    pub fn sync_with_losses(&mut self, node: u64, random: &mut Rng) {
        let Some(file) = self.files.get_mut(&node) else {
            return;
        };
        for change in file.pending.drain(..) {
            if matches!(change, Change::Resize(_)) || random.bool() {
                change.apply(&mut file.synced);
            }
        }
    }

    fn sync_names(&mut self, folder: u64) {
        let is_in_folder =
            |change: &mut NameChange| change.0.iter().any(|(changed, ..)| *changed == folder);
        let changes: Vec<_> = self.pending_names.extract_if(.., is_in_folder).collect();
        for change in changes {
            change.apply(&mut self.folders, |folder| &mut folder.synced);
        }
    }

    /// Returns the disk as a power cut leaves it. Files and folders without a name are not on it.
    #[must_use]
    pub fn after_power_cut(&self, survivors: Survivors, random: &mut Rng) -> Self {
        let mut folders: BTreeMap<u64, Folder> = BTreeMap::new();
        for (node, folder) in &self.folders {
            let folder = Folder {
                synced: folder.synced.clone(),
                ..Folder::default()
            };
            folders.insert(*node, folder);
        }
        let survives = survivors.choose(self.pending_names.len(), random);
        for (change, survives) in self.pending_names.iter().zip(survives) {
            if survives {
                change.apply(&mut folders, |folder| &mut folder.synced);
            }
        }

        let mut named = BTreeSet::from([ROOT]);
        for folder in folders.values_mut() {
            folder.cached.clone_from(&folder.synced);
            named.extend(folder.synced.values().copied());
        }
        folders.retain(|node, _| named.contains(node));

        let mut files = BTreeMap::new();
        for (node, file) in &self.files {
            if named.contains(node) {
                let content = file.content_after_power_cut(survivors, random);
                let file = File {
                    cached: content.clone(),
                    synced: content,
                    pending: Vec::new(),
                };
                files.insert(*node, file);
            }
        }
        Self {
            files,
            folders,
            last_names: self.last_names.clone(),
            pending_names: Vec::new(),
            next_node: self.next_node,
            omitted_syncs: self.omitted_syncs.clone(),
        }
    }
}
