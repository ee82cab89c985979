//! The permissions of the files: only their owner can read and write them.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The mode of files that this crate creates.
pub(super) const FILE_MODE: u32 = 0o600;
/// The mode of folders that this crate creates.
const FOLDER_MODE: u32 = 0o700;
/// The permissions of the group and of all other users.
const GROUP_AND_OTHERS: u32 = 0o077;

/// Creates an empty file that only its owner can read, unless the file exists.
///
/// SQLite would create a file that all users can read. The files that SQLite creates beside it get
/// the mode of the file.
pub(super) fn create_file(path: &Path) -> Result<()> {
    match File::options()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
    {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        created => created.map(drop),
    }
}

/// Creates `folder` and its missing parent folders, durably: the folders in which they are created
/// are synced.
pub(super) fn create_folder(folder: &Path) -> Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)?;

    for created in missing {
        File::open(parent_folder(created))?.sync_all()?;
    }
    Ok(())
}

/// Returns the parent folder that `path` names, or the current folder if it names none.
pub(super) fn parent_folder(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Removes the permissions of the group and of other users from the file at `path`, if it exists.
///
/// The file is not opened, because closing it would release the locks of SQLite. A failure is only
/// logged: the file may belong to another user, or the file system may not support permissions.
pub(super) fn restrict(path: &Path) {
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
    use shop_core::log::{LogGroups as _, LogRecord};
    use shop_core::{Clock, SystemClock};

    use super::super::{
        EmbeddedLog, EmbeddedLogOptions, EmbeddedStore, EmbeddedStoreOptions, backup,
    };
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// The name and mode of each file.
    fn modes(folder: &Path) -> Vec<(String, u32)> {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let mut modes: Vec<_> = entries
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    mode(&entry.path()),
                )
            })
            .collect();
        modes.sort();
        modes
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Opens a log and a store, writes to them, and starts a consumer.
    async fn open(folder: &Path) -> (EmbeddedLog, EmbeddedStore) {
        let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default())
            .await
            .unwrap();
        log.append(LogRecord::new(0, SystemClock.now(), None))
            .await
            .unwrap();
        let store = EmbeddedStore::open(folder, EmbeddedStoreOptions::default())
            .await
            .unwrap();
        drop(log.source("group").unwrap());
        (log, store)
    }

    #[tokio::test]
    async fn new_files_and_folders_are_for_their_owner() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, copies) = (parent.path().join("a/b"), parent.path().join("copies"));
        let opened = open(&folder).await;
        let found = modes(&folder);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "group.consumer.lock",
            "shop.db",
            "shop.db-shm",
            "shop.db-wal",
            "shop.lock",
        ];
        assert!(
            expected.iter().all(|name| names.contains(name)),
            "{names:?}"
        );
        assert!(found.iter().all(|(_, mode)| *mode == 0o600), "{found:?}");
        assert_eq!(mode(&folder), 0o700);
        backup(&folder, &copies).await.unwrap();
        let found = modes(&copies);
        assert!(
            found.len() == 1 && found.iter().all(|(_, mode)| *mode == 0o600),
            "{found:?}"
        );
        assert_eq!(mode(&copies), 0o700);
        drop(opened);
    }

    #[tokio::test]
    async fn files_that_others_can_read_are_restricted() {
        let folder = tempfile::tempdir().unwrap();
        let opened = open(folder.path()).await;
        let existing = modes(folder.path());
        for (name, _) in &existing {
            set_mode(&folder.path().join(name), 0o664);
        }
        // While the first process continues.
        let again = open(folder.path()).await;
        let found = modes(folder.path());
        assert!(found.iter().all(|(_, mode)| *mode == 0o600), "{found:?}");
        opened
            .0
            .append(LogRecord::new(0, SystemClock.now(), None))
            .await
            .unwrap();
        assert_eq!(again.0.usage().await.unwrap().next_offset, 4);
    }

    #[tokio::test]
    async fn an_existing_folder_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        drop(open(folder.path()).await);
        assert_eq!(mode(folder.path()), 0o755);
        assert_eq!(mode(&folder.path().join("shop.db")), 0o600);
    }
}
