//! Imports of files, into a store in memory: at once, and by way of a log.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::ingest::{Ingest, IngestOptions};
use crate::memory::{InMemoryLog, InMemoryStore};
use crate::ports::{Durability, PurchaseStore as _, Receipt, StoreSink};
use crate::{Error, ErrorKind, NewPurchase, Purchase, PurchaseId, Timestamp, Uuid};

/// What one import has reported, and what the store has afterwards.
type Imported = Result<(ImportReport, BTreeMap<PurchaseId, Purchase>)>;

fn csv() -> Import {
    Import::new(RowFormat::Csv)
}

async fn import_into(store: &InMemoryStore, import: &Import, file: &[u8]) -> Imported {
    let sink = StoreSink::new(Arc::new(store.clone()), Durability::Memory);
    let mut report = ImportReport::default();
    let file = std::io::Cursor::new(file.to_vec());
    import.run(&sink, store, file, &mut report, |_| ()).await?;
    let stored = store.all().into_iter();
    Ok((
        report,
        stored.map(|purchase| (purchase.id, purchase)).collect(),
    ))
}

async fn import(import: &Import, file: impl AsRef<[u8]>) -> Imported {
    import_into(&InMemoryStore::new(), import, file.as_ref()).await
}

/// The counts of a report: imported, repeated, rejected, conflicting.
fn counts(report: &ImportReport) -> [u64; 4] {
    let counts = [
        report.imported,
        report.repeated,
        report.rejected,
        report.conflicting,
    ];
    assert_eq!(counts.iter().sum::<u64>(), report.rows, "they add up");
    counts
}

fn problems(report: &ImportReport) -> Vec<(u64, &str)> {
    let problems = report.problems.iter();
    problems
        .map(|problem| (problem.line, &*problem.detail))
        .collect()
}

#[tokio::test]
async fn each_line_of_json_is_read_or_rejected() {
    let text = concat!(
        "{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1}\n\n",
        "{\"username\":\"ada\",\"userid\":7,\"price\":1}\n",
        "[]\n",
        "{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1,\"currency\":\"EUR\"}\n",
        "{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1,\"timestamp\":\"2999-01-01T00:00:00Z\"}\n",
        "{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1,\"id\":\"x\",\"key\":\"y\"}\n",
    );
    let (report, stored) = import(&Import::new(RowFormat::Ndjson), text).await.unwrap();
    assert_eq!((counts(&report), stored.len()), ([1, 0, 5, 0], 1));
    let problems = problems(&report);
    assert_eq!(problems[0], (3, "userid must be text"));
    assert!(
        problems[1].1.starts_with("is no JSON object: "),
        "{problems:?}"
    );
    assert!(
        problems[2].1.starts_with("currency is not accepted: "),
        "{problems:?}"
    );
    let ahead = "timestamp 2999-01-01T00:00:00Z must not be more than 5 minutes in the future";
    assert_eq!(
        problems[3..],
        [(6, ahead), (7, "id and key must not both be given")]
    );
    assert!(report.to_string().starts_with(
        "rows 6: imported 1, repeated 0, rejected 5, conflicting 0\n  line 3: userid must be text\n"
    ));

    let long = format!("{}\n{{}}\n", " ".repeat(MAX_ROW_BYTES + 1));
    let (report, _) = import(&Import::new(RowFormat::Ndjson), long).await.unwrap();
    assert_eq!(report.problems[0].detail, "has more than 65536 bytes");
    assert_eq!(report.problems[1].line, 2);
}

#[tokio::test]
async fn a_cell_with_line_breaks_is_one_cell() {
    let file = "username,userid,price,item\nada,u1,9.99,\"shirt\nmallory,u9,0.01,gift\nend\"\nbob,u2,1,tea\n";
    let (report, stored) = import(&csv(), file).await.unwrap();
    assert_eq!(counts(&report), [1, 0, 1, 0]);
    assert_eq!(report.problems[0].line, 2);
    let users: Vec<_> = stored.values().map(|row| row.user_id.as_str()).collect();
    assert_eq!(users, ["u2"], "nothing is bought by who is named in a cell");

    // A quote that is not closed takes the rest of the file with it, and never makes rows of it.
    let unclosed = "username,userid,price\nada,u1,1\nada,u1,\"1\nbob,u2,2\n";
    let (report, stored) = import(&csv(), unclosed).await.unwrap();
    assert_eq!((counts(&report), stored.len()), ([1, 0, 1, 0], 1));
    assert_eq!(report.problems[0].line, 3);
}

