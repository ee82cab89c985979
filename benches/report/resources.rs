//! Resources of the programs with default settings: idle, with a backlog, with many connections.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use benches::cases::topic::fill_topic;
use benches::cases::two_threads;
use benches::load::{Connection, Load, buy, get};
use benches::row::{Goal, Row, Unit};
use benches::scale::{self, Scale};
use benches::server::{Server, with_files_in};
use benches::usage::{as_f64, memory_of, processor_seconds_of};
use mongodb::Client;
use procfs::process::Process;
use shop_kafka::KafkaLogOptions;

use crate::programs::built;

/// The time until a program has opened its connections, joined its groups and is idle.
const SETTLED: Duration = Duration::from_secs(15);
/// The partitions of a backlog.
const PARTITIONS: u32 = 6;
/// The interval of reading the progress of a backlog.
const PROGRESS: Duration = Duration::from_millis(250);

const fn megabytes(bytes: f64) -> Goal {
    Goal::AtMost(bytes * 1e6 / 1_048_576.0)
}

fn pause(time: Duration) {
    two_threads().block_on(async { tokio::time::sleep(time).await });
}

/// The number of context switches of a process.
fn switches(process: &Process) -> u64 {
    let of_task = |task: procfs::process::Task| {
        let status = task.status().ok()?;
        Some(status.voluntary_ctxt_switches? + status.nonvoluntary_ctxt_switches?)
    };
    process
        .tasks()
        .unwrap()
        .filter_map(|task| of_task(task.ok()?))
        .sum()
}

/// Measures `server` without requests, for `time`.
fn idle(what: &str, server: &Server, time: Duration, goals: [f64; 3], emit: &mut dyn FnMut(Row)) {
    let process = server.process();
    let before = (processor_seconds_of(&process), switches(&process));
    pause(time);
    let seconds = time.as_secs_f64();
    let used = (processor_seconds_of(&process) - before.0) * 100.0 / seconds;
    let switched = as_f64(switches(&process) - before.1) / seconds;
    let threads = as_f64(process.tasks().unwrap().count() as u64);
    let mut row = |figure: f64, of: &str, goal: f64| {
        let row = Row::new(format!("{what}: {of}"), vec![figure], Unit::Each, "");
        emit(row.with_goal(Goal::AtMost(goal)));
    };
    row(used, "percent of a core", goals[0]);
    row(switched, "switches per second", goals[1]);
    row(threads, "threads", goals[2]);
    let memory = memory_of(&process).unwrap().resident;
    emit(Row::new(
        format!("{what}: memory"),
        vec![memory],
        Unit::Mebibytes,
        "",
    ));
}

/// Starts `program` with its files in `folder`.
fn started(program: &Path, folder: &Path, settings: &[(&str, &str)]) -> Server {
    let mut command = Command::new(program);
    Server::start(with_files_in(folder, command.env_clear()).envs(settings.iter().copied()))
}

fn embedded(facing: &Path, management: &Path, time: Duration, emit: &mut dyn FnMut(Row)) {
    let folder = tempfile::tempdir().unwrap();
    let alone = started(facing, folder.path(), &[]);
    let request = buy("ada");
    let bought = async {
        Connection::open(alone.address())
            .await
            .send(&request)
            .await
            .status
    };
    assert_eq!(two_threads().block_on(bought), 201);
    pause(SETTLED);
    idle("facing, idle", &alone, time, [0.2, 50.0, 12.0], emit);
    let beside = started(management, folder.path(), &[]);
    pause(SETTLED);
    idle(
        "facing beside management, idle",
        &alone,
        time,
        [0.2, 50.0, 12.0],
        emit,
    );
    idle(
        "management beside facing, idle",
        &beside,
        time,
        [0.2, 50.0, 12.0],
        emit,
    );
}

fn connections(facing: &Path, time: Duration, emit: &mut dyn FnMut(Row)) {
    let folder = tempfile::tempdir().unwrap();
    let server = started(facing, folder.path(), &[]);
    let loaded = Load {
        address: server.address(),
        connections: 512,
        time,
        batch: 1,
        rate: None,
        users: 0,
    }
    .run();
    let peak = memory_of(&server.process()).unwrap().peak;
    let rate = format!("{:.0}/s", loaded.per_second);
    let row = Row::new(
        "facing, 512 connections: peak memory",
        vec![peak],
        Unit::Mebibytes,
        rate,
    );
    emit(row.with_goal(megabytes(40.0)));
}

/// The number of records that the ingest of `server` has stored, including those of an attempt without a response.
async fn stored(server: &Server) -> u64 {
    let mut connection = Connection::open(server.address()).await;
    let answer = connection.send(&get("/health")).await;
    let health: serde_json::Value = serde_json::from_slice(answer.body).unwrap_or_default();
    let count = |name| health["ingest"][name].as_u64().unwrap_or_default();
    count("inserted") + count("duplicates")
}

fn on_servers(management: &Path, records: u64, time: Duration, emit: &mut dyn FnMut(Row)) {
    let Some((kafka, mongodb)) = scale::kafka().zip(scale::mongodb()) else {
        return;
    };
    let (folder, name) = (
        tempfile::tempdir().unwrap(),
        format!("bench-{}", uuid::Uuid::now_v7().simple()),
    );
    let settings = [
        ("KAFKA_BOOTSTRAP_SERVERS", &*kafka),
        ("MONGODB_URI", &*mongodb),
        ("MONGODB_DATABASE", &*name),
        ("KAFKA_TOPIC", &*name),
        ("KAFKA_GROUP_ID", &*name),
    ];
    let waiting = started(management, folder.path(), &settings);
    pause(SETTLED);
    idle(
        "management on servers, idle",
        &waiting,
        time,
        [0.5, 200.0, 20.0],
        emit,
    );
    drop(waiting);
    let mut options = KafkaLogOptions::new(&*kafka);
    (options.topic, options.partitions) = (format!("{name}-backlog"), PARTITIONS);
    two_threads().block_on(fill_topic(options, records));
    let backlog = format!("{name}-backlog");
    let reading = started(
        management,
        folder.path(),
        &[&settings[..], &[("KAFKA_TOPIC", &*backlog)]].concat(),
    );
    while two_threads().block_on(stored(&reading)) < records {
        pause(PROGRESS);
    }
    let peak = memory_of(&reading.process()).unwrap().peak;
    let what = format!(
        "management, a backlog of {records} records in {PARTITIONS} partitions: peak memory"
    );
    emit(Row::new(what, vec![peak], Unit::Mebibytes, "").with_goal(megabytes(100.0)));
    drop(reading);
    // Other parts use the same server, which may keep all documents in memory.
    let dropped = async {
        Client::with_uri_str(&mongodb)
            .await?
            .database(&name)
            .drop()
            .await
    };
    two_threads().block_on(dropped).unwrap();
}

/// Measures each program once.
pub(crate) fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    let [facing, management] =
        ["facing", "management"].map(|name| built(&["-p", "shop-bins", "--bin", name]));
    let time = Duration::from_secs(scale.pick(1, 5, 20));
    embedded(&facing, &management, time, emit);
    connections(&facing, Duration::from_secs(scale.pick(1, 2, 5)), emit);
    on_servers(
        &management,
        scale.pick(1_000, 100_000, 1_000_000),
        time,
        emit,
    );
}
