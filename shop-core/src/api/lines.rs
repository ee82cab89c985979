//! Lines of a text, for every reader of NDJSON.

/// Whether a byte ends a line. A line ends with LF, CR LF or CR alone, in a file of any system: no value has these
/// characters.
const fn ends_line(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// The lines of `text`, without their ends.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.iter().position(|byte| ends_line(*byte));
        rest = end.map(|end| {
            text[end..]
                .strip_prefix(b"\r\n")
                .unwrap_or(&text[end + 1..])
        });
        Some(&text[..end.unwrap_or(text.len())])
    })
}
