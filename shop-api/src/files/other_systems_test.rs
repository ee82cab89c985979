//! Files of other systems: how they are written, their refunds, and the same file with other options.

use std::sync::Arc;

use super::import_test::{MIN_BATCH_SIZE, counts, csv, import_file, import_into, run};
use super::*;
use shop_core::import::check_repetition;
use shop_core::memory::InMemoryStore;
use shop_core::ports::{
    DescribeStore, Durability, ImportedFiles, Lookup, Page, PageRequest, PurchaseQuery, Selector,
    StoreInfo, StoreSink, Summary,
};
use shop_core::{Error, ErrorKind, Purchase, Uuid};

#[tokio::test]
async fn a_table_behind_other_lines_is_read_by_its_options() {
    let file = "Report \"of March\n\
                \n\
                Day;Hour;First;Last;No;Sum;State\n\
                15.01.2024;23:30;Ada;Lovelace;u1;1.234,50 €;paid\n\
                15.01.2024;23:31;Bob;;u2;2,00 €;open\n\
                15.07.2024;23:32;Eva;Example;u3;(3,00 €);paid\n\
                15.07.2024;;Dan;Example;u4;4,00 €;paid\n";
    let options = FileOptions {
        columns: Some(
            "timestamp=Day,timestamp=Hour,username=First,username=Last,userid=No,price=Sum"
                .parse()
                .unwrap(),
        ),
        skip_lines: Some(2),
        only: Some("State=paid|done".parse().unwrap()),
        decimal_comma: Some(true),
        thousands: Some(".".parse().unwrap()),
        currency_sign: Some("€".parse().unwrap()),
        time_pattern: Some("%d.%m.%Y %H:%M".parse().unwrap()),
        time_zone: Some("Europe/Berlin".parse().unwrap()),
        ..FileOptions::default()
    };
    let (report, store) = import_file(&csv().file_options(options.clone()), file).await;
    let stored = serde_json::to_string(&store.all()).unwrap();
    insta::assert_snapshot!(format!("{report}\n\n{stored}"));

    let other_column = FileOptions {
        only: Some("Status=paid".parse().unwrap()),
        ..options.clone()
    };
    let error = import_into(&store, &csv().file_options(other_column), file)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("\"Status\" of only is missing"),
        "{error}"
    );
    let too_many = FileOptions {
        skip_lines: Some(99),
        ..options
    };
    let error = import_into(&store, &csv().file_options(too_many), file)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("the file is empty"), "{error}");
    for filter in ["", "Status", "=paid", "Status=", "Status=|"] {
        assert!(filter.parse::<RowFilter>().is_err(), "{filter}");
    }
}

#[tokio::test]
async fn a_refund_finds_its_purchase_by_reference() {
    let store = InMemoryStore::new();
    // The refund of tea comes first, the one of milk names another payer, as some systems do.
    let file = "username,userid,price,reference,of\n\
                ada,u1,-2,tea,\n\
                ada,u1,5,tea,\n\
                bob,u2,7,milk,\n\
                shop,u0,-7,refund-1,milk\n";
    for expected in [[4, 0, 0, 0], [0, 4, 0, 0]] {
        let report = import_into(&store, &csv(), file).await.unwrap();
        assert_eq!((counts(&report), report.waiting), (expected, 0), "{report}");
    }
    let refunds: Vec<String> = store
        .all()
        .into_iter()
        .filter(Purchase::is_refund)
        .map(|refund| {
            format!(
                "{} {} {:?}",
                refund.user_id, refund.price, refund.details.reference
            )
        })
        .collect();
    assert_eq!(refunds.len(), 2, "{refunds:?}");
    assert!(
        refunds.contains(&"u1 -2 Some(\"tea\")".to_owned()),
        "{refunds:?}"
    );
    assert!(
        refunds.contains(&"u2 -7 Some(\"milk\")".to_owned()),
        "{refunds:?}"
    );

    // In a later file, a purchase is found in the store. What finds none is rejected by its line.
    let later = "username,userid,price,reference\n\
                 ada,u1,4,cake\n\
                 eva,u3,4,two\n\
                 eva,u3,6,two\n\
                 ada,u1,-1,nothing\n\
                 eva,u3,-1,two\n\
                 ada,u1,-9,cake\n\
                 ada,u1,-1,\n\
                 ada,u1,-3,tea\n";
    let report = import_into(&store, &csv(), later).await.unwrap();
    let problems: Vec<_> = report
        .problems
        .iter()
        .map(|problem| format!("{}: {}", problem.line, problem.detail))
        .collect();
    insta::assert_snapshot!(problems.join("\n"));
    assert_eq!(counts(&report), [3, 0, 4, 1]);
}

