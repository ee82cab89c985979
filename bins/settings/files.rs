//! The files that settings name and drivers read: certificates of Kafka, MongoDB and PostgreSQL.
//!
//! The drivers read files without limits, and wait for a FIFO for ever. So the files are checked
//! first. Files that this program reads itself have the same limits where they are read, by
//! [`read_small_file`](shop_http::read_small_file).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use shop_http::{MAX_FILE_BYTES, check_small_file};

use super::variables::Variables;

/// Returns a fault for each file that a driver would read, and that is no small regular file. A
/// missing file is no fault here, because the driver reports it.
pub(super) fn faults(variables: &Variables) -> Vec<String> {
    let mut files = files_in_options(
        "SHOP_MONGODB_URI",
        variables.mongodb.mongodb_uri.as_ref(),
        &["tlscafile", "tlscertificatekeyfile"],
    );
    files.extend(files_in_options(
        "SHOP_POSTGRES_URL",
        variables.postgres.postgres_url.as_ref(),
        &["sslrootcert"],
    ));
    #[cfg(feature = "kafka")]
    for (name, file) in [
        ("SHOP_KAFKA_CA_FILE", &variables.kafka.kafka_ca_file),
        ("SHOP_KAFKA_CERT_FILE", &variables.kafka.kafka_cert_file),
        ("SHOP_KAFKA_KEY_FILE", &variables.kafka.kafka_key_file),
    ] {
        files.extend(file.clone().map(|file| (name.to_owned(), file)));
    }

    files
        .iter()
        .filter_map(|(name, file)| file_fault(name, file))
        .collect()
}

/// Returns the fault of `file`, which the setting `name` names, or `None` if a driver may read the
/// file.
fn file_fault(name: &str, file: &Path) -> Option<String> {
    match check_small_file(file, MAX_FILE_BYTES) {
        Ok(()) => None,
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some(format!(
            "{name}: {} cannot be read: {error}",
            file.display()
        )),
    }
}

/// Returns the files that the `options` of an address name, each with the names of its setting and
/// option. The case of an option does not matter.
fn files_in_options(
    setting: &str,
    address: Option<&SecretString>,
    options: &[&str],
) -> Vec<(String, PathBuf)> {
    let Some((_, query)) = address.and_then(|address| address.expose_secret().split_once('?'))
    else {
        return Vec::new();
    };

    let mut files = Vec::new();
    for option in query.split('&') {
        if let Some((name, value)) = option.split_once('=')
            && options.contains(&&*name.to_ascii_lowercase())
        {
            let path = percent_decode_str(value).decode_utf8_lossy();
            files.push((format!("{setting}, {name}"), path.as_ref().into()));
        }
    }
    files
}
