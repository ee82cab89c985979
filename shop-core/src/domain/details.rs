//! The optional members of a purchase, such as its item and its quantity.
//!
//! The call of the macro `details!` in this module is a table with one row per member: its field,
//! its type, its name in JSON and CSV, and the function that reads its text from JSON. A new member
//! is a new row of this table. Members that this version does not know, for example from a later
//! version, are kept as JSON and written as they were read: see `unknown_members`.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;

use bytes::BufMut;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::convert::deserialize_signed_price;
use super::text::{text_type, validate_visible};
use super::unknown_members::{InvalidMembers, RawMembers, UnknownMembers};
use super::{
    IdempotencyKey, Invalid, NewPurchase, NewPurchaseDraft, Price, Purchase, PurchaseId, Timestamp,
    UserId, UserName,
};
use crate::json::{RawScalar, WriteJson, write_json, write_member};

/// The name of the member that contains the unknown members of a purchase in files and responses.
pub(super) const MORE: &str = "more";

/// Defines the members of [`DetailMembers`], and the functions of [`Details`] that handle each
/// member.
///
/// The first block lists the members of a purchase, which a client may give, so each becomes a
/// function of the draft too. The second block lists the members that only refunds contain. A row
/// states the field and its type, the name of the member in JSON and CSV, and the function that
/// reads its text from a JSON value.
macro_rules! details {
    ({ $($purchase:tt)+ } { $($refund:tt)+ }) => {
        details!(@all $($purchase)+ $($refund)+);
        details!(@given $($purchase)+);
    };
    (@all $($(#[$doc:meta])* $name:ident $(($with:ident))?: $type:ident = $member:literal, $text:path;)+) => {
        /// The members of [`Details`].
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub struct DetailMembers {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)+
            /// The members that this version does not know.
            #[serde(
                rename = "more",
                skip_deserializing,
                skip_serializing_if = "UnknownMembers::is_empty"
            )]
            unknown: UnknownMembers,
        }

        impl DetailMembers {
            const NONE: Self = Self { $($name: None,)+ unknown: UnknownMembers::NONE };

            /// Checks whether the members of both are equal, except the members whose names are in
            /// `ignored_members`.
            fn equals_except(&self, other: &Self, ignored_members: &[&str]) -> bool {
                self.unknown == other.unknown
                    $(&& (ignored_members.contains(&$member) || self.$name == other.$name))+
            }
        }

        /// The members that are read from the JSON of a [`Purchase`].
        ///
        /// Members that are not named here, such as `more`, are passed over without being parsed.
        /// The attribute `flatten` would parse them, and fail for one that is nested deeply.
        #[derive(Deserialize)]
        pub(super) struct PurchaseJson {
            id: PurchaseId,
            username: UserName,
            userid: UserId,
            #[serde(deserialize_with = "deserialize_signed_price")]
            price: Price,
            timestamp: Timestamp,
            $($name: Option<$type>,)+
        }

        impl From<PurchaseJson> for Purchase {
            fn from(json: PurchaseJson) -> Self {
                let members = DetailMembers { $($name: json.$name,)+ ..DetailMembers::NONE };
                Self::new(json.id, json.userid, json.username, json.price, json.timestamp)
                    .with_details(Details::from_members(members))
            }
        }

        /// The members that are read from the JSON of a [`NewPurchase`], as in [`PurchaseJson`].
        #[derive(Deserialize)]
        pub(super) struct NewPurchaseJson {
            key: Option<IdempotencyKey>,
            username: UserName,
            userid: UserId,
            price: Price,
            timestamp: Option<Timestamp>,
            $($name: Option<$type>,)+
        }

        impl TryFrom<NewPurchaseJson> for NewPurchase {
            type Error = &'static str;

            /// Fails if there are members of a refund, because a client refunds by another request.
            fn try_from(json: NewPurchaseJson) -> Result<Self, &'static str> {
                if json.of.is_some() || json.reason.is_some() {
                    return Err("of and reason belong to a refund");
                }
                let members = DetailMembers { $($name: json.$name,)+ ..DetailMembers::NONE };
                let mut new_purchase = Self::new(json.userid, json.username, json.price)
                    .with_details(Details::from_members(members));
                new_purchase.key = json.key;
                new_purchase.timestamp = json.timestamp;
                Ok(new_purchase)
            }
        }

        impl Details {
            /// The names of all members, which are also columns of CSV. They begin with
            /// [`MEMBERS`](Self::MEMBERS).
            pub const COLUMNS: [&'static str; [$($member),+].len()] = [$($member),+];

            /// Returns the text of the JSON `value` of `member`.
            ///
            /// Returns `None` if the value is of the wrong type, or if there is no member of this
            /// name.
            #[must_use]
            pub fn text_of<'a>(member: &str, value: &RawScalar<'a>) -> Option<Cow<'a, str>> {
                match member {
                    $($member => $text(value),)+
                    _ => None,
                }
            }

            /// Sets `member` from its text. Does nothing if there is no member of this name.
            ///
            /// # Errors
            /// [`Invalid`] if the text is not valid for the member.
            pub fn set(&mut self, member: &str, text: &str) -> Result<(), Invalid> {
                match member {
                    $($member => self.$name = Some(text.parse()?),)+
                    _ => {}
                }
                Ok(())
            }

            /// Returns the texts of all known members, in the order of [`COLUMNS`](Self::COLUMNS).
            #[must_use]
            pub fn texts(&self) -> [Option<String>; Self::COLUMNS.len()] {
                [$(self.$name.as_ref().map(ToString::to_string)),+]
            }

            /// Appends the members that this version knows to `json`, each with a comma in front.
            fn write_known(&self, json: &mut impl BufMut) {
                let Some(members) = &self.0 else { return };
                $(if let Some(value) = &members.$name {
                    write_member(json, concat!(",\"", $member, "\":"), value);
                })+
            }
        }

    };
    (@given $($(#[$doc:meta])* $name:ident ($with:ident): $type:ident = $member:literal, $text:path;)+) => {
        impl Details {
            /// The names of the members that a client may give with a purchase.
            pub const MEMBERS: [&'static str; [$($member),+].len()] = [$($member),+];
        }

        impl NewPurchaseDraft<(UserId, UserName)> {
            $($(#[$doc])*
            pub fn $with(self, $name: impl TryInto<$type, Error: Into<Invalid>>) -> Self {
                self.with_detail(|details| {
                    details.$name = Some($name.try_into().map_err(Into::<Invalid>::into)?);
                    Ok(())
                })
            })+
        }
    };
}

details! {
    {
        /// The item that was bought.
        item (with_item): Item = "item", RawScalar::text;
        /// The number of items that were bought. The price of the purchase is for all of the items
        /// together.
        quantity (with_quantity): Quantity = "quantity", RawScalar::text_or_json_number;
        /// The currency of the price. All purchases of a shop are in one currency: see
        /// `SHOP_CURRENCY`.
        currency (with_currency): Currency = "currency", RawScalar::text;
        /// The reference by which another system identifies the purchase, such as the number of an
        /// order.
        reference (with_reference): Reference = "reference", RawScalar::text;
    }
    {
        /// The id of the purchase that this refund pays back. Every refund contains it, and no
        /// other purchase does.
        of: PurchaseId = "of", RawScalar::text;
        /// The reason for which the purchase is refunded.
        reason: RefundReason = "reason", RawScalar::text;
    }
}

text_type! {
    /// The item that was bought: 1 to 256 characters, not blank, no control characters.
    Item: "the item", 256, validate_visible
}

text_type! {
    /// The reference by which another system identifies a purchase: 1 to 128 characters, not blank,
    /// no control characters.
    Reference: "the reference", 128, validate_visible
}

text_type! {
    /// The reason of a refund: 1 to 256 characters, not blank, no control characters.
    RefundReason: "the reason", 256, validate_visible
}

text_type! {
    /// A currency: the three upper-case letters of ISO 4217.
    Currency: "the currency", 3, validate_letters
}

/// Checks that `text` is a currency code of `length` upper-case ASCII letters, and returns it
/// unchanged.
///
/// # Errors
/// A malformed [`Invalid`] for any other text, also for one that is too short. Its subject is that
/// of `too_long`.
fn validate_letters(
    text: &str,
    length: usize,
    too_long: Invalid,
) -> Result<CompactString, Invalid> {
    if text.len() == length && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Ok(text.into());
    }
    Err(Invalid::malformed(
        too_long.subject,
        "must be three upper-case letters, such as EUR",
    ))
}

/// The number of items of a purchase: 1 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Quantity(u32);

crate::macros::format_as!(Quantity: |this| Display = Display(this.0));

impl Quantity {
    const INVALID: Invalid =
        Invalid::malformed("the quantity", "must be a whole number from 1 to 1000000");

    /// Returns the quantity as a number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<i64> for Quantity {
    type Error = Invalid;

    fn try_from(number: i64) -> Result<Self, Invalid> {
        match u32::try_from(number) {
            Ok(number @ 1..=1_000_000) => Ok(Self(number)),
            _ => Err(Self::INVALID),
        }
    }
}

impl TryFrom<i32> for Quantity {
    type Error = Invalid;

    fn try_from(number: i32) -> Result<Self, Invalid> {
        i64::from(number).try_into()
    }
}

impl TryFrom<u32> for Quantity {
    type Error = Invalid;

    fn try_from(number: u32) -> Result<Self, Invalid> {
        i64::from(number).try_into()
    }
}

impl From<Quantity> for i64 {
    fn from(quantity: Quantity) -> Self {
        quantity.0.into()
    }
}

impl FromStr for Quantity {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // A quantity is parsed like a price, because spreadsheets may write a whole number as
        // `2.0`. Normalizing removes the zeros after the point, so decimals that remain are a real
        // fraction.
        let number_as_price: Price = text.parse().map_err(|_no_number| Self::INVALID)?;
        let decimal = number_as_price.as_decimal().normalize();
        if decimal.scale() > 0 {
            return Err(Self::INVALID);
        }
        let number = i64::try_from(decimal).map_err(|_too_large| Self::INVALID)?;
        number.try_into()
    }
}

write_json! {
    Quantity: |quantity, json| u64::from(quantity.0).write_json(json);
}

/// The optional members of a purchase besides its user, price and time.
///
/// The details are part of the content of a purchase: buying another item under the same
/// idempotency key is a conflict.
///
/// ```
/// use shop_core::NewPurchase;
///
/// let new = NewPurchase::for_user("u1").with_user_name("ada").with_item("coffee").with_quantity(2).with_reference("order-7").with_price("5.80")?;
/// assert_eq!(new.details.item.as_ref().unwrap().as_str(), "coffee");
/// assert_eq!(new.details.quantity.unwrap().get(), 2);
/// assert_eq!(new.details.currency, None);
/// # Ok::<(), shop_core::Error>(())
/// ```
///
/// `Details` dereferences to [`DetailMembers`], which contains one field per member. Details
/// without any member take one pointer: the members are allocated when the first one is set.
#[derive(Debug, Clone, Default)]
pub struct Details(Option<Box<DetailMembers>>);

impl Details {
    /// No details.
    pub const NONE: Self = Self(None);

    /// Creates details of `members`, and allocates nothing if there are none.
    fn from_members(members: DetailMembers) -> Self {
        if members == DetailMembers::NONE {
            return Self::NONE;
        }
        Self(Some(Box::new(members)))
    }

    /// Reads the details from the JSON object `json`, without the members that `except` names.
    ///
    /// Stores read their own rows with this function. Members that this version does not know are
    /// kept as JSON. Their size and depth are not checked, so that every stored purchase can be
    /// read.
    ///
    /// # Errors
    /// Returns the name of the first member that is not valid, and the reason. If `json` is no JSON
    /// object, the name is `details`.
    pub fn from_json(json: &[u8], except: &[&str]) -> Result<Self, (&'static str, String)> {
        let (mut details, unknown) = Self::read_known(json, except)?;
        // Writing to `unknown` allocates the details, so it is avoided where there is nothing.
        if !unknown.is_empty() {
            details.unknown = UnknownMembers::encode_unchecked(&unknown);
        }
        Ok(details)
    }

    /// Reads the details from the value of a record, without the members that `except` names.
    ///
    /// Unlike [`from_json`](Self::from_json), this function refuses members that a file or a request
    /// could not contain. So every purchase that is stored can be exported and imported again.
    ///
    /// # Errors
    /// Returns the name of a member that is not valid, and the reason.
    pub(crate) fn from_record(json: &[u8], except: &[&str]) -> Result<Self, (String, String)> {
        let (mut details, unknown) = Self::read_known(json, except)
            .map_err(|(member, problem)| (member.to_owned(), problem))?;
        if details.reason.is_some() && details.of.is_none() {
            let problem = "belongs to a refund, which has of";
            return Err(("reason".to_owned(), problem.to_owned()));
        }

        if !unknown.is_empty() {
            details.unknown = UnknownMembers::try_encode(&unknown).map_err(|invalid| {
                let member = invalid.name.unwrap_or("the unknown members".to_owned());
                (member, invalid.reason.to_owned())
            })?;
        }
        Ok(details)
    }

    /// Reads the JSON object `json`. Returns the members that this version knows as details, and
    /// the other members as raw JSON. Members that `except` names are in neither.
    ///
    /// # Errors
    /// Returns the errors of [`from_json`](Self::from_json).
    fn read_known<'a>(
        json: &'a [u8],
        except: &[&str],
    ) -> Result<(Self, RawMembers<'a>), (&'static str, String)> {
        let mut members: RawMembers<'_> =
            serde_json::from_slice(json).map_err(|error| ("details", error.to_string()))?;
        members.retain(|name, _value| !except.contains(&name.as_str()));

        let mut details = Self::default();
        for member in Self::COLUMNS {
            // Each member is optional.
            let Some(value) = members.remove(member) else {
                continue;
            };
            let text =
                Self::text_of(member, &value).ok_or((member, "has another type".to_owned()))?;
            details
                .set(member, &text)
                .map_err(|invalid| (member, invalid.reason().to_owned()))?;
        }
        Ok((details, members))
    }

    /// Checks whether the details of two purchases with the same id are equal, so that one purchase
    /// repeats the other.
    ///
    /// An absent currency equals any other, because all purchases of a shop are in one currency.
    /// Purchases that were made before `SHOP_CURRENCY` was set have none.
    ///
    /// A refund takes its currency and its reference from its purchase, so these two are not
    /// compared for refunds.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        // This comparison runs for each purchase that is published or stored, and most purchases
        // have no details.
        let Self(own_members) = self;
        let Self(other_members) = other;
        if own_members.is_none() && other_members.is_none() {
            return true;
        }

        let is_refund = self.of.is_some();
        let ignored_members: &[&str] = if is_refund {
            &["currency", "reference"]
        } else if self.currency.is_none() || other.currency.is_none() {
            &["currency"]
        } else {
            &[]
        };
        self.equals_except(other, ignored_members)
    }

    /// Returns the members that this version does not know as a JSON object, or `None` if there are
    /// none.
    #[must_use]
    pub fn unknown_members(&self) -> Option<&str> {
        self.unknown.as_json()
    }

    /// Returns the size of the members that this version does not know, in bytes.
    ///
    /// All other members are short. So a caller that holds many purchases limits their number, and
    /// the sum of these sizes.
    #[must_use]
    pub fn unknown_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |members| members.unknown.len())
    }

    /// Removes the members that this version does not know.
    pub fn remove_unknown(&mut self) {
        if self.unknown_bytes() > 0 {
            self.unknown = UnknownMembers::NONE;
        }
    }

    /// Replaces the members that this version does not know by the members of the JSON object
    /// `json`.
    ///
    /// An export contains this object as the value of its member `more`.
    ///
    /// # Errors
    /// [`InvalidMembers`] if `json` is no JSON object, names a member that this version knows, or
    /// is too large, nested too deeply, or not readable by each store.
    pub fn set_unknown_members(&mut self, json: &str) -> Result<(), InvalidMembers> {
        let members: RawMembers<'_> =
            serde_json::from_str(json).map_err(|_no_object| InvalidMembers::NO_OBJECT)?;
        let unknown_members = UnknownMembers::try_encode(&members)?;

        // Writing to `self.unknown` allocates the members, so it is avoided where nothing changes.
        if unknown_members != self.unknown {
            self.unknown = unknown_members;
        }
        Ok(())
    }

    /// Sets the currency to the currency of the shop, if the details state no currency.
    ///
    /// `shop_currency` is `None` for a shop without a currency, which accepts no purchase with one.
    ///
    /// # Errors
    /// Returns the reason, without the name of the member, if the details state another currency than
    /// the shop.
    pub fn adopt_currency(&mut self, shop_currency: Option<&Currency>) -> Result<(), String> {
        match (&self.currency, shop_currency) {
            (None, Some(shop_currency)) => {
                self.currency = Some(shop_currency.clone());
                Ok(())
            }
            // Writing to `self.currency` would allocate the details.
            (None, None) => Ok(()),
            (Some(_), None) => {
                Err("is not accepted: set SHOP_CURRENCY to that of the shop".to_owned())
            }
            (Some(own_currency), Some(shop_currency)) if own_currency != shop_currency => {
                Err(format!("must be {shop_currency}"))
            }
            (Some(_), Some(_)) => Ok(()),
        }
    }

    /// Returns all members as a JSON object, or `None` if there are none. Stores keep the details
    /// in this form.
    #[must_use]
    pub fn to_json(&self) -> Option<String> {
        let mut json = Vec::new();
        self.write_all(&mut json);
        // The brace replaces the comma in front of the first member. Without members, nothing was
        // written, and there is no first byte.
        *json.first_mut()? = b'{';
        json.push(b'}');
        // The texts are UTF-8, so the JSON is too, and the conversion succeeds.
        String::from_utf8(json).ok()
    }

    /// Appends the known and the unknown members to `json`, each with a comma in front.
    pub(crate) fn write_all(&self, json: &mut impl BufMut) {
        self.write_known(json);
        self.unknown.write_members(json);
    }

    /// Returns the first `N` names of the sequence of `leading`, [`COLUMNS`](Self::COLUMNS) and
    /// `more`.
    ///
    /// The layouts of files build their columns with this function at compile time.
    #[must_use]
    pub const fn columns_after<const B: usize, const N: usize>(
        leading: [&'static str; B],
    ) -> [&'static str; N] {
        let mut columns = [""; N];
        let mut index = 0;
        while index < N {
            columns[index] = if index < B {
                leading[index]
            } else if index - B < Self::COLUMNS.len() {
                Self::COLUMNS[index - B]
            } else {
                MORE
            };
            index += 1;
        }
        columns
    }
}

