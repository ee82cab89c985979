//! Makes a purchase or a refund from the values of a row.
//!
//! | row | entries |
//! |---|---|
//! | `price` 20 | a purchase |
//! | `price` 20, `refunded` 5 | a purchase, and its refund |
//! | `price` -5, `of` with an id of ours | a refund of this purchase |
//! | `price` -5, `of` with another text, or `reference` alone | a refund of the purchase with this reference, which is looked up later |
//!
//! The id of a purchase is the `id` of its row, or follows from the `key`, or else from the values
//! of the row and from how often the file contained the same values before. In each case, importing
//! the file again leads to the same id.

use std::collections::HashMap;

use super::columns::{COLUMNS, LEADING_COLUMNS, RowValues};
use super::{Import, layout};
use shop_core::domain::Reference;
use shop_core::import::ImportRow;
use shop_core::retention::AcceptedTimes;
use shop_core::{
    Clock as _, IdempotencyKey, Invalid, NewPurchase, Price, Purchase, PurchaseId, SystemClock,
    Timestamp, Uuid, id_from_key, id_from_values,
};

/// The entries of a row that is valid.
struct RowEntries {
    /// The purchase, or the refund of a negative row.
    purchase: Purchase,
    /// The reference of the refunded purchase, if `purchase` is a refund whose row does not name the
    /// id of the refunded purchase.
    refunded_reference: Option<Reference>,
    /// The refund of `purchase` that the column `refunded` states.
    refund: Option<Purchase>,
}

/// A parser that makes purchases from the rows of one file, which it must see in order.
pub(super) struct RowParser {
    import: Import,
    /// The time of all rows without a time. All of them get the same time, because a refund may be
    /// in front of its purchase, and must not be earlier than the purchase.
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

    /// Adds the entries of the row at `line` to `rows`: a purchase, a refund, or both. A row that is
    /// not valid is added with its problem.
    pub(super) fn parse_row(
        &mut self,
        line: u64,
        values: Result<RowValues, String>,
        rows: &mut Vec<ImportRow>,
    ) {
        match values.and_then(|values| self.parse_entries(values)) {
            Err(problem) => rows.push(ImportRow::new(line, Err(problem))),
            Ok(entries) => {
                rows.push(ImportRow {
                    line,
                    purchase: Ok(entries.purchase),
                    refunded_reference: entries.refunded_reference,
                });
                rows.extend(
                    entries
                        .refund
                        .map(|refund| ImportRow::new(line, Ok(refund))),
                );
            }
        }
    }

    /// Makes the entries of a row from its `values`. A row without a time gets the time at which
    /// this parser was created.
    ///
    /// # Errors
    /// Returns the reason why the row is not valid, for the report of the import.
    fn parse_entries(&mut self, values: RowValues) -> Result<RowEntries, String> {
        let [
            id,
            key,
            user_name,
            user_id,
            price,
            refunded,
            timestamp,
            details @ ..,
        ] = values;
        let user_name = user_name.ok_or("username is missing")?;
        let user_id = user_id.ok_or("userid is missing")?;
        let price = self
            .import
            .parse_amount("price", &price.ok_or("price is missing")?)?;
        let refunded_amount = self.parse_refunded_amount(refunded)?;

        // `with_price` rejects a negative price, because no client may send one. So the price, which
        // is negative in a refund, is set afterwards.
        let mut new_purchase = NewPurchase::for_user(user_id)
            .with_user_name(user_name)
            .with_price(Price::ZERO)
            .map_err(|error| error.to_string())?;
        new_purchase.price = price;
        let refunded_reference = self.parse_details(&mut new_purchase, details)?;

        let is_refund = new_purchase.details.of.is_some() || refunded_reference.is_some();
        self.check_refund(&new_purchase, is_refund, refunded_amount.is_some())?;

        let time = timestamp
            .map(|text| self.parse_timestamp(&text, SystemClock.now()))
            .transpose()?;
        let time_or_default = time.unwrap_or(self.default_time);
        if is_refund {
            // The id of a refund follows from the id of its purchase. So the id and the key of the
            // row are not used, and a fresh id is replaced once the reference is looked up.
            return Ok(RowEntries {
                purchase: new_purchase.into_purchase(time_or_default, || SystemClock.fresh_id()),
                refunded_reference,
                refund: None,
            });
        }

        let id = self.purchase_id(id.as_deref(), key.as_deref(), &new_purchase, time)?;
        let purchase = Purchase::new(
            id,
            new_purchase.user_id,
            new_purchase.user_name,
            new_purchase.price,
            time_or_default,
        )
        .with_details(new_purchase.details);
        // The row does not say when the money was paid back, so the refund has the time of the row.
        let refund = refunded_amount
            .map(|amount| purchase.refund(Some(amount), purchase.timestamp))
            .transpose()
            .map_err(|error| format!("refunded: {error}"))?;
        Ok(RowEntries {
            purchase,
            refunded_reference: None,
            refund,
        })
    }

