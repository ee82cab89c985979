//! Reads a text file of any encoding as UTF-8 text whose lines end with LF.

use std::io::{self, Read};

use encoding_rs::{Decoder, Encoding, UTF_8};

use super::layout::TextEncoding;

/// The number of bytes that are read and decoded at once.
const CHUNK_BYTES: usize = 16 << 10;

/// A reader of the text of a file.
///
/// - A byte order mark decides the encoding, and is not part of the text.
/// - CR and CRLF are read as LF, so that a row is the same on each system.
/// - A last line without an end gets one.
pub(super) struct DecodedInput<R> {
    file: R,
    encoding: Option<TextEncoding>,
    /// The decoder of the bytes of the file, or `None` if the bytes are passed on as they are.
    decoder: Option<Decoder>,
    /// Whether the first chunk of the file was read. Only this chunk may begin with a byte order
    /// mark.
    is_begun: bool,
    /// Whether the last chunk of the file was read.
    is_ended: bool,
    /// The decoded text of the last chunk.
    text: Vec<u8>,
    /// The number of bytes of `text` that were passed on.
    passed_bytes: usize,
    /// Whether the last chunk ended with CR, so that an LF at the beginning of the next chunk
    /// belongs to the same line end.
    is_after_cr: bool,
    /// Whether the last line of the file lacks a line end, which is known once the file is read to
    /// its end.
    pub(super) is_unterminated: bool,
}

impl<R: Read> DecodedInput<R> {
    /// Creates a reader of `file`. `encoding` is the encoding of the text if the file does not begin
    /// with a byte order mark (default UTF-8).
    pub(super) fn new(file: R, encoding: Option<TextEncoding>) -> Self {
        Self {
            file,
            encoding,
            decoder: None,
            is_begun: false,
            is_ended: false,
            text: Vec::new(),
            passed_bytes: 0,
            is_after_cr: false,
            is_unterminated: false,
        }
    }

    /// Returns whether the file is decoded from another encoding than UTF-8. Bytes that are not of the
    /// encoding then become U+FFFD.
    pub(super) const fn is_decoded(&self) -> bool {
        self.decoder.is_some()
    }

    /// Reads and decodes the next chunk of the file into `text`. At the end of the file, adds the
    /// line end that the last line may lack.
    ///
    /// # Errors
    /// The error of reading the file.
    fn decode_next_chunk(&mut self) -> io::Result<()> {
        let mut chunk = Vec::new();
        self.file
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut chunk)?;
        // `read_to_end` returns less than a chunk at the end of the file only.
        let is_last = chunk.len() < CHUNK_BYTES;
        let bytes = if self.is_begun {
            &chunk[..]
        } else {
            self.is_begun = true;
            self.choose_decoder(&chunk)
        };

        let previous_last_byte = self.text.last().copied();
        self.text.clear();
        self.passed_bytes = 0;
        match &mut self.decoder {
            None => self.text.extend_from_slice(bytes),
            Some(decoder) => decode_all(decoder, bytes, is_last, &mut self.text),
        }
        self.unify_line_ends();

        if is_last {
            self.is_ended = true;
            // The last chunk may be empty. Then the file ends with the previous one.
            let last_byte = self.text.last().copied().or(previous_last_byte);
            if last_byte.is_some_and(|byte| byte != b'\n') {
                self.is_unterminated = true;
                self.text.push(b'\n');
            }
        }
        Ok(())
    }

    /// Sets the decoder by the first `bytes` of the file, and returns these bytes without a byte
    /// order mark.
    fn choose_decoder<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let unmarked_encoding = self.encoding.map_or(UTF_8, |encoding| encoding.0);
        // A byte order mark takes precedence over the encoding that the caller named.
        let (encoding, mark_length) = Encoding::for_bom(bytes).unwrap_or((unmarked_encoding, 0));
        // UTF-8 is passed on undecoded: the reader of rows rejects rows that are not valid UTF-8
        // one by one.
        if encoding != UTF_8 {
            self.decoder = Some(encoding.new_decoder_without_bom_handling());
        }
        &bytes[mark_length..]
    }

    /// Replaces each CR and CRLF in `text` by LF.
    fn unify_line_ends(&mut self) {
        let mut is_after_cr = self.is_after_cr;
        self.text.retain_mut(|byte| {
            let is_lf_of_crlf = is_after_cr && *byte == b'\n';
            is_after_cr = *byte == b'\r';
            if is_after_cr {
                *byte = b'\n';
            }
            !is_lf_of_crlf
        });
        self.is_after_cr = is_after_cr;
    }
}

/// Decodes `bytes` into `text`, which becomes UTF-8. The previous content of `text` is lost.
fn decode_all(decoder: &mut Decoder, bytes: &[u8], is_last: bool, text: &mut Vec<u8>) {
    // The maximum length of the text of a chunk does not overflow, so the default never applies.
    // There is room for all bytes, so the decoder reads them in one call.
    let max_length = decoder
        .max_utf8_buffer_length(bytes.len())
        .unwrap_or_default();
    text.resize(max_length, 0);
    let (_result, _bytes_read, text_length, _has_replacements) =
        decoder.decode_to_utf8(bytes, text, is_last);
    text.truncate(text_length);
}

impl<R: Read> Read for DecodedInput<R> {
    /// Passes on decoded text, and decodes the next chunk of the file when all text is passed on.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.passed_bytes == self.text.len() && !self.is_ended {
            self.decode_next_chunk()?;
        }
        let length = (&self.text[self.passed_bytes..]).read(buffer)?;
        self.passed_bytes += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader of one byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = 1.min(buffer.len());
            self.0.read(&mut buffer[..length])
        }
    }

    fn read(file: &[u8], encoding: Option<&str>) -> (String, bool) {
        let encoding = encoding.map(|name| name.parse().unwrap());
        let mut input = DecodedInput::new(Slow(file), encoding);
        let mut text = String::new();
        input.read_to_string(&mut text).unwrap();
        (text, input.is_unterminated)
    }

    #[test]
    fn each_encoding_is_read_as_utf_8() {
        let utf_16 = |to_bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "\u{feff}Zoë€\n".encode_utf16().flat_map(to_bytes).collect()
        };
        for (file, encoding) in [
            ("Zoë€\n".as_bytes(), None),
            ("\u{feff}Zoë€\n".as_bytes(), None),
            (&utf_16(u16::to_le_bytes), None),
            (&utf_16(u16::to_be_bytes), None),
            (b"Zo\xeb\x80\n", Some("windows-1252")),
            // A mark decides, whatever is said.
            ("\u{feff}Zoë€\n".as_bytes(), Some("windows-1252")),
            (&utf_16(u16::to_le_bytes)[2..], Some("utf-16le")),
        ] {
            assert_eq!(
                read(file, encoding),
                ("Zoë€\n".to_owned(), false),
                "{file:?}"
            );
        }
    }

    #[test]
    fn lines_end_with_lf_and_the_last_one_has_an_end() {
        assert_eq!(
            read(b"a\r\nb\rc\n\r\r\n", None),
            ("a\nb\nc\n\n\n".to_owned(), false)
        );
        assert_eq!(read(b"a\r\nb", None), ("a\nb\n".to_owned(), true));
        assert_eq!(read(b"", None), (String::new(), false));
    }
}
