//! Whether memory stays flat: millions of records through the pipeline, while the collection is dropped again and again,
//! so that the server holds few of them.

use std::process::Stdio;
use std::time::Duration;

use benches::usage::{Cost, Memory, median, quantile};

use crate::run::Run;
use crate::{Servers, drop_collection, fill_topic, runtime, told_to};

/// Partitions of the topic.
const PARTITIONS: u32 = 5;
/// As many records are published at a time, so that few are held here.
const AT_A_TIME: usize = 500_000;
/// How often memory is looked at, and after how many looks the collection is dropped.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: usize = 20;

/// Carries `records`, and says how much memory that took in its first third and in its last.
pub(crate) fn soak(servers: &Servers, records: usize) {
    let name = format!("soak-{}", uuid::Uuid::now_v7().simple());
    let mut published = 0;
    while published < records {
        let more = AT_A_TIME.min(records - published);
        runtime().block_on(fill_topic(servers, &name, PARTITIONS, more));
        published += more;
        println!("published {published}");
    }
    let (memory, cost) = carry(servers, &Run::pipeline(&name, records));
    runtime().block_on(drop_collection(servers, &name));
    println!("Soak, {PARTITIONS} partitions, {records} records: {cost}");
    let third = (memory.len() / 3).max(1);
    for (which, part) in [("first", &memory[..third]), ("last", &memory[memory.len() - third..])] {
        let (middle, most) = (median(&mut part.to_vec()), quantile(&mut part.to_vec(), 1.0));
        println!("  {which} third: median {middle:.0} MiB, most {most:.0} MiB");
    }
}

/// The memory that `run` had at each look, and what it has cost.
fn carry(servers: &Servers, run: &Run) -> (Vec<f64>, Cost) {
    let mut child = told_to(run).stdout(Stdio::piped()).spawn().unwrap();
    let (runtime, mut memory) = (runtime(), Vec::new());
    while child.try_wait().unwrap().is_none() {
        memory.extend(Memory::if_there(child.id()).map(|memory| memory.resident));
        if memory.len() % LOOKS == 0 {
            runtime.block_on(drop_collection(servers, run.name()));
        }
        runtime.block_on(async { tokio::time::sleep(LOOK).await });
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{run:?} has failed");
    (memory, serde_json::from_slice(&output.stdout).unwrap())
}
