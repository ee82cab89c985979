//! Imports of files, into memory.

use std::collections::BTreeMap;

use super::*;
use crate::log::LogAdmin as _;
use crate::memory::InMemoryLog;
use crate::record::decode;
use crate::{Error, ErrorKind, PurchaseId, Timestamp};
use futures_util::TryStreamExt as _;

/// The purchases that an import has published, by their ids.
async fn published(log: &InMemoryLog) -> BTreeMap<PurchaseId, Purchase> {
    let batches: Vec<_> = log.scan().await.unwrap().try_collect().await.unwrap();
    let records = batches
        .iter()
        .flat_map(|batch| batch.records.iter().map(move |record| (batch, record)));
    let purchases = records.map(|(batch, record)| decode(record, &batch.partition).unwrap());
    purchases.map(|purchase| (purchase.id, purchase)).collect()
}

async fn import(
    import: Import,
    text: &str,
) -> Result<(ImportReport, BTreeMap<PurchaseId, Purchase>)> {
    let (log, mut report) = (InMemoryLog::default(), ImportReport::default());
    let input = std::io::Cursor::new(text.as_bytes().to_vec());
    import.run(&log.sink(), input, &mut report, |_| ()).await?;
    Ok((report, published(&log).await))
}

fn rejected(report: &ImportReport) -> Vec<(u64, &str)> {
    report
        .rejected_lines
        .iter()
        .map(|rejected| (rejected.line, &*rejected.detail))
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
        "{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1,\"id\":\"x\",\"key\":\"y\"}",
    );
    let (report, purchases) = import(Import::new(RowFormat::Ndjson), text).await.unwrap();
    assert_eq!(
        (report.imported, purchases.len(), report.rejected),
        (1, 1, 5)
    );
    let rejected = rejected(&report);
    assert_eq!(rejected[0], (3, "userid must be text"));
    assert!(
        rejected[1].0 == 4 && rejected[1].1.starts_with("is no JSON object: "),
        "{rejected:?}"
    );
    assert!(
        rejected[2].1.starts_with("currency is not accepted: "),
        "{rejected:?}"
    );
    let ahead = "timestamp 2999-01-01T00:00:00Z must not be more than 5 minutes in the future";
    assert_eq!(
        rejected[3..],
        [(6, ahead), (7, "id and key must not both be given")]
    );
    assert!(report.to_string().starts_with(
        "lines 6: imported 1, repeated 0, rejected 5\n  line 3: userid must be text\n"
    ));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        (&json["rejected"], &json["rejected_lines"][0]["line"]),
        (&5.into(), &3.into())
    );
}

#[tokio::test]
async fn an_unclosed_quote_affects_only_its_own_row() {
    let text = "\u{feff}username,userid,price\r\n\"ada, \"\"b\"\" \",u1,1\r\nada,u1,\"1\nada,u1\n\n\"'=c\",u1,1";
    let (report, purchases) = import(Import::new(RowFormat::Csv), text).await.unwrap();
    let mut names: Vec<_> = purchases
        .values()
        .map(|purchase| purchase.user_name.to_string())
        .collect();
    names.sort();
    assert_eq!(names, ["=c", "ada, \"b\" "]);
    let expected = [
        (3, "a quote is not closed"),
        (4, "has 2 columns, and the first line 3"),
    ];
    assert_eq!(rejected(&report), expected);
    for text in [
        "",
        "\n",
        "username,price\n",
        "username,userid,price,colour\n",
        "\"username\n",
        " username,userid,price\n",
        "username,userid,price,price\n",
    ] {
        let error = import(Import::new(RowFormat::Csv), text).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{text:?}");
    }
}

#[tokio::test]
async fn every_line_is_imported_repeated_or_rejected_whatever_ends_it() {
    for end in ["\n", "\r\n", "\r"] {
        for last in ["", end] {
            let rows = [
                "username,userid,price",
                "ada,u1,1",
                "bob,u2,2",
                "",
                "cy,u3,much",
                "dan,u4,4",
            ];
            let text = rows.join(end) + last;
            let (report, purchases) = import(Import::new(RowFormat::Csv), &text).await.unwrap();
            assert_eq!(
                (report.lines, report.imported, purchases.len()),
                (4, 3, 3),
                "{text:?}"
            );
            assert_eq!(report.rejected_lines[0].line, 5, "{text:?}");
            // The other reader of lines has the same ones.
            let lines: Vec<_> = crate::api::lines(text.as_bytes())
                .map(|line| str::from_utf8(line).unwrap())
                .collect();
            assert_eq!(lines[..6], rows, "{text:?}");
        }
    }
    let mixed = format!(
        "username,userid,price\r\n{}",
        "ada,u1,1\rbob,u2,2\nada,u1,1\r\n".repeat(3_000)
    );
    let (report, _) = import(Import::new(RowFormat::Csv), &mixed).await.unwrap();
    assert_eq!(
        (
            report.lines,
            report.imported,
            report.repeated,
            report.rejected
        ),
        (9_000, 9_000, 0, 0)
    );
    let json = r#"{"username":"ada","userid":"u1","price":1,"key":"k"}"#;
    let text = format!("\u{feff}{json}\r{json}\r\n{}{json}", " ".repeat(65_536));
    let (report, purchases) = import(Import::new(RowFormat::Ndjson), &text).await.unwrap();
    assert_eq!((report.lines, report.imported, purchases.len()), (3, 2, 1));
    assert_eq!(rejected(&report), [(3, "has more than 65536 bytes")]);
}

