//! A client that is configured from outside of the program.

use std::ffi::OsString;
use std::fs;
use std::future::ready;
use std::time::Duration;

use shop_core::jiff::SignedDuration;

use super::{ShopClientBuilder, invalid};
use crate::{BearerToken, Result, ShopClient};

impl ShopClient {
    /// A client of the service that the environment names. A variable that is empty counts as
    /// unset.
    ///
    /// | variable | |
    /// |---|---|
    /// | `SHOP_URL` | the address, required: that of [`builder`](Self::builder) |
    /// | `SHOP_TOKEN` | the [bearer token](ShopClientBuilder::bearer_token) |
    /// | `SHOP_TOKEN_FILE` | a file with the token, read again when the service rejects it |
    /// | `SHOP_TIMEOUT` | [`timeout`](ShopClientBuilder::timeout), such as `10s` or `300ms` |
    /// | `SHOP_CONNECT_TIMEOUT` | [`connect_timeout`](ShopClientBuilder::connect_timeout) |
    ///
    /// ```no_run
    /// use shop_client::ShopClient;
    ///
    /// # async fn example() -> shop_client::Result<()> {
    /// println!("{:?}", ShopClient::from_env()?.user("u1").summary().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`ShopClientBuilder::build`], and [`Invalid`](crate::ErrorKind::Invalid) for a
    /// variable that is missing or wrong.
    #[expect(
        clippy::disallowed_methods,
        reason = "the caller asks for the variables of its process"
    )]
    pub fn from_env() -> Result<Self> {
        ShopClientBuilder::from_variables(std::env::var_os::<&'static str>)?.build()
    }
}

impl ShopClientBuilder {
    fn from_variables(read: impl Fn(&'static str) -> Option<OsString>) -> Result<Self> {
        // What is not UTF-8 is not valid in any of them.
        let text = |name| {
            Some(read(name)?.to_string_lossy().trim().to_owned()).filter(|text| !text.is_empty())
        };
        let missing =
            || invalid("SHOP_URL is not set: use an address such as http://localhost:3000");
        let mut builder = ShopClient::builder(text("SHOP_URL").ok_or_else(missing)?);
        let token = text("SHOP_TOKEN");
        let file = text("SHOP_TOKEN_FILE");
        if token.is_some() && file.is_some() {
            return Err(invalid(
                "SHOP_TOKEN and SHOP_TOKEN_FILE are both set: unset one of them",
            ));
        }
        if let Some(token) = token {
            builder = builder.bearer_token(token);
        }
        if let Some(file) = file {
            // A file that cannot be read is an error now, and not that of the first call.
            token_in(&file)?;
            builder = builder.token_provider(move || ready(token_in(&file).map_err(Into::into)));
        }
        if let Some(time) = text("SHOP_TIMEOUT") {
            builder = builder.timeout(duration_in("SHOP_TIMEOUT", &time)?);
        }
        if let Some(time) = text("SHOP_CONNECT_TIMEOUT") {
            builder = builder.connect_timeout(duration_in("SHOP_CONNECT_TIMEOUT", &time)?);
        }
        Ok(builder)
    }
}

/// The duration in `text`, the value of the variable `name`.
fn duration_in(name: &str, text: &str) -> Result<Duration> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|time| Duration::try_from(time).ok())
        .ok_or_else(|| {
            invalid(format!(
                "{name} must be a duration with its unit, such as 10s or 300ms"
            ))
        })
}

fn token_in(file: &str) -> Result<BearerToken> {
    let text = fs::read_to_string(file).map_err(|error| {
        invalid(format!("SHOP_TOKEN_FILE: {file} cannot be read")).with_source(error)
    })?;
    BearerToken::new(text.trim_end())
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
            client.transport.base.as_str(),
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
            (&[URL, ("SHOP_TOKEN", "a b")], "bearer token"),
            (
                &[URL, ("SHOP_TOKEN", "t"), ("SHOP_TOKEN_FILE", "f")],
                "are both set",
            ),
            (
                &[URL, ("SHOP_TOKEN_FILE", "/nowhere")],
                "/nowhere cannot be read",
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
        let write = |token: &str| fs::write(file.path(), format!("{token}\n")).unwrap();
        write("first");
        let client = built(&[URL, ("SHOP_TOKEN_FILE", file.path().to_str().unwrap())]).unwrap();
        let tokens = &client.transport.tokens;
        let held = tokens.header(None, Duration::from_secs(5)).await.unwrap();
        assert_eq!(held.as_ref().unwrap(), "Bearer first");
        write("second");
        assert_eq!(
            tokens.header(None, Duration::from_secs(5)).await.unwrap(),
            held
        );
        let fresh = tokens
            .header(held.as_ref(), Duration::from_secs(5))
            .await
            .unwrap();
        assert_eq!(fresh.unwrap(), "Bearer second");
    }
}
