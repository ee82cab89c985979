//! Imports of files, into a store in memory: at once, and by way of a log.

use std::sync::Arc;

use super::*;
use shop_core::conformance::fault::{Call, Fault, Faults};
use shop_core::import::{MAX_BATCH_BYTES, RowSource as _, import_rows};
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::ports::{
    CurrencyStore as _, Durability, PurchaseQuery, PurchaseQueryExt as _, PurchaseSink, Receipt,
    SinkInfo, StoreSink,
};
use shop_core::{Error, ErrorKind, NewPurchase, Purchase, PurchaseId, Uuid};

/// The number of rows of the first batch.
pub(super) const MIN_BATCH_SIZE: usize = 1_000;

pub(super) fn csv() -> Import {
    Import::new(RowFormat::Csv)
}

/// Imports a file by way of these ports.
pub(super) async fn run(
    import: &Import,
    sink: &dyn PurchaseSink,
    query: &dyn PurchaseQuery,
    file: impl Read + Send + 'static,
    report: &mut ImportReport,
) -> Result<()> {
    let options = import.import_options();
    let import = import.clone();
    import_rows(
        sink,
        query,
        move || import.open(file),
        &options,
        report,
        |_| (),
    )
    .await
}

/// Imports a file by way of `store`.
pub(super) async fn import_into(
    store: &InMemoryStore,
    import: &Import,
    file: impl AsRef<[u8]>,
) -> Result<ImportReport> {
    let sink = StoreSink::new(Arc::new(store.clone()), Durability::Memory);
    let mut report = ImportReport::default();
    let file = std::io::Cursor::new(file.as_ref().to_vec());
    run(import, &sink, store, file, &mut report).await?;
    assert_eq!(counts(&report).iter().sum::<u64>(), report.rows);
    Ok(report)
}

/// Imports a file into an empty store, which is returned with the report.
pub(super) async fn import_file(
    import: &Import,
    file: impl AsRef<[u8]>,
) -> (ImportReport, InMemoryStore) {
    let store = InMemoryStore::new();
    let report = import_into(&store, import, file).await.unwrap();
    (report, store)
}

/// The counts of a report: imported, repeated, rejected, conflicting.
pub(super) fn counts(report: &ImportReport) -> [u64; 4] {
    [
        report.imported,
        report.repeated,
        report.rejected,
        report.conflicting,
    ]
}

/// The files of each paragraph are imported one after the other into one store.
#[tokio::test]
async fn each_row_is_imported_once_or_reported() {
    let mut outcomes = String::new();
    for paragraph in include_str!("cases/files.txt").split("# ").skip(1) {
        let mut parts = paragraph.split("> ");
        outcomes += &format!("# {}\n", parts.next().unwrap().trim_end());
        let store = InMemoryStore::new();
        for part in parts {
            let (format, file) = part.split_once('\n').unwrap();
            let format = if format == "csv" {
                RowFormat::Csv
            } else {
                RowFormat::Ndjson
            };
            let import = Import::new(format);
            let outcome = match import_into(&store, &import, file).await {
                Ok(report) => report.to_string(),
                Err(error) => format!("{:?}: {error}", error.kind()),
            };
            outcomes += &format!("\n> {part}\n{outcome}\n");
        }
        outcomes.push('\n');
        for purchase in store.all() {
            let Purchase {
                id,
                user_id,
                user_name,
                price,
                details,
                ..
            } = purchase;
            let details = details.to_json();
            outcomes += &format!("stored {id} {user_id} {user_name} {price} {details:?}\n");
        }
        outcomes.push('\n');
    }
    insta::assert_snapshot!(outcomes);
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
            let (report, _) = import_file(&csv(), &text).await;
            assert_eq!(counts(&report), [3, 0, 3, 0], "{text:?}");
            let lines: Vec<u64> = report.problems.iter().map(|problem| problem.line).collect();
            assert_eq!(lines, [7, 8, 10], "{text:?}");
            let unterminated = last.is_empty().then_some(11);
            assert_eq!(report.unterminated_line, unterminated, "{text:?}");
        }
    }
}

#[tokio::test]
async fn a_row_without_an_end_fails_the_rest_of_the_file() {
    let unclosed = "a\n".repeat(MAX_UNCLOSED_ROW_BYTES);
    let file = format!("username,userid,price\nada,u1,1\nada,u1,\"{unclosed}");
    let store = InMemoryStore::new();
    let error = import_into(&store, &csv(), file).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error
            .to_string()
            .starts_with("the row of line 3 has more than"),
        "{error}"
    );
    assert_eq!(store.all().len(), 1);
}

