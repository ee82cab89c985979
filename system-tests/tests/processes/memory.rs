//! Memory follows the bytes of purchases, not their number, whatever members they have.

use std::fmt::Write as _;
use std::fs::File;
use std::ops::Range;

use futures_util::TryStreamExt;
use shop_client::{PurchaseEvents as _, Selector};
use shop_core::log::Headers;

use crate::prelude::*;

/// A file of 29 MiB, which is less than an import over HTTP may have.
const ROWS: usize = 600;
/// The members of each row that no version knows. As texts in maps, they took 20 times their bytes.
const UNKNOWN_MEMBERS: usize = 5_000;
/// The rows of a batch of 8 MiB, the largest one.
const BATCH_ROWS: usize = 160;
/// The records of another producer that are stored, and those that become dead letters.
const STORED_RECORDS: usize = 300;
const DEAD_LETTERS: usize = 60;
/// A debug build takes minutes for 3,000,000 members.
const COMMAND_PATIENCE: Duration = Duration::from_secs(600);
/// The maximum of the resident memory of a process, in MiB.
const MEMORY: u64 = 150;

/// Returns `count` members that no version knows, as a part of an object of 50 KB.
fn unknown_members(count: usize) -> String {
    // The comma and the name with its colon take 9 bytes.
    let value = "1".repeat(50_000 / count - 9);
    let mut members = String::new();
    for number in 0..count {
        write!(members, r#","m{number:04}":{value}"#).unwrap();
    }
    members
}

/// Returns the lines of a file: purchases of `u1` with these ids, and with unknown members.
fn lines(ids: Range<usize>, member_count: usize) -> Vec<String> {
    let more = unknown_members(member_count);
    let line = |number| {
        format!(
            r#"{{"id":"0190163d-8694-739b-aea5-{number:012}","username":"ada","userid":"u1","price":1,"more":{{{}}}}}"#,
            &more[1..]
        )
    };
    ids.map(line).collect()
}

/// Sends lines to `path` of a service, which must accept all of them.
async fn send_lines(service: &Process, path: &str, lines: &[String]) -> String {
    let request = plain()
        .post(service.path(path))
        .header("content-type", "application/x-ndjson")
        .body(lines.join("\n"));
    let response = soon("respond", request.send()).await.unwrap();
    let status = response.status();
    let body = response.text().await.unwrap();
    assert_eq!(status, 200, "{}", &body[..body.len().min(1_000)]);
    body
}

/// Runs management with these arguments on `folder` until it succeeds. Returns its peak memory, in MiB.
async fn peak_of_command(folder: &Path, words: &[&str]) -> u64 {
    let settings = [("SHOP_DATA_DIR", folder.to_str().unwrap())];
    let printed = File::create(folder.join("printed")).unwrap();
    let mut command = Binary::Management.command(&settings);
    let mut child = command.args(words).stdout(printed).spawn().unwrap();
    let id = child.id().unwrap();
    let mut peak = 0;
    let ended = async {
        loop {
            // The peak of a process that has ended is unknown.
            peak = peak_memory(id).unwrap_or(peak);
            if let Some(end) = child.try_wait().unwrap() {
                return end;
            }
            pause().await;
        }
    };
    let end = within(COMMAND_PATIENCE, "end", ended).await;
    assert!(end.success(), "{words:?}");
    peak
}

fn assert_bounded(what: &str, peak: u64) {
    println!("{what}: {peak} MiB");
    assert!((1..MEMORY).contains(&peak), "{what}: {peak} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_follows_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let lines_of_file = lines(0..ROWS, UNKNOWN_MEMBERS);
    let file = folder.path().join("file.ndjson");
    std::fs::write(&file, lines_of_file.join("\n")).unwrap();

    let by_command = folder.path().join("by-command");
    std::fs::create_dir(&by_command).unwrap();
    let facing = Process::start(Binary::Facing, &by_command, &[]).await;
    let peak = peak_of_command(&by_command, &["import", file.to_str().unwrap()]).await;
    assert_bounded("import by command", peak);
    let peak = peak_of_command(&by_command, &["export"]).await;
    assert_bounded("export by command", peak);
    assert_bounded("ingest beside it", facing.peak_memory());

    let (_folder, service) = Process::fresh(Binary::Management, &[]).await;
    let imported = send_lines(&service, "/v1/purchases:import", &lines_of_file).await;
    assert!(imported.contains("\"imported\":600"), "{imported}");
    assert_bounded("import over HTTP", service.peak_memory());

    // Fewer and larger members: a batch has to be read within seconds, also in a debug build.
    let batch = lines(ROWS..ROWS + BATCH_ROWS, UNKNOWN_MEMBERS / 20);
    let results = send_lines(&service, "/v1/purchases:batch", &batch).await;
    assert_eq!(results.matches("acknowledged").count(), BATCH_ROWS);
    assert_bounded("batch", service.peak_memory());

    // The purchases of the batch are the newest ones. Two pages have them, as 4 MiB end a page.
    let (mut listed, mut cursor) = (0, String::new());
    for _ in 0..2 {
        let path = format!("/v1/purchases?everyone=true&limit=1000{cursor}");
        let (status, page) = get(&service.path(&path)).await;
        assert_eq!(status, 200, "{page}");
        listed += page["items"].as_array().unwrap().len();
        cursor = format!("&cursor={}", page["next"].as_str().unwrap());
    }
    assert!((BATCH_ROWS..ROWS).contains(&listed), "{listed}");
    assert_bounded("page", service.peak_memory());

    let exported = service.client().export(Selector::All).purchases();
    let exported: Vec<_> = soon("export", exported.try_collect()).await.unwrap();
    assert_eq!(exported.len(), ROWS + BATCH_ROWS);
    assert_bounded("export over HTTP", service.peak_memory());
}

/// Records of another producer are read by ingest and by the feed, and those that are dead letters are replayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_follows_bytes_of_records() {
    let (folder, service) = Process::fresh(Binary::Management, &[]).await;
    let client = service.client();
    let mut events = client.events(&Selector::All, None).await.unwrap();
    let more = unknown_members(UNKNOWN_MEMBERS);
    let record = |price: &str| {
        let schema = Headers::builder().with("schema", Some(b"2")).build();
        let value = format!(r#"{{"username":"ada","userid":"u1","price":{price}{more}}}"#);
        record_of(value).with_headers(schema)
    };
    let log = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default())
        .await
        .unwrap();
    for price in [["1"; STORED_RECORDS].as_slice(), &["null"; DEAD_LETTERS]].concat() {
        log.append(record(price)).await.unwrap();
    }
    for _ in 0..STORED_RECORDS {
        soon("deliver", events.try_next()).await.unwrap().unwrap();
    }
    until("dead-letter the others", async || {
        dead_lettered(&service).await == DEAD_LETTERS as u64
    })
    .await;
    assert_bounded("ingest and events", service.peak_memory());

    let letters: Vec<_> = client.dead_letters().list().try_collect().await.unwrap();
    let positions = letters.iter().map(|letter| &letter.position);
    let replayed = client.dead_letters().replay(positions).await.unwrap();
    assert_eq!(replayed.len(), DEAD_LETTERS);
    assert_bounded("replay over HTTP", service.peak_memory());
    let peak = peak_of_command(folder.path(), &["dlq", "replay", "--all"]).await;
    assert_bounded("replay by command", peak);
}
