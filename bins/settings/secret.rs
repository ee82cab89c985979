//! A secret that may change while it is in use.
//!
//! A secret from a file is read again at each request for it, so it can be replaced without a
//! restart. A client may keep a token until a service rejects it. A secret from a variable stays
//! the same until the process ends.

use std::path::PathBuf;

use secrecy::SecretString;
use tokio::task::spawn_blocking;

use super::environment::read_secret;

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
    /// If there is no file, returns the secret at the start of the process. Does the same, and logs
    /// a warning, if the file is empty or cannot be read.
    pub(crate) async fn current(&self) -> SecretString {
        let Some(path) = &self.file else {
            return self.at_start.clone();
        };

        let file = path.clone();
        let read_result = spawn_blocking(move || read_secret(&file)).await;
        let error = match read_result {
            Ok(Ok(secret)) => return secret.into(),
            Ok(Err(problem)) => problem,
            Err(panic) => panic.to_string(),
        };
        tracing::warn!(file = %path.display(), error, "a secret file is not used: the secret at the start is used");
        self.at_start.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use secrecy::ExposeSecret as _;

    use super::*;

    #[tokio::test]
    async fn current_follows_the_file() {
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
            assert_eq!(secret.current().await.expose_secret(), expected);
        }
        // Neither a file without an end nor one that is too large is read.
        for content in [vec![b'x'; (64 << 10) + 1], b"\n".to_vec()] {
            fs::write(file.path(), content).unwrap();
            assert_eq!(secret.current().await.expose_secret(), "first");
        }
        let zero = Secret {
            at_start: "first".into(),
            file: Some("/dev/zero".into()),
        };
        assert_eq!(zero.current().await.expose_secret(), "first");
        file.close().unwrap();
        assert_eq!(secret.current().await.expose_secret(), "first");
        let fixed = Secret {
            at_start: "first".into(),
            file: None,
        };
        assert_eq!(fixed.current().await.expose_secret(), "first");
    }
}
