//! The files of a folder, on a simulated disk.
//!
//! The functions of libc that SQLite and the standard library write with are replaced in this program. They do what they
//! did, and tell the [`Disk`] of a watched folder what was written, synced and removed. The folders are in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, OsStr, OsString, c_char, c_int, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use libc::{off64_t, size_t, ssize_t};
use shop_faults::disk::{Disk, ROOT, Survivors};
use shop_faults::history::History;

use crate::replaced::set_error;
use crate::steps;

/// What a power cut leaves of the files, by name.
pub type Image = BTreeMap<OsString, Vec<u8>>;

/// The time within which a shop recovers from a failure.
pub const RECOVERY: Duration = Duration::from_secs(10);

/// A failure of the disk, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A sync fails, and a part of what it should have written is never written, as on Linux.
    Sync,
    /// The sync at the end of a copy of the log fails in this way.
    CopySync,
    /// A write fails: the disk is full.
    Full,
    /// A write ends in its middle. SQLite writes the rest.
    Short,
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

/// A folder whose files are on a simulated disk.
#[derive(Debug)]
pub struct WatchedFolder {
    path: PathBuf,
    history: Arc<History>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    disk: Disk,
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

static WATCHED: RwLock<Vec<Arc<WatchedFolder>>> = RwLock::new(Vec::new());

pub fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WatchedFolder {
    /// Watches the folder `path`, and cuts the power before one of `per_cut` writes. What is there already is on the disk.
    pub fn new(path: &Path, history: &Arc<History>, seed: u64, per_cut: u64) -> Arc<Self> {
        let mut disk = Disk::new();
        for name in names_in(path) {
            let file = file_on(&mut disk, path, &name);
            disk.sync(file);
        }
        disk.sync(ROOT);
        let state = State {
            disk,
            random: fastrand::Rng::with_seed(seed),
            count: 0,
            per_cut,
            cuts: Vec::new(),
            fault: None,
            failed: None,
        };
        let folder = Arc::new(Self {
            path: path.to_owned(),
            history: Arc::clone(history),
            state: Mutex::new(state),
        });
        WATCHED
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&folder));
        folder
    }

    /// Ends the watch. Returns the number of writes, syncs and removals, and the cuts among them.
    pub fn end(&self) -> (u64, Vec<Cut>) {
        let mut watched = WATCHED.write().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|folder| folder.path != self.path);
        let mut state = locked(&self.state);
        (state.count, std::mem::take(&mut state.cuts))
    }

    /// Lets the next write or sync from `number` on fail, once.
    pub fn fail(&self, number: u64, fault: Fault) {
        locked(&self.state).fault = Some((number, fault));
    }

    pub fn path(&self) -> &Path {
        &self.path
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
        state.cut(Survivors::Nothing, &self.history)
    }
}

/// The names in a folder of this machine, in their order.
fn names_in(folder: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}

/// Returns the file `name` on `disk`. One that the disk does not have yet has what is in the folder `path`.
fn file_on(disk: &mut Disk, path: &Path, name: &OsStr) -> u64 {
    if let Some(file) = disk.find(ROOT, name) {
        return file;
    }
    let file = disk.create_file(ROOT, name);
    let content = fs::read(path.join(name)).unwrap_or_default();
    if !content.is_empty() {
        disk.write(file, 0, &content);
        disk.sync(file);
    }
    file
}

impl State {
    fn cut(&mut self, survivors: Survivors, history: &History) -> Cut {
        let left = self.disk.after_power_cut(survivors, &mut self.random);
        let files = left.files(ROOT);
        let image = files.map(|(name, content)| (name.to_owned(), content.to_vec()));
        Cut {
            number: self.count,
            image: image.collect(),
            history: history.clone(),
        }
    }

