//! Runs the embedded shop under seeds: clients buy, list and erase while the power is cut and the disk fails. What is left
//! is opened again and compared with what was answered.
//!
//! | module | content |
//! |---|---|
//! | `steps` | threads and time under a seed |
//! | `replaced` | the functions of libc by which they are |
//! | `files` | the files of a folder on a simulated disk, power cuts, failures |
//! | `script` | clients, who record their calls, and a reader of all that is left |
//! | `follower` | a reader of events |
//!
//! The disk and the judge of histories are those of `shop-faults`, which the tests of programs use too.
//!
//! `--plants` builds faults in, by the script `.ci/plants`, to show that they are found.

mod files;
mod follower;
mod replaced;
mod script;
mod steps;

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use shop_faults::history::{Clock, History};
use shop_store::embedded::rusqlite::ffi;
use tempfile::TempDir;

use crate::files::{Cut, Fault, WatchedFolder};
use crate::script::Checked;

/// Runs the embedded shop under seeds
///
/// Exit code 0: nothing was found. 1: a seed has found something; the last line has the command that repeats it.
#[derive(Debug, Parser)]
struct Arguments {
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// The number of seeds
    #[arg(long, default_value_t = 48)]
    seeds: u64,
    /// The number of operations of a seed
    #[arg(long, default_value_t = 200)]
    operations: usize,
    /// Runs each seed twice, and compares all that happens
    #[arg(long)]
    twice: bool,
    /// Builds each fault of `sim/plants` into a copy of the code, and shows that it is found
    #[arg(long)]
    plants: bool,
    /// Runs this seed in this process
    #[arg(long, hide = true)]
    run: Option<u64>,
}

/// The time in seconds after which a seed is ended.
///
/// A seed takes about 45 s of processor time without optimization, and several times as long where it runs at a low
/// priority beside other tests.
const MAX_SECONDS: u32 = 900;
/// The free space in bytes that the folder in memory must have: a shop copies its log early on a small disk.
const MIN_FREE: u64 = 1 << 30;

/// What seeds have done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Done {
    operations: u64,
    writes: u64,
    cuts: u64,
    /// The checksum of all that has happened.
    trace: u64,
}

impl Done {
    fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.writes += other.writes;
        self.cuts += other.cuts;
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.plants {
        return run_plants();
    }
    let done = match arguments.run {
        Some(seed) => run_here(seed, arguments.operations),
        None => run_all(&arguments),
    };
    let is_ok = done.is_ok();
    println!("{}", done.unwrap_or_else(|found| found));
    if is_ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs the script that builds faults in.
fn run_plants() -> ExitCode {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/plants");
    match Command::new(&script).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("{}: {error}", script.display());
            ExitCode::FAILURE
        }
    }
}

/// Runs all seeds, each in a process, with equal addresses in each.
fn run_all(arguments: &Arguments) -> Checked<String> {
    if free() < MIN_FREE {
        return Err(format!("{} needs 1 GiB of free space", memory().display()));
    }
    // SAFETY: no memory is passed.
    unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
    let begun = Instant::now();
    let (next, has_failed) = (AtomicU64::new(arguments.from), AtomicBool::new(false));
    let end = arguments.from + arguments.seeds;
    let work = || {
        let mut done = Done::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end || has_failed.load(Ordering::Relaxed) {
                return Ok(done);
            }
            let ran = run_apart(seed, arguments.operations).and_then(|one| {
                let is_equal = !arguments.twice || run_apart(seed, arguments.operations)? == one;
                if is_equal {
                    Ok(one)
                } else {
                    Err("it differs from run to run".to_owned())
                }
            });
            let one = ran.map_err(|found| {
                has_failed.store(true, Ordering::Relaxed);
                let again = format!("--from {seed} --seeds 1 --operations {}", arguments.operations);
                format!("seed {seed}: {found}\ncargo run --release --manifest-path sim/Cargo.toml -- {again}")
            })?;
            done.add(&one);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let parts: Vec<Checked<Done>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut all = Done::default();
    for part in parts {
        all.add(&part?);
    }
    Ok(format!(
        "{} seeds, {} operations, {} writes, {} power cuts, {:.1} seconds",
        arguments.seeds,
        all.operations,
        all.writes,
        all.cuts,
        begun.elapsed().as_secs_f64()
    ))
}

/// Runs a seed in a process that has run no other.
fn run_apart(seed: u64, operations: usize) -> Checked<Done> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(this);
    // A thread that has ended frees nothing beside the others, whose addresses would differ.
    command.env_clear().env(
        "GLIBC_TUNABLES",
        "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0",
    );
    command.args([
        "--run",
        &seed.to_string(),
        "--operations",
        &operations.to_string(),
    ]);
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers[..] {
        [operations, writes, cuts, trace] if output.status.success() => Ok(Done {
            operations,
            writes,
            cuts,
            trace,
        }),
        _ => Err(format!(
            "{} {}({})",
            text.trim_end(),
            String::from_utf8_lossy(&output.stderr),
            output.status
        )),
    }
}

