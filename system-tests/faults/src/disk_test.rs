//! What a disk keeps of each kind of change.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use fastrand::Rng;

use crate::disk::{Disk, ROOT, Survivors};

/// As many power cuts of a disk as make each outcome of chance certain.
const CUTS: u64 = 200;

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

/// A disk with the synced file `log`, whose content is 1,024 times `a`.
fn disk_with_log() -> (Disk, u64) {
    let mut disk = Disk::new();
    let log = disk.create_file(ROOT, name("log"));
    disk.write(log, 0, &[b'a'; 1_024]).unwrap();
    disk.sync(log);
    disk.sync(ROOT);
    (disk, log)
}

fn files(disk: &Disk) -> BTreeMap<String, Vec<u8>> {
    let files = disk.files(ROOT);
    files
        .map(|(name, content)| (name.to_string_lossy().into_owned(), content.to_vec()))
        .collect()
}

/// What `CUTS` power cuts leave.
fn left(disk: &Disk, survivors: Survivors) -> Vec<BTreeMap<String, Vec<u8>>> {
    (0..CUTS)
        .map(|seed| files(&disk.after_power_cut(survivors, &mut Rng::with_seed(seed))))
        .collect()
}

#[test]
fn synced_content_survives_and_unsynced_content_does_not() {
    let (mut disk, log) = disk_with_log();
    let synced = files(&disk);
    disk.write(log, 1_000, &[b'b'; 100]).unwrap();
    disk.resize(log, 1_050).unwrap();
    assert_eq!(disk.read(log, 1_040, 100), Some(&[b'b'; 10][..]));

    for files_left in left(&disk, Survivors::Nothing) {
        assert_eq!(files_left, synced);
    }
    for files_left in left(&disk, Survivors::All) {
        assert_eq!(files_left, files(&disk));
    }
    disk.sync(log);
    for files_left in left(&disk, Survivors::Nothing) {
        assert_eq!(files_left, files(&disk));
    }
}

#[test]
fn a_name_survives_after_a_sync_of_its_folder() {
    let mut disk = Disk::new();
    let log = disk.create_file(ROOT, name("log"));
    disk.write(log, 0, b"content").unwrap();
    disk.sync(log);
    let is_there = |disk: &Disk| left(disk, Survivors::Nothing)[0].contains_key("log");
    assert!(!is_there(&disk));
    disk.sync(ROOT);
    assert!(is_there(&disk));

    disk.remove(ROOT, name("log"));
    assert!(is_there(&disk));
    disk.sync(ROOT);
    assert!(!is_there(&disk));
}

#[test]
fn a_rename_survives_as_a_whole_or_not_at_all() {
    let (mut disk, _) = disk_with_log();
    disk.rename((ROOT, name("log")), (ROOT, name("old")))
        .unwrap();

    let mut seen: Vec<Vec<String>> = left(&disk, Survivors::Changes)
        .into_iter()
        .map(|files_left| files_left.into_keys().collect())
        .collect();
    seen.sort();
    seen.dedup();

    assert_eq!(seen, [["log"], ["old"]]);
}

/// The writes of a file that survived, by their numbers.
fn writes_left(survivors: Survivors) -> Vec<Vec<u8>> {
    let (mut disk, log) = disk_with_log();
    for number in 0..3 {
        disk.write(log, number, b"b").unwrap();
    }
    let mut seen: Vec<_> = left(&disk, survivors)
        .into_iter()
        .map(|files_left| files_left["log"][..3].to_vec())
        .collect();
    seen.sort();
    seen.dedup();
    seen
}

#[test]
fn writes_survive_in_order_or_at_random() {
    let in_order = [b"aaa", b"baa", b"bba", b"bbb"].map(|text| text.to_vec());
    assert_eq!(writes_left(Survivors::Prefix), in_order);
    assert_eq!(writes_left(Survivors::Changes).len(), 8);
}

#[test]
fn a_write_is_torn_between_sectors_of_the_disk() {
    let (mut disk, log) = disk_with_log();
    disk.write(log, 500, &[b'b'; 24]).unwrap();
    let mut seen: Vec<_> = left(&disk, Survivors::Sectors)
        .into_iter()
        .map(|files_left| (files_left["log"][511], files_left["log"][512]))
        .collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(
        seen,
        [(b'a', b'a'), (b'a', b'b'), (b'b', b'a'), (b'b', b'b')]
    );
    for files_left in left(&disk, Survivors::Sectors) {
        let [first, second] = [500..512, 512..524].map(|range| &files_left["log"][range]);
        for sector in [first, second] {
            assert!(sector.iter().all(|byte| *byte == sector[0]));
        }
    }
}

/// Programs read what a failed sync has lost, and a later sync does not write it.
#[test]
fn a_failed_sync_loses_writes_for_good() {
    let mut lost = 0;
    for seed in 0..CUTS {
        let (mut disk, log) = disk_with_log();
        disk.write(log, 0, b"b").unwrap();
        disk.sync_with_losses(log, &mut Rng::with_seed(seed));
        assert_eq!(disk.read(log, 0, 1), Some(&b"b"[..]));
        disk.sync(log);
        lost += u64::from(left(&disk, Survivors::All)[0]["log"][0] == b'a');
    }
    assert!((1..CUTS).contains(&lost), "{lost}");
}

#[test]
fn a_defective_disk_omits_the_syncs_of_a_name() {
    for (defect, is_kept) in [("log", false), ("*", false), ("/", false), ("other", true)] {
        let mut disk = Disk::without_syncs_of(defect.to_owned());
        let log = disk.create_file(ROOT, name("log"));
        disk.write(log, 0, b"content").unwrap();
        disk.sync(log);
        disk.sync(ROOT);
        let files_left = left(&disk, Survivors::Nothing).remove(0);
        let is_there = files_left.get("log").is_some_and(|log| log == b"content");
        assert_eq!(is_there, is_kept, "{defect}");
    }
}
