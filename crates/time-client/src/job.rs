//! A subcommand whose flags were checked, ready to run: the one shape that the program knows of all of them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use zk_registry::cli::UsageError;

use crate::common_args::CommonArgs;
use crate::exit::Exit;
use crate::target::{Target, Unavailable};
use zk_registry::cli::program::{Flush, Format, Output};

/// A checked run of a subcommand, and how its lines are flushed.
pub(crate) struct Job {
    /// When lines reach the reader.
    pub(crate) flush: Flush,
    run: Box<dyn FnOnce(Arc<Output>, CancellationToken) -> Running>,
}

type Running = Pin<Box<dyn Future<Output = Result<Exit, Unavailable>>>>;

impl Job {
    /// A job that calls `run` with standard output and a token that is cancelled when the run is to end early.
    pub(crate) fn new<F>(
        flush: Flush,
        run: impl FnOnce(Arc<Output>, CancellationToken) -> F + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Exit, Unavailable>> + 'static,
    {
        Self { flush, run: Box::new(|output, stop| Box::pin(run(output, stop))) }
    }

    /// A job of a subcommand that has no flags but the common ones, and writes few lines.
    ///
    /// # Errors
    ///
    /// The flag that cannot be used so.
    pub(crate) fn of_common(
        args: CommonArgs,
        run: impl AsyncFnOnce(Target, Format, &Output, &CancellationToken) -> Result<Exit, Unavailable> + 'static,
    ) -> Result<Self, UsageError> {
        let format = args.output;
        let target = Target::of(args)?;
        let run = move |output: Arc<Output>, stop| async move { run(target, format, &output, &stop).await };
        Ok(Self::new(Flush::EachLine, run))
    }

    /// Runs to the end, or until `stop`.
    pub(crate) async fn run(self, output: Arc<Output>, stop: CancellationToken) -> Result<Exit, Unavailable> {
        (self.run)(output, stop).await
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("flush", &self.flush).finish_non_exhaustive()
    }
}