/// Runs a seed. Returns the numbers of [`Done`].
fn run_here(seed: u64, operations: usize) -> Checked<String> {
    // SAFETY: no memory is passed but a null pointer, which stands for no database.
    unsafe {
        libc::alarm(MAX_SECONDS);
        ffi::sqlite3_initialize();
        let none = std::ptr::null_mut::<ffi::sqlite3>();
        ffi::sqlite3_test_control(ffi::SQLITE_TESTCTRL_PRNG_SEED, seed as i32 | 1, none);
    }
    // The clock of the metrics compares itself with that of the system for a while, at first.
    drop(quanta::Clock::new());
    let (ran, trace) = steps::run(seed, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(run(seed, operations))
    })?;
    let Done {
        operations,
        writes,
        cuts,
        ..
    } = ran?;
    Ok(format!("{operations} {writes} {cuts} {trace}"))
}

/// A folder in memory, whose name no other process uses, and is as long as that of others.
fn folder() -> TempDir {
    let prefix = format!("sim-{:010}-", std::process::id());
    tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(memory())
        .unwrap()
}

fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// The free space in bytes of the folder in memory.
fn free() -> u64 {
    let path = CString::new(memory().as_os_str().as_bytes()).unwrap_or_default();
    // SAFETY: the text ends with zero, and the result is on the stack.
    unsafe {
        let mut found = std::mem::zeroed::<libc::statvfs>();
        libc::statvfs(path.as_ptr(), &raw mut found);
        found.f_bavail * found.f_frsize
    }
}

async fn run(seed: u64, operations: usize) -> Checked<Done> {
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = folder();
    let history = Arc::new(History::with_clock(Clock::IsSet));
    // Some have time for several copies of the log.
    let is_long = seed % 12 == 11;
    let (operations, per_cut) = if is_long {
        (operations * 5, 1_000)
    } else {
        (operations, 150)
    };
    let watched = WatchedFolder::new(folder.path(), &history, random.u64(..), per_cut);
    // Most have a disk that fails once.
    let fault = [
        is_long.then_some(Fault::CopySync),
        Some(Fault::Sync),
        Some(Fault::Full),
        Some(Fault::Short),
    ][random.usize(..4)];
    if let Some(fault) = fault {
        let most = 1 << random.u32(4..13);
        watched.fail(random.u64(..most), fault);
    }
    let ran = script::run(&watched, &history, random.u64(..), operations).await;
    let (at_end, (writes, mut cuts)) = (watched.cut_now(), watched.end());
    let context = |found| format!("{found} (fault: {fault:?})");
    ran.map_err(context)?;
    cuts.push(at_end);
    let mut done = Done {
        operations: operations as u64,
        writes,
        ..Done::default()
    };
    for cut in cuts {
        let number = cut.number;
        let again = random.u32(..8) == 0;
        done.cuts += after(cut, random.u64(..), again)
            .await
            .map_err(|found| context(format!("power cut before write {number}: {found}")))?;
    }
    Ok(done)
}

/// Opens what `cut` has left, in some cases with another cut meanwhile. Returns the number of cuts.
async fn after(cut: Cut, seed: u64, again: bool) -> Checked<u64> {
    let folder = folder();
    let history = Arc::new(cut.history);
    for (name, content) in &cut.image {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let watched = again.then(|| WatchedFolder::new(folder.path(), &history, seed, 60));
    script::judge(folder.path(), &history).await?;
    let mut cuts = 1;
    if let Some(watched) = watched {
        for next in watched.end().1 {
            let number = next.number;
            let found = |found| format!("then before write {number}: {found}");
            cuts += Box::pin(after(next, seed, false)).await.map_err(found)?;
        }
    }
    Ok(cuts)
}
