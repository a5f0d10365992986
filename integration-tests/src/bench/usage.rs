//! The memory and processor time of another process, as the kernel counts them.

use std::fs;
use std::time::Duration;

/// The processor time that the living threads of process `id` have used so far.
///
/// # Panics
///
/// When there is no such process.
pub fn processor_time_of(id: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
    let time = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).expect("it runs");
        text.split(' ')
            .next()
            .and_then(|first| first.parse::<u64>().ok())
            .expect("nanoseconds on a processor")
    };
    Duration::from_nanos(tasks.map(|task| time(task.expect("it runs"))).sum())
}

/// The resident memory of process `id`, in bytes.
///
/// # Panics
///
/// When there is no such process.
pub fn resident_memory_of(id: u32) -> u64 {
    memory_of(id, "VmRSS:")
}

/// The most resident memory that process `id` has had, in bytes.
///
/// # Panics
///
/// When there is no such process.
pub fn peak_memory_of(id: u32) -> u64 {
    memory_of(id, "VmHWM:")
}

fn memory_of(id: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("it has memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("kibibytes");
    kib * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_uses_something() {
        let id = std::process::id();
        assert!(processor_time_of(id) > Duration::ZERO);
        assert!(resident_memory_of(id) > 100_000);
    }
}
