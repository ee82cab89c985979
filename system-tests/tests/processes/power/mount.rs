//! A [`PoweredDisk`] as a FUSE file system.
//!
//! Without `direct_io`: SQLite maps the index of its write-ahead log into memory. Locks are left to the kernel.

use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::MutexGuard;
use std::time::{SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite,
    Request, SessionACL, TimeOrNow, WriteFlags,
};
use rustix::mount::{UnmountFlags, unmount};

use super::disk::{PoweredDisk, State};
use super::plan::Operation;
use crate::prelude::*;

/// Only the kernel changes the disk, so it may cache names and sizes.
const TTL: Duration = Duration::from_secs(3_600);
const BLOCK: u32 = 4_096;
/// Free blocks, as if there were always enough.
const FREE: u64 = 1 << 24;

/// The owner of the files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    pub(super) fn this_process() -> Self {
        Self {
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        }
    }

    /// The user of a PostgreSQL server that root starts. `None` if there is no such user.
    pub(super) fn postgres() -> Option<Self> {
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        let is_user = |line: &&str| line.starts_with("postgres:");
        let mut numbers = users.lines().find(is_user)?.split(':').skip(2);
        Some(Self {
            uid: numbers.next()?.parse().ok()?,
            gid: numbers.next()?.parse().ok()?,
        })
    }
}

/// A mounted disk, which is unmounted when this is dropped.
#[derive(Debug)]
pub(super) struct Mount {
    at: PathBuf,
    _session: BackgroundSession,
}

impl Mount {
    /// Mounts a disk on an empty folder, until the power is cut.
    pub(super) fn new(disk: &Arc<PoweredDisk>, at: &Path, owner: Owner) -> io::Result<Self> {
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("powercut".to_owned()),
            MountOption::NoDev,
        ];
        let is_own = owner.uid == Owner::this_process().uid;
        config.acl = if is_own {
            SessionACL::Owner
        } else {
            SessionACL::All
        };
        let boot = Boot {
            disk: Arc::clone(disk),
            number: disk.boot(),
            owner,
        };
        Ok(Self {
            at: at.to_owned(),
            _session: fuser::spawn_mount(boot, at, &config)?,
        })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Detached, even if a killed process has not exited yet: the session ends with the process.
        let _gone = unmount(&self.at, UnmountFlags::DETACH);
    }
}

/// The disk from one cut to the next.
struct Boot {
    disk: Arc<PoweredDisk>,
    number: u64,
    owner: Owner,
}

/// The result of a request.
type Reply<T> = Result<T, Errno>;

