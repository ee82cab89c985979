//! Makes a purchase or a refund from the values of a row.
//!
//! The id of a purchase is the `id` of its row, or follows from the `key`, or else from the values
//! of the row and from how often the file contained the same values before. In each case, importing
//! the file again leads to the same id.

use std::collections::HashMap;

use super::{Import, layout};
use crate::retention::AcceptedTimes;
use crate::{
    Clock as _, Details, IdempotencyKey, NewPurchase, Price, Purchase, PurchaseId, SystemClock,
    Timestamp, Uuid, id_from_key,
};

/// The columns of a CSV file, which are also the members of an NDJSON object: the columns of an
/// export, and `key`.
pub(super) const COLUMNS: [&str; FIRST.len() + Details::COLUMNS.len() + 1] =
    Details::columns_after(FIRST);
/// The columns in front of the details and of `more`.
const FIRST: [&str; 6] = ["id", "key", "username", "userid", "price", "timestamp"];

/// The values of a row in the order of [`COLUMNS`], with `None` for an empty value.
pub(super) type RowValues = [Option<String>; COLUMNS.len()];

/// A row of a file: the line in which it starts, and its purchase or the reason why it is not
/// valid.
#[derive(Debug)]
pub(super) struct ImportRow {
    pub(super) line: u64,
    pub(super) purchase: Result<Purchase, String>,
}

/// A parser that makes purchases from the rows of one file, which it must see in order.
pub(super) struct RowParser {
    import: Import,
    /// The number of rows with the same values so far, by the hash of the values. Rows with an id
    /// or a key do not count.
    occurrences: HashMap<u64, u32>,
}

impl RowParser {
    pub(super) fn new(import: Import) -> Self {
        Self {
            import,
            occurrences: HashMap::new(),
        }
    }

    /// Makes the purchase or the refund that the `values` of a row state. A row without a time gets
    /// the current time.
    ///
    /// # Errors
    /// Returns the reason why the row is not valid, for the report of the import.
    pub(super) fn purchase(&mut self, values: RowValues) -> Result<Purchase, String> {
        let [id, key, user_name, user_id, price, timestamp, details @ ..] = values;
        let user_name = user_name.ok_or("username is missing")?;
        let user_id = user_id.ok_or("userid is missing")?;
        let price = self.price(&price.ok_or("price is missing")?)?;

        // A draft rejects a negative price, because no client may give one. So the price, which is
        // negative in a refund, is set afterwards.
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
            // The id of a refund follows from the id of its purchase, so the id and the key of the
            // row are not used.
            return Ok(new.into_purchase(time.unwrap_or(now), || SystemClock.fresh_id()));
        }
        let id = match (id, key) {
            (Some(_), Some(_)) => return Err("id and key must not both be given".to_owned()),
            (Some(id), None) => match id.parse() {
                Ok(id) => id,
                // An id of another system, which is no id of a purchase here, is used like a key.
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

    /// Parses a price, whose decimals follow a comma if the import is set so.
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

    /// Parses the details of a row, whose `values` are in the order of the columns behind
    /// [`FIRST`].
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

    /// Parses a time, and checks that a purchase of this time is accepted.
    fn time(&self, text: &str, now: Timestamp) -> Result<Timestamp, String> {
        let time = layout::time(text, self.import.time_zone.as_ref())?;
        AcceptedTimes::new(now, self.import.retention)
            .check(time)
            .map_err(|error| format!("timestamp {text} {}", error.reason()))
    }

    /// Returns the id of a purchase whose row contains neither an id nor a key.
    ///
    /// The id follows from the parsed values, and from how often the file contained the same values
    /// before. So equal rows keep their ids in a file that was reordered, corrected or saved by a
    /// spreadsheet.
    fn id_of_values(
        &mut self,
        new: &NewPurchase,
        time: Option<Timestamp>,
    ) -> Result<PurchaseId, String> {
        let details = &new.details;
        // The currency is left out: it is the currency of the shop, whether or not a row states it.
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

        // Half of the UUID is enough to count equal rows, and takes less memory for each row.
        let (hash, _) = content.as_u64_pair();
        let occurrence = self.occurrences.entry(hash).or_insert(0);
        *occurrence += 1;
        id_of_key(new, &format!("import/{occurrence}/{content}"))
    }
}

/// Returns the id of a purchase of this user with the idempotency key `key`, as the HTTP API
/// derives it.
fn id_of_key(new: &NewPurchase, key: &str) -> Result<PurchaseId, String> {
    let key: IdempotencyKey = key.parse().map_err(|error| format!("{error}"))?;
    Ok(id_from_key(&new.user_id, &key))
}
