//! Under which conditions it was measured.

use std::path::Path;
use std::process::Command;

use benches::scale::{self, Scale};

pub(crate) fn of_this_machine(scale: Scale, servers: Option<String>) -> Vec<(&'static str, String)> {
    let named = |address: Option<String>| if address.is_some() { "named" } else { "not named" };
    let servers = servers
        .unwrap_or_else(|| format!("Kafka {}, MongoDB {}", named(scale::kafka()), named(scale::mongodb())));
    vec![
        ("processor", format!("{} cores, {}", cores(), value("/proc/cpuinfo", "model name"))),
        ("memory", memory()),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("folder of embedded files", file_system(&std::env::temp_dir())),
        ("load before, 1 minute", first_word(&read("/proc/loadavg"))),
        ("compiler", said_by("rustc", &["--version"])),
        (
            "build",
            if cfg!(debug_assertions) { "**debug**: build it with --release" } else { "release" }.to_owned(),
        ),
        ("commit", said_by("git", &["describe", "--always", "--dirty"])),
        ("servers", servers),
        ("sizes", scale.pick("tiny", "quick", "full").to_owned()),
        (
            "pairs",
            format!("{}, ours and what is beside it in turn, each in a process of its own", scale.pairs()),
        ),
    ]
}

fn cores() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

/// What a file of `/proc` says of `name`.
fn value(path: &str, name: &str) -> String {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

fn memory() -> String {
    let kibibytes = first_word(&value("/proc/meminfo", "MemTotal")).parse::<u64>().unwrap_or_default();
    format!("{} GiB", kibibytes >> 20)
}

/// The kind of file system that `folder` is on: on one in memory, what is durable costs nothing.
fn file_system(folder: &Path) -> String {
    let mounts = read("/proc/mounts");
    let of_mount = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (mount, kind) = (words.next()?.to_owned(), words.next()?.to_owned());
        folder.starts_with(&mount).then_some((mount.len(), kind))
    };
    mounts.lines().filter_map(of_mount).max().map(|(_, kind)| kind).unwrap_or_default()
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let output = Command::new(program).args(arguments).current_dir(root).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
