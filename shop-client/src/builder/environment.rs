//! Configures a client by environment variables.
//!
//! [`ShopClient::from_env`] reads the variables of the process, and sets the option of the
//! [`ShopClientBuilder`] that each variable stands for. A variable that is missing or not valid
//! is an error, of `from_env` itself or of `build`.

use std::ffi::OsString;
use std::fs;
use std::future::ready;
use std::io;
use std::time::Duration;

use shop_core::jiff::SignedDuration;

use super::{ShopClientBuilder, invalid_option};
use crate::{BearerToken, Result, ShopClient};

impl ShopClient {
    /// Creates a client of the service that the environment variables name. A variable that is
    /// empty counts as unset.
    ///
    /// | variable | value |
    /// |---|---|
    /// | `SHOP_URL` | the address of the service, as for [`builder`](Self::builder): required |
    /// | `SHOP_TOKEN` | the [bearer token](ShopClientBuilder::bearer_token) |
    /// | `SHOP_TOKEN_FILE` | a file with the token, read again when the token is rejected |
    /// | `SHOP_TIMEOUT` | [`timeout`](ShopClientBuilder::timeout), such as `10s` or `300ms` |
    /// | `SHOP_CONNECT_TIMEOUT` | [`connect_timeout`](ShopClientBuilder::connect_timeout) |
    ///
    /// ```no_run
    /// use shop_client::ShopClient;
    ///
    /// # async fn example() -> shop_client::Result<()> {
    /// println!("{:?}", ShopClient::from_env()?.shop().user("u1").summary().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Invalid`](crate::ErrorKind::Invalid) if a variable is missing or not valid, or if the
    ///   file of the token cannot be read
    /// - The errors of [`ShopClientBuilder::build`]
    #[expect(
        clippy::disallowed_methods,
        reason = "the caller asks for the variables of its process"
    )]
    pub fn from_env() -> Result<Self> {
        ShopClientBuilder::from_variables(std::env::var_os::<&'static str>)?.build()
    }
}