#[tokio::test]
async fn rows_have_the_lines_they_start_in_whatever_ends_them() {
    for end in ["\n", "\r\n", "\r"] {
        for last in ["", end] {
            let lines = [
                "username,userid,price,item",
                "ada,u1,1,",
                "",
                " ",
                ",,,",
                "\"bob\",u2,2,tea",
                "cy,u3,much,",
                "dan,u4,4,\"two",
                "lines\"",
                "eva,u5",
                "fay,u6,6,",
            ];
            let text = lines.join(end) + last;
            let (report, stored) = import(&csv(), &text).await.unwrap();
            assert_eq!(
                (counts(&report), stored.len()),
                ([3, 0, 3, 0], 3),
                "{text:?}"
            );
            let lines: Vec<u64> = report.problems.iter().map(|problem| problem.line).collect();
            assert_eq!(lines, [7, 8, 10], "{text:?}");
            let unterminated = last.is_empty().then_some(11);
            assert_eq!(report.unterminated_line, unterminated, "{text:?}");
        }
    }
}

#[tokio::test]
async fn a_row_without_an_end_fails_the_rest_of_the_file() {
    let file = format!(
        "username,userid,price\nada,u1,1\nada,u1,\"{}",
        "a\n".repeat(MAX_UNCLOSED_ROW_BYTES)
    );
    let store = InMemoryStore::new();
    let error = import_into(&store, &csv(), file.as_bytes())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().starts_with("after line 2: "), "{error}");
    assert_eq!(store.all().len(), 1);

    let long = format!(
        "username,userid,price,item\nada,u1,1,{}\nbob,u2,2,\n",
        "a".repeat(MAX_ROW_BYTES)
    );
    let (report, _) = import(&csv(), long).await.unwrap();
    assert_eq!(problems(&report), [(2, "has more than 65536 bytes")]);
}

