//! Maintenance that only one backend supports: of the embedded files, of a collection of MongoDB, and
//! of the rows of PostgreSQL.
//!
//! With another backend, most of it is a usage error that names the backend it is for. `vacuum` and
//! `find_damage` then have nothing to do.

use std::path::Path;

#[cfg(feature = "compat")]
use shop_core::ports::UnreadableEntry;

use super::Backends;
#[cfg(feature = "compat")]
use super::ReplacedSystem;
#[cfg(feature = "embedded")]
use super::embedded;
#[cfg(all(feature = "compat", feature = "mongodb"))]
use super::mongodb;
#[cfg(all(feature = "compat", feature = "postgres"))]
use super::postgres;
#[cfg(feature = "compat")]
use crate::settings::ProcessRole;
use crate::settings::{Log, Store};
use crate::{CliError, Result};

/// The name of a file of a backup, and its size in bytes.
pub(crate) type CopiedFile = (String, u64);

impl Backends<'_> {
    /// Returns the data folder, if the log or a store is a file there. Returns `None` in a build
    /// without embedded files.
    fn data_folder(&self) -> Option<&Path> {
        let settings = self.settings;
        let has_files =
            matches!(settings.log, Log::Embedded(_)) || matches!(settings.store, Store::Embedded);
        let is_embedded = has_files && cfg!(feature = "embedded");
        is_embedded.then_some(&*settings.data_dir)
    }

    /// Copies the embedded files into the folder `into`. Returns the name and the size of each
    /// copy.
    ///
    /// # Errors
    /// - a usage error if neither the log nor a store is embedded
    /// - the errors of the files
    pub(crate) async fn backup(&self, into: &Path) -> Result<Vec<CopiedFile>> {
        #[cfg(feature = "embedded")]
        if let Some(folder) = self.data_folder() {
            return embedded::backup(folder, into).await;
        }
        Err(CliError::usage(
            "backup is for embedded files: back up the servers with their own tools",
        ))
    }

    /// Copies the files of the backup `from` into the data folder. Returns the name and the size of
    /// each copy.
    ///
    /// # Errors
    /// - a usage error if neither the log nor a store is embedded
    /// - the errors of the files
    pub(crate) async fn restore(&self, from: &Path) -> Result<Vec<CopiedFile>> {
        #[cfg(feature = "embedded")]
        if let Some(folder) = self.data_folder() {
            return embedded::restore(from, folder).await;
        }
        Err(CliError::usage(
            "restore is for embedded files: restore the servers with their own tools",
        ))
    }

    /// Rewrites the files of purchases and users, so that erased content does not remain in their
    /// unused parts. Does nothing for servers.
    ///
    /// # Errors
    /// The errors of the files.
    pub(crate) async fn vacuum(&self) -> Result<()> {
        #[cfg(feature = "embedded")]
        if let Some(folder) = self.data_folder() {
            return embedded::vacuum(folder).await;
        }
        Ok(())
    }

    /// Converts the documents of the replaced systems to the current format, or back to the format
    /// of one system. Returns the counts of the converted documents.
    ///
    /// # Errors
    /// - a usage error if the purchases are not in MongoDB
    /// - the errors of MongoDB
    #[cfg(feature = "compat")]
    pub(crate) async fn convert(
        &self,
        back_to: Option<ReplacedSystem>,
    ) -> Result<serde_json::Value> {
        #[cfg(feature = "mongodb")]
        if let Store::Mongo { purchases, .. } = &self.settings.store {
            return mongodb::convert(self, purchases.clone(), back_to).await;
        }
        Err(CliError::usage(
            "migrate is for a collection of MongoDB: set SHOP_MONGODB_URI, or another name of it",
        ))
    }

    /// Reads all rows of the users or of the orders, which replaced systems keep in PostgreSQL.
    /// Returns their number, and the rows that cannot be read.
    ///
    /// # Errors
    /// - a usage error if the rows are not in PostgreSQL
    /// - the errors of PostgreSQL
    #[cfg(feature = "compat")]
    pub(crate) async fn read_rows(&self, role: ProcessRole) -> Result<(u64, Vec<UnreadableEntry>)> {
        #[cfg(feature = "postgres")]
        if let Some(options) = self.settings.store.entity_database() {
            return postgres::read_rows(self.settings, options, role).await;
        }
        Err(CliError::usage(
            "the rows of replaced systems are in PostgreSQL: set SHOP_POSTGRES_URL, or another name of it",
        ))
    }
}

/// Checks one embedded file. Returns a line for each damage, and none in a build without embedded
/// files.
///
/// # Errors
/// An error if the file cannot be used.
pub(crate) async fn find_damage(file: &Path) -> Result<Vec<String>> {
    #[cfg(feature = "embedded")]
    {
        embedded::find_damage(file).await
    }
    #[cfg(not(feature = "embedded"))]
    Ok(Vec::new())
}
