//! Exact money: the price of one purchase, and totals.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;

use super::{Invalid, InvalidKind};
use crate::json::is_json_number;
use crate::macros::format_as;
use crate::{Error, ErrorKind};

/// The price of a purchase: an exact decimal from 0 to 10^15 with at most 8 decimals.
///
/// Prices compare by value (`29.9 == 29.90`) and keep their scale, up to 8 decimals: further zeros, as in
/// `29.9000000000`, are dropped. In JSON it is a number with these digits; text is read too.
///
/// ```
/// use shop_core::Price;
///
/// let price: Price = "1195.30".parse()?;
/// assert_eq!(price.to_string(), "1195.30");
/// assert_eq!(price, "1195.3".parse()?);
/// # Ok::<(), shop_core::Invalid>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Price(Decimal);

format_as!(Price: |this| Debug = Display(this));

/// The error of a value that is not a [`Price`].
const fn invalid(kind: InvalidKind) -> Invalid {
    let reason = match kind {
        InvalidKind::Negative => "must not be negative",
        InvalidKind::TooLarge => "must not be larger than 1000000000000000",
        InvalidKind::TooManyDecimals => "must not have more than 8 decimals",
        _ => "must be a valid number",
    };
    Invalid::new(kind, "the price", reason)
}

impl Price {
    /// Zero.
    pub const ZERO: Self = Self(Decimal::ZERO);
    /// The maximum price, 10^15.
    pub const MAX: Self = Self(Decimal::from_parts(2_764_472_320, 232_830, 0, false, 0));
    /// The maximum number of decimals.
    #[doc(hidden)]
    pub const MAX_DECIMALS: u32 = 8;

    /// The price of `units` minor units, of which there are 10^`scale` in a major one.
    ///
    /// ```
    /// use shop_core::Price;
    ///
    /// assert_eq!(Price::from_minor(2999, 2)?.to_string(), "29.99");
    /// # Ok::<(), shop_core::Invalid>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid`] for a price that is negative, too large or has too many decimals.
    pub fn from_minor(units: i64, scale: u32) -> Result<Self, Invalid> {
        let value = Decimal::try_new(units, scale)
            .map_err(|_scale| invalid(InvalidKind::TooManyDecimals))?;
        value.try_into()
    }

    /// The price in a number of another system, whose calculation may have left more decimals than a price has, as in
    /// `0.30000000000000004`: it is rounded to 8 decimals.
    ///
    /// ```
    /// use shop_core::Price;
    ///
    /// assert_eq!(Price::parse_rounded("182.45000000000002")?.to_string(), "182.45");
    /// # Ok::<(), shop_core::Invalid>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid`] for text that is not a number, and for a price that is negative or too large.
    pub fn parse_rounded(text: &str) -> Result<Self, Invalid> {
        Self::from_any_decimal(text).or_else(|error: Invalid| {
            if error.kind() != InvalidKind::TooManyDecimals {
                return Err(error);
            }
            let exact = text
                .parse()
                .or_else(|_exponent| Decimal::from_scientific(text));
            exact
                .map_err(|_unreadable| error)?
                .round_dp(Self::MAX_DECIMALS)
                .normalize()
                .try_into()
        })
    }

    /// The same amount with the other sign: what a refund of this price adds to a sum.
    #[doc(hidden)]
    #[must_use]
    pub fn negated(self) -> Self {
        if self.0.is_zero() {
            self
        } else {
            Self(-self.0)
        }
    }

    /// Whether it is the amount of a refund.
    #[doc(hidden)]
    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.0.is_sign_negative()
    }

    /// The price or the amount of a refund, as a store or a log has it. No client gives a negative one.
    ///
    /// # Errors
    /// [`Invalid`] for text that is neither.
    #[doc(hidden)]
    pub fn parse_signed(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix('-') {
            Some(amount) => amount.parse().map(Self::negated),
            None => text.parse(),
        }
    }

    /// The value.
    #[must_use]
    pub const fn as_decimal(&self) -> &Decimal {
        &self.0
    }

    /// The maximum number of bytes of the text.
    pub(crate) const MAX_BYTES: usize = "-1000000000000000.00000000".len();

    /// Writes the text into `buffer`, without the cost of formatting.
    pub(crate) fn encode<'a>(&self, buffer: &'a mut [u8; Self::MAX_BYTES]) -> &'a [u8] {
        let units = self.0.mantissa().unsigned_abs();
        let decimals = self.0.scale() as usize;
        let one = 10_u64.pow(self.0.scale());
        let [whole, fraction] = match (u64::try_from(units), u128::from(one)) {
            (Ok(units), _) => [units / one, units % one],
            // Both are far below 2^64.
            (_, one) => {
                [units / one, units % one].map(|part| u64::try_from(part).unwrap_or_default())
            }
        };
        let mut start = buffer.len();
        if decimals > 0 {
            start = write_digits(buffer, start, fraction, decimals) - 1;
            buffer[start] = b'.';
        }
        start = write_digits(buffer, start, whole, 1);
        if self.is_negative() {
            start -= 1;
            buffer[start] = b'-';
        }
        &buffer[start..]
    }
}

