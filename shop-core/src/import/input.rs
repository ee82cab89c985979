//! Reads a text file as UTF-8 whose lines end with LF, whatever it was written in.

use std::io::{self, Read};

use encoding_rs_io::{DecodeReaderBytes, DecodeReaderBytesBuilder};

use super::layout::TextEncoding;

/// The text of a file.
///
/// A byte order mark decides over the encoding, and is not part of the text. CR and CRLF are read as LF, so that a row is
/// the same on each system, and a last line without an end gets one.
pub(super) struct Input<R> {
    decoded: DecodeReaderBytes<R, Vec<u8>>,
    is_after_cr: bool,
    last_byte: Option<u8>,
    /// Whether the last line of the file had no end. Known once the file is read to its end.
    pub(super) is_unterminated: bool,
    /// How many bytes were read since the reader of rows has set this to 0.
    pub(super) bytes_of_row: usize,
    /// From how many bytes of one row on reading fails.
    max_bytes_of_row: usize,
}

impl<R: Read> Input<R> {
    pub(super) fn new(file: R, encoding: Option<TextEncoding>, max_bytes_of_row: usize) -> Self {
        // Without an encoding, and without a mark of UTF-16, the bytes are passed on as they are: rows that are not UTF-8
        // are rejected one by one.
        let decoded = DecodeReaderBytesBuilder::new()
            .encoding(encoding.map(|encoding| encoding.0))
            .utf8_passthru(encoding.is_none())
            .strip_bom(true)
            .bom_override(true)
            .build(file);
        Self {
            decoded,
            is_after_cr: false,
            last_byte: None,
            is_unterminated: false,
            bytes_of_row: 0,
            max_bytes_of_row,
        }
    }

    /// Replaces the line ends in `text`. Returns the length of the result.
    fn unify_line_ends(&mut self, text: &mut [u8]) -> usize {
        let mut length = 0;
        for at in 0..text.len() {
            let byte = text[at];
            let is_rest_of_crlf = std::mem::replace(&mut self.is_after_cr, byte == b'\r');
            if is_rest_of_crlf && byte == b'\n' {
                continue;
            }
            text[length] = if byte == b'\r' { b'\n' } else { byte };
            length += 1;
        }
        length
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes_of_row > self.max_bytes_of_row {
            let message = format!(
                "a row has more than {} bytes: is a quote not closed?",
                self.max_bytes_of_row
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        loop {
            let read = self.decoded.read(buffer)?;
            if read == 0 && !buffer.is_empty() {
                let is_complete = self.last_byte.is_none_or(|byte| byte == b'\n');
                if is_complete {
                    return Ok(0);
                }
                self.is_unterminated = true;
                self.last_byte = Some(b'\n');
                buffer[0] = b'\n';
                return Ok(1);
            }
            let length = self.unify_line_ends(&mut buffer[..read]);
            if length > 0 {
                self.last_byte = Some(buffer[length - 1]);
                self.bytes_of_row += length;
                return Ok(length);
            }
        }
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
        let mut input = Input::new(Slow(file), encoding, 1_000);
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

    #[test]
    fn a_row_without_an_end_is_an_error() {
        let mut input = Input::new(io::repeat(b'a'), None, 10_000);
        let error = input.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(
            error.to_string().contains("is a quote not closed?"),
            "{error}"
        );
    }
}
