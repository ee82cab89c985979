//! The upgrade of a file to a second version, which no release has had.

use shop_core::ErrorKind;

use super::engine::database::{Database, FileSchema};
use super::fixture::*;
use super::schema::SHOP;

const SECOND: FileSchema = FileSchema {
    migrations: &[SHOP.migrations[0], &[RENAME]],
    ..SHOP
};
/// Fails after its first change, as if the process had been killed there.
const INTERRUPTED: FileSchema = FileSchema {
    migrations: &[
        SHOP.migrations[0],
        &[RENAME, "INSERT INTO missing VALUES (1);"],
    ],
    ..SHOP
};
const RENAME: &str = "ALTER TABLE settings RENAME COLUMN value TO text;";

#[test]
fn a_file_is_upgraded_whole_or_not_at_all() {
    let folder = fresh_folder();
    let file = |schema| Database::new(schema, folder.path(), "shop", None);
    let error = |database: Database| database.open_to_write().unwrap_err();
    let setting = |column| {
        let sql = format!("SELECT {column} FROM settings");
        connect(&folder).query_row(&sql, [], |row| row.get::<_, String>(0))
    };
    file(&SHOP).open_to_write().unwrap();
    let insert = "INSERT INTO settings VALUES ('currency', 'EUR')";
    connect(&folder).execute_batch(insert).unwrap();

    // A command does not upgrade a file.
    let refused = error(file(&SECOND).with_create(false));
    assert!(refused.to_string().contains("earlier version"), "{refused}");

    error(file(&INTERRUPTED));
    assert_eq!(setting("value").unwrap(), "EUR");
    file(&SHOP).open_to_write().unwrap();

    file(&SECOND).open_to_write().unwrap();
    assert_eq!(setting("text").unwrap(), "EUR");
    let refused = error(file(&SHOP));
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(refused.to_string().contains("newer version"), "{refused}");
}