impl ShopClientBuilder {
    /// Creates a builder from environment variables. `read` returns the value of a variable.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if SHOP_URL is missing, the token and its file are
    /// both set, a time-out is not valid, or the token or the file is not valid.
    fn from_variables(read: impl Fn(&'static str) -> Option<OsString>) -> Result<Self> {
        let Some(address) = non_empty_text(read("SHOP_URL")) else {
            return Err(invalid_option(
                "SHOP_URL is not set: use an address such as http://localhost:3000",
            ));
        };
        let mut builder = ShopClient::builder(address);

        let token = non_empty_text(read("SHOP_TOKEN"));
        let token_file = non_empty_text(read("SHOP_TOKEN_FILE"));
        if token.is_some() && token_file.is_some() {
            return Err(invalid_option(
                "SHOP_TOKEN and SHOP_TOKEN_FILE are both set: unset one of them",
            ));
        }
        if let Some(token) = token {
            BearerToken::new(&token).map_err(|error| {
                invalid_option("SHOP_TOKEN is not a valid token").with_source(error)
            })?;
            builder = builder.bearer_token(token);
        }
        if let Some(path) = token_file {
            // A file that cannot be read is an error now, and not an error of the first call.
            read_token(&path)?;
            builder = builder.token_provider(move || ready(read_token(&path).map_err(Into::into)));
        }

        if let Some(text) = non_empty_text(read("SHOP_TIMEOUT")) {
            builder = builder.timeout(parse_duration("SHOP_TIMEOUT", &text)?);
        }
        if let Some(text) = non_empty_text(read("SHOP_CONNECT_TIMEOUT")) {
            builder = builder.connect_timeout(parse_duration("SHOP_CONNECT_TIMEOUT", &text)?);
        }
        Ok(builder)
    }
}

/// Returns the value of a variable without the white space around it, unless the variable is unset
/// or empty.
fn non_empty_text(value: Option<OsString>) -> Option<String> {
    // Bytes that are not UTF-8 are not valid in any of the variables, so they may be replaced.
    let text = value?.to_string_lossy().trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}

/// Parses `text`, which is the value of the variable `name`, as a duration.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) if `text` is not a duration with its unit, or if the
/// duration is negative.
fn parse_duration(name: &str, text: &str) -> Result<Duration> {
    if let Ok(signed) = text.parse::<SignedDuration>()
        && let Ok(duration) = Duration::try_from(signed)
    {
        return Ok(duration);
    }
    Err(invalid_option(format!(
        "{name} must be a duration with its unit, such as 10s or 300ms"
    )))
}

/// The maximum size of a file with a token.
const MAX_TOKEN_FILE_BYTES: u64 = 64 << 10;

/// Reads the bearer token in the file at `path`. White space after the token is ignored.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) if the file cannot be read, is not a regular file or is
/// larger than 64 KiB, or contains no valid token.
fn read_token(path: &str) -> Result<BearerToken> {
    let text = read_token_file(path).map_err(|error| {
        invalid_option(format!("SHOP_TOKEN_FILE: {path} cannot be read")).with_source(error)
    })?;
    BearerToken::new(text.trim_end()).map_err(|error| {
        invalid_option(format!("SHOP_TOKEN_FILE: {path} contains no token")).with_source(error)
    })
}

/// Reads the file of a token.
///
/// The path must lead to a regular file, because opening a FIFO would wait for a writer, and
/// `/dev/zero` has no end.
fn read_token_file(path: &str) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.len() > MAX_TOKEN_FILE_BYTES {
        return Err(io::Error::other("it is larger than 64 KiB"));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use crate::ErrorKind;

    use super::*;

    fn built(variables: &[(&str, &str)]) -> Result<ShopClient> {
        let value = |name: &'static str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        };
        ShopClientBuilder::from_variables(value)?.build()
    }

    const URL: (&str, &str) = ("SHOP_URL", "http://localhost:3000/shop");

    #[test]
    fn variables_set_what_they_name() {
        let client = built(&[
            URL,
            ("SHOP_TOKEN", ""),
            ("SHOP_TIMEOUT", "300ms"),
            ("SHOP_CONNECT_TIMEOUT", "1s"),
        ]);
        let client = client.unwrap();
        assert_eq!(
            client.transport.base_url.as_str(),
            "http://localhost:3000/shop/"
        );
        assert_eq!(
            client.retries.max_call_duration(Duration::ZERO),
            Duration::from_millis(300)
        );
    }

    #[test]
    fn a_wrong_variable_is_named() {
        for (variables, named) in [
            (&[][..], "SHOP_URL is not set"),
            (&[("SHOP_URL", " ")], "SHOP_URL is not set"),
            (&[("SHOP_URL", "localhost")], "the address of the service"),
            (&[URL, ("SHOP_TOKEN", "a b")], "SHOP_TOKEN is not"),
            (
                &[URL, ("SHOP_TOKEN", "t"), ("SHOP_TOKEN_FILE", "f")],
                "are both set",
            ),
            (
                &[URL, ("SHOP_TOKEN_FILE", "/nowhere")],
                "/nowhere cannot be read",
            ),
            (
                &[URL, ("SHOP_TOKEN_FILE", "/dev/zero")],
                "/dev/zero cannot be read",
            ),
            (
                &[URL, ("SHOP_TOKEN_FILE", "Cargo.toml")],
                "SHOP_TOKEN_FILE: Cargo.toml contains no token",
            ),
            (&[URL, ("SHOP_TIMEOUT", "10")], "SHOP_TIMEOUT must be"),
            (&[URL, ("SHOP_TIMEOUT", "s")], "SHOP_TIMEOUT must be"),
            (
                &[URL, ("SHOP_CONNECT_TIMEOUT", "-1s")],
                "SHOP_CONNECT_TIMEOUT must be",
            ),
        ] {
            let error = built(variables).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            assert!(error.message().contains(named), "{error}");
        }
    }

    #[tokio::test]
    async fn the_file_of_a_token_is_read_again_when_the_token_is_rejected() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let limit = Duration::from_secs(5);
        fs::write(path, "first\n").unwrap();
        let client = built(&[URL, ("SHOP_TOKEN_FILE", path)]).unwrap();
        let tokens = &client.transport.tokens;
        let first = tokens.authorization(None, limit).await.unwrap().unwrap();
        assert_eq!(first, "Bearer first");
        fs::write(path, "second\n").unwrap();
        for (rejected, expected) in [(None, "Bearer first"), (Some(&first), "Bearer second")] {
            let token = tokens.authorization(rejected, limit).await.unwrap();
            assert_eq!(token.unwrap(), expected);
        }
    }
}