#[tokio::test]
async fn a_refund_by_reference_is_later_than_its_purchase_and_the_only_one() {
    let file = "username,userid,price,reference,timestamp\n\
                ada,u1,9,pie,2026-01-02T10:00:00Z\n\
                ada,u1,-3,pie,2026-01-01T10:00:00Z\n\
                bob,u2,9,jam,2026-01-02T10:00:00Z\n\
                bob,u2,-3,jam,2026-01-03T10:00:00Z\n\
                bob,u2,-3,jam,2026-01-04T10:00:00Z\n";
    let store = InMemoryStore::new();
    for expected in [[3, 0, 2, 0], [0, 3, 2, 0]] {
        let report = import_into(&store, &csv(), file).await.unwrap();
        assert_eq!(counts(&report), expected, "{report}");
        // The store decides last, about the refund that is too early.
        let problems: Vec<_> = report.problems.iter().map(|row| row.line).collect();
        assert_eq!(problems, [6, 3], "{report}");
    }
    let refund = store.all().into_iter().find(Purchase::is_refund).unwrap();
    assert_eq!(refund.timestamp.to_string(), "2026-01-03T10:00:00.000Z");
}

#[tokio::test]
async fn refunds_by_reference_wait_for_the_end_of_the_file_while_they_are_small() {
    let refunds = 280;
    let file = |more: &str| {
        let mut file = "username,userid,price,reference,more\n".to_owned();
        let mut add = |row: String, count: usize| file.extend(std::iter::repeat_n(row, count));
        add(format!("ada,u1,-1,late,\"{more}\"\n"), refunds);
        add("ada,u1,1,,\n".to_owned(), 2 * MIN_BATCH_SIZE);
        add("ada,u1,5,late,\n".to_owned(), 1);
        file
    };
    // The purchase is more than a batch behind its refunds. The others are further refunds of it.
    let (small, _) = import_file(&csv(), file("")).await;
    assert_eq!(small.rejected, refunds as u64 - 1, "{small}");
    let filler = "a".repeat(62 << 10);
    let (large, _) = import_file(&csv(), file(&format!("{{\"\"note\"\":\"\"{filler}\"\"}}"))).await;
    assert_eq!(large.rejected, refunds as u64, "{large}");
}

#[tokio::test]
async fn a_column_of_refunded_amounts_makes_refunds() {
    let store = InMemoryStore::new();
    let import = csv().columns(
        "userid=who,username=name,price=total,refunded=back,id=no"
            .parse()
            .unwrap(),
    );
    let rows = |back: &str| {
        format!("no,who,name,total,back\n1,u1,ada,5,{back}\n2,u2,bob,7,0.00\n3,u3,eva,4,9\n")
    };
    // The order is refunded after the first file was written.
    for (back, expected) in [
        ("", [2, 0, 1, 0]),
        ("-2", [1, 2, 1, 0]),
        ("2.00", [0, 3, 1, 0]),
        ("3", [0, 2, 1, 1]),
    ] {
        let report = import_into(&store, &import, rows(back)).await.unwrap();
        assert_eq!(counts(&report), expected, "{back}: {report}");
        assert!(
            report.problems[0].detail.starts_with("refunded: "),
            "{report}"
        );
    }
    let refund = store.all().into_iter().find(Purchase::is_refund).unwrap();
    assert_eq!(refund.price.to_string(), "-2");
    let report = import_into(&store, &import.refunds(false), rows("2"))
        .await
        .unwrap();
    assert_eq!(counts(&report), [0, 1, 2, 0]);
}

/// Checks whether `file` was imported into `store` before and read otherwise.
async fn check(store: &InMemoryStore, import: &Import, file: &str) -> Result<()> {
    let sink = StoreSink::new(Arc::new(store.clone()), Durability::Memory);
    let shop = Shop::new(sink, store.clone());
    import.check_repetition(&shop, file.as_bytes()).await
}