#[tokio::test]
async fn many_lines_without_a_value_are_skipped() {
    let before_header = " \n".repeat(MAX_ROW_BYTES);
    let between_rows = "\n".repeat(MAX_UNCLOSED_ROW_BYTES + 1);
    let file =
        format!("{before_header}username,userid,price\nada,u1,1\n{between_rows}bob,u2,much\n");
    let (report, _) = import_file(&csv(), &file).await;
    assert_eq!(counts(&report), [1, 0, 1, 0]);
    assert_eq!(
        report.problems[0].line,
        (MAX_ROW_BYTES + MAX_UNCLOSED_ROW_BYTES) as u64 + 4
    );
}

#[tokio::test]
async fn each_line_that_a_stray_quote_makes_part_of_a_row_is_rejected() {
    let mut file = "username,userid,price,problem\nada,u1,1,\nbob,u2,2,\"Boston\n".to_owned();
    for number in 3..=40_000 {
        file += &format!("cy,u{number},3,\n\n");
    }
    let (report, _) = import_file(&csv(), &file).await;
    assert_eq!(counts(&report), [1, 0, 39_999, 0]);
    assert_eq!(report.problems[0].line, 3);
    assert_eq!(report.problems[19].line, 4 + 2 * 18);
}

#[tokio::test]
async fn a_long_row_is_rejected() {
    let item = "a".repeat(MAX_ROW_BYTES + 1);
    for (format, file) in [
        (
            RowFormat::Csv,
            format!("username,userid,price,item\nada,u1,1,{item}\nbob,u2,2,\n"),
        ),
        (
            RowFormat::Ndjson,
            format!("\n{item}\n{{\"username\":\"bob\",\"userid\":\"u2\",\"price\":2}}\n"),
        ),
    ] {
        let (report, _) = import_file(&Import::new(format), file).await;
        let expected = "rows 2: imported 1, repeated 0, rejected 1, conflicting 0\n  line 2: has more than 65536 bytes";
        assert_eq!(report.to_string(), expected);
    }
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
            let (report, store) = import_file(&Import::new(format), &file).await;
            assert_eq!((counts(&report), report.waiting), ([2, 0, 0, 0], 0));
            for purchase in rows {
                let stored = store.get(&purchase.id).await.unwrap();
                assert_eq!(stored.as_ref(), Some(purchase));
            }

            let (report, _) = import_file(&Import::new(format).refunds(false), &file).await;
            assert_eq!(counts(&report), [1, 0, 1, 0]);
        }
    }
}

