//! `management import` and `management export`: every purchase is stored once, also across kills.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::kills::{Random, seed};
use crate::process::{Binary, Process, plain, stored, until};
use crate::verify::{manage, text};

const BATCH: usize = 500;

/// A batch of purchases with keys.
fn batch() -> String {
    let line = |number: usize| {
        format!(
            "{{\"key\":\"{}\",\"username\":\"ada\",\"userid\":\"u{}\",\"price\":{number}}}\n",
            uuid(number),
            number % 7
        )
    };
    (0..BATCH).map(line).collect()
}

fn uuid(number: usize) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | number as u128)
}

/// The output of `verify` once all purchases of the log are stored.
async fn verified(folder: &Path) -> String {
    let output = manage(folder, &["verify", "--wait", "5"]).await;
    let printed = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{printed}");
    printed
}

async fn exported(folder: &Path, words: &[&str]) -> BTreeSet<String> {
    let output = manage(folder, &[&["export"], words].concat()).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_killed_import_is_resumed_without_duplicates() {
    let seed = seed();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let file = folder.path().join("purchases.ndjson");
    // A third without id and key, some of them equal, and an invalid line.
    let line = |number: usize| match number % 3 {
        0 => format!(
            "{{\"username\":\"ada\",\"userid\":\"u1\",\"price\":{}}}\n",
            number % 5
        ),
        1 => {
            format!(
                "{{\"key\":\"order-{number}\",\"username\":\"ada\",\"userid\":\"u2\",\"price\":1.50}}\n"
            )
        }
        _ => format!(
            "{{\"id\":\"{}\",\"username\":\"ada\",\"userid\":\"u3\",\"price\":2}}\n",
            uuid(number)
        ),
    };
    let lines = 21_000;
    let text_of_file: String = (0..lines).map(line).collect();
    std::fs::write(&file, format!("{text_of_file}no purchase\n")).unwrap();
    let path = file.to_str().unwrap();
    let settings = [("SHOP_DATA_DIR", folder.path().to_str().unwrap())];
    // The first import is killed when a part is stored and the rest not sent.
    let mut import = Binary::Management.command(&settings);
    let mut import = import
        .args(["import", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let half = text_of_file
        .lines()
        .take(lines / 2)
        .flat_map(|line| [line, "\n"])
        .collect::<String>();
    let mut input = import.stdin.take().unwrap();
    input.write_all(half.as_bytes()).await.unwrap();
    until("store a part", async || stored(&facing, "u1").await > 0).await;
    import.kill().await.unwrap();
    let part: u64 = stored(&facing, "u1").await;
    assert!(part < lines as u64 / 3, "{part}");
    for _ in 0..3 {
        let mut import = Binary::Management.command(&settings);
        let mut import = import.args(["import", path]).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(20 + random.below(200))).await;
        import.kill().await.unwrap();
    }
    let output = manage(folder.path(), &["import", path]).await;
    let printed = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{printed}{}",
        text(&output.stderr)
    );
    assert!(
        printed.contains("rows 21001: ")
            && printed.contains(", rejected 1, conflicting 0\n")
            && printed.contains("line 21001: "),
        "{printed}"
    );
    let printed = verified(folder.path()).await;
    assert!(
        printed.contains("missing 0, twice 0, dead-lettered 0\n"),
        "{printed}"
    );
    for user in ["u1", "u2", "u3"] {
        assert_eq!(stored(&facing, user).await, lines as u64 / 3);
    }
}

#[tokio::test]
async fn exports_are_imported_unchanged() {
    let first = tempfile::tempdir().unwrap();
    let second = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, first.path(), &[]).await;
    let odd = "{\"username\":\"=a, \\\"b\\\" ünï\",\"userid\":\"u1\",\"price\":1195.30,\"timestamp\":\"2020-02-29T00:00:00.001Z\"}\n";
    let body = format!("{odd}{}", batch());
    let request = plain()
        .post(facing.path("/v1/purchases:batch"))
        .header("content-type", "application/x-ndjson");
    let response = request.body(body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.text().await.unwrap();
    until("store all", async || {
        exported(first.path(), &[]).await.len() == BATCH + 1
    })
    .await;
    let all = exported(first.path(), &[]).await;
    for format in ["ndjson", "csv"] {
        let file = second.path().join(format!("purchases.{format}"));
        let output = manage(first.path(), &["export", "--format", format]).await;
        let downloaded = plain().get(format!(
            "{}/v1/purchases?userid=u1&order=oldest",
            facing.url
        ));
        let media_type = if format == "csv" {
            "text/csv"
        } else {
            "application/x-ndjson"
        };
        let downloaded = downloaded
            .header("accept", media_type)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let of_user = manage(
            first.path(),
            &["export", "--userid", "u1", "--format", format],
        )
        .await;
        assert_eq!(downloaded, text(&of_user.stdout));
        std::fs::write(&file, output.stdout).unwrap();
        let folder = second.path().join(format);
        let nothing = manage(&folder, &["import", file.to_str().unwrap()]).await;
        assert_eq!(nothing.status.code(), Some(3), "there is no log yet");
        let other = Process::start(Binary::Facing, &folder, &[]).await;
        let output = manage(&folder, &["import", file.to_str().unwrap()]).await;
        let printed = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success() && printed.contains(", rejected 0, conflicting 0\n"),
            "{printed}"
        );
        until("store all", async || {
            exported(&folder, &[]).await.len() == BATCH + 1
        })
        .await;
        assert_eq!(exported(&folder, &[]).await, all, "{format}");
        other.stop().await;
    }
}
