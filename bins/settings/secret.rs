//! A secret that may change while it is in use.
//!
//! A secret from a file is read again at each request for it, so it can be replaced without a
//! restart. A client may keep a token until a service rejects it. A secret from a variable stays
//! the same until the process ends.

use std::fs;
use std::path::PathBuf;

use secrecy::SecretString;

use super::environment::without_line_end;

/// A secret of the settings, and the file that it was read from.
#[derive(Debug, Clone)]
pub(crate) struct Secret {
    /// The value of the secret at the start of the process.
    pub(crate) at_start: SecretString,
    /// The file of the secret. `None` if the secret is from a variable.
    pub(crate) file: Option<PathBuf>,
}

impl Secret {
    /// Returns the secret that is in its file now.
    ///
    /// Returns the secret at the start of the process if there is no file, or, with a warning, if
    /// the file is empty or cannot be read.
    pub(crate) fn current(&self) -> SecretString {
        let Some(path) = &self.file else {
            return self.at_start.clone();
        };

        let error = match fs::read_to_string(path) {
            Ok(text) if !text.trim().is_empty() => return without_line_end(&text).into(),
            Ok(_) => "the file is empty".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(file = %path.display(), error, "a secret cannot be read: the one at the start is used");
        self.at_start.clone()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn current_follows_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let secret = Secret {
            at_start: "first".into(),
            file: Some(file.path().into()),
        };
        for (text, expected) in [
            ("", "first"),
            ("second\n", "second"),
            ("third \r\n", "third "),
        ] {
            fs::write(file.path(), text).unwrap();
            assert_eq!(secret.current().expose_secret(), expected);
        }
        file.close().unwrap();
        assert_eq!(secret.current().expose_secret(), "first");
        let fixed = Secret {
            at_start: "first".into(),
            file: None,
        };
        assert_eq!(fixed.current().expose_secret(), "first");
    }
}
