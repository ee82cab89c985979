//! The text of a CSV file on its way to the csv reader, and the check of its quotes.
//!
//! The csv reader decides where a record ends, and returns the cells of the record. It accepts each
//! text: at the end of the file, it closes a quote that is open, and it takes text behind a closing
//! quote as a part of the cell. So one stray quote can make many rows one record. To find such
//! records, [`CsvInput`] keeps the text of each record until it is taken, and [`check_quotes`]
//! checks this text.
//!
//! ```text
//! taken │ ada,u1,1,"size 5\""⏎bob,u2,1,"cap"⏎ │ cy,u3,2,plain⏎dan,u4,
//!       │ the record that the csv reader       │ read ahead by the
//!       │ has returned: text after a quote     │ csv reader
//! ```

use std::io::{self, Read};

use super::input::DecodedInput;
use super::{MAX_ROW_BYTES, MAX_UNCLOSED_ROW_BYTES};

/// The number of bytes that are read from the file at once.
const CHUNK_BYTES: u64 = 16 << 10;

/// The text of a CSV file, of which the csv reader reads a copy.
///
/// Text is *taken* when its record is read or rejected: its lines are counted, and it is dropped with
/// the next read.
pub(super) struct CsvInput<R> {
    input: DecodedInput<R>,
    /// The text that was read from `input` and was not dropped.
    text: Vec<u8>,
    /// The number of bytes of `text` that were taken. They are dropped before more text is read.
    taken_bytes: usize,
    /// The number of bytes of `text` that the csv reader has read.
    passed_bytes: usize,
    /// The number of bytes of the file that were taken.
    offset: u64,
    /// The number of lines of the file that were taken.
    line_count: u64,
}

impl<R: Read> CsvInput<R> {
    /// Creates the text of `input`, of which nothing is taken yet.
    pub(super) fn new(input: DecodedInput<R>) -> Self {
        Self {
            input,
            text: Vec::new(),
            taken_bytes: 0,
            passed_bytes: 0,
            offset: 0,
            line_count: 0,
        }
    }

    /// Returns the number of bytes of the file that were taken.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the number of the first line that is not taken yet.
    pub(super) fn line(&self) -> u64 {
        self.line_count + 1
    }

    /// Returns whether the last line of the file lacks a line end, which is known once the file is
    /// read to its end.
    pub(super) fn is_unterminated(&self) -> bool {
        self.input.is_unterminated
    }

    /// Returns whether the file is decoded from another encoding than UTF-8.
    pub(super) fn is_decoded(&self) -> bool {
        self.input.is_decoded()
    }