/// Writes the decimal digits of `number` before `end`, at least so many. Returns where they begin.
fn write_digits(buffer: &mut [u8], end: usize, mut number: u64, at_least: usize) -> usize {
    let mut start = end;
    while number > 0 || end - start < at_least {
        start -= 1;
        buffer[start] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    start
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (f.width(), f.precision()) {
            (None, None) => f.write_str(&String::from_utf8_lossy(
                self.encode(&mut [0; Self::MAX_BYTES]),
            )),
            _ => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl TryFrom<Decimal> for Price {
    type Error = Invalid;

    fn try_from(value: Decimal) -> Result<Self, Invalid> {
        if value.is_zero() {
            // Drops the sign of a negative zero.
            let zero = Decimal::new(0, value.scale().min(Self::MAX_DECIMALS));
            return Ok(Self(zero));
        }
        if value.is_sign_negative() {
            return Err(invalid(InvalidKind::Negative));
        }
        // A price of so few units is in range at any scale. To compare values costs much more.
        if value.mantissa() > Self::MAX.0.mantissa() && value > Self::MAX.0 {
            return Err(invalid(InvalidKind::TooLarge));
        }
        if value.scale() <= Self::MAX_DECIMALS {
            return Ok(Self(value));
        }
        let short = value.round_dp(Self::MAX_DECIMALS);
        if short == value {
            Ok(Self(short))
        } else {
            Err(invalid(InvalidKind::TooManyDecimals))
        }
    }
}

impl FromStr for Price {
    type Err = Invalid;

    /// Parses a number as JSON writes it, with or without an exponent: `29.99`, `1e2`. This is the one form of prices in
    /// JSON, CSV and code. Neither `.5` nor `5.`, `05`, `+5` and ` 5 ` are read.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if !is_json_number(text) {
            return Err(invalid(InvalidKind::NotANumber));
        }
        Self::from_any_decimal(text)
    }
}

impl Price {
    /// Parses decimal text in any form, such as `.5` or `+05`: what other systems have written.
    fn from_any_decimal(text: &str) -> Result<Self, Invalid> {
        let value = plain(text).or_else(|_special| match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => with_exponent(plain(mantissa)?, exponent),
            None => plain(without_spare_zeros(text)),
        });
        value?.try_into()
    }
}

/// The digits of the maximum price.
const MAX_WHOLE_DIGITS: usize = 16;

/// `text` without zeros after its eighth decimal, which do not change the value.
fn without_spare_zeros(text: &str) -> &str {
    let point = text.find('.').unwrap_or(text.len());
    match text.split_at_checked(point + 1 + Price::MAX_DECIMALS as usize) {
        Some((kept, spare)) => &text[..kept.len() + spare.trim_end_matches('0').len()],
        None => text,
    }
}

/// Parses decimal text without an exponent.
fn plain(text: &str) -> Result<Decimal, Invalid> {
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut points = 0;
    // The parser below would also accept `1_000`.
    let is_valid = number.bytes().all(|byte| {
        points += usize::from(byte == b'.');
        byte.is_ascii_digit() || byte == b'.'
    });
    if !is_valid || points > 1 || number.len() == points {
        return Err(invalid(InvalidKind::NotANumber));
    }
    Decimal::from_str_exact(text).map_err(|_too_many_digits| {
        let whole = number.split('.').next().unwrap_or_default();
        if text.starts_with('-') {
            invalid(InvalidKind::Negative)
        } else if whole.trim_start_matches('0').len() > MAX_WHOLE_DIGITS {
            invalid(InvalidKind::TooLarge)
        } else {
            invalid(InvalidKind::TooManyDecimals)
        }
    })
}