fn offset(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

impl Boot {
    fn enter(&self) -> Reply<MutexGuard<'_, State>> {
        self.disk.enter(self.number).ok_or(Errno::EIO)
    }

    fn attributes(&self, state: &State, node: u64) -> FileAttr {
        let is_folder = state.disk.is_folder(node);
        let size = state.disk.size(node) as u64;
        let kind = if is_folder {
            FileType::Directory
        } else {
            FileType::RegularFile
        };
        let time = UNIX_EPOCH;
        FileAttr {
            ino: INodeNo(node),
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: if is_folder { 0o700 } else { 0o600 },
            nlink: if is_folder { 2 } else { 1 },
            uid: self.owner.uid,
            gid: self.owner.gid,
            rdev: 0,
            blksize: BLOCK,
            flags: 0,
        }
    }

    fn look_up(&self, folder: u64, name: &OsStr) -> Reply<FileAttr> {
        let state = self.enter()?;
        let node = state.disk.find(folder, name).ok_or(Errno::ENOENT)?;
        Ok(self.attributes(&state, node))
    }

    fn make(&self, folder: u64, name: &OsStr, is_folder: bool) -> Reply<FileAttr> {
        let mut state = self.enter()?;
        let node = if is_folder {
            state.disk.create_folder(folder, name)
        } else {
            state.disk.create_file(folder, name)
        };
        self.disk.count(&mut state, Operation::Name, node);
        Ok(self.attributes(&state, node))
    }

    fn remove(&self, folder: u64, name: &OsStr) -> Reply<()> {
        let mut state = self.enter()?;
        let node = state.disk.find(folder, name).ok_or(Errno::ENOENT)?;
        if state
            .disk
            .names(node)
            .is_some_and(|names| !names.is_empty())
        {
            return Err(Errno::ENOTEMPTY);
        }
        state.disk.remove(folder, name);
        self.disk.count(&mut state, Operation::Name, node);
        Ok(())
    }

    fn move_name(&self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Reply<()> {
        let mut state = self.enter()?;
        state.disk.rename(from, to).ok_or(Errno::ENOENT)?;
        self.disk.count(&mut state, Operation::Name, to.0);
        Ok(())
    }

    fn resize(&self, node: u64, size: Option<u64>) -> Reply<FileAttr> {
        let mut state = self.enter()?;
        if let Some(size) = size {
            state.disk.resize(node, offset(size)).ok_or(Errno::EISDIR)?;
            self.disk.count(&mut state, Operation::Resize, node);
        }
        drop(state);
        Ok(self.attributes(&*self.enter()?, node))
    }

    fn put(&self, node: u64, at: usize, data: &[u8]) -> Reply<u32> {
        let mut state = self.enter()?;
        if (at + data.len()).saturating_sub(state.disk.size(node)) > state.room() {
            return Err(Errno::ENOSPC);
        }
        state.disk.write(node, at, data).ok_or(Errno::EISDIR)?;
        self.disk.count(&mut state, Operation::Write, node);
        u32::try_from(data.len()).map_err(|_too_large| Errno::EFBIG)
    }

    fn entries(&self, folder: u64) -> Reply<Vec<(FileAttr, OsString)>> {
        let state = self.enter()?;
        let names = state.disk.names(folder).ok_or(Errno::ENOTDIR)?;
        let dots = [".", ".."].map(|name| (name.into(), folder));
        let names = names.iter().map(|(name, node)| (name.clone(), *node));
        let entries = dots.into_iter().chain(names);
        Ok(entries
            .map(|(name, node)| (self.attributes(&state, node), name))
            .collect())
    }
}

fn entry(response: Reply<FileAttr>, reply: ReplyEntry) {
    match response {
        Ok(found) => reply.entry(&TTL, &found, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn attr(response: Reply<FileAttr>, reply: ReplyAttr) {
    match response {
        Ok(found) => reply.attr(&TTL, &found),
        Err(error) => reply.error(error),
    }
}

fn empty(response: Reply<()>, reply: ReplyEmpty) {
    match response {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Boot {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.look_up(parent.0, name), reply);
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attr(self.resize(node.0, None), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        attr(self.resize(node.0, size), reply);
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        entry(self.make(parent.0, name, true), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.remove(parent.0, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.remove(parent.0, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        empty(
            self.move_name((parent.0, name), (new_parent.0, new_name)),
            reply,
        );
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.make(parent.0, name, false) {
            Ok(made) => reply.created(
                &TTL,
                &made,
                Generation(0),
                FileHandle(0),
                FopenFlags::empty(),
            ),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        at: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.enter() {
            Err(error) => reply.error(error),
            Ok(state) => match state.disk.read(node.0, offset(at), offset(u64::from(size))) {
                Some(data) => reply.data(data),
                None => reply.error(Errno::EISDIR),
            },
        }
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        at: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.put(node.0, offset(at), data) {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        empty(self.disk.sync(self.number, node.0).ok_or(Errno::EIO), reply);
    }

    fn fsyncdir(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        empty(self.disk.sync(self.number, node.0).ok_or(Errno::EIO), reply);
    }

    fn readdir(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        from: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.entries(node.0) {
            Err(error) => reply.error(error),
            Ok(entries) => {
                for (index, (found, name)) in entries.iter().enumerate().skip(offset(from)) {
                    if reply.add(found.ino, index as u64 + 1, found.kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.enter() {
            Err(error) => reply.error(error),
            Ok(state) => {
                let free = FREE.min(state.room() as u64 / u64::from(BLOCK));
                reply.statfs(FREE, free, free, FREE, FREE, BLOCK, 255, BLOCK);
            }
        }
    }
}
