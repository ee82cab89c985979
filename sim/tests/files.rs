//! The files of a folder, and what a power cut would leave of them.
//!
//! The functions of libc that SQLite and the standard library write with are replaced in this program. They do what they
//! did, and note for each file of a watched folder what was synced and what was not. The folders are in memory.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use libc::{off64_t, size_t, ssize_t};

use crate::history::History;
use crate::replaced::set_error;
use crate::steps;

/// What a power cut leaves of the files, by name.
pub type Image = BTreeMap<String, Vec<u8>>;

/// What the disk keeps of the changes that were not synced.
#[derive(Debug, Clone, Copy)]
enum Keeps {
    Nothing,
    All,
    /// Those before a random one.
    First,
    /// Random ones.
    Some,
    /// Random sectors of each.
    Sectors,
}

/// The smallest part of a write that the disk keeps or loses.
const SECTOR: usize = 512;

/// The time within which a shop recovers from a failure.
pub const RECOVERY: Duration = Duration::from_secs(10);

/// A failure of the disk, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A sync fails, and a part of what it should have written is never written, as on Linux.
    Sync,
    /// A write fails: the disk is full.
    Full,
    /// A write ends in its middle. SQLite writes the rest.
    Short,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    SetLength(usize),
}

#[derive(Debug, Clone, Default)]
struct File {
    /// The content on the disk.
    synced: Vec<u8>,
    /// Whether its name is on the disk.
    is_named: bool,
    changes: Vec<Change>,
}

/// A moment at which the power is cut.
#[derive(Debug)]
pub struct Cut {
    /// The number of the write or sync before which it happened.
    pub number: u64,
    pub image: Image,
    /// What had been answered before.
    pub history: History,
}

/// A watched folder.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    history: Arc<Mutex<History>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<String, File>,
    /// Removed files whose names may still be on the disk.
    removed: BTreeMap<String, File>,
    random: fastrand::Rng,
    /// The number of writes, syncs and removals.
    count: u64,
    /// How many of them there are for each cut, on average.
    per_cut: u64,
    cuts: Vec<Cut>,
    fault: Option<(u64, Fault)>,
    /// When the fault happened.
    failed: Option<Instant>,
}

static DISKS: RwLock<Vec<Arc<Disk>>> = RwLock::new(Vec::new());

pub fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// Watches `folder`, and cuts the power before one of `per_cut` writes. What is there already is on the disk.
    pub fn watch(
        folder: &Path,
        history: &Arc<Mutex<History>>,
        seed: u64,
        per_cut: u64,
    ) -> Arc<Self> {
        let on_disk = |path: PathBuf| {
            let file = File {
                synced: fs::read(&path).ok()?,
                is_named: true,
                changes: Vec::new(),
            };
            Some((path.file_name()?.to_str()?.to_owned(), file))
        };
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        let state = State {
            files: files.filter_map(|entry| on_disk(entry.path())).collect(),
            removed: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed),
            count: 0,
            per_cut,
            cuts: Vec::new(),
            fault: None,
            failed: None,
        };
        let disk = Self {
            folder: folder.to_owned(),
            history: Arc::clone(history),
            state: Mutex::new(state),
        };
        let disk = Arc::new(disk);
        DISKS
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&disk));
        disk
    }

    /// Ends the watch. Returns the number of writes, syncs and removals, and the cuts among them.
    pub fn end(&self) -> (u64, Vec<Cut>) {
        let mut disks = DISKS.write().unwrap_or_else(PoisonError::into_inner);
        disks.retain(|disk| disk.folder != self.folder);
        let mut state = locked(&self.state);
        (state.count, std::mem::take(&mut state.cuts))
    }

    /// Lets the next write or sync from `number` on fail, once.
    pub fn fail(&self, number: u64, fault: Fault) {
        locked(&self.state).fault = Some((number, fault));
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether calls may fail: for some time after the fault.
    pub fn may_fail(&self) -> bool {
        locked(&self.state)
            .failed
            .is_some_and(|failed| failed.elapsed() < RECOVERY)
    }

    /// What a power cut leaves now that keeps nothing that was not synced.
    pub fn cut_now(&self) -> Cut {
        let mut state = locked(&self.state);
        state.cut(Keeps::Nothing, &self.history)
    }
}

impl State {
    /// The file `name`, with what it had before it was seen.
    fn file(&mut self, name: &str, path: &Path) -> &mut File {
        self.files.entry(name.to_owned()).or_insert_with(|| File {
            synced: fs::read(path).unwrap_or_default(),
            ..File::default()
        })
    }

