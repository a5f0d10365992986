//! This very program, started again for a task of its own: a process whose processor time, memory and signals are its own.

use std::io::{Read, Write};

use integration_tests::process::Program;

/// This program with the environment variable `task` set to `value`.
pub(crate) fn again(task: &str, value: &str) -> Program {
    Program::at(std::env::current_exe().expect("a running program has a path")).env(task, value)
}

/// The value, in a process that was started for this task.
pub(crate) fn asked(task: &str) -> Option<String> {
    std::env::var(task).ok()
}

/// Writes one line to the parent.
pub(crate) fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().expect("somebody reads");
}

/// Ends the process when its input ends: a parent that was killed leaves no child behind.
pub(crate) fn end_with_input() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
}