    /// Checks that a row has either the members of a purchase or the members of a refund, and that
    /// refunds are accepted.
    ///
    /// `is_refund` says whether the row names the purchase that it refunds, and
    /// `has_refunded_amount` whether the column `refunded` contains an amount.
    fn check_refund(
        &self,
        new_purchase: &NewPurchase,
        is_refund: bool,
        has_refunded_amount: bool,
    ) -> Result<(), String> {
        let has_reason = new_purchase.details.reason.is_some();
        if is_refund != new_purchase.price.is_negative() || (has_reason && !is_refund) {
            return Err(
                "of, reason and a negative price belong to a refund, which has of, or the reference of its purchase"
                    .to_owned(),
            );
        }
        if is_refund && has_refunded_amount {
            return Err("refunded belongs to a purchase, and the price is negative".to_owned());
        }
        if (is_refund || has_refunded_amount) && !self.import.refunds {
            return Err("refunds are not accepted: they are off by SHOP_REFUNDS".to_owned());
        }
        Ok(())
    }

    /// Parses the amount of the column `refunded`, which is positive. Some systems write this amount
    /// with a minus sign.
    ///
    /// Returns `None` if the column is empty or 0, so that nothing was refunded.
    fn parse_refunded_amount(&self, text: Option<String>) -> Result<Option<Price>, String> {
        let Some(text) = text else {
            return Ok(None);
        };
        let mut amount = self.import.parse_amount("refunded", &text)?;
        if amount.is_negative() {
            amount = amount.negated();
        }
        Ok(Some(amount).filter(|amount| *amount != Price::ZERO))
    }

    /// Returns the id of `new_purchase` from the `id` or the `key` of its row, or else from its
    /// values. `time` is the time in the row, if there is one.
    fn purchase_id(
        &mut self,
        id: Option<&str>,
        key: Option<&str>,
        new_purchase: &NewPurchase,
        time: Option<Timestamp>,
    ) -> Result<PurchaseId, String> {
        match (id, key) {
            (Some(_), Some(_)) => Err("id and key must not both be given".to_owned()),
            // An id of another system, which is no id of a purchase here, is used like a key.
            (Some(id), None) => id
                .parse()
                .or_else(|_no_id: Invalid| derive_id_from_key(new_purchase, id)),
            (None, Some(key)) => derive_id_from_key(new_purchase, key),
            (None, None) => self.derive_id_from_values(new_purchase, time),
        }
    }