    fn cut(&mut self, keeps: Keeps, history: &Mutex<History>) -> Cut {
        let mut image = Image::new();
        let mut leave = |name: &String, file: &File, random: &mut fastrand::Rng| {
            let is_there = match keeps {
                Keeps::Nothing => file.is_named,
                Keeps::All => true,
                _ => file.is_named || random.bool(),
            };
            if is_there {
                image.insert(name.clone(), file.after(keeps, random));
            }
        };
        for (name, file) in &self.files {
            leave(name, file, &mut self.random);
        }
        for (name, file) in &self.removed {
            // The removal is not on the disk.
            if !self.files.contains_key(name) && !matches!(keeps, Keeps::All) && self.random.bool()
            {
                leave(name, file, &mut self.random);
            }
        }
        Cut {
            number: self.count,
            image,
            history: locked(history).clone(),
        }
    }

    /// Counts a write, a sync or a removal, before it happens. Returns a fault that it has.
    fn count(&mut self, history: &Mutex<History>, possible: &[Fault]) -> Option<Fault> {
        if self.per_cut > 0 && self.random.u64(..self.per_cut) == 0 {
            let keeps = [
                Keeps::Nothing,
                Keeps::All,
                Keeps::First,
                Keeps::Some,
                Keeps::Sectors,
            ];
            let keeps = keeps[self.random.usize(..keeps.len())];
            let cut = self.cut(keeps, history);
            self.cuts.push(cut);
        }
        self.count += 1;
        let is_due =
            |(number, fault): &mut (u64, Fault)| *number < self.count && possible.contains(fault);
        let fault = self.fault.take_if(is_due).map(|(_, fault)| fault);
        if fault.is_some() {
            self.failed = Some(Instant::now());
        }
        fault
    }
}

impl File {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(offset, bytes) => {
                let end = offset + bytes.len();
                self.synced.resize(self.synced.len().max(end), 0);
                self.synced[*offset..end].copy_from_slice(bytes);
            }
            Change::SetLength(length) => self.synced.resize(*length, 0),
        }
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            self.apply(&change);
        }
        self.is_named = true;
    }

    /// The content after a power cut.
    fn after(&self, keeps: Keeps, random: &mut fastrand::Rng) -> Vec<u8> {
        let mut left = Self {
            synced: self.synced.clone(),
            ..Self::default()
        };
        let first = random.usize(..=self.changes.len());
        for (number, change) in self.changes.iter().enumerate() {
            let is_kept = match keeps {
                Keeps::Nothing => false,
                Keeps::All => true,
                Keeps::First => number < first,
                Keeps::Some | Keeps::Sectors => random.bool(),
            };
            match change {
                Change::Write(offset, bytes) if matches!(keeps, Keeps::Sectors) => {
                    // Parts of the write, not of the disk: one that is lost has its old content, or zeros.
                    for (at, sector) in bytes.chunks(SECTOR).enumerate().filter(|_| random.bool()) {
                        left.apply(&Change::Write(offset + at * SECTOR, sector.to_vec()));
                    }
                }
                change if is_kept => left.apply(change),
                _ => {}
            }
        }
        left.synced
    }
}

/// The disk of the file `path`, with its name.
fn watched(path: &Path) -> Option<(Arc<Disk>, String)> {
    let disks = DISKS.read().unwrap_or_else(PoisonError::into_inner);
    let disk = disks
        .iter()
        .find(|disk| path.parent() == Some(&disk.folder))?;
    Some((Arc::clone(disk), path.file_name()?.to_str()?.to_owned()))
}

fn path_of(fd: c_int) -> PathBuf {
    fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default()
}

fn fail<T: From<i8>>(errno: c_int) -> T {
    set_error(errno);
    T::from(-1)
}

