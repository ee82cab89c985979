//! The options for the files that other systems export.
//!
//! A preset is nothing but options with values. Its layout is the one that the system documents,
//! and the one of the file of the same name in `examples/imports`.

use super::Import;
use super::amount::{CurrencySign, ThousandsSeparator};
use super::layout::{ColumnNames, FileZone};
use super::row_filter::RowFilter;
use super::time_pattern::{TimePattern, ZoneAbbreviations};
use shop_core::named_enum;

named_enum! {
    /// An export of another system, whose layout is known.
    pub enum Preset {
        /// The orders of Shopify.
        ShopifyOrders = "shopify-orders",
        /// The payments of Stripe.
        StripePayments = "stripe-payments",
        /// The orders of WooCommerce, as its extension for exports writes them.
        Woocommerce = "woocommerce",
        /// The activity of PayPal, with dates as in the United States.
        Paypal = "paypal",
        /// The transactions of Square.
        Square = "square",
    }
    invalid: "the preset", "must be shopify-orders, stripe-payments, woocommerce, paypal or square"
}

impl Preset {
    /// Returns `import` with the options of this preset. Options that are set afterwards replace
    /// them.
    #[must_use]
    pub fn apply(self, import: Import) -> Import {
        match self {
            Self::ShopifyOrders => import
                .columns(ColumnNames::from_preset(&[
                    ("id", "Id"),
                    ("reference", "Name"),
                    ("userid", "Email"),
                    ("username", "Billing Name"),
                    ("price", "Total"),
                    ("refunded", "Refunded Amount"),
                    ("currency", "Currency"),
                    ("timestamp", "Created at"),
                ]))
                .time_pattern(Some(TimePattern::from_preset("%Y-%m-%d %H:%M:%S %z")))
                // An order in another state is not paid. The further rows of an order have no state.
                .only(Some(RowFilter::from_preset(
                    "Financial Status",
                    &["paid", "partially_refunded", "refunded"],
                ))),
            Self::StripePayments => import
                .columns(ColumnNames::from_preset(&[
                    ("id", "id"),
                    ("userid", "Customer ID"),
                    ("username", "Customer Email"),
                    ("price", "Amount"),
                    ("refunded", "Amount Refunded"),
                    ("currency", "Currency"),
                    ("timestamp", "Created date (UTC)"),
                    ("item", "Description"),
                ]))
                .thousands(Some(ThousandsSeparator::COMMA))
                .time_zone(Some(FileZone::UTC))
                .only(Some(RowFilter::from_preset(
                    "Status",
                    &["Paid", "Partial Refund", "Partially Refunded", "Refunded"],
                ))),
            Self::Woocommerce => import
                .columns(ColumnNames::from_preset(&[
                    ("id", "order_id"),
                    ("reference", "order_number"),
                    ("userid", "customer_id"),
                    ("username", "billing_first_name"),
                    ("username", "billing_last_name"),
                    ("price", "order_total"),
                    ("refunded", "refunded_total"),
                    ("currency", "order_currency"),
                    ("timestamp", "order_date"),
                ]))
                .only(Some(RowFilter::from_preset(
                    "status",
                    &["completed", "processing", "refunded"],
                ))),
            Self::Paypal => import
                .columns(ColumnNames::from_preset(&[
                    ("reference", "Transaction ID"),
                    ("of", "Reference Txn ID"),
                    ("userid", "From Email Address"),
                    ("username", "Name"),
                    ("price", "Gross"),
                    ("currency", "Currency"),
                    ("timestamp", "Date"),
                    ("timestamp", "Time"),
                    ("timestamp", "TimeZone"),
                    ("item", "Item Title"),
                ]))
                .thousands(Some(ThousandsSeparator::COMMA))
                .time_pattern(Some(TimePattern::from_preset("%m/%d/%Y %H:%M:%S %z")))
                .zone_abbreviations(ZoneAbbreviations::from_preset(&[
                    ("GMT", "+00:00"),
                    ("UTC", "+00:00"),
                    ("EST", "-05:00"),
                    ("EDT", "-04:00"),
                    ("CST", "-06:00"),
                    ("CDT", "-05:00"),
                    ("MST", "-07:00"),
                    ("MDT", "-06:00"),
                    ("PST", "-08:00"),
                    ("PDT", "-07:00"),
                    ("CET", "+01:00"),
                    ("CEST", "+02:00"),
                ]))
                // A payment keeps one of these states after it was refunded.
                .only(Some(RowFilter::from_preset(
                    "Status",
                    &["Completed", "Partially Refunded", "Refunded"],
                ))),
            Self::Square => import
                .columns(ColumnNames::from_preset(&[
                    ("reference", "Transaction ID"),
                    ("userid", "Customer ID"),
                    ("username", "Customer Name"),
                    ("price", "Total Collected"),
                    ("timestamp", "Date"),
                    ("timestamp", "Time"),
                    ("item", "Description"),
                ]))
                .thousands(Some(ThousandsSeparator::COMMA))
                .currency_sign(Some(CurrencySign::dollar()))
                .only(Some(RowFilter::from_preset(
                    "Event Type",
                    &["Payment", "Refund"],
                ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::files::RowFormat;
    use crate::files::import_test::run;
    use shop_core::Purchase;
    use shop_core::domain::Currency;
    use shop_core::import::ImportReport;
    use shop_core::memory::InMemoryStore;
    use shop_core::ports::{CurrencyStore as _, Durability, StoreSink};

    /// The files are those that the page about imports names.
    fn example(preset: Preset) -> &'static str {
        match preset {
            Preset::ShopifyOrders => include_str!("../../../examples/imports/shopify-orders.csv"),
            Preset::StripePayments => include_str!("../../../examples/imports/stripe-payments.csv"),
            Preset::Woocommerce => include_str!("../../../examples/imports/woocommerce.csv"),
            Preset::Paypal => include_str!("../../../examples/imports/paypal.csv"),
            Preset::Square => include_str!("../../../examples/imports/square.csv"),
        }
    }

    #[tokio::test]
    async fn the_export_of_each_system_is_read_by_its_preset() {
        let mut outcomes = String::new();
        for preset in Preset::ALL {
            let mut import = preset.apply(Import::new(RowFormat::Csv));
            let currency = match preset {
                Preset::Woocommerce => "EUR",
                _ => "USD",
            };
            let currency: Currency = currency.parse().unwrap();
            import.currency = Some(currency.clone());
            // These two write the time of the shop without its zone.
            if matches!(preset, Preset::Woocommerce | Preset::Square) {
                import.time_zone = Some("America/New_York".parse().unwrap());
            }

            outcomes += &format!("# {}\n\n", preset.as_str());
            let store = InMemoryStore::new();
            store.currency(Some(currency)).await.unwrap();
            // Imported again, nothing is new.
            for _ in 0..2 {
                let sink = StoreSink::new(Arc::new(store.clone()), Durability::Memory);
                let mut report = ImportReport::default();
                let imported = run(
                    &import,
                    &sink,
                    &store,
                    example(preset).as_bytes(),
                    &mut report,
                );
                imported.await.unwrap();
                outcomes += &format!("{report}\n\n");
            }
            let mut stored = store.all();
            stored.sort_by(|one, other| {
                (one.timestamp, one.price).cmp(&(other.timestamp, other.price))
            });
            for purchase in &stored {
                outcomes += &describe(purchase);
            }
            outcomes.push('\n');
        }
        insta::assert_snapshot!(outcomes);
    }

    /// Returns one line with the members of `purchase` that a preset fills.
    fn describe(purchase: &Purchase) -> String {
        let Purchase {
            timestamp,
            user_id,
            user_name,
            price,
            details,
            ..
        } = purchase;
        let kind = if details.of.is_some() {
            "refund"
        } else {
            "purchase"
        };
        let item = details
            .item
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let reference = details
            .reference
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        format!("{timestamp} {kind} {user_id} {user_name} {price} {item} {reference}\n")
    }
}