#[tokio::test]
async fn a_refund_keeps_its_time_or_its_row_is_rejected() {
    const ID: &str = "0190163d-8694-739b-aea5-966c26f8ad91";
    let file_of = |purchase_time: &str, refund_time: &str, is_refund_first: bool| {
        let bought = format!("{ID},ada,u1,9,{purchase_time},\n");
        let refund = format!(",ada,u1,-2,{refund_time},{ID}\n");
        let rows = if is_refund_first {
            refund + &bought
        } else {
            bought + &refund
        };
        format!("id,username,userid,price,timestamp,of\n{rows}")
    };
    let refund_id = ID.parse::<PurchaseId>().unwrap().refund_id();
    let evening = "2026-03-01T23:59:00Z";
    let next_day = "2026-03-02T00:00:00Z";

    for (is_refund_first, line) in [(false, 3), (true, 2)] {
        let later = file_of(evening, next_day, is_refund_first);
        let (report, store) = import_file(&csv(), later).await;
        assert_eq!(counts(&report), [2, 0, 0, 0]);
        let stored = store.get(&refund_id).await.unwrap().unwrap();
        assert_eq!(stored.timestamp, next_day.parse().unwrap());

        // Rows without a time have one time, so neither is earlier than the other.
        let (report, _) = import_file(&csv(), file_of("", "", is_refund_first)).await;
        assert_eq!(counts(&report), [2, 0, 0, 0]);

        let earlier = file_of(next_day, evening, is_refund_first);
        let (report, store) = import_file(&csv(), earlier).await;
        assert_eq!(counts(&report), [1, 0, 1, 0]);
        let text = report.to_string();
        let reason = "the refund is earlier than its purchase";
        assert!(
            text.contains(&format!("line {line}: ")) && text.ends_with(reason),
            "{text}"
        );
        assert_eq!(store.get(&refund_id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_row_is_known_by_its_values_and_its_occurrence() {
    let store = InMemoryStore::new();
    store.currency(Some("EUR".parse().unwrap())).await.unwrap();
    let file = "username,userid,price,item\nada,u1,1.50,tea\nada,u1,1.50,tea\nbob,u2,2,\n";
    for (import, expected) in [
        (csv(), [3, 0, 0, 0]),
        (csv(), [0, 3, 0, 0]),
        // The currency of the shop is no value of a row.
        (csv().currency(Some("EUR".parse().unwrap())), [0, 3, 0, 0]),
        // The first row counts as an occurrence.
        (csv().from_line(3), [0, 2, 0, 0]),
    ] {
        let report = import_into(&store, &import, file).await.unwrap();
        assert_eq!(counts(&report), expected);
    }
}

#[tokio::test]
async fn an_import_is_resumed_behind_more_rows_than_a_batch_has() {
    let name = "a".repeat(200);
    let skipped_rows = MAX_BATCH_BYTES / name.len() + 1;
    let mut file = "username,userid,price\n".to_owned();
    for _ in 0..skipped_rows {
        file += &format!("{name},u1,1\n");
    }
    file += "ada,u2,2\nbob,u3,3\n";
    let first_line = skipped_rows as u64 + 2;
    let (report, _) = import_file(&csv().from_line(first_line), &file).await;
    assert_eq!(counts(&report), [2, 0, 0, 0]);
}

#[tokio::test]
async fn rows_in_the_order_of_time_have_ascending_ids_and_are_known_again() {
    let mut file = "username,userid,price,timestamp\n".to_owned();
    for second in 10..30 {
        file += &format!("ada,u{second},1,2026-01-01T00:00:{second}Z\n");
    }
    let (_, store) = import_file(&csv(), &file).await;
    let mut stored = store.all();
    stored.sort_by_key(|purchase| purchase.timestamp);
    assert!(stored.is_sorted_by_key(|purchase| purchase.id));
    let again = import_into(&store, &csv(), &file).await.unwrap();
    assert_eq!(counts(&again), [0, 20, 0, 0]);
}

#[tokio::test]
async fn a_row_that_is_older_than_the_retention_is_rejected() {
    let day = csv().retention(Some(Duration::from_secs(86_400)));
    let file = "username,userid,price,timestamp\nada,u1,1,2020-01-01T00:00:00Z\n";
    let (report, store) = import_file(&day, file).await;
    let problem = &report.problems[0].detail;
    assert!(problem.ends_with("must not be older than the retention of purchases"));
    assert_eq!(store.all(), []);
}

#[tokio::test]
async fn files_of_other_systems_are_read() {
    let file = "Kundennr;Name;Summe;Datum;Telefon\nu1;Zo\u{eb};12,50;2024-01-15 23:30;123\nu2;Eva;1.234,50;;\nu3;Bob;1,2,3;;\n";
    let latin: Vec<u8> = file
        .chars()
        .map(|char| u8::try_from(char).unwrap())
        .collect();
    let columns = "userid=Kundennr,username=Name,price=Summe,timestamp=Datum";
    let import = csv()
        .encoding(Some("windows-1252".parse().unwrap()))
        .columns(columns.parse().unwrap())
        .decimal_comma(true)
        .time_zone(Some("Europe/Berlin".parse().unwrap()));
    let (report, store) = import_file(&import, &latin).await;
    let preview = import.preview(&latin[..]).unwrap();
    let stored = serde_json::to_string(&store.all()).unwrap();
    insta::assert_snapshot!(format!("{preview}\n\n{report}\n\n{stored}"));

    // Without its encoding, the row is rejected, and the others are not.
    let mixed = b"username,userid,price\nZo\xeb,u1,1\nada,u1,1\n";
    let (report, _) = import_file(&csv(), mixed).await;
    assert_eq!(counts(&report), [1, 0, 1, 0]);
    let problem = &report.problems[0].detail;
    assert!(problem.contains("windows-1252"), "{problem}");
}

#[tokio::test]
async fn an_import_by_way_of_a_log_waits_until_its_rows_are_stored() {
    let log = InMemoryLog::default();
    let store = InMemoryStore::new();
    let file = "username,userid,price,id,of,key\n\
                ada,u1,-2,,507f1f77bcf86cd799439011,\n\
                ada,u1,5,507f1f77bcf86cd799439011,,\n\
                ada,u1,5,,,k\n\
                ada,u1,6,,,k\n\
                ada,u1,1,,,\n";
    let import_within = async |store_timeout| {
        let mut report = ImportReport::default();
        let import = csv().store_timeout(store_timeout);
        let sink = log.sink();
        run(&import, &sink, &store, file.as_bytes(), &mut report).await?;
        Ok::<_, Error>(report)
    };
    let error = import_within(Duration::from_millis(10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.to_string().contains("is ingest running?"), "{error}");

    let ingest = Ingest::new(
        Arc::new(log.source("store")),
        Arc::new(store.clone()),
        Arc::new(log.clone()),
        IngestOptions::default(),
    );
    let running = tokio::spawn(ingest.run(std::future::pending()));
    let report = import_within(Duration::from_secs(60)).await.unwrap();
    assert_eq!((counts(&report)[3], report.waiting), (1, 0));
    assert_eq!(report.imported + report.repeated, 4);
    let report = import_within(Duration::from_secs(60)).await.unwrap();
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
    let imported = run(&csv(), &log.sink(), &store, file, &mut report).await;
    imported.unwrap();
    assert_eq!(counts(&report), [2 * MIN_BATCH_SIZE as u64, 1, 0, 1]);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_failed_import_reports_where_to_continue() {
    /// Accepts purchases of ada only.
    #[derive(Debug)]
    struct Full(shop_core::memory::InMemorySink, ErrorKind);

    #[shop_core::async_trait]
    impl PurchaseSink for Full {
        async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
            match purchase.user_name.as_str() {
                "ada" => self.0.publish(purchase).await,
                _ => Err(Error::new(self.1, "full")),
            }
        }
        fn info(&self) -> SinkInfo {
            self.0.info().with_storing(true)
        }
        async fn check(&self) -> Result<()> {
            Ok(())
        }
        async fn close(&self, timeout: Duration) -> Result<()> {
            self.0.close(timeout).await
        }
    }

    let file = "username,userid,price\neva,u2,1\nada,u1,1\n";
    // A log that refuses purchases, such as for a wrong clock, is not the fault of the rows.
    for kind in [
        ErrorKind::Overloaded,
        ErrorKind::Denied,
        ErrorKind::Internal,
    ] {
        let sink = Full(InMemoryLog::default().sink(), kind);
        let store = InMemoryStore::new();
        let mut report = ImportReport::default();
        let imported = run(&csv(), &sink, &store, file.as_bytes(), &mut report).await;
        assert_eq!(imported.unwrap_err().kind(), kind);
        assert_eq!(
            (report.resume_at, report.rejected),
            (Some(2), 0),
            "{kind:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refund_of_a_damaged_purchase_is_a_rejected_row_and_the_rest_is_imported() {
    let refunded = Uuid::from_u128(7);
    let file = format!("username,userid,price,of\nada,u1,-1,{refunded}\nbob,u2,2,\ncy,u3,3,\n");
    let store = InMemoryStore::new();
    let faults = Faults::new();
    let query = faults.query(Arc::new(store.clone()));
    let damaged = Error::new(ErrorKind::Corrupt, "the row has changed on the disk");
    faults.once(Call::Query, Fault::Refuse(damaged));

    let sink = StoreSink::new(Arc::new(store.clone()), Durability::Memory);
    let mut report = ImportReport::default();
    let file = std::io::Cursor::new(file.into_bytes());
    let imported = run(&csv(), &sink, &*query, file, &mut report).await;
    imported.unwrap();
    assert_eq!(counts(&report), [2, 0, 1, 0], "{report}");
    assert_eq!(report.problems[0].line, 2);
    assert!(report.problems[0].detail.contains("doctor"), "{report}");
    assert_eq!(store.all().len(), 2);
}

/// Batches end by the size of their rows too, so memory does not depend on what is in a row.
#[test]
fn a_batch_has_a_bounded_number_of_bytes() {
    let more = format!(r#"{{"gift":"{}"}}"#, "x".repeat(50_000));
    let row = format!(r#"{{"username":"ada","userid":"u1","price":1,"more":{more}}}"#);
    let file = format!("{row}\n").repeat(200);
    let import = Import::new(RowFormat::Ndjson);
    let mut reader = import.open(std::io::Cursor::new(file)).unwrap();
    let mut lengths = Vec::new();
    loop {
        let batch = reader.next_batch(65_536).unwrap();
        if batch.is_empty() {
            break;
        }
        assert!(batch.iter().all(|row| row.purchase.is_ok()), "{batch:?}");
        lengths.push(batch.len());
    }
    assert_eq!(lengths.iter().sum::<usize>(), 200);
    assert!(lengths.len() > 2, "{lengths:?}");
}
