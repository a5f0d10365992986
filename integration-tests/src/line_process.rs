//! A process that is told what to do line by line, and answers each line with one.
//!
//! The process measures by itself: how fast lines travel does not matter.

use std::process::Stdio;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::process::{Program, Resource, Signal};

/// The running process. It ends when its input does; dropping this kills it.
#[derive(Debug)]
pub struct LineProcess {
    name: String,
    id: u32,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// Held for its drop, and so that no other process gets its id.
    _child: Child,
}

impl LineProcess {
    /// Starts it; what it complains about appears with ours.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(program: &Program) -> Self {
        let name = program.name();
        let mut command = tokio::process::Command::from(program.command());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("starting {name}: {error}"));
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let id = child.id().expect("nobody has waited for its end");
        Self { name, id, input, output, _child: child }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The next line of its output.
    ///
    /// # Panics
    ///
    /// When it ends instead.
    pub async fn says(&mut self) -> String {
        let line = self.output.next_line().await;
        let line = line.unwrap_or_else(|error| panic!("what {} says: {error}", self.name));
        line.unwrap_or_else(|| panic!("{} has ended", self.name))
    }

    /// Its answer to `line`.
    ///
    /// # Panics
    ///
    /// When it ends instead.
    pub async fn ask(&mut self, line: &str) -> String {
        let told = self.input.write_all(format!("{line}\n").as_bytes()).await;
        told.unwrap_or_else(|error| panic!("telling {} to {line}: {error}", self.name));
        self.says().await
    }

    /// Limits what it may have from now on; `None` lifts the limit.
    ///
    /// # Panics
    ///
    /// When the system refuses.
    pub fn limit(&self, resource: Resource, most: Option<u64>) {
        resource.limit(self.id, most);
    }

    /// Freezes it until the guard is dropped.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub fn freeze(&self) -> Frozen<'_> {
        let id = Pid::from_raw(self.id.try_into().expect("process ids fit"));
        kill(id, Signal::SIGSTOP).unwrap_or_else(|error| panic!("freezing {}: {error}", self.name));
        Frozen { id, _process: self }
    }
}

/// A frozen process; dropping this thaws it.
#[derive(Debug)]
#[must_use = "dropping it thaws"]
pub struct Frozen<'a> {
    id: Pid,
    /// The id stays this process's own for as long as its handle lives.
    _process: &'a LineProcess,
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // An error means that it has been killed meanwhile: there is nothing to thaw.
        let _ = kill(self.id, Signal::SIGCONT);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::eventually::eventually;

    #[tokio::test]
    async fn every_line_is_answered() {
        let mut cat = LineProcess::start(&Program::at("cat"));
        assert_eq!(cat.ask("one").await, "one");
        assert_eq!(cat.ask("two").await, "two");
    }

    #[tokio::test]
    async fn a_frozen_process_answers_after_its_thaw() {
        let mut cat = LineProcess::start(&Program::at("cat"));
        let stat = format!("/proc/{}/stat", cat.id());
        let frozen = cat.freeze();
        eventually(std::time::Duration::from_secs(10), "it is stopped", async || {
            fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "))
        })
        .await;
        drop(frozen);
        assert_eq!(cat.ask("on").await, "on");
    }

    #[tokio::test]
    #[should_panic(expected = "true has ended")]
    async fn an_end_is_no_answer() {
        LineProcess::start(&Program::at("true")).says().await;
    }
}