    /// Sets the details of `new_purchase` from the `values` of the columns behind
    /// [`LEADING_COLUMNS`]. Without a currency, the currency of the shop is set.
    ///
    /// Returns the reference of the refunded purchase, if the row is a refund that names its
    /// purchase by a reference of another system: in `of`, or in `reference`.
    fn parse_details(
        &self,
        new_purchase: &mut NewPurchase,
        values: impl IntoIterator<Item = Option<String>>,
    ) -> Result<Option<Reference>, String> {
        let is_negative = new_purchase.price.is_negative();
        let details = &mut new_purchase.details;
        let mut refunded_reference = None;
        let members = COLUMNS.into_iter().skip(LEADING_COLUMNS.len());
        for (member, value) in members.zip(values) {
            let Some(text) = value else {
                continue;
            };
            // `of` contains a reference if the text is no id of a purchase here.
            if member == "of" && is_negative && text.parse::<PurchaseId>().is_err() {
                let reference = text.parse().map_err(|error: Invalid| error.to_string())?;
                refunded_reference = Some(reference);
                continue;
            }
            match member {
                // Some systems write the codes of currencies in lower case.
                "currency" => details
                    .set(member, &text.to_ascii_uppercase())
                    .map_err(|error| error.to_string())?,
                "more" => details
                    .set_unknown_members(&text)
                    .map_err(|error| error.to_string())?,
                _ => details
                    .set(member, &text)
                    .map_err(|error| error.to_string())?,
            }
        }

        details
            .adopt_currency(self.import.currency.as_ref())
            .map_err(|reason| format!("currency {reason}"))?;
        // Without `of`, the `reference` of a refund is the reference of its purchase.
        if is_negative && details.of.is_none() && refunded_reference.is_none() {
            refunded_reference.clone_from(&details.reference);
        }
        Ok(refunded_reference)
    }

    /// Parses a time, and checks that a purchase of this time is accepted at `now`.
    fn parse_timestamp(&self, text: &str, now: Timestamp) -> Result<Timestamp, String> {
        let import = &self.import;
        let zone = import.time_zone.as_ref();
        let uses_pattern = import.time_pattern.is_some();
        let text = &import
            .zone_abbreviations
            .replace_abbreviation(text, uses_pattern);
        let time = match &import.time_pattern {
            Some(pattern) => pattern.parse(text, zone)?,
            None => layout::parse_time(text, zone)?,
        };
        AcceptedTimes::new(now, self.import.retention)
            .check(time)
            .map_err(|error| format!("timestamp {text} {}", error.reason()))
    }

    /// Returns the id of a purchase whose row contains neither an id nor a key.
    ///
    /// The id follows from the parsed values, and from how often the file contained the same values
    /// before. So equal rows keep their ids in a file that was reordered, corrected or saved by a
    /// spreadsheet. The ids of rows with a time are in the order of time, see [`id_from_values`].
    fn derive_id_from_values(
        &mut self,
        new_purchase: &NewPurchase,
        time: Option<Timestamp>,
    ) -> Result<PurchaseId, String> {
        let details = &new_purchase.details;
        // The currency is left out: it is the currency of the shop, whether or not a row states it.
        let values = [
            Some(new_purchase.user_id.to_string()),
            Some(new_purchase.user_name.to_string()),
            Some(new_purchase.price.as_decimal().normalize().to_string()),
            time.map(|time| time.to_string()),
            details.item.as_ref().map(ToString::to_string),
            details.quantity.map(|quantity| quantity.to_string()),
            details.reference.as_ref().map(ToString::to_string),
            details.unknown_members().map(ToOwned::to_owned),
        ];
        let json = serde_json::to_vec(&values).map_err(|error| error.to_string())?;
        let content_id = Uuid::new_v5(&Uuid::NAMESPACE_OID, &json);

        // Half of the UUID is enough to count equal rows, and takes less memory for each row.
        let (hash, _unused_half) = content_id.as_u64_pair();
        let occurrence = self.occurrences.entry(hash).or_insert(0);
        *occurrence += 1;
        let key = parse_key(&format!("import/{occurrence}/{content_id}"))?;
        Ok(match time {
            Some(time) => id_from_values(&new_purchase.user_id, &key, time),
            None => id_from_key(&new_purchase.user_id, &key),
        })
    }
}

/// Returns the id of `new_purchase` with the idempotency key `key`. The HTTP API derives the same id
/// from this key.
fn derive_id_from_key(new_purchase: &NewPurchase, key: &str) -> Result<PurchaseId, String> {
    Ok(id_from_key(&new_purchase.user_id, &parse_key(key)?))
}

/// Parses an idempotency key.
fn parse_key(key: &str) -> Result<IdempotencyKey, String> {
    key.parse().map_err(|error: Invalid| error.to_string())
}
