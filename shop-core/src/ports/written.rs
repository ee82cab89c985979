//! The JSON of receipts, published purchases and pages, which ports return.

use super::{Cursor, Page, PublishedPurchase, Receipt};
use crate::json::{write_json, write_member};
use crate::log::RecordPosition;

write_json! {
    PublishedPurchase: |published, json| {
        write_member(json, "{\"purchase\":", &published.purchase);
        write_member(json, ",\"receipt\":", &published.receipt);
        json.put_u8(b'}');
    };
    Receipt: |receipt, json| {
        let (durability, replicas) = receipt.durability.name();
        write_member(json, "{\"id\":", &receipt.id);
        write_member(json, ",\"durability\":", durability);
        if let Some(replicas) = replicas {
            write_member(json, ",\"replicas\":", &u64::from(replicas));
        }
        if let Some(RecordPosition { topic, partition, offset }) = &receipt.position {
            write_member(json, ",\"position\":{\"topic\":", &**topic);
            write_member(json, ",\"partition\":", &u64::from(*partition));
            write_member(json, ",\"offset\":", offset);
            json.put_u8(b'}');
        }
        json.put_u8(b'}');
    };
    Page: |page, json| {
        json.put_slice(b"{\"items\":[");
        for (position, purchase) in page.items.iter().enumerate() {
            write_member(json, if position > 0 { "," } else { "" }, purchase);
        }
        write_member(json, "],\"next\":", &page.next.as_ref().map(Cursor::as_str));
        json.put_u8(b'}');
    };
}
