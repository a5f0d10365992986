//! One thing that the doctor found.

use serde::Serialize;
use zk_registry::cli::program::Paint;
use zk_registry::printable::Printable;

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    Doubtful,
    Broken,
}

/// What was found where, and what to do about it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    subject: String,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<&'static str>,
}

impl Finding {
    pub(super) fn ok(subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject: subject.into(), what: what.into(), cure: None }
    }

    pub(super) fn doubtful(subject: impl Into<String>, what: impl Into<String>, cure: &'static str) -> Self {
        Self { level: Level::Doubtful, cure: Some(cure), ..Self::ok(subject, what) }
    }

    pub(super) fn broken(subject: impl Into<String>, what: impl Into<String>, cure: &'static str) -> Self {
        Self { level: Level::Broken, cure: Some(cure), ..Self::ok(subject, what) }
    }

    /// The lines of text: the finding, and what to do.
    pub(super) fn text(&self, paint: Paint) -> Vec<String> {
        let level = match self.level {
            Level::Ok => paint.good("ok      "),
            Level::Doubtful => paint.bad("doubtful"),
            Level::Broken => paint.bad("broken  "),
        };
        let line = format!("{level}  {}: {}", Printable(&self.subject), Printable(&self.what));
        let cure = self.cure.map(|cure| format!("          {cure}"));
        [Some(line), cure].into_iter().flatten().collect()
    }
}
