//! The sums of a listing in the cursors of its pages: they are added up for the first page only.

use shop_core::ports::{Cursor, Summary};

/// Separates a cursor and its sums. Cursors do not contain it.
const SEPARATOR: char = '~';

/// The cursor with the sums of the whole listing.
pub(super) fn join(cursor: &Cursor, sums: Summary) -> Cursor {
    let Summary { count, total_spent, .. } = sums;
    Cursor::from_text(format!("{}{SEPARATOR}{count}{SEPARATOR}{total_spent}", cursor.as_str()))
}

/// The cursor without sums, and the sums if it had them.
pub(super) fn split(cursor: Cursor) -> (Cursor, Option<Summary>) {
    let Some((text, sums)) = cursor.as_str().split_once(SEPARATOR) else { return (cursor, None) };
    let sums = sums
        .split_once(SEPARATOR)
        .and_then(|(count, total_spent)| Some(Summary::new(count.parse().ok()?, total_spent.parse().ok()?)));
    (Cursor::from_text(text.to_owned()), sums)
}