#[tokio::test]
async fn what_an_export_has_written_is_imported_in_any_order() {
    let new = NewPurchase::for_user("u1")
        .with_user_name("=ada")
        .with_price("29.99")
        .unwrap();
    let at = "2026-03-01T09:00:00Z".parse().unwrap();
    let mut bought = new.into_purchase(at, || Uuid::from_u128(7));
    bought
        .details
        .set_unknown_members(r#"{"gift":{"to":"eva, \"and\" bob"},"tax":1.10}"#)
        .unwrap();
    let mut refund = bought.refund(Some("9.90".parse().unwrap()), at).unwrap();
    refund.details.reason = Some("=broken".parse().unwrap());
    for format in [RowFormat::Csv, RowFormat::Ndjson] {
        for rows in [[&bought, &refund], [&refund, &bought]] {
            let mut file = Vec::new();
            format.write_head(&mut file);
            format.write(&mut file, &rows.map(Clone::clone)).unwrap();
            let import = Import::new(format);
            let (report, stored) = super::import_test::import(&import, &file).await.unwrap();
            assert_eq!((counts(&report), report.waiting), ([2, 0, 0, 0], 0));
            assert_eq!(stored.get(&bought.id), Some(&bought));
            assert_eq!(stored.get(&refund.id), Some(&refund));

            let off = import.refunds(false);
            let (report, _) = super::import_test::import(&off, &file).await.unwrap();
            assert_eq!(counts(&report), [1, 0, 1, 0]);
        }
        // Without its purchase, a refund waits.
        let mut file = Vec::new();
        format.write_head(&mut file);
        format.write(&mut file, &[refund.clone()]).unwrap();
        let (report, stored) = import(&Import::new(format), &file).await.unwrap();
        assert_eq!(
            (counts(&report), report.waiting, stored.len()),
            ([1, 0, 0, 0], 1, 0)
        );
        assert!(
            report
                .to_string()
                .ends_with("refunds wait until their purchase is stored")
        );
    }
    let text = format!(
        "username,userid,price,of,reason\nada,u1,-1,,\nada,u1,1,{},\nada,u1,1,,why\n",
        bought.id
    );
    let (report, _) = import(&csv(), text).await.unwrap();
    assert_eq!(counts(&report), [0, 0, 3, 0]);
}

#[tokio::test]
async fn a_refund_that_contradicts_its_purchase_is_rejected_wherever_it_is() {
    let new = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("5")
        .unwrap();
    let bought = new.into_purchase(Timestamp::MIN, || Uuid::from_u128(7));
    let id = bought.id;
    for file in [
        format!("username,userid,price,id,of\nada,u1,5,{id},\nada,u1,-6,,{id}\n"),
        format!("username,userid,price,id,of\nada,u1,-6,,{id}\nada,u1,5,{id},\n"),
    ] {
        let (report, stored) = import(&csv(), &file).await.unwrap();
        assert_eq!((counts(&report), stored.len()), ([1, 0, 1, 0], 1), "{file}");
        // In another file than its purchase.
        let store = InMemoryStore::new();
        store.insert([bought.clone()].into()).await.unwrap();
        let refund = format!("username,userid,price,of\nada,u1,-6,{id}\n");
        let (report, _) = import_into(&store, &csv(), refund.as_bytes())
            .await
            .unwrap();
        assert_eq!(counts(&report), [0, 0, 1, 0]);
    }
}

#[tokio::test]
async fn a_row_is_known_by_its_values_and_its_occurrence() {
    let store = InMemoryStore::new();
    let first = "username,userid,price,item,timestamp\nada,u1,1.50,tea,\nada,u1,1.50,tea,\nbob,u2,2,,2024-01-15T22:30:00Z\n";
    let (report, _) = import_into(&store, &csv(), first.as_bytes()).await.unwrap();
    assert_eq!(counts(&report), [3, 0, 0, 0]);

    // Saved by a spreadsheet in another order: quoted, with other numbers, times and columns, and
    // one row more.
    let saved = "\u{feff}item;price;\"userid\";username;timestamp;currency\r\n;2.0;u2;bob;2024-01-15T23:30:00+01:00;\r\ntea;1.5;u1;\"ada\";;\r\n;7;u3;cy;;\r\ntea;1.5;u1;ada;;\r\n";
    let (report, stored) = import_into(&store, &csv(), saved.as_bytes()).await.unwrap();
    assert_eq!((counts(&report), stored.len()), ([1, 3, 0, 0], 4));

    // The currency of the shop is no value of a row.
    let euros = csv().currency(Some("EUR".parse().unwrap()));
    let (report, _) = import_into(&store, &euros, first.as_bytes()).await.unwrap();
    assert_eq!(counts(&report), [0, 3, 0, 0]);

    let rest = csv().from_line(3);
    let (report, _) = import_into(&store, &rest, first.as_bytes()).await.unwrap();
    assert_eq!(
        counts(&report),
        [0, 2, 0, 0],
        "the first row is counted as an occurrence"
    );
}

#[tokio::test]
async fn a_key_and_an_id_know_a_row_by_themselves() {
    let keyed = "username,userid,price,key\nada,u1,1,order-7\nada,u1,1,order-7\nada,u1,2,order-7\n";
    let store = InMemoryStore::new();
    let (report, _) = import_into(&store, &csv(), keyed.as_bytes()).await.unwrap();
    assert_eq!(counts(&report), [1, 1, 0, 1]);
    assert_eq!(report.problems[0].line, 4);
    let (report, _) = import_into(&store, &csv(), keyed.as_bytes()).await.unwrap();
    assert_eq!(counts(&report), [0, 2, 0, 1]);

    let id = "507f1f77bcf86cd799439011";
    let time = "2020-01-01T00:00:00.000Z";
    let of_export = format!("id,username,userid,price,timestamp\n{id},ada,u1,1,{time}\n");
    let (kept, purchase) = import(&csv(), &of_export)
        .await
        .unwrap()
        .1
        .pop_first()
        .unwrap();
    assert_eq!(kept.to_string(), id);
    assert_eq!(purchase.timestamp, time.parse::<Timestamp>().unwrap());
    let day = csv().retention(Some(Duration::from_secs(86_400)));
    let (report, _) = import(&day, &of_export).await.unwrap();
    let problem = &report.problems[0].detail;
    assert!(problem.ends_with("must not be older than the retention of purchases"));
}

#[tokio::test]
async fn files_of_other_systems_are_read() {
    let file = "Kundennr;Name;Summe;Datum;Telefon\nu1;Zo\u{eb};12,50;2024-01-15 23:30;123\n";
    let latin: Vec<u8> = file
        .chars()
        .map(|char| u8::try_from(char).unwrap())
        .collect();
    let import = csv()
        .encoding(Some("windows-1252".parse().unwrap()))
        .columns(
            "userid=Kundennr,username=Name,price=Summe,timestamp=Datum"
                .parse()
                .unwrap(),
        )
        .decimal_comma(true)
        .time_zone(Some("Europe/Berlin".parse().unwrap()));
    let (report, stored) = super::import_test::import(&import, &latin).await.unwrap();
    assert_eq!(counts(&report), [1, 0, 0, 0]);
    assert_eq!(report.ignored_columns, ["Telefon"]);
    let bought = stored.values().next().unwrap();
    assert_eq!(bought.user_name, *"Zoë");
    assert_eq!(bought.price.to_string(), "12.50");
    assert_eq!(bought.timestamp.to_string(), "2024-01-15T22:30:00.000Z");

    let preview = import.preview(&latin[..]).unwrap();
    assert_eq!(preview.delimiter.as_deref(), Some(";"));
    assert_eq!(preview.rows[0].purchase.as_ref().unwrap().id, bought.id);
    let text = preview.to_string();
    assert!(
        text.contains("  Kundennr: userid\n") && text.contains("  Telefon: not read\n"),
        "{text}"
    );

    // Without its encoding, the row is rejected, and the others are not.
    let mixed = b"username,userid,price\nZo\xeb,u1,1\nada,u1,1\n";
    let (report, _) = super::import_test::import(&csv(), mixed).await.unwrap();
    assert_eq!(counts(&report), [1, 0, 1, 0]);
    assert!(
        report.problems[0].detail.contains("windows-1252"),
        "{report:?}"
    );
    for (price, says) in [
        ("1.234,50", "must not have a dot"),
        ("1,2,3", "must be a valid number"),
    ] {
        let file = format!("username;userid;price\nada;u1;{price}\n");
        let (report, _) = super::import_test::import(&csv().decimal_comma(true), file)
            .await
            .unwrap();
        assert!(report.problems[0].detail.contains(says), "{report:?}");
    }
}

#[tokio::test]
async fn an_import_by_way_of_a_log_waits_until_its_rows_are_stored() {
    let log = InMemoryLog::default();
    let store = InMemoryStore::new();
    let new = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("5")
        .unwrap();
    let bought = new.into_purchase("2024-01-15T22:30:00Z".parse().unwrap(), || {
        Uuid::from_u128(7)
    });
    let id = bought.id;
    let file = format!(
        "username,userid,price,id,of,key\nada,u1,-2,,{id},\nada,u1,5,{id},,\nada,u1,5,,,k\nada,u1,6,,,k\nada,u1,1,,,\n"
    );
    let run = async |store_timeout| {
        let mut report = ImportReport::default();
        let import = csv().store_timeout(store_timeout);
        let file = std::io::Cursor::new(file.clone().into_bytes());
        let imported = import
            .run(&log.sink(), &store, file, &mut report, |_| ())
            .await;
        imported.map(|()| report)
    };
    let error = run(Duration::from_millis(10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.to_string().contains("is ingest running?"), "{error}");

    let ingest = Ingest::new(
        Arc::new(log.source("store")),
        Arc::new(store.clone()),
        Arc::new(log.dead_letters()),
        IngestOptions::default(),
    );
    let running = tokio::spawn(ingest.run(std::future::pending()));
    let report = run(Duration::from_secs(60)).await.unwrap();
    assert_eq!((counts(&report)[3], report.waiting), (1, 0));
    assert_eq!(report.imported + report.repeated, 4);
    let report = run(Duration::from_secs(60)).await.unwrap();
    assert_eq!(counts(&report), [0, 4, 0, 1]);
    assert_eq!(store.all().len(), 4);

    // Rows of other batches that are in the log, and may not be stored yet, are known too.
    let mut file = "username,userid,price,key\n".to_owned();
    for number in 0..2 * MIN_BATCH_SIZE {
        file += &format!("ada,u2,1,key-{number}\n");
    }
    file += "ada,u2,1,key-0\nada,u2,2,key-1\n";
    let mut report = ImportReport::default();
    let file = std::io::Cursor::new(file.into_bytes());
    let imported = csv()
        .run(&log.sink(), &store, file, &mut report, |_| ())
        .await;
    imported.unwrap();
    assert_eq!(counts(&report), [2 * MIN_BATCH_SIZE as u64, 1, 0, 1]);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_failed_import_reports_where_to_continue() {
    /// Accepts the first purchase only.
    #[derive(Debug)]
    struct Full(crate::memory::InMemorySink);

    #[crate::async_trait]
    impl PurchaseSink for Full {
        async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
            match purchase.user_name.as_str() {
                "ada" => self.0.publish(purchase).await,
                _ => Err(Error::new(ErrorKind::Overloaded, "full")),
            }
        }
        fn durability(&self) -> Durability {
            self.0.durability()
        }
        fn is_storing(&self) -> bool {
            true
        }
        async fn check(&self) -> Result<()> {
            Ok(())
        }
        async fn close(&self, timeout: Duration) -> Result<()> {
            self.0.close(timeout).await
        }
    }

    let file = "username,userid,price\neva,u2,1\nada,u1,1\n";
    let sink = Full(InMemoryLog::default().sink());
    let store = InMemoryStore::new();
    let mut report = ImportReport::default();
    let imported = csv()
        .run(&sink, &store, file.as_bytes(), &mut report, |_| ())
        .await;
    assert_eq!(imported.unwrap_err().kind(), ErrorKind::Overloaded);
    assert_eq!(report.resume_at, Some(2));
}
