//! The decoders of records that other programs wrote in formats of their own.

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use super::{DecodeError, Record, header};
use crate::Purchase;
use crate::log::{LogRecord, Partition};

/// A decoder of records that another program wrote in a format of its own.
///
/// A decoder sees only records without a `schema` header, which every record of this program
/// carries. It is registered in [`RecordDecoders`].
///
/// ```
/// use shop_core::log::{LogRecord, Partition};
/// use shop_core::record::{DecodeError, RecordDecoder, RecordDecoders, purchase_id};
/// use shop_core::{Purchase, Timestamp};
///
/// /// Decodes lines such as `u1;ada;29.99`.
/// #[derive(Debug)]
/// struct Lines;
///
/// impl RecordDecoder for Lines {
///     fn decode(&self, record: &LogRecord, partition: &Partition) -> Option<Result<Purchase, DecodeError>> {
///         let text = str::from_utf8(record.value.as_deref()?).ok()?;
///         let [user_id, user_name, price] = text.split(';').collect::<Vec<_>>().try_into().ok()?;
///         let read = || -> Result<Purchase, DecodeError> {
///             let invalid = |error: shop_core::Invalid| DecodeError::NotAPurchase(error.to_string());
///             Ok(Purchase::new(
///                 purchase_id(record, partition)?,
///                 user_id.parse().map_err(invalid)?,
///                 user_name.parse().map_err(invalid)?,
///                 price.parse().map_err(invalid)?,
///                 record.time,
///             ))
///         };
///         Some(read())
///     }
/// }
///
/// let decoders = RecordDecoders::<Purchase>::default().with(Lines);
/// let record = LogRecord::new(0, Timestamp::MIN, Some("u1;ada;29.99".into()));
/// let partition = Partition::new("cluster".into(), "purchases".into(), 0, 0);
/// assert_eq!(decoders.decode(&record, &partition)?.price.to_string(), "29.99");
/// # Ok::<(), DecodeError>(())
/// ```
pub trait RecordDecoder<R = Purchase>: Debug + Send + Sync + 'static {
    /// Decodes `record`, which was read from `partition`.
    ///
    /// Returns `None` if the record is not in the format of this decoder. The next decoder is asked
    /// then. A purchase must have the id that [`purchase_id`](super::purchase_id) returns, because
    /// a store recognizes a record that is delivered again by its id.
    fn decode(&self, record: &LogRecord, partition: &Partition) -> Option<Result<R, DecodeError>>;

    /// Returns the id of the user whom `record` names, if `record` is in the format of this decoder,
    /// but does not decode. The default is `None`.
    ///
    /// The erasure of a user erases such records too.
    fn named_user<'a>(&self, record: &'a LogRecord) -> Option<Cow<'a, str>> {
        let _ = record;
        None
    }
}

/// The decoders of the records of a log: those of other programs' formats, and that of `R` for all
/// other records.
///
/// One value is registered in a [`Backend`](crate::Backend), from where ingest, the feed and all
/// [operations](crate::operations::Operations) take it. So they agree about every record. The
/// default has no further decoders.
#[derive(Debug)]
pub struct RecordDecoders<R: Record = Purchase> {
    /// The registered decoders, in the order in which they are asked.
    registered: Vec<Arc<dyn RecordDecoder<R>>>,
}

impl<R: Record> RecordDecoders<R> {
    /// Adds `decoder`, which is asked after the decoders that were added before.
    #[must_use]
    pub fn with(mut self, decoder: impl RecordDecoder<R>) -> Self {
        self.registered.push(Arc::new(decoder));
        self
    }

    /// Decodes `record`, which was read from `partition`.
    ///
    /// A record without a `schema` header is decoded by the first registered decoder that knows its
    /// format. All other records are decoded by [`Record::decode`].
    ///
    /// # Errors
    /// The error of the decoder. Retrying is pointless.
    pub fn decode(&self, record: &LogRecord, partition: &Partition) -> Result<R, DecodeError> {
        if self.registered.is_empty() || record.headers.contains(header::SCHEMA) {
            return R::decode(record, partition);
        }
        self.registered
            .iter()
            .find_map(|decoder| decoder.decode(record, partition))
            .unwrap_or_else(|| R::decode(record, partition))
    }

    /// Returns the id of the user whom `record` names, although it does not decode, by the first
    /// registered decoder that finds one.
    pub(crate) fn named_user<'a>(&self, record: &'a LogRecord) -> Option<Cow<'a, str>> {
        self.registered
            .iter()
            .find_map(|decoder| decoder.named_user(record))
    }
}

impl<R: Record> Clone for RecordDecoders<R> {
    fn clone(&self) -> Self {
        Self {
            registered: self.registered.clone(),
        }
    }
}

impl<R: Record> Default for RecordDecoders<R> {
    /// Creates decoders without one for other programs' formats.
    fn default() -> Self {
        Self {
            registered: Vec::new(),
        }
    }
}