impl Deref for Details {
    type Target = DetailMembers;

    fn deref(&self) -> &DetailMembers {
        static NONE: DetailMembers = DetailMembers::NONE;
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Details {
    fn deref_mut(&mut self) -> &mut DetailMembers {
        self.0.get_or_insert_default()
    }
}

impl PartialEq for Details {
    fn eq(&self, other: &Self) -> bool {
        // Most purchases carry no details, so this is the fast path.
        (self.0.is_none() && other.0.is_none()) || **self == **other
    }
}

impl Eq for Details {}

/// Appends the known members, and the unknown members as one object under `more`, each with a
/// comma in front.
impl WriteJson for Details {
    fn write_json(&self, json: &mut impl BufMut) {
        self.write_known(json);
        if let Some(more) = self.unknown.as_json() {
            json.put_slice(b",\"more\":");
            json.put_slice(more.as_bytes());
        }
    }
}

impl Serialize for Details {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Details {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DetailMembers::deserialize(deserializer).map(Self::from_members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases_test::outcomes;
    use crate::{NewPurchase, Purchase};

    #[test]
    fn members_are_read_and_written() {
        let cases = include_str!("cases/details.txt");
        let details = outcomes(cases, |json| {
            let details = Details::from_json(json.as_bytes(), &[])
                .map_err(|(member, reason)| format!("{member} {reason}"))?;
            Ok::<_, String>(format!("{:?}", details.to_json()))
        });
        insta::assert_snapshot!(details);

        let json = cases.lines().next().unwrap();
        let details = Details::from_json(json.as_bytes(), &[]).unwrap();
        assert_eq!(serde_json::from_str::<Details>(json).unwrap(), details);
    }

    #[test]
    fn names_of_a_record_are_no_members_of_a_later_version() {
        let names = crate::record::MEMBERS.iter().chain(&Details::COLUMNS);
        for name in names.chain(&["id", "more"]) {
            let more = format!(r#"{{"{name}":1}}"#);
            let mut details = Details::default();
            assert!(details.set_unknown_members(&more).is_err(), "{name}");
        }
        let json = r#"{"item":"a","gift":{"to": "eva"},"tax":1.10}"#;
        let except = Details::from_json(json.as_bytes(), &["gift", "item"]).unwrap();
        assert_eq!(except.to_json().unwrap(), r#"{"tax":1.10}"#);
    }

    #[test]
    fn details_are_content_and_part_of_the_json_of_a_purchase() {
        let bought = |item| {
            let new = NewPurchase::for_user("u1")
                .with_user_name("ada")
                .with_item(item)
                .with_price("1.50")
                .unwrap();
            new.into_purchase(crate::Timestamp::MIN, || crate::Uuid::from_u128(1))
        };
        let tea = bought("tea");
        assert!(!tea.same_content(&bought("coffee")));
        let json = serde_json::to_string(&tea).unwrap();
        let mut written = Vec::new();
        tea.write_json(&mut written);
        assert_eq!(String::from_utf8(written).unwrap(), json);
        assert_eq!(serde_json::from_str::<Purchase>(&json).unwrap(), tea);
    }
}
