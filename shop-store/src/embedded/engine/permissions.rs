//! The permissions of the files: only their owner can read and write them.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The mode of files that this crate creates.
pub(in crate::embedded) const FILE_MODE: u32 = 0o600;
/// The mode of folders that this crate creates.
const FOLDER_MODE: u32 = 0o700;
/// The permissions of the group and of all other users.
const GROUP_AND_OTHERS: u32 = 0o077;

/// Creates an empty file that only its owner can read, unless the file exists.
///
/// SQLite would create a file that all users can read. The files that SQLite creates beside it get
/// the mode of the file.
pub(in crate::embedded) fn create_file(path: &Path) -> Result<()> {
    match File::options()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
    {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        open_result => open_result.map(drop),
    }
}

/// Creates `folder` and its missing parent folders, durably: the folders in which they are created
/// are synced.
pub(in crate::embedded) fn create_folder(folder: &Path) -> Result<()> {
    // The last ancestor of a relative path is the empty path, which is the current folder.
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing_folders: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)?;

    for created_folder in missing_folders {
        File::open(parent_folder(created_folder))?.sync_all()?;
    }
    Ok(())
}

/// Returns the parent folder that `path` names, or the current folder if it names none.
pub(in crate::embedded) fn parent_folder(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Removes the permissions of the group and of other users from the file at `path`, if it exists.
///
/// The file is not opened, because closing it would release the locks of SQLite. A failure is only
/// logged: the file may belong to another user, or the file system may not support permissions.
pub(in crate::embedded) fn restrict(path: &Path) {
    let Ok(metadata) = fs::metadata(path) else {
        return;
    };

    let mode = metadata.permissions().mode();
    if mode & GROUP_AND_OTHERS != 0
        && let Err(error) =
            fs::set_permissions(path, Permissions::from_mode(mode & !GROUP_AND_OTHERS))
    {
        let message = "other users may be able to read this file: set its mode to 600";
        tracing::warn!(path = %path.display(), %error, "{message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::fixture::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Asserts that all files of the folder are for their owner only. Returns their names.
    fn private_files(folder: &Path) -> Vec<String> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).unwrap().map(std::io::Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            assert_eq!(mode(&entry.path()), 0o600, "{name}");
            names.push(name);
        }
        names.sort();
        names
    }

    /// Opens a log and a store, writes to them, and starts a consumer.
    async fn open(folder: &Path) -> (EmbeddedLog, EmbeddedStore) {
        let log = open_log(folder).await;
        let record = LogRecord::new(0, SystemClock.now(), None);
        log.append(record).await.unwrap();
        let store = open_store(folder).await;
        drop(log.source("group").unwrap());
        (log, store)
    }

    #[tokio::test]
    async fn new_files_and_folders_are_for_their_owner() {
        let parent = fresh_folder();
        let folder = parent.path().join("a/b");
        let copies = parent.path().join("copies");
        let _opened = open(&folder).await;
        let names = [
            "group.consumer.lock",
            "shop.db",
            "shop.db-shm",
            "shop.db-wal",
            "shop.lock",
        ];
        assert_eq!(private_files(&folder), names);
        backup(&folder, &copies).await.unwrap();
        assert_eq!(private_files(&copies), ["shop.db"]);
        assert_eq!([mode(&folder), mode(&copies)], [0o700; 2]);
    }

    #[tokio::test]
    async fn files_that_others_can_read_are_restricted_and_their_folder_is_not() {
        let folder = fresh_folder();
        set_mode(folder.path(), 0o755);
        let opened = open(folder.path()).await;
        for name in private_files(folder.path()) {
            set_mode(&folder.path().join(name), 0o664);
        }
        // While the first process continues.
        let again = open(folder.path()).await;
        private_files(folder.path());
        let record = LogRecord::new(0, SystemClock.now(), None);
        opened.0.append(record).await.unwrap();
        assert_eq!(again.0.usage().await.unwrap().next_offset, 4);
        assert_eq!(mode(folder.path()), 0o755);
    }
}
