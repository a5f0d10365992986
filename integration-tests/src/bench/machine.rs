//! Where the figures come from: the machine, and how steadily it computes right now.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::runs::per_call;
use super::samples::Samples;

/// The facts that a reader needs to compare figures; "unknown" where they cannot be found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many threads run at once.
    pub cores: usize,
    /// Main memory in MiB, 0 if unknown.
    pub memory_mib: u64,
    /// Operating system and version.
    pub kernel: String,
    /// The compiler.
    pub rustc: String,
    /// `release` or `debug`: figures of the latter are for the frame's own tests.
    pub profile: String,
}

impl Machine {
    /// Looks around.
    pub fn here() -> Self {
        Self {
            processor: file_field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: file_field("/proc/meminfo", "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib / 1024),
            kernel: first_line("uname", &["-sr"]),
            rustc: first_line("rustc", &["--version"]),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        }
    }

    /// All of it in one line.
    pub fn words(&self) -> String {
        let Self { processor, cores, memory_mib, kernel, rustc, profile } = self;
        format!("{processor}, {cores} cores, {memory_mib} MiB, {kernel}, {rustc}, {profile} build")
    }
}

/// How long the same short computation takes, several times: its spread is the machine's noise, below which no
/// difference between two figures means anything. In nanoseconds per step.
pub fn calibrate() -> Samples {
    const STEPS: u32 = 5_000_000;
    (0..9)
        .map(|_| {
            let mut state = 0x9e37_79b9_7f4a_7c15_u64;
            per_call(STEPS, || {
                // Marsaglia's xorshift: a chain that no processor computes ahead.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            })
        })
        .collect()
}

/// How much the calibration's runs differ, in words: half of them by little, the extremes perhaps by a lot.
pub fn noise(calibration: &Samples) -> String {
    let half = 100.0 * calibration.relative_spread();
    let extremes = 100.0 * (calibration.max() - calibration.min()) / calibration.median();
    format!("± {half:.1} %, extremes {extremes:.1} % apart")
}

/// The first value of a field in a file of `name : value` lines.
fn file_field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok();
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok());
    text.and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_else(unknown)
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_tells_the_usual_from_the_extreme() {
        assert_eq!(noise(&[9.0, 10.0, 12.0].into_iter().collect()), "± 10.0 %, extremes 30.0 % apart");
    }

    #[test]
    fn a_machine_has_a_core_and_a_compiler() {
        let machine = Machine::here();
        assert!(machine.cores >= 1);
        assert!(machine.rustc.starts_with("rustc 1."), "{}", machine.rustc);
    }
}
