//! Durability of the simulated disk.

use std::ffi::OsStr;

use super::disk::{Disk, ROOT};
use super::plan::{Moment, Operation, Survival};
use crate::kills::Random;

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

/// Runs `act` in the current boot.
fn with<T>(disk: &Disk, act: impl FnOnce(&mut super::disk::State) -> T) -> T {
    act(&mut disk.enter(disk.boot()).unwrap())
}

fn contents(disk: &Disk, file: &str) -> Option<Vec<u8>> {
    with(disk, |state| {
        Some(
            state
                .read(state.find(ROOT, name(file))?, 0, usize::MAX >> 1)?
                .to_vec(),
        )
    })
}

/// A disk with a file `a`, whose first 3 sectors are synced and overwritten afterwards, and with a file `b`.
fn written(left_out: Option<&str>) -> Disk {
    let disk = Disk::new(left_out.map(str::to_owned));
    let file = with(&disk, |state| state.create(ROOT, name("a"), false));
    with(&disk, |state| state.write(file, 0, &[1; 1_536])).unwrap();
    disk.sync(disk.boot(), file).unwrap();
    disk.sync(disk.boot(), ROOT).unwrap();
    with(&disk, |state| state.write(file, 0, &[2; 1_536])).unwrap();
    with(&disk, |state| state.create(ROOT, name("b"), false));
    disk
}

fn cut(disk: &Disk, survival: Survival) {
    disk.cut_off();
    disk.forget(survival, &mut Random::new(7));
}

#[test]
fn unsynced_contents_and_names_are_forgotten() {
    let disk = written(None);
    assert_eq!(contents(&disk, "a").unwrap(), [2; 1_536]);
    cut(&disk, Survival::Nothing);
    assert_eq!(
        (contents(&disk, "a").unwrap(), contents(&disk, "b")),
        (vec![1; 1_536], None)
    );
    let disk = written(None);
    cut(&disk, Survival::Names);
    assert_eq!(
        (contents(&disk, "a").unwrap(), contents(&disk, "b")),
        (vec![1; 1_536], Some(Vec::new()))
    );
    let disk = written(None);
    cut(&disk, Survival::Everything);
    assert_eq!(
        (contents(&disk, "a").unwrap(), contents(&disk, "b")),
        (vec![2; 1_536], Some(Vec::new()))
    );
}

#[test]
fn writes_are_torn_between_sectors() {
    let torn = (0..50).map(|seed| {
        let disk = written(None);
        disk.cut_off();
        disk.forget(Survival::Torn, &mut Random::new(seed));
        contents(&disk, "a").unwrap()
    });
    let torn: std::collections::BTreeSet<_> = torn.collect();
    assert_eq!(torn.len(), 8, "each of three sectors is old or new");
    assert!(torn.iter().all(|bytes| {
        bytes
            .chunks(512)
            .all(|sector| sector.iter().all(|byte| *byte == sector[0]))
    }));
}

#[test]
fn a_failed_sync_is_forgotten() {
    let disk = written(None);
    let file = with(&disk, |state| state.find(ROOT, name("a"))).unwrap();
    disk.fail_sync(Moment::of(Operation::Sync, "a", 1));
    assert_eq!(disk.sync(disk.boot(), file), None);
    assert!(!disk.is_failing());
    assert_eq!(
        contents(&disk, "a").unwrap(),
        [2; 1_536],
        "until the power is cut"
    );
    with(&disk, |state| state.write(file, 512, &[3; 512])).unwrap();
    disk.sync(disk.boot(), file).unwrap();
    assert_eq!(
        contents(&disk, "a").unwrap()[..1_024],
        [[2; 512], [3; 512]].concat()
    );
    cut(&disk, Survival::Everything);
    assert_eq!(
        contents(&disk, "a").unwrap(),
        [[1; 512], [3; 512], [1; 512]].concat()
    );
}