    /// Returns the text that is not taken yet, up to the byte `end` of the file. The csv reader must
    /// have read this byte.
    pub(super) fn text_until(&self, end: u64) -> &[u8] {
        let length = usize::try_from(end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let text = &self.text[self.taken_bytes..];
        &text[..length.min(text.len())]
    }

    /// Returns at least `length` bytes that are not taken yet, or all of them if the file has
    /// fewer.
    ///
    /// # Errors
    /// The errors of reading the file.
    pub(super) fn peek(&mut self, length: usize) -> io::Result<&[u8]> {
        while self.text.len() - self.taken_bytes < length {
            if self.read_chunk()? == 0 {
                break;
            }
        }
        Ok(&self.text[self.taken_bytes..])
    }

    /// Returns the next line with its end, or its beginning if it has more than [`MAX_ROW_BYTES`].
    /// Returns no bytes at the end of the file.
    ///
    /// # Errors
    /// The errors of reading the file.
    pub(super) fn peek_line(&mut self) -> io::Result<&[u8]> {
        let text = self.peek(MAX_ROW_BYTES + 1)?;
        Ok(first_line(&text[..text.len().min(MAX_ROW_BYTES + 1)]))
    }

    /// Takes the next `length` bytes, which must have been read.
    pub(super) fn take(&mut self, length: usize) {
        let end = self.taken_bytes + length;
        let line_ends = self.text[self.taken_bytes..end]
            .iter()
            .filter(|byte| **byte == b'\n');
        self.line_count += line_ends.count() as u64;
        self.offset += length as u64;
        self.taken_bytes = end;
        self.passed_bytes = self.passed_bytes.max(end);
    }

    /// Takes the blank lines at the beginning of the text that the csv reader has read.
    ///
    /// The csv reader reads blank lines as a part of the next record, which would then begin at a
    /// wrong line.
    pub(super) fn take_blank_lines(&mut self) {
        let text = &self.text[self.taken_bytes..self.passed_bytes];
        let line_ends = text.iter().take_while(|byte| **byte == b'\n');
        self.take(line_ends.count());
    }

    /// Drops the text that was taken, reads the next chunk of the file, and returns its length.
    fn read_chunk(&mut self) -> io::Result<usize> {
        self.text.drain(..self.taken_bytes);
        self.passed_bytes -= self.taken_bytes;
        self.taken_bytes = 0;
        (&mut self.input)
            .take(CHUNK_BYTES)
            .read_to_end(&mut self.text)
    }
}

impl<R: Read> Read for CsvInput<R> {
    /// Passes on text to the csv reader, which asks for more until its record ends.
    ///
    /// # Errors
    /// [`InvalidData`](io::ErrorKind::InvalidData) if the record exceeds
    /// [`MAX_UNCLOSED_ROW_BYTES`], and the errors of reading the file.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.passed_bytes == self.text.len() {
            self.take_blank_lines();
            if self.text.len() - self.taken_bytes > MAX_UNCLOSED_ROW_BYTES {
                let message = format!(
                    "the row of line {} has more than {MAX_UNCLOSED_ROW_BYTES} bytes: is a quote not closed?",
                    self.line()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            self.read_chunk()?;
        }
        let length = (&self.text[self.passed_bytes..]).read(buffer)?;
        self.passed_bytes += length;
        Ok(length)
    }
}

/// Returns the first line of `text` with its end, or all of `text` if no line ends in it.
pub(super) fn first_line(text: &[u8]) -> &[u8] {
    let line_end = text.iter().position(|byte| *byte == b'\n');
    line_end.map_or(text, |position| &text[..=position])
}

/// The place of a byte in a record, for [`check_quotes`].
#[derive(Clone, Copy)]
enum Position {
    StartOfCell,
    UnquotedCell,
    QuotedCell,
    /// Behind a quote in a quoted cell. This quote either closes the cell, or is the first of two
    /// quotes that stand for one.
    AfterQuote,
    EndOfRecord,
}

/// Checks the quotes of a record, so that it is certain where its cells end. The `text` of the
/// record ends with a line end.
///
/// A quote at the start of a cell opens the cell, and a delimiter or the line end must follow the
/// quote that closes the cell. A quote elsewhere in a cell without quotes, as in `5" wide`, is a
/// character like others. But if a record of several lines contains such a quote, a quote of another
/// line was probably not meant to open a cell.
///
/// # Errors
/// Returns the rest of a sentence about the record, such as "has a quote that is not closed".
pub(super) fn check_quotes(text: &[u8], delimiter: u8) -> Result<(), &'static str> {
    let mut position = Position::StartOfCell;
    let mut has_literal_quote = false;
    let mut line_ends = 0;
    for &byte in text {
        line_ends += usize::from(byte == b'\n');
        position = match (position, byte) {
            (Position::StartOfCell | Position::AfterQuote, b'"') => Position::QuotedCell,
            (Position::QuotedCell, b'"') => Position::AfterQuote,
            (Position::QuotedCell, _) => Position::QuotedCell,
            (Position::EndOfRecord, _) => return Err(TEXT_AFTER_QUOTE),
            (_, b'\n') => Position::EndOfRecord,
            (_, byte) if byte == delimiter => Position::StartOfCell,
            (Position::AfterQuote, _) => return Err(TEXT_AFTER_QUOTE),
            (Position::StartOfCell | Position::UnquotedCell, byte) => {
                has_literal_quote |= byte == b'"';
                Position::UnquotedCell
            }
        };
    }

    if !matches!(position, Position::EndOfRecord) {
        return Err(UNCLOSED_QUOTE);
    }
    if has_literal_quote && line_ends > 1 {
        return Err(LITERAL_QUOTE);
    }
    Ok(())
}

const UNCLOSED_QUOTE: &str =
    "has a quote that is not closed: a quote in a cell is written as \"\", and not as \\\"";
const TEXT_AFTER_QUOTE: &str =
    "has text behind a closing quote: a quote in a cell is written as \"\", and not as \\\"";
const LITERAL_QUOTE: &str =
    "has line breaks in a cell, and a quote in a cell without quotes: is a quote not closed?";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_match_or_the_record_is_refused() {
        for (text, expected) in [
            ("a,\"b\",\"c\"\"d\"\n", Ok(())),
            ("\"\",\"\"\n", Ok(())),
            ("a,\"b\nc\",d\n", Ok(())),
            ("a,5\" wide,\"b\"\n", Ok(())),
            ("a, \"b\"\n", Ok(())),
            ("a,\"b\n", Err(UNCLOSED_QUOTE)),
            ("a,\"b\"\"\n", Err(UNCLOSED_QUOTE)),
            ("a,\"b\"c,d\n", Err(TEXT_AFTER_QUOTE)),
            ("a,\"b\" ,d\n", Err(TEXT_AFTER_QUOTE)),
            ("a,\"b\\\"c\",d\n", Err(TEXT_AFTER_QUOTE)),
            ("a,\"b\nc\",5\"\n", Err(LITERAL_QUOTE)),
            // A delimiter of another file is text.
            ("a,\"b\";c\n", Err(TEXT_AFTER_QUOTE)),
        ] {
            assert_eq!(check_quotes(text.as_bytes(), b','), expected, "{text}");
        }
    }
}