#[tokio::test]
async fn exported_refunds_are_imported_and_nothing_else_is_negative() {
    let new = crate::NewPurchase::of("u1")
        .named("ada")
        .priced("29.99")
        .unwrap();
    let at = "2026-03-01T09:00:00Z".parse().unwrap();
    let bought = new.into_purchase(at, || crate::Uuid::from_u128(7));
    let mut refund = bought.refund(Some("9.90".parse().unwrap()), at).unwrap();
    refund.details.reason = Some("=broken".parse().unwrap());
    for format in [RowFormat::Csv, RowFormat::Ndjson] {
        let mut file = Vec::new();
        format.write_head(&mut file);
        format
            .write(&mut file, &[bought.clone(), refund.clone()])
            .unwrap();
        let (report, imported) = import(Import::new(format), str::from_utf8(&file).unwrap())
            .await
            .unwrap();
        assert_eq!((report.imported, report.rejected), (2, 0));
        assert_eq!(
            (imported.get(&bought.id), imported.get(&refund.id)),
            (Some(&bought), Some(&refund))
        );
    }
    let text = format!(
        "username,userid,price,of,reason\nada,u1,-1,,\nada,u1,1,{},\nada,u1,1,,why",
        bought.id
    );
    let (report, _) = import(Import::new(RowFormat::Csv), &text).await.unwrap();
    let lines: Vec<u64> = report
        .rejected_lines
        .iter()
        .map(|rejected| rejected.line)
        .collect();
    assert_eq!(lines, [2, 3, 4]);
}

#[tokio::test]
async fn the_same_line_has_the_same_id() {
    let csv = Import::new(RowFormat::Csv);
    let ids = async |import: &Import, text| {
        super::import_test::import(import.clone(), text)
            .await
            .unwrap()
            .1
    };
    let text = "username,userid,price\nada,u1,1\nada,u1,1\n";
    let first = ids(&csv, text).await;
    assert_eq!(
        (first.len(), ids(&csv, text).await.keys().eq(first.keys())),
        (2, true)
    );
    let rest = ids(&csv.clone().from_line(3), text).await;
    assert!(rest.len() == 1 && rest.keys().all(|id| first.contains_key(id)));
    let keyed = "username,userid,price,key,id\nada,u1,1,order-7,\nada,u1,1,order-7,\n";
    assert_eq!(ids(&csv, keyed).await.len(), 1);
    let (id, time) = ("507f1f77bcf86cd799439011", "2020-01-01T00:00:00.000Z");
    let of_export = format!("id,username,userid,price,timestamp\n{id},ada,u1,1,{time}\n");
    let (kept, purchase) = ids(&csv, &of_export).await.pop_first().unwrap();
    assert_eq!(
        (kept.to_string(), purchase.timestamp),
        (id.to_owned(), time.parse::<Timestamp>().unwrap())
    );
    let day = csv.retention(Some(Duration::from_secs(86_400)));
    let (report, _) = import(day, &of_export).await.unwrap();
    assert!(
        report.rejected_lines[0]
            .detail
            .ends_with("must not be older than the retention of purchases")
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_import_reports_where_to_continue() {
    /// Accepts the first purchase only.
    #[derive(Debug)]
    struct Full(crate::memory::InMemorySink);

    #[crate::async_trait]
    impl PurchaseSink for Full {
        async fn publish(&self, purchase: &Purchase) -> Result<crate::ports::Receipt> {
            match purchase.user_name.as_str() {
                "ada" => self.0.publish(purchase).await,
                _ => Err(Error::new(ErrorKind::Overloaded, "full")),
            }
        }
        fn durability(&self) -> crate::ports::Durability {
            self.0.durability()
        }
        async fn check(&self) -> Result<()> {
            Ok(())
        }
        async fn close(&self, timeout: Duration) -> Result<()> {
            self.0.close(timeout).await
        }
    }

    let text = "username,userid,price\nada,u1,1\neva,u2,1\n";
    let (sink, mut report) = (Full(InMemoryLog::default().sink()), ImportReport::default());
    let import = Import::new(RowFormat::Csv);
    let imported = import
        .run(&sink, text.as_bytes(), &mut report, |_| ())
        .await;
    assert_eq!(imported.unwrap_err().kind(), ErrorKind::Overloaded);
    assert_eq!(
        (report.imported, report.rejected, report.resume_at),
        (1, 0, Some(3))
    );
}
