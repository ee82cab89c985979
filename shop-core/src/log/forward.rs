//! `Arc` and `Box` of a port are that port.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    CommitOffset, CommitOutcome, ControlEvent, DeadLetter, DeadLetters, Lag, LogSource, SourceEvent,
};
use crate::Result;

macro_rules! forward {
    ($pointer:ident) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<T: LogSource + ?Sized> LogSource for $pointer<T> {
            async fn next(&self) -> Result<SourceEvent> {
                (**self).next().await
            }

            async fn next_control(&self) -> Result<ControlEvent> {
                (**self).next_control().await
            }

            async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
                (**self).commit(positions).await
            }

            async fn lag(&self) -> Result<Lag> {
                (**self).lag().await
            }

            async fn check(&self) -> Result<()> {
                (**self).check().await
            }

            async fn close(&self, deadline: Duration) -> Result<()> {
                (**self).close(deadline).await
            }
        }

        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<T: DeadLetters + ?Sized> DeadLetters for $pointer<T> {
            async fn put(&self, letters: &[DeadLetter]) -> Result<()> {
                (**self).put(letters).await
            }

            async fn check(&self) -> Result<()> {
                (**self).check().await
            }
        }
    };
}

forward!(Arc);
forward!(Box);
