//! A backup as one stream: a tar archive, as other programs read and write it.

use std::fs::File;
use std::io::{self, Error, ErrorKind, Read, Write};
use std::path::Path;

use rustix::fs::statvfs;
use tar::{Archive, Builder, Header};

/// The name of the last entry, which is empty: a stream that ends early at the end of a file is an archive, too.
const END: &str = "complete";

/// Writes the files `names` of `folder`.
pub(super) fn write<'a>(
    output: impl Write,
    folder: &Path,
    names: impl Iterator<Item = &'a str>,
) -> io::Result<()> {
    let mut archive = Builder::new(output);
    archive.sparse(false);
    for name in names {
        archive.append_path_with_name(folder.join(name), name)?;
    }
    let mut end = Header::new_gnu();
    end.set_size(0);
    archive.append_data(&mut end, END, io::empty())?;
    archive.into_inner()?.flush()
}

/// Reads the database files of an archive into `folder`.
pub(super) fn read(input: impl Read, folder: &Path) -> io::Result<()> {
    let (mut archive, mut is_complete) = (Archive::new(input), false);
    for entry in archive.entries()? {
        let mut entry = entry?;
        // Only the last part: an archive must not write elsewhere.
        let path = entry.path()?.into_owned();
        let name = path.file_name().unwrap_or_default();
        is_complete |= name == END;
        if !name.to_string_lossy().ends_with(".db") {
            continue;
        }
        // A sparse one writes any amount of zeros.
        if !entry.header().entry_type().is_file() {
            return Err(Error::other(format!(
                "{} is not a plain file",
                name.display()
            )));
        }
        // The file is copied once more.
        let free = statvfs(folder)?;
        if entry.size() > free.f_bavail.saturating_mul(free.f_frsize) / 2 {
            return Err(ErrorKind::StorageFull.into());
        }
        let copied = io::copy(&mut entry, &mut File::create_new(folder.join(name))?)?;
        if copied < entry.size() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    let message = || format!("the archive is not complete: it has no entry {END}");
    if is_complete {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::UnexpectedEof, message()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tar::EntryType;

    use super::*;

    /// An archive of `shop.db` with this content.
    fn archive(content: &[u8]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("shop.db"), content).unwrap();
        let mut output = Vec::new();
        write(&mut output, folder.path(), ["shop.db"].into_iter()).unwrap();
        output
    }

    fn restored(archive: &[u8]) -> io::Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        read(archive, folder.path())?;
        fs::read(folder.path().join("shop.db"))
    }

    #[test]
    fn a_file_of_any_size_comes_back() {
        for size in [0, 1, 511, 512, 513, 70_000] {
            let content = vec![7; size];
            assert_eq!(restored(&archive(&content)).unwrap(), content);
        }
    }

    #[test]
    fn an_incomplete_archive_is_an_error() {
        let whole = archive(&[7; 1_000]);
        for end in [0, 1, 511, 512, 1_000, 1_536, 1_537] {
            restored(&whole[..end]).unwrap_err();
        }
        let mut damaged = whole;
        damaged[0] = b'S';
        restored(&damaged).unwrap_err();
    }

    #[test]
    fn only_a_plain_file_for_which_there_is_room_is_written() {
        for (kind, size) in [
            (EntryType::GNUSparse, 1 << 30),
            (EntryType::Symlink, 0),
            (EntryType::Regular, 1 << 60),
        ] {
            let mut header = Header::new_gnu();
            header.set_path("shop.db").unwrap();
            header.set_entry_type(kind);
            header.as_gnu_mut().unwrap().set_real_size(1 << 30);
            header.set_size(if kind == EntryType::GNUSparse {
                0
            } else {
                size
            });
            header.set_cksum();
            let folder = tempfile::tempdir().unwrap();
            read(
                &[header.as_bytes().as_slice(), &[0; 1_024]].concat()[..],
                folder.path(),
            )
            .unwrap_err();
            assert!(!folder.path().join("shop.db").exists(), "{kind:?}");
        }
    }

    #[test]
    fn no_file_is_written_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let mut outside = Builder::new(Vec::new());
        for name in ["../../shop.db", END] {
            let mut header = Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(0);
            header.set_cksum();
            outside.append(&header, io::empty()).unwrap();
        }
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        read(&*outside.into_inner().unwrap(), &folder.path().join("a/b")).unwrap();
        assert!(
            folder.path().join("a/b/shop.db").exists() && !folder.path().join("shop.db").exists()
        );
    }

    #[test]
    fn the_program_tar_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.tar"), archive(b"content")).unwrap();
        let mut tar = std::process::Command::new("tar");
        assert!(
            tar.current_dir(&folder)
                .args(["xf", "x.tar"])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(fs::read(folder.path().join("shop.db")).unwrap(), b"content");
    }
}
