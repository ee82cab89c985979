//! Makes a purchase of the values of a row.

use std::collections::HashMap;

use super::{Import, layout};
use crate::retention::AcceptedTimes;
use crate::{
    Clock as _, Details, IdempotencyKey, NewPurchase, Price, Purchase, PurchaseId, SystemClock,
    Timestamp, Uuid, id_from_key,
};

/// The columns of CSV, and the members of an object: those of an export, and `key`.
pub(super) const COLUMNS: [&str; FIRST.len() + Details::COLUMNS.len() + 1] =
    Details::columns_after(FIRST);
const FIRST: [&str; 6] = ["id", "key", "username", "userid", "price", "timestamp"];

/// The values of a row without those that are empty, by [`COLUMNS`].
pub(super) type RowValues = [Option<String>; COLUMNS.len()];

/// The line in which a row starts, and its purchase or what is wrong with it.
#[derive(Debug)]
pub(super) struct ImportRow {
    pub(super) line: u64,
    pub(super) purchase: Result<Purchase, String>,
}

/// Makes purchases of the rows of one file.
pub(super) struct RowParser {
    import: Import,
    /// How often the file has had a row with the same values, by a hash of them. Only rows without an id and a key count.
    occurrences: HashMap<u64, u32>,
}

impl RowParser {
    pub(super) fn new(import: Import) -> Self {
        Self {
            import,
            occurrences: HashMap::new(),
        }
    }

    /// Returns the purchase or the refund that a row states.
    ///
    /// # Errors
    /// What is wrong with the row.
    pub(super) fn purchase(&mut self, values: RowValues) -> Result<Purchase, String> {
        let [id, key, user_name, user_id, price, timestamp, details @ ..] = values;
        let user_name = user_name.ok_or("username is missing")?;
        let user_id = user_id.ok_or("userid is missing")?;
        let price = self.price(&price.ok_or("price is missing")?)?;

        // A draft takes no negative price, as no client may give one.
        let mut new = NewPurchase::for_user(user_id)
            .with_user_name(user_name)
            .with_price(Price::ZERO)
            .map_err(|error| error.to_string())?;
        new.price = price;
        new.details = self.details(details)?;
        let is_refund = new.details.of.is_some();
        if is_refund != price.is_negative() || (!is_refund && new.details.reason.is_some()) {
            return Err(
                "of, reason and a negative price belong to a refund, which has of".to_owned(),
            );
        }
        if is_refund && !self.import.refunds {
            return Err("of is not accepted: refunds are off by SHOP_REFUNDS".to_owned());
        }

        let now = SystemClock.now();
        let time = timestamp.map(|text| self.time(&text, now)).transpose()?;
        if is_refund {
            // The id of a refund is derived from that of its purchase.
            return Ok(new.into_purchase(time.unwrap_or(now), || SystemClock.fresh_id()));
        }
        let id = match (id, key) {
            (Some(_), Some(_)) => return Err("id and key must not both be given".to_owned()),
            (Some(id), None) => match id.parse() {
                Ok(id) => id,
                Err(_no_id) => id_of_key(&new, &id)?,
            },
            (None, Some(key)) => id_of_key(&new, &key)?,
            (None, None) => self.id_of_values(&new, time)?,
        };
        let purchase = Purchase::new(
            id,
            new.user_id,
            new.user_name,
            new.price,
            time.unwrap_or(now),
        );
        Ok(purchase.with_details(new.details))
    }

    fn price(&self, text: &str) -> Result<Price, String> {
        let invalid = |reason: &str| format!("price {text} {reason}");
        if !self.import.decimal_comma {
            return Price::parse_signed(text).map_err(|error| invalid(error.reason()));
        }
        if text.contains('.') {
            return Err(invalid(
                "must not have a dot, as its decimals follow a comma",
            ));
        }
        Price::parse_signed(&text.replacen(',', ".", 1)).map_err(|error| invalid(error.reason()))
    }

    fn details<const N: usize>(&self, values: [Option<String>; N]) -> Result<Details, String> {
        let mut details = Details::default();
        let names = COLUMNS.into_iter().skip(FIRST.len());
        for (name, value) in names.zip(values) {
            let Some(text) = value else { continue };
            details
                .set(name, &text)
                .map_err(|error| error.to_string())?;
        }
        details
            .adopt_currency(self.import.currency.as_ref())
            .map_err(|reason| format!("currency {reason}"))?;
        Ok(details)
    }

    fn time(&self, text: &str, now: Timestamp) -> Result<Timestamp, String> {
        let time = layout::time(text, self.import.time_zone.as_ref())?;
        AcceptedTimes::new(now, self.import.retention)
            .check(time)
            .map_err(|error| format!("timestamp {text} {}", error.reason()))
    }

    /// Returns the id of a row that has neither an id nor a key: it follows from the values, as they were read, and from how
    /// often the file has had them before. So a file that was reordered, corrected or saved by a spreadsheet has the same
    /// ids for the rows that are the same.
    fn id_of_values(
        &mut self,
        new: &NewPurchase,
        time: Option<Timestamp>,
    ) -> Result<PurchaseId, String> {
        let details = &new.details;
        // The currency is that of the shop, whether a row has it or not.
        let values = [
            Some(new.user_id.to_string()),
            Some(new.user_name.to_string()),
            Some(new.price.as_decimal().normalize().to_string()),
            time.map(|time| time.to_string()),
            details.item.as_ref().map(ToString::to_string),
            details.quantity.map(|quantity| quantity.to_string()),
            details.reference.as_ref().map(ToString::to_string),
            details.unknown_members(),
        ];
        let values = serde_json::to_vec(&values).map_err(|error| error.to_string())?;
        let content = Uuid::new_v5(&Uuid::NAMESPACE_OID, &values);

        let (hash, _) = content.as_u64_pair();
        let occurrence = self.occurrences.entry(hash).or_insert(0);
        *occurrence += 1;
        id_of_key(new, &format!("import/{occurrence}/{content}"))
    }
}

fn id_of_key(new: &NewPurchase, key: &str) -> Result<PurchaseId, String> {
    let key: IdempotencyKey = key.parse().map_err(|error| format!("{error}"))?;
    Ok(id_from_key(&new.user_id, &key))
}
