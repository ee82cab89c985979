//! The headers of a record, and their encoding as one buffer of bytes.

use bytes::{BufMut, Bytes, BytesMut};

/// An ordered list of names, each with an optional value. Names may repeat.
///
/// All headers are in one buffer: a record needs at most one allocation for its headers, and a log
/// can store the buffer as it is. Each name and value is preceded by its length as 32 bits
/// little-endian; `u32::MAX` means no value.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Headers(Bytes);

/// The error for bytes that are not encoded [`Headers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record's headers are damaged")]
pub struct InvalidHeaders;

/// The length that stands for a header without a value.
const NO_VALUE: u32 = u32::MAX;

impl Headers {
    /// The headers of a record without headers.
    pub const EMPTY: Self = Self(Bytes::new());

    /// Creates a builder for new headers.
    #[must_use]
    pub fn builder() -> HeadersBuilder {
        HeadersBuilder::default()
    }

    /// Reads headers from the bytes that [`as_bytes`](Self::as_bytes) returned, without copying
    /// them.
    ///
    /// # Errors
    /// [`InvalidHeaders`] if the bytes are not encoded headers.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, InvalidHeaders> {
        // All bytes are checked here, once. So later reads never meet a damaged header.
        let mut remaining = &bytes[..];
        while !remaining.is_empty() {
            (_, remaining) = split_header(remaining).ok_or(InvalidHeaders)?;
        }
        Ok(Self(bytes))
    }

    /// Returns the encoded headers, which a log stores unchanged.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Returns an iterator over all names and values, in the order in which they were appended.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        let mut remaining = &self.0[..];
        std::iter::from_fn(move || {
            let (header, following) = split_header(remaining)?;
            remaining = following;
            Some(header)
        })
    }

    /// Returns whether there is a header `name`, with or without a value.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|(header_name, _)| header_name == name)
    }

    /// Returns a copy of these headers with one more header at the end.
    #[must_use]
    pub fn with(&self, name: &str, value: Option<&[u8]>) -> Self {
        self.to_builder().with(name, value).build()
    }

    /// Creates a builder that contains a copy of these headers.
    #[must_use]
    pub fn to_builder(&self) -> HeadersBuilder {
        HeadersBuilder(self.0[..].into())
    }

    /// Returns the value of the last header `name`, or `None` if the header is missing or without a
    /// value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .filter(|(header_name, _)| *header_name == name)
            .last()
            .and_then(|(_, value)| value)
    }
}

/// The name and the value of one header.
type RawHeader<'a> = (&'a str, Option<&'a [u8]>);

/// Splits the first header off `bytes`, and returns the header and the bytes behind it.
///
/// Returns `None` if `bytes` are empty or damaged.
fn split_header(bytes: &[u8]) -> Option<(RawHeader<'_>, &[u8])> {
    let (name_bytes, after_name) = split_name_or_value(bytes)?;
    let name = str::from_utf8(name_bytes?).ok()?;
    let (value, after_value) = split_name_or_value(after_name)?;
    Some(((name, value), after_value))
}

/// Splits the first name or value off `bytes`, and returns its content and the bytes behind it.
///
/// The content is `None` in place of a value that the header does not have. Returns `None` as a
/// whole if `bytes` end before the content does.
fn split_name_or_value(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length_bytes, after_length) = bytes.split_first_chunk()?;
    let length = u32::from_le_bytes(*length_bytes);
    if length == NO_VALUE {
        return Some((None, after_length));
    }
    let (content, after_content) = after_length.split_at_checked(usize::try_from(length).ok()?)?;
    Some((Some(content), after_content))
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let entries = self
            .iter()
            .map(|(name, value)| (name, value.map(String::from_utf8_lossy)));
        f.debug_map().entries(entries).finish()
    }
}

/// A builder of [`Headers`], which appends one header after another to a buffer.
#[derive(Debug, Default)]
pub struct HeadersBuilder(BytesMut);

impl HeadersBuilder {
    /// Creates a builder that writes to `buffer`, which must be empty.
    ///
    /// Several records, or the parts of one record, can share one allocation: see
    /// [`build_and_split`](Self::build_and_split).
    #[must_use]
    pub fn with_buffer(buffer: BytesMut) -> Self {
        debug_assert!(
            buffer.is_empty(),
            "the buffer must be empty: its content would be read as headers"
        );
        Self(buffer)
    }

    /// Appends a header, also if there is a header `name` already.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.write_name_or_value(Some(name.as_bytes()));
        self.write_name_or_value(value);
        self
    }

    /// Appends a name or a value with its length in front, or the mark of a missing value.
    fn write_name_or_value(&mut self, content: Option<&[u8]>) {
        let Some(content) = content else {
            self.0.put_u32_le(NO_VALUE);
            return;
        };

        // Content of 4 GiB does not fit into any log. It would be cut off here, so that its length
        // is not mistaken for the mark of a missing value.
        let max_length = NO_VALUE - 1;
        let content = &content[..content.len().min(max_length as usize)];
        let length = u32::try_from(content.len()).unwrap_or(max_length);
        self.0.put_u32_le(length);
        self.0.extend_from_slice(content);
    }

    /// Returns the finished headers.
    #[must_use]
    pub fn build(self) -> Headers {
        Headers(self.0.freeze())
    }

    /// Returns the finished headers, and the rest of the buffer for further use.
    #[must_use]
    pub fn build_and_split(mut self) -> (Headers, BytesMut) {
        (Headers(self.0.split().freeze()), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_repetition_and_absence_are_kept() {
        let all = [
            ("a", Some(&b"1"[..])),
            ("", Some(b"")),
            ("b", None),
            ("a", Some(b"\xff\x00")),
        ];
        let mut builder = Headers::builder();
        for (name, value) in all {
            builder = builder.with(name, value);
        }
        let again = Headers::from_bytes(builder.build().as_bytes().clone()).unwrap();
        assert_eq!(again.iter().collect::<Vec<_>>(), all);
        assert_eq!(again.get("a"), all[3].1);
        assert_eq!((again.get("b"), again.get("c")), (None, None));
    }

    #[test]
    fn damaged_bytes_are_rejected() {
        let whole = Headers::builder().with("name", Some(b"value")).build();
        let mut damaged: Vec<_> = (1..whole.as_bytes().len())
            .map(|length| whole.as_bytes().slice(..length))
            .collect();
        let no_name = [0xff; 8];
        let not_utf8 = [1, 0, 0, 0, 0xff, 0, 0, 0, 0];
        damaged.extend([
            Bytes::copy_from_slice(&no_name),
            Bytes::copy_from_slice(&not_utf8),
        ]);
        for bytes in damaged {
            assert_eq!(Headers::from_bytes(bytes), Err(InvalidHeaders));
        }
    }
}
