//! Makes a purchase or a refund from the values of a row.
//!
//! The id of a purchase is the `id` of its row, or follows from the `key`, or else from the values
//! of the row and from how often the file contained the same values before. In each case, importing
//! the file again leads to the same id.

use std::collections::HashMap;

use super::{Import, layout};
use crate::retention::AcceptedTimes;
use crate::{
    Clock as _, Details, IdempotencyKey, Invalid, NewPurchase, Price, Purchase, PurchaseId,
    SystemClock, Timestamp, Uuid, id_from_key,
};

/// The columns of a CSV file, which are also the members of an NDJSON object: the columns of an
/// export, and `key`.
pub(super) const COLUMNS: [&str; LEADING_COLUMNS.len() + Details::COLUMNS.len() + 1] =
    Details::columns_after(LEADING_COLUMNS);
/// The columns in front of the details and of `more`.
const LEADING_COLUMNS: [&str; 6] = ["id", "key", "username", "userid", "price", "timestamp"];

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
    /// The time of all rows without a time. It is one time, because a refund may be in front of its
    /// purchase, and must not be earlier.
    default_time: Timestamp,
    /// The number of rows with the same values so far, by the hash of the values. Rows with an id
    /// or a key do not count.
    occurrences: HashMap<u64, u32>,
}

impl RowParser {
    /// Creates a parser that has seen no rows yet.
    pub(super) fn new(import: Import) -> Self {
        Self {
            import,
            default_time: SystemClock.now(),
            occurrences: HashMap::new(),
        }
    }

    /// Makes the purchase or the refund that the `values` of a row state. A row without a time gets
    /// the time at which this parser was created.
    ///
    /// # Errors
    /// Returns the reason why the row is not valid, for the report of the import.
    pub(super) fn parse_purchase(&mut self, values: RowValues) -> Result<Purchase, String> {
        let [id, key, user_name, user_id, price, timestamp, details @ ..] = values;
        let user_name = user_name.ok_or("username is missing")?;
        let user_id = user_id.ok_or("userid is missing")?;
        let price = self.parse_price(&price.ok_or("price is missing")?)?;

        // A draft rejects a negative price, because no client may give one. So the price, which is
        // negative in a refund, is set afterwards.
        let mut new = NewPurchase::for_user(user_id)
            .with_user_name(user_name)
            .with_price(Price::ZERO)
            .map_err(|error| error.to_string())?;
        new.price = price;
        new.details = self.parse_details(details)?;

        let is_refund = new.details.of.is_some();
        let is_reason_allowed = is_refund || new.details.reason.is_none();
        if is_refund != price.is_negative() || !is_reason_allowed {
            return Err(
                "of, reason and a negative price belong to a refund, which has of".to_owned(),
            );
        }
        if is_refund && !self.import.refunds {
            return Err("of is not accepted: refunds are off by SHOP_REFUNDS".to_owned());
        }

        let time = timestamp
            .map(|text| self.parse_timestamp(&text, SystemClock.now()))
            .transpose()?;
        let time_or_default = time.unwrap_or(self.default_time);
        if is_refund {
            // The id of a refund follows from the id of its purchase, so the id and the key of the
            // row are not used.
            return Ok(new.into_purchase(time_or_default, || SystemClock.fresh_id()));
        }

        let id = self.purchase_id(id.as_deref(), key.as_deref(), &new, time)?;
        let purchase = Purchase::new(id, new.user_id, new.user_name, new.price, time_or_default);
        Ok(purchase.with_details(new.details))
    }

    /// Returns the id of the purchase `new` from the `id` or the `key` of its row, or else from its
    /// values.
    fn purchase_id(
        &mut self,
        id: Option<&str>,
        key: Option<&str>,
        new: &NewPurchase,
        time: Option<Timestamp>,
    ) -> Result<PurchaseId, String> {
        match (id, key) {
            (Some(_), Some(_)) => Err("id and key must not both be given".to_owned()),
            // An id of another system, which is no id of a purchase here, is used like a key.
            (Some(id), None) => id
                .parse()
                .or_else(|_no_id: Invalid| derive_id_from_key(new, id)),
            (None, Some(key)) => derive_id_from_key(new, key),
            (None, None) => self.derive_id_from_values(new, time),
        }
    }

    /// Parses a price or the negative amount of a refund. Its decimals follow a comma if the
    /// setting `decimal_comma` of the import is on.
    fn parse_price(&self, text: &str) -> Result<Price, String> {
        let price = if !self.import.decimal_comma {
            Price::parse_signed(text)
        } else if text.contains('.') {
            return Err(format!(
                "price {text} must not have a dot, as its decimals follow a comma"
            ));
        } else {
            Price::parse_signed(&text.replacen(',', ".", 1))
        };
        price.map_err(|error| format!("price {text} {}", error.reason()))
    }

    /// Parses the details of a row, whose `values` are in the order of the columns behind
    /// [`LEADING_COLUMNS`].
    fn parse_details(
        &self,
        values: impl IntoIterator<Item = Option<String>>,
    ) -> Result<Details, String> {
        let mut details = Details::default();
        let members = COLUMNS.into_iter().skip(LEADING_COLUMNS.len());
        for (member, value) in members.zip(values) {
            if let Some(text) = value {
                details
                    .set(member, &text)
                    .map_err(|error| error.to_string())?;
            }
        }

        details
            .adopt_currency(self.import.currency.as_ref())
            .map_err(|reason| format!("currency {reason}"))?;
        Ok(details)
    }

    /// Parses a time, and checks that a purchase of this time is accepted.
    fn parse_timestamp(&self, text: &str, now: Timestamp) -> Result<Timestamp, String> {
        let time = layout::parse_time(text, self.import.time_zone.as_ref())?;
        AcceptedTimes::new(now, self.import.retention)
            .check(time)
            .map_err(|error| format!("timestamp {text} {}", error.reason()))
    }

    /// Returns the id of a purchase whose row contains neither an id nor a key.
    ///
    /// The id follows from the parsed values, and from how often the file contained the same values
    /// before. So equal rows keep their ids in a file that was reordered, corrected or saved by a
    /// spreadsheet.
    fn derive_id_from_values(
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
        let json = serde_json::to_vec(&values).map_err(|error| error.to_string())?;
        let content = Uuid::new_v5(&Uuid::NAMESPACE_OID, &json);

        // Half of the UUID is enough to count equal rows, and takes less memory for each row.
        let (hash, _) = content.as_u64_pair();
        let occurrence = self.occurrences.entry(hash).or_insert(0);
        *occurrence += 1;
        derive_id_from_key(new, &format!("import/{occurrence}/{content}"))
    }
}

/// Returns the id of a purchase of this user with the idempotency key `key`, as the HTTP API
/// derives it.
fn derive_id_from_key(new: &NewPurchase, key: &str) -> Result<PurchaseId, String> {
    let key: IdempotencyKey = key.parse().map_err(|error| format!("{error}"))?;
    Ok(id_from_key(&new.user_id, &key))
}
