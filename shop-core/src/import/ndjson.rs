//! Rows as lines of NDJSON, each one an object.

use std::io::{BufRead, BufReader, Read};

use super::input::Input;
use super::row::{COLUMNS, Values};
use super::{MAX_ROW, unreadable};
use crate::json::Members;
use crate::{Details, Result};

/// The lines of a file.
pub(super) struct JsonLines<R> {
    input: BufReader<Input<R>>,
    text: Vec<u8>,
    line: u64,
}

impl<R: Read> JsonLines<R> {
    pub(super) fn new(input: Input<R>) -> Self {
        Self {
            input: BufReader::new(input),
            text: Vec::new(),
            line: 0,
        }
    }

    /// Returns the number and the values of the next line that is not blank; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Result<Values, String>)>> {
        loop {
            let Some(is_too_long) = self.read_line()? else {
                return Ok(None);
            };
            self.line += 1;
            if is_too_long {
                let why = format!("has more than {MAX_ROW} bytes");
                return Ok(Some((self.line, Err(why))));
            }
            let text = self.text.trim_ascii();
            if !text.is_empty() {
                return Ok(Some((self.line, values(text))));
            }
        }
    }

    /// Reads the next line, of which more than the maximum is not kept. Returns whether it is too long; `None` at the end.
    fn read_line(&mut self) -> Result<Option<bool>> {
        let failed = |error| unreadable().with_source(error);
        self.text.clear();
        self.input.get_mut().bytes_of_row = 0;
        let limit = MAX_ROW as u64 + 1;
        let read = (&mut self.input)
            .take(limit)
            .read_until(b'\n', &mut self.text)
            .map_err(failed)?;
        if read == 0 {
            return Ok(None);
        }
        if self.text.ends_with(b"\n") {
            return Ok(Some(false));
        }
        loop {
            self.input.get_mut().bytes_of_row = 0;
            let buffer = self.input.fill_buf().map_err(failed)?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(buffer.len(), |end| end + 1);
            self.input.consume(length);
            if end.is_some() || length == 0 {
                return Ok(Some(true));
            }
        }
    }

    /// Returns the number of the last line, if it has no end.
    pub(super) fn unterminated_line(&self) -> Option<u64> {
        self.input.get_ref().is_unterminated.then_some(self.line)
    }
}

fn values(text: &[u8]) -> Result<Values, String> {
    let members =
        Members::parse(text, COLUMNS).map_err(|error| format!("is no JSON object: {error}"))?;
    if let [unknown, ..] = &members.unknown[..] {
        return Err(format!(
            "{unknown} is unknown: there are {}",
            COLUMNS.join(", ")
        ));
    }
    let mut values = Values::default();
    for (index, name) in COLUMNS.into_iter().enumerate() {
        let Some(member) = members.get(name).filter(|member| !member.is_null()) else {
            continue;
        };
        let text = match name {
            "more" => Some(member.as_json().into()),
            "price" => member.text().or(Some(member.as_json().into())),
            _ => member.text().or_else(|| Details::text_of(name, &member)),
        };
        let text = text.ok_or_else(|| format!("{name} must be text"))?;
        values[index] = Some(text.into_owned());
    }
    Ok(values)
}
