//! The options of the connection string that the driver does not have.
//!
//! Connection strings are shared with programs in other languages, whose drivers have more options.
//! The driver rejects such an option in words about its own features. So these options are looked
//! for first:
//!
//! | option | here |
//! |---|---|
//! | of a driver alone, or replaced by a setting of this store | left out, with a warning |
//! | of a login or a connection that is not supported | refused, with the name of the option |
//! | any other | passed to the driver, which refuses the options that it does not know |

use shop_core::{Error, ErrorKind, Result};

use super::error::mongo_error;

/// The compressor that the driver has.
const COMPRESSOR: &str = "zstd";

/// The options that are left out, in small letters, with the reason.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "sockettimeoutms",
        "each call has a timeout of its own, which is not a setting",
    ),
    (
        "timeoutms",
        "each call has a timeout of its own, which is not a setting",
    ),
    (
        "zlibcompressionlevel",
        "of the compressors, only zstd is supported",
    ),
    ("uuidrepresentation", "ids are stored as text"),
    ("usenewurlparser", "it is an option of another driver"),
    ("useunifiedtopology", "it is an option of another driver"),
];

/// The options that are refused, in small letters, with what to do.
const REFUSED: &[(&str, &str)] = &[
    (
        "proxyhost",
        "connections through a SOCKS5 proxy are not supported",
    ),
    (
        "tlscertificatekeyfilepassword",
        "a key with a password is not supported: store the key without one in tlsCertificateKeyFile",
    ),
    (
        "tlsallowinvalidhostnames",
        "the host name of a certificate is always verified: name the server as its certificate does",
    ),
];

/// The mechanisms of a login that are refused. Names of mechanisms are in capital letters.
const REFUSED_MECHANISMS: &[&str] = &["GSSAPI", "MONGODB-AWS"];

/// A connection string without the options that the driver does not have.
#[derive(Debug)]
pub(super) struct SupportedUri {
    pub(super) uri: String,
    /// A sentence for each option that was left out.
    pub(super) warnings: Vec<String>,
}

impl SupportedUri {
    /// Leaves out the options of `uri` that other drivers have, and that change nothing here.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for an option that is not supported, with its name.
    pub(super) fn new(uri: &str) -> Result<Self> {
        let mut warnings = Vec::new();
        // A question mark in the password must be encoded, so the first one begins the options.
        let Some((address, query)) = uri.split_once('?') else {
            return Ok(Self {
                uri: uri.to_owned(),
                warnings,
            });
        };

        let mut options = Vec::new();
        for option in query.split('&') {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            // The names of options are not case-sensitive.
            let lowercase_name = name.to_ascii_lowercase();
            if let Some((_, reason)) = find_option(REFUSED, &lowercase_name) {
                return Err(refused_error(name, reason));
            }
            if lowercase_name == "authmechanism" && REFUSED_MECHANISMS.contains(&value) {
                let reason =
                    "this mechanism is not supported: log in with a password or a certificate";
                return Err(refused_error(option, reason));
            }
            if let Some((_, reason)) = find_option(LEFT_OUT, &lowercase_name) {
                warnings.push(format!(
                    "the option {name} of SHOP_MONGODB_URI is left out: {reason}"
                ));
            } else if lowercase_name == "compressors" {
                options.extend(supported_compressors(value, &mut warnings));
            } else {
                options.push(option.to_owned());
            }
        }
        let options = options.join("&");
        Ok(Self {
            uri: format!("{address}?{options}"),
            warnings,
        })
    }
}

/// Returns the entry of `options` with this name.
fn find_option<'a>(options: &'a [(&str, &str)], name: &str) -> Option<&'a (&'a str, &'a str)> {
    options.iter().find(|(listed, _)| *listed == name)
}

/// Returns the option `compressors` with the only compressor that the driver has, or `None` if the
/// `value` of the option does not name it. Adds a warning about the other compressors to `warnings`.
///
/// A client and a server without a common compressor do not compress, so the other compressors can be
/// left out.
fn supported_compressors(value: &str, warnings: &mut Vec<String>) -> Option<String> {
    let unsupported_names: Vec<&str> = value
        .split(',')
        .filter(|name| *name != COMPRESSOR)
        .collect();
    if !unsupported_names.is_empty() {
        warnings.push(format!(
            "the compressors {} of SHOP_MONGODB_URI are left out: only {COMPRESSOR} is supported",
            unsupported_names.join(", ")
        ));
    }
    let is_supported = value.split(',').any(|name| name == COMPRESSOR);
    is_supported.then(|| format!("compressors={COMPRESSOR}"))
}

/// Creates the error of an `option` that is not supported.
fn refused_error(option: &str, reason: &str) -> Error {
    let message = format!("the option {option} cannot be used: {reason}");
    mongo_error(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use mongodb::options::ClientOptions;

    use super::*;

    /// Options of Node and Python programs, with what is left of them.
    #[tokio::test]
    async fn options_of_other_drivers_are_left_out_or_refused_by_name() {
        for (options, left, warned) in [
            ("tls=false&w=1", "tls=false&w=1", ""),
            ("compressors=zlib,snappy&w=1", "w=1", "zlib, snappy"),
            (
                "compressors=zlib,zstd",
                "compressors=zstd",
                "compressors zlib of",
            ),
            ("compressors=zstd", "compressors=zstd", ""),
            ("zlibCompressionLevel=6", "", "zlibCompressionLevel"),
            ("socketTimeoutMS=360000&w=1", "w=1", "socketTimeoutMS"),
            ("timeoutMS=5000", "", "timeoutMS"),
            ("uuidRepresentation=standard", "", "uuidRepresentation"),
            (
                "useNewUrlParser=true&useUnifiedTopology=true",
                "",
                "useNewUrlParser",
            ),
        ] {
            let supported = SupportedUri::new(&format!("mongodb://h/?{options}")).unwrap();
            assert_eq!(supported.uri, format!("mongodb://h/?{left}"), "{options}");
            let warnings = supported.warnings.join("; ");
            assert_eq!(warnings.is_empty(), warned.is_empty(), "{warnings}");
            assert!(warnings.contains(warned), "{warnings}");
            ClientOptions::parse(&supported.uri).await.unwrap();
        }
        for (options, named) in [
            ("proxyHost=p&proxyPort=1080", "proxyHost"),
            (
                "tlsCertificateKeyFilePassword=x",
                "tlsCertificateKeyFilePassword",
            ),
            ("authMechanism=GSSAPI", "authMechanism=GSSAPI"),
            (
                "authMechanism=MONGODB-AWS&tls=true",
                "authMechanism=MONGODB-AWS",
            ),
        ] {
            let refused = SupportedUri::new(&format!("mongodb://h/?{options}")).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{options}");
            let text = refused.chain().to_string();
            assert!(text.contains(named) && !text.contains("feature"), "{text}");
        }
        let unchanged = SupportedUri::new("mongodb://u:p@h:1,i:2/shop").unwrap();
        assert_eq!(unchanged.uri, "mongodb://u:p@h:1,i:2/shop");
    }
}