    /// Counts a write, a sync or a removal, before it happens. Returns a fault that it has.
    fn count(&mut self, history: &History, possible: &[Fault]) -> Option<Fault> {
        if self.per_cut > 0 && self.random.u64(..self.per_cut) == 0 {
            let survivors = Survivors::random(&mut self.random);
            let cut = self.cut(survivors, history);
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

/// The watched folder of the file `path`, with the name of the file.
fn watched(path: &Path) -> Option<(Arc<WatchedFolder>, &OsStr)> {
    let watched = WATCHED.read().unwrap_or_else(PoisonError::into_inner);
    let folder = watched
        .iter()
        .find(|folder| path.parent() == Some(&folder.path))?;
    Some((Arc::clone(folder), path.file_name()?))
}

fn is_lock(name: &OsStr) -> bool {
    name.as_encoded_bytes().ends_with(b"lock")
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
    let Some((folder, name)) = watched(&path) else {
        steps::pass(steps::WRITE, 2);
        return write(bytes);
    };
    let mut state = locked(&folder.state);
    let fault = state.count(&folder.history, &[Fault::Full, Fault::Short]);
    let bytes = match fault {
        Some(Fault::Full) => return fail(libc::ENOSPC),
        Some(_) => &bytes[..bytes.len() / 2],
        None => bytes,
    };
    let file = file_on(&mut state.disk, &folder.path, name);
    let written = write(bytes);
    if let Ok(length) = usize::try_from(written) {
        state.disk.write(file, offset as usize, &bytes[..length]);
    }
    steps::note(|| {
        // A lock file records times and numbers of files, which the kernel gives differently each time.
        let bytes = if is_lock(name) { &[] } else { bytes };
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
    let Some((folder, name)) = watched(&path) else {
        sync_folder(&path);
        return 0;
    };
    let mut state = locked(&folder.state);
    let is_log = name.as_encoded_bytes().ends_with(b"-wal");
    let possible = if is_log {
        &[Fault::Sync][..]
    } else {
        &[Fault::Sync, Fault::CopySync]
    };
    let fault = state.count(&folder.history, possible);
    let mut random = state.random.fork();
    let file = file_on(&mut state.disk, &folder.path, name);
    if fault.is_some() {
        state.disk.sync_with_losses(file, &mut random);
        return fail(libc::EIO);
    }
    state.disk.sync(file);
    steps::note(|| name.len() as u64);
    drop(state);
    steps::pass(steps::WRITE, 2);
    0
}

/// Makes the names in the folder `path` durable, if that is watched.
fn sync_folder(path: &Path) {
    let watched = WATCHED.read().unwrap_or_else(PoisonError::into_inner);
    let Some(folder) = watched.iter().find(|folder| folder.path == path) else {
        return;
    };
    let mut state = locked(&folder.state);
    // The disk learns of a file by its first write. An empty one has a name, too.
    for name in names_in(path) {
        file_on(&mut state.disk, path, &name);
    }
    state.disk.sync(ROOT);
}

/// The standard library writes a file again like this.
#[unsafe(no_mangle)]
extern "C" fn write(fd: c_int, bytes: *const c_void, length: size_t) -> ssize_t {
    // SAFETY: the caller's promise, as to libc.
    let write = || unsafe { libc::syscall(libc::SYS_write, fd, bytes, length) as ssize_t };
    let path = path_of(fd);
    let Some((folder, name)) = watched(&path) else {
        return write();
    };
    let mut state = locked(&folder.state);
    state.count(&folder.history, &[]);
    let file = file_on(&mut state.disk, &folder.path, name);
    let result = write();
    if let Ok(written) = usize::try_from(result) {
        // SAFETY: as above. The position is behind what was written.
        let (bytes, end) = unsafe {
            (
                std::slice::from_raw_parts(bytes.cast::<u8>(), written),
                libc::lseek64(fd, 0, libc::SEEK_CUR),
            )
        };
        state.disk.write(file, end as usize - written, bytes);
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
    let is_mapped = |name: &OsStr| name.as_encoded_bytes().ends_with(b"-shm");
    let Some((folder, name)) = watched(&path).filter(|(_, name)| !is_mapped(name)) else {
        return set();
    };
    let mut state = locked(&folder.state);
    state.count(&folder.history, &[]);
    let file = file_on(&mut state.disk, &folder.path, name);
    state.disk.resize(file, length as usize);
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
    let path = Path::new(text.to_str().unwrap_or_default());
    let Some((folder, name)) = watched(path) else {
        return remove();
    };
    let mut state = locked(&folder.state);
    state.count(&folder.history, &[]);
    state.disk.remove(ROOT, name);
    remove()
}