fn write_at(fd: c_int, bytes: &[u8], offset: off64_t) -> ssize_t {
    let write = |bytes: &[u8]| {
        // SAFETY: the pointer and the length are those of a slice.
        let written =
            unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes.as_ptr(), bytes.len(), offset) };
        written as ssize_t
    };
    let path = path_of(fd);
    let Some((disk, name)) = watched(&path) else {
        steps::pass(steps::WRITE, 2);
        return write(bytes);
    };
    let mut state = locked(&disk.state);
    let fault = state.count(&disk.history, &[Fault::Full, Fault::Short]);
    let bytes = match fault {
        Some(Fault::Full) => return fail(libc::ENOSPC),
        Some(_) => &bytes[..bytes.len() / 2],
        None => bytes,
    };
    let file = state.file(&name, &path);
    let written = write(bytes);
    if let Ok(length) = usize::try_from(written) {
        file.changes
            .push(Change::Write(offset as usize, bytes[..length].to_vec()));
    }
    steps::note(|| {
        // A lock file records times and numbers of files, which the kernel gives differently each time.
        let bytes = if name.ends_with("lock") { &[] } else { bytes };
        bytes.iter().fold(offset as u64, |sum, byte| {
            sum.wrapping_mul(31) ^ u64::from(*byte)
        })
    });
    drop(state);
    steps::pass(steps::WRITE, 2);
    written
}

fn sync(fd: c_int) -> c_int {
    let path = path_of(fd);
    if let Some((disk, name)) = watched(&path) {
        let mut state = locked(&disk.state);
        let fault = state.count(&disk.history, &[Fault::Sync]);
        let mut random = state.random.fork();
        let file = state.file(&name, &path);
        if fault.is_some() {
            // Some pages are written. The others stay in memory, as if they were.
            file.changes.retain(|_| random.bool());
            file.sync();
            return fail(libc::EIO);
        }
        file.sync();
        state.removed.remove(&name);
        steps::note(|| name.len() as u64);
        drop(state);
        steps::pass(steps::WRITE, 2);
    } else if let Some(disk) = DISKS
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .find(|disk| disk.folder == path)
    {
        let mut state = locked(&disk.state);
        state
            .files
            .values_mut()
            .for_each(|file| file.is_named = true);
        state.removed.clear();
    }
    0
}

/// The standard library writes a file again like this.
#[unsafe(no_mangle)]
extern "C" fn write(fd: c_int, bytes: *const c_void, length: size_t) -> ssize_t {
    // SAFETY: the caller's promise, as to libc.
    let write = || unsafe { libc::syscall(libc::SYS_write, fd, bytes, length) as ssize_t };
    let path = path_of(fd);
    let Some((disk, name)) = watched(&path) else {
        return write();
    };
    let mut state = locked(&disk.state);
    state.count(&disk.history, &[]);
    let file = state.file(&name, &path);
    let result = write();
    if let Ok(written) = usize::try_from(result) {
        // SAFETY: as above. The position is behind what was written.
        let (bytes, end) = unsafe {
            (
                std::slice::from_raw_parts(bytes.cast::<u8>(), written),
                libc::lseek64(fd, 0, libc::SEEK_CUR),
            )
        };
        file.changes
            .push(Change::Write(end as usize - written, bytes.to_vec()));
    }
    result
}

#[unsafe(no_mangle)]
extern "C" fn pwrite64(
    fd: c_int,
    bytes: *const c_void,
    length: size_t,
    offset: off64_t,
) -> ssize_t {
    // SAFETY: the caller's promise, as to libc.
    write_at(
        fd,
        unsafe { std::slice::from_raw_parts(bytes.cast(), length) },
        offset,
    )
}

#[unsafe(no_mangle)]
extern "C" fn pwrite(fd: c_int, bytes: *const c_void, length: size_t, offset: off64_t) -> ssize_t {
    pwrite64(fd, bytes, length, offset)
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd)
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd)
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, length: off64_t) -> c_int {
    // SAFETY: no memory is passed.
    let set = || unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) as c_int };
    let path = path_of(fd);
    let Some((disk, name)) = watched(&path).filter(|(_, name)| !name.ends_with("-shm")) else {
        return set();
    };
    let mut state = locked(&disk.state);
    state.count(&disk.history, &[]);
    let file = state.file(&name, &path);
    file.changes.push(Change::SetLength(length as usize));
    set()
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate(fd: c_int, length: off64_t) -> c_int {
    ftruncate64(fd, length)
}

#[unsafe(no_mangle)]
extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's promise, as to libc.
    let (text, remove) = unsafe {
        (CStr::from_ptr(path), || {
            libc::syscall(libc::SYS_unlink, path) as c_int
        })
    };
    let name = Path::new(text.to_str().unwrap_or_default());
    let Some((disk, name)) = watched(name) else {
        return remove();
    };
    let mut state = locked(&disk.state);
    state.count(&disk.history, &[]);
    if let Some(file) = state.files.remove(&name) {
        state.removed.insert(name, file);
    }
    remove()
}
