//! A [`Disk`] as a FUSE file system.
//!
//! Without `direct_io`: SQLite maps the index of its write-ahead log into memory. Locks are left to the kernel.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite,
    Request, SessionACL, TimeOrNow, WriteFlags,
};
use rustix::mount::{UnmountFlags, unmount};

use super::disk::{Attributes, Disk};
use super::plan::Operation;

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

    /// The user of a PostgreSQL server, which does not run as root.
    pub(super) fn postgres() -> Self {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let user = users
            .lines()
            .find_map(|line| line.strip_prefix("postgres:"));
        let numbers = user.and_then(|user| {
            let mut fields = user.split(':').skip(1);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        });
        match (Self::this_process(), numbers) {
            (Self { uid: 0, .. }, Some((uid, gid))) => Self { uid, gid },
            (this, _) => this,
        }
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
    pub(super) fn new(disk: &Arc<Disk>, at: &Path, owner: Owner) -> io::Result<Self> {
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
    disk: Arc<Disk>,
    number: u64,
    owner: Owner,
}

/// The result of a request.
type Reply<T> = Result<T, Errno>;

fn attributes(node: u64, attributes: Attributes, owner: Owner) -> FileAttr {
    let time = UNIX_EPOCH;
    let size = attributes.size as u64;
    FileAttr {
        ino: INodeNo(node),
        size,
        blocks: size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: if attributes.is_folder {
            FileType::Directory
        } else {
            FileType::RegularFile
        },
        perm: if attributes.is_folder { 0o700 } else { 0o600 },
        nlink: if attributes.is_folder { 2 } else { 1 },
        uid: owner.uid,
        gid: owner.gid,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

fn offset(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

impl Boot {
    fn look(&self, node: u64) -> Reply<FileAttr> {
        let state = self.disk.enter(self.number).ok_or(Errno::EIO)?;
        state
            .attributes(node)
            .map(|found| attributes(node, found, self.owner))
            .ok_or(Errno::ENOENT)
    }

    fn look_up(&self, folder: u64, name: &OsStr) -> Reply<FileAttr> {
        let state = self.disk.enter(self.number).ok_or(Errno::EIO)?;
        let node = state.find(folder, name).ok_or(Errno::ENOENT)?;
        state
            .attributes(node)
            .map(|found| attributes(node, found, self.owner))
            .ok_or(Errno::ENOENT)
    }

    fn make(&self, folder: u64, name: &OsStr, is_folder: bool) -> Reply<FileAttr> {
        let mut state = self.disk.enter(self.number).ok_or(Errno::EIO)?;
        let node = state.create(folder, name, is_folder);
        self.disk.count(&mut state, Operation::Name, node);
        Ok(attributes(
            node,
            Attributes { is_folder, size: 0 },
            self.owner,
        ))
    }

    fn remove(&self, folder: u64, name: &OsStr) -> Reply<()> {
        let mut state = self.disk.enter(self.number).ok_or(Errno::EIO)?;
        let node = state.find(folder, name).ok_or(Errno::ENOENT)?;
        if state.names(node).is_some_and(|names| !names.is_empty()) {
            return Err(Errno::ENOTEMPTY);
        }
        state.remove(folder, name);
        self.disk.count(&mut state, Operation::Name, node);
        Ok(())
    }

    fn move_name(&self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Reply<()> {
        let mut state = self.disk.enter(self.number).ok_or(Errno::EIO)?;
        state.rename(from, to).ok_or(Errno::ENOENT)?;
        self.disk.count(&mut state, Operation::Name, to.0);
        Ok(())
    }

    fn link_name(&self, node: u64, folder: u64, name: &OsStr) -> Reply<FileAttr> {
        let mut state = self.disk.enter(self.number).ok_or(Errno::EIO)?;
        state.link(node, folder, name);
        self.disk.count(&mut state, Operation::Name, node);
        drop(state);
        self.look(node)
    }

    fn resize(&self, node: u64, size: Option<u64>) -> Reply<FileAttr> {
        if let Some(size) = size {
            let mut state = self.disk.enter(self.number).ok_or(Errno::EIO)?;
            state.resize(node, offset(size)).ok_or(Errno::EISDIR)?;
            self.disk.count(&mut state, Operation::Resize, node);
        }
        self.look(node)
    }

    fn put(&self, node: u64, at: u64, data: &[u8]) -> Reply<u32> {
        let mut state = self.disk.enter(self.number).ok_or(Errno::EIO)?;
        let size = state.attributes(node).ok_or(Errno::ENOENT)?.size;
        if (offset(at) + data.len()).saturating_sub(size) > state.room() {
            return Err(Errno::ENOSPC);
        }
        state.write(node, offset(at), data).ok_or(Errno::EISDIR)?;
        self.disk.count(&mut state, Operation::Write, node);
        u32::try_from(data.len()).map_err(|_too_large| Errno::EFBIG)
    }

    fn entries(&self, folder: u64) -> Reply<Vec<(u64, FileType, String)>> {
        let state = self.disk.enter(self.number).ok_or(Errno::EIO)?;
        let names = state.names(folder).ok_or(Errno::ENOTDIR)?;
        let dots = [".", ".."].map(|name| (folder, FileType::Directory, name.to_owned()));
        let kind = |node: u64| {
            let is_folder = state.attributes(node).is_some_and(|found| found.is_folder);
            if is_folder {
                FileType::Directory
            } else {
                FileType::RegularFile
            }
        };
        let named = names
            .iter()
            .map(|(name, node)| (*node, kind(*node), name.to_string_lossy().into_owned()));
        Ok(dots.into_iter().chain(named).collect())
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
        attr(self.look(node.0), reply);
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

    fn link(&self, _: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.link_name(node.0, parent.0, name), reply);
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
        let Some(state) = self.disk.enter(self.number) else {
            return reply.error(Errno::EIO);
        };
        match state.read(node.0, offset(at), offset(u64::from(size))) {
            Some(data) => reply.data(data),
            None => reply.error(Errno::EISDIR),
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
        match self.put(node.0, at, data) {
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
                for (index, (node, kind, name)) in
                    entries.into_iter().enumerate().skip(offset(from))
                {
                    if reply.add(INodeNo(node), index as u64 + 1, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let Some(state) = self.disk.enter(self.number) else {
            return reply.error(Errno::EIO);
        };
        let free = FREE.min(state.room() as u64 / u64::from(BLOCK));
        reply.statfs(FREE, free, free, FREE, FREE, BLOCK, 255, BLOCK);
    }
}
