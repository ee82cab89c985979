//! What the replaced systems write, and how they list it.

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt as _;
use mongodb::Collection;

/// When a consumer commits the offset of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commits {
    /// Before its document is inserted, as with kafkajs when the handler is not awaited.
    BeforeInsert,
    /// When its document is inserted, as with kafkajs when the handler is awaited.
    AfterInsert,
    /// By a timer, as with kafka-python and aiokafka.
    ByTimer,
}

/// A replaced system. Texts have `{number}` of a buyer and what else [`fill`] knows.
#[derive(Debug)]
pub(super) struct System {
    pub(super) name: &'static str,
    /// The key of a buyer's record.
    pub(super) key: Option<&'static str>,
    /// The value of a buyer's record, byte for byte.
    pub(super) value: &'static str,
    /// The value of a record that it stores and lists, and that is no purchase to ours, and the user who is asked for.
    pub(super) odd: (&'static str, &'static str),
    pub(super) commits: Commits,
    /// Whether documents have dates and the version of mongoose, instead of the members of the record.
    has_schema: bool,
    /// The member that listings are by.
    listed_by: &'static str,
    /// What its listings are asked for to show a buyer's purchase.
    pub(super) listed_as: &'static str,
}

/// Fills in the number of a buyer, and what follows from it.
pub(super) fn fill(text: &str, number: u32) -> String {
    let time = format!("2026-03-01T09:{:02}:{:02}", number / 60 % 60, number % 60);
    let is_whole_second = number.is_multiple_of(10);
    text.replace("{number}", &number.to_string())
        .replace("{quarters}", &(f64::from(number + 1) / 4.0).to_string())
        .replace("{time}", &time)
        .replace("{fraction}", if is_whole_second { "" } else { ".043217" })
        .replace("{seconds}", &(1_772_355_600 + number).to_string())
}

/// Whatever the client has sent.
pub(super) static SCALABLE_SHOP: System = System {
    name: "000",
    key: Some("key1"),
    value: r#"{"username":"ada{number}","userid":"u{number}","price":"{number}.30","timestamp":"{time}.250Z"}"#,
    odd: (
        r#"{"username":"odd","price":"1","timestamp":"2026-03-01T09:00:00.000Z"}"#,
        "odd",
    ),
    commits: Commits::BeforeInsert,
    has_schema: false,
    listed_by: "username",
    listed_as: "ada{number}",
};

/// JavaScript writes whole numbers without decimals.
pub(super) static USER_BUY_LIST: System = System {
    name: "001",
    key: Some("u{number}"),
    value: r#"{"username":"ada{number}","userid":"u{number}","price":{quarters},"timestamp":"{time}.043Z"}"#,
    odd: (
        r#"{"username":"ada","userid":" ","price":1,"timestamp":"2026-03-01T09:00:00.000Z"}"#,
        " ",
    ),
    commits: Commits::AfterInsert,
    has_schema: true,
    listed_by: "userid",
    listed_as: "u{number}",
};

/// Python's `json` writes spaces, and its `isoformat` no zone, and no fraction that is zero.
pub(super) static PURCHASE_TRACKING: System = System {
    name: "003",
    key: None,
    value: r#"{"username": "ada{number}", "userid": "u{number}", "price": {number}.25, "timestamp": "{time}{fraction}"}"#,
    odd: (
        r#"{"username": "ada", "userid": "", "price": 1.0, "timestamp": "2026-03-01T09:00:00"}"#,
        "",
    ),
    commits: Commits::ByTimer,
    has_schema: false,
    listed_by: "userid",
    listed_as: "u{number}",
};

/// Times are seconds.
pub(super) static SHOPPING_SYSTEM: System = System {
    name: "004",
    key: None,
    value: r#"{"username":"ada{number}","userid":"u{number}","price":{number}.5,"timestamp":{seconds}.1239998}"#,
    odd: (
        r#"{"username":"ada","userid":"odd","price":-5.0,"timestamp":1772355600.5}"#,
        "odd",
    ),
    commits: Commits::ByTimer,
    has_schema: false,
    listed_by: "userid",
    listed_as: "u{number}",
};

impl System {
    /// The document that its consumer inserts for a record.
    pub(super) fn document(&self, value: &[u8]) -> Document {
        let mut document: Document = serde_json::from_slice(value).unwrap();
        if self.has_schema {
            let time = DateTime::parse_rfc3339_str(document.get_str("timestamp").unwrap()).unwrap();
            document.extend(doc! { "timestamp": time, "__v": 0 });
        }
        document
    }

    /// What its listings are asked for to show `document`.
    pub(super) fn asked_for(&self, document: &Document) -> String {
        document.get_str(self.listed_by).unwrap().to_owned()
    }

    /// What its listing finds.
    pub(super) async fn list(
        &self,
        collection: &Collection<Document>,
        asked: &str,
    ) -> Vec<Document> {
        let found = collection.find(doc! { self.listed_by: asked }).await;
        found.unwrap().try_collect().await.unwrap()
    }
}

/// What a listing shows of a document, without what is finer than a millisecond. Its programs need the types too.
pub(super) fn shown(document: &Document) -> String {
    let time = match document.get("timestamp") {
        Some(Bson::Double(seconds)) => format!("{seconds:.3}"),
        // With microseconds it has 26 characters.
        Some(Bson::String(text)) => {
            let millis = text.get(..23).filter(|_| text.len() == 26);
            format!("{:?}", millis.unwrap_or(text).trim_end_matches(".000"))
        }
        other => format!("{other:?}"),
    };
    let price = match document.get("price") {
        // JavaScript has one type of numbers.
        Some(Bson::Int32(price)) => format!("{:?}", f64::from(*price)),
        Some(Bson::Double(price)) => format!("{price:?}"),
        other => format!("{other:?}"),
    };
    format!(
        "{:?} {:?} {price} {time}",
        document.get("username"),
        document.get("userid")
    )
}

/// The types of its price and its time. The stand-in leaves a decimal where an equal double is to replace it.
pub(super) fn types(document: &Document, is_stand_in: bool) -> String {
    let type_of = |member| document.get(member).map(Bson::element_type);
    let types = format!("{:?}", ["price", "timestamp"].map(type_of));
    if is_stand_in {
        return types.replace("Decimal128", "Double");
    }
    types
}
