//! Runs the fuzz targets on their corpora, and for `SHOP_TEST_FUZZ_SECONDS` on mutations of them.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "this is test code"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[path = "../../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "public for libFuzzer")]
mod targets;

use targets::{TARGETS, Target};

/// What mutations insert.
const WORDS: [&str; 16] = [
    "\"userid\":",
    "\"price\":",
    "1e309",
    "-0",
    "null",
    "\\ud800",
    "\u{0}",
    "{",
    "[",
    "%2F",
    "%ff",
    "?",
    "&",
    "limit=",
    "cursor=",
    ",",
];
/// Mutations stay below this length.
const MAX_BYTES: usize = 4_096;

/// A generator of random numbers (xorshift), so that a failure is reproduced by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }

    /// Up to eight changes of one of the seeds.
    fn mutation(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(16)).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => bytes.insert(at, self.next().to_le_bytes()[0]),
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let part = bytes[at..end].to_vec();
                    drop(bytes.splice(at..at, part));
                }
                4 => drop(bytes.splice(at..at, WORDS[self.below(WORDS.len())].bytes())),
                _ => {
                    let other = &seeds[self.below(seeds.len())];
                    drop(bytes.splice(
                        at..end,
                        other[self.below(other.len() + 1)..].iter().copied(),
                    ));
                }
            }
            bytes.truncate(MAX_BYTES);
        }
        bytes
    }
}

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(name)
}

/// The files of a corpus, in the order of their names.
fn seeds(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(corpus(name)).expect("a corpus");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

fn run(name: &str, target: Target, data: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| target(data))).is_err() {
        panic!("{name}, {what}: {:?}", String::from_utf8_lossy(data));
    }
}

#[test]
fn every_input_of_the_corpora_follows_the_rules() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(seeds.len() > 4, "{name} has a corpus");
        for (path, data) in seeds {
            run(name, target, &data, &path.display().to_string());
        }
        for data in [
            &b""[..],
            b"\0",
            b"\xff\xff\xff",
            &[b'['; 4_096],
            &[0; 4_096],
        ] {
            run(name, target, data, "a short or a long input");
        }
    }
}

#[test]
fn every_mutation_of_the_corpora_follows_the_rules() {
    let time = Duration::from_secs(setting("SHOP_TEST_FUZZ_SECONDS").unwrap_or(0));
    let seed = setting("SHOP_TEST_FUZZ_SEED")
        .unwrap_or(0x5eed_5eed_5eed_5eed)
        .max(1);
    let run_all = TARGETS.map(|(name, target)| {
        std::thread::spawn(move || {
            let seeds: Vec<Vec<u8>> = seeds(name).into_iter().map(|(_, data)| data).collect();
            let mut random = Random(seed);
            let begun = Instant::now();
            let mut count = 0_u64;
            // Requests take less time than settings.
            let least = if ["bodies", "requests"].contains(&name) {
                2_000
            } else {
                200
            };
            while count < least || begun.elapsed() < time {
                let data = random.mutation(&seeds);
                run(name, target, &data, &format!("seed {seed}, input {count}"));
                count += 1;
            }
            (name, count)
        })
    });
    for target in run_all {
        let (name, count) = target.join().unwrap();
        println!("{name}: {count} inputs");
    }
}

#[expect(clippy::disallowed_methods, reason = "a setting of this test")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
