//! A backup as one stream: a tar archive, as other programs read and write it.

use std::fs::{DirBuilder, File};
use std::io::{self, Error, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

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
    for name in names {
        archive.append_path_with_name(folder.join(name), name)?;
    }
    let mut end = Header::new_gnu();
    end.set_size(0);
    archive.append_data(&mut end, END, io::empty())?;
    archive.into_inner()?.flush()
}

/// Reads the database files of an archive into the new `folder`.
pub(super) fn read(input: impl Read, folder: &Path) -> io::Result<()> {
    // Only its owner reads the purchases in it.
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
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
        let copied = io::copy(&mut entry, &mut File::create_new(folder.join(name))?)?;
        if copied < entry.size() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    let message = || format!("the archive is not complete: it has no entry {END}");
    if is_complete { Ok(()) } else { Err(Error::new(ErrorKind::UnexpectedEof, message())) }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        read(archive, &folder.path().join("x"))?;
        fs::read(folder.path().join("x/shop.db"))
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
        read(&*outside.into_inner().unwrap(), &folder.path().join("a/b")).unwrap();
        assert!(folder.path().join("a/b/shop.db").exists() && !folder.path().join("shop.db").exists());
    }

    #[test]
    fn the_program_tar_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.tar"), archive(b"content")).unwrap();
        let mut tar = std::process::Command::new("tar");
        assert!(tar.current_dir(&folder).args(["xf", "x.tar"]).status().unwrap().success());
        assert_eq!(fs::read(folder.path().join("shop.db")).unwrap(), b"content");
    }
}
