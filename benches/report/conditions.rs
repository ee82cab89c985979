//! The conditions of the measurements.

use std::path::Path;
use std::process::Command;

use benches::scale::{self, Scale};
use procfs::process::Process;
use procfs::{CpuInfo, Current, LoadAverage, Meminfo};

pub(crate) fn this_machine(scale: Scale, servers: Option<String>) -> Vec<(&'static str, String)> {
    let named = |address: Option<String>| {
        if address.is_some() {
            "configured"
        } else {
            "not configured"
        }
    };
    let servers = servers.unwrap_or_else(|| {
        let [kafka, mongodb, postgres] =
            [scale::kafka(), scale::mongodb(), scale::postgres()].map(named);
        format!("Kafka {kafka}, MongoDB {mongodb}, PostgreSQL {postgres}")
    });
    let processors = CpuInfo::current().unwrap();
    let model = processors.model_name(0).unwrap_or_default();
    let pairs = scale.pairs();
    vec![
        (
            "processor",
            format!("{} cores, {model}", processors.num_cores()),
        ),
        (
            "memory",
            format!("{} GiB", Meminfo::current().unwrap().mem_total >> 30),
        ),
        ("kernel", printed_by("uname", &["-r"])),
        (
            "folder of embedded files",
            file_system(&std::env::temp_dir()),
        ),
        (
            "load before, 1 minute",
            LoadAverage::current().unwrap().one.to_string(),
        ),
        ("compiler", printed_by("rustc", &["--version"])),
        (
            "build",
            if cfg!(debug_assertions) {
                "**debug**: build it with --profile dist"
            } else {
                "release"
            }
            .to_owned(),
        ),
        (
            "commit",
            printed_by("git", &["describe", "--always", "--dirty"]),
        ),
        ("servers", servers),
        ("sizes", scale.pick("tiny", "quick", "full").to_owned()),
        (
            "pairs",
            format!("{pairs}, alternating with the baseline, each run in its own process"),
        ),
    ]
}

/// The type of the file system of `folder`. In memory, durability costs nothing.
fn file_system(folder: &Path) -> String {
    let mounts = Process::myself().unwrap().mountinfo().unwrap();
    let of_folder = mounts
        .into_iter()
        .filter(|mount| folder.starts_with(&mount.mount_point));
    let nearest = of_folder.max_by_key(|mount| mount.mount_point.as_os_str().len());
    nearest.map(|mount| mount.fs_type).unwrap_or_default()
}

fn printed_by(program: &str, arguments: &[&str]) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}
