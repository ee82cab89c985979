//! A disk that a test can fill.

use std::ffi::CStr;
use std::io::Write as _;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::prelude::*;

/// A file system in memory on a folder, which is unmounted when this is dropped.
#[derive(Debug)]
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a disk on `folder`, with `size` as an option of tmpfs. `None` without the rights of root, which is
    /// reported.
    pub(crate) fn mount(folder: PathBuf, size: &CStr) -> Option<Self> {
        if let Err(error) = mount("tmpfs", &folder, "tmpfs", MountFlags::empty(), size) {
            skipped("tmpfs", &error.to_string());
            return None;
        }
        Some(Self(folder))
    }

    pub(crate) fn fill(&self) {
        let mut ballast = std::fs::File::create(self.ballast()).unwrap();
        while ballast.write_all(&[0; 64 * 1024]).is_ok() {}
    }

    pub(crate) fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("the test's disk could not be unmounted: {error}");
        }
    }
}