/// `mantissa * 10^exponent`, exactly.
fn with_exponent(mantissa: Decimal, exponent: &str) -> Result<Decimal, Invalid> {
    /// Beyond the largest double: other systems read such text as infinity, which is not a valid number here.
    const MAX_EXPONENT: i32 = 308;
    let exponent: i32 = exponent
        .parse()
        .map_err(|_no_integer| invalid(InvalidKind::NotANumber))?;
    if exponent > MAX_EXPONENT {
        return Err(invalid(InvalidKind::NotANumber));
    }
    if mantissa.is_zero() {
        return Ok(Decimal::ZERO);
    }
    if mantissa.is_sign_negative() {
        return Err(invalid(InvalidKind::Negative));
    }
    let mut units = mantissa.mantissa();
    let mut scale = i64::from(mantissa.scale()) - i64::from(exponent);
    // Trailing zeros would count as decimals.
    while scale > i64::from(Price::MAX_DECIMALS) && units % 10 == 0 {
        units /= 10;
        scale -= 1;
    }
    let Ok(scale) = u32::try_from(scale) else {
        let power = u32::try_from(-scale)
            .ok()
            .and_then(|power| 10_i128.checked_pow(power));
        let units = power.and_then(|power| units.checked_mul(power));
        let value = units.and_then(|units| Decimal::try_from_i128_with_scale(units, 0).ok());
        return value.ok_or(invalid(InvalidKind::TooLarge));
    };
    Decimal::try_from_i128_with_scale(units, scale)
        .map_err(|_scale| invalid(InvalidKind::TooManyDecimals))
}

/// The exact sum of prices, with room for 10^15 purchases at the maximum price.
///
/// `Display` prints as many decimals as the value needs: 4 times `1.25` is `5`, however a store has added them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Total(i128);

format_as!(Total: |this| Debug = Display(this));

/// The number of units in 1.
const UNITS: i128 = 10_i128.pow(Price::MAX_DECIMALS);

/// A sum that is too large. As an [`Error`] it is [`Corrupt`](ErrorKind::Corrupt).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sum is too large to be held exactly")]
pub struct TotalOverflow;

impl From<TotalOverflow> for Error {
    fn from(overflow: TotalOverflow) -> Self {
        Self::new(ErrorKind::Corrupt, "the purchases cannot be summed exactly")
            .with_source(overflow)
    }
}

impl Total {
    /// The empty sum.
    pub const ZERO: Self = Self(0);

    /// A sum of units of 10^-8, read from a store.
    #[must_use]
    pub const fn from_units(units: i128) -> Self {
        Self(units)
    }

    /// The sum in units of 10^-8.
    #[must_use]
    pub const fn units(self) -> i128 {
        self.0
    }

    /// Adds one price.
    ///
    /// # Errors
    /// [`TotalOverflow`] instead of a rounded sum.
    pub fn checked_add_price(self, price: Price) -> Result<Self, TotalOverflow> {
        self.checked_add(price.into())
    }

    /// Adds another sum.
    ///
    /// # Errors
    /// [`TotalOverflow`] instead of a rounded sum.
    pub fn checked_add(self, other: Self) -> Result<Self, TotalOverflow> {
        self.0.checked_add(other.0).map(Self).ok_or(TotalOverflow)
    }

    /// The sum of all `prices`.
    ///
    /// # Errors
    /// [`TotalOverflow`] instead of a rounded sum.
    pub fn checked_sum(prices: impl IntoIterator<Item = Price>) -> Result<Self, TotalOverflow> {
        prices
            .into_iter()
            .try_fold(Self::ZERO, Self::checked_add_price)
    }

    /// The sum rounded half to even to cents.
    #[must_use]
    #[doc(hidden)]
    pub const fn round_to_cents(self) -> Self {
        const CENT: i128 = UNITS / 100;
        let cents = self.0.div_euclid(CENT);
        let rest = self.0.rem_euclid(CENT);
        let is_up = rest * 2 > CENT || rest * 2 == CENT && cents % 2 != 0;
        Self((cents + is_up as i128) * CENT)
    }
}

impl From<Price> for Total {
    fn from(price: Price) -> Self {
        Self(price.0.mantissa() * 10_i128.pow(Price::MAX_DECIMALS.saturating_sub(price.0.scale())))
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.abs() / UNITS;
        let fraction = self.0.abs() % UNITS;
        let text = format!("{whole}.{fraction:08}");
        f.pad_integral(
            self.0 >= 0,
            "",
            text.trim_end_matches('0').trim_end_matches('.'),
        )
    }
}

impl FromStr for Total {
    type Err = Invalid;

    /// Parses decimal text, such as the sum in a response of another service.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction = fraction.trim_end_matches('0');
        let is_number = digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.'));
        let is_exact = is_number
            && digits.contains(|c: char| c.is_ascii_digit())
            && fraction.len() <= Price::MAX_DECIMALS as usize;
        let units = is_exact
            .then(|| format!("{whole}{fraction:0<8}").parse::<i128>().ok())
            .flatten();
        let invalid =
            Invalid::malformed("the sum", "must be a number with no more than 8 decimals");
        units
            .map(|units| Self(if digits == text { units } else { -units }))
            .ok_or(invalid)
    }
}

#[cfg(test)]
#[path = "price_test.rs"]
mod tests;