#[tokio::test]
async fn a_file_is_refused_with_other_options_than_before() {
    let london = csv().time_zone(Some("Europe/London".parse().unwrap()));
    let berlin = csv().time_zone(Some("Europe/Berlin".parse().unwrap()));
    let explicit = london
        .clone()
        .columns("userid=userid".parse().unwrap())
        .encoding(Some("utf-8".parse().unwrap()))
        .delimiter(Some(",".parse().unwrap()));
    let file = "username,userid,price,timestamp\nada,u1,1,2024-01-15 23:30\n";
    let store = InMemoryStore::new();
    let is_refused = async |import: &Import, file: &str, difference: &str| {
        let stored = store.all();
        let error = import_into(&store, import, file).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains(difference), "{error}");
        let checked = check(&store, import, file).await;
        assert_eq!(checked.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(store.all(), stored);
    };

    // No row could be read, so the file may be read otherwise.
    let report = import_into(&store, &csv(), file).await.unwrap();
    assert_eq!(counts(&report), [0, 0, 1, 0]);
    for (import, expected) in [(&london, [1, 0, 0, 0]), (&explicit, [0, 1, 0, 0])] {
        check(&store, import, file).await.unwrap();
        let report = import_into(&store, import, file).await.unwrap();
        assert_eq!(counts(&report), expected);
    }

    let difference = "time_zone was Europe/London, and is Europe/Berlin.";
    is_refused(&berlin, file, difference).await;
    is_refused(&csv(), file, "time_zone was Europe/London, and is not set.").await;
    let keyed = london.clone().columns(
        "key=userid,userid=username,username=price,price=timestamp"
            .parse()
            .unwrap(),
    );
    is_refused(&keyed, file, "columns was price=price, ").await;

    // Another file is accepted, and so is this one with `again`.
    let other_file = "username,userid,price,timestamp\nada,u1,1,2024-01-15 23:31\n";
    let report = import_into(&store, &berlin, other_file).await.unwrap();
    assert_eq!(counts(&report), [1, 0, 0, 0]);
    let again = berlin.clone().again(true);
    let report = import_into(&store, &again, file).await.unwrap();
    assert_eq!(counts(&report), [1, 0, 0, 0]);
    let report = import_into(&store, &berlin, file).await.unwrap();
    assert_eq!(counts(&report), [0, 1, 0, 0]);

    // A file to which rows were added since is the same file if its beginning is long enough.
    let mut long_file = "username,userid,price,timestamp\n".to_owned();
    while long_file.len() < MAX_ROW_BYTES {
        long_file += "ada,u2,1,2024-01-15 23:30\n";
    }
    import_into(&store, &london, &long_file).await.unwrap();
    long_file += "bob,u3,1,2024-01-15 23:30\n";
    is_refused(&berlin, &long_file, difference).await;
}

#[tokio::test]
async fn a_file_is_imported_into_a_store_that_cannot_tell_whether_it_was_before() {
    /// A store without the right to keep how files were read.
    #[derive(Debug)]
    struct Forgetful(InMemoryStore);

    #[shop_core::async_trait]
    impl ImportedFiles for Forgetful {
        async fn last_reading(&self, _file: Uuid, kept: Option<&str>) -> Result<Option<String>> {
            assert_eq!(kept, None, "the store is not asked again");
            Err(Error::new(
                ErrorKind::Denied,
                "no right to read the settings",
            ))
        }
    }

    #[shop_core::async_trait]
    impl PurchaseQuery for Forgetful {
        async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
            self.0.page(selector, request).await
        }
        async fn summary(&self, selector: &Selector) -> Result<Summary> {
            self.0.summary(selector).await
        }
        async fn look_up(&self, id: &shop_core::PurchaseId) -> Result<Lookup> {
            self.0.look_up(id).await
        }
        async fn check_reads(&self) -> Result<()> {
            Ok(())
        }
    }

    impl DescribeStore for Forgetful {
        fn info(&self) -> StoreInfo<'_> {
            self.0.info().with_imported_files(self)
        }
    }

    let store = Forgetful(InMemoryStore::new());
    let sink = StoreSink::new(Arc::new(store.0.clone()), Durability::Memory);
    let file = "username,userid,price\nada,u1,1\n";
    check_repetition(
        &store,
        &csv().open(file.as_bytes()).unwrap().into_identity(),
    )
    .await
    .unwrap();
    let mut report = ImportReport::default();
    run(&csv(), &sink, &store, file.as_bytes(), &mut report)
        .await
        .unwrap();
    assert_eq!(counts(&report), [1, 0, 0, 0]);
    let says =
        "not known whether this file was imported before with other options: no right to read";
    assert!(report.to_string().contains(says), "{report}");
}
