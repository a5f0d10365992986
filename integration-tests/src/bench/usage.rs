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

/// The process that listens on this TCP port, if this process may look into it.
pub fn process_that_listens_on(port: u16) -> Option<u32> {
    let socket = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().find_map(|table| listening(table, port))?;
    let link = format!("socket:[{socket}]");
    let holds = |process: &u32| {
        let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| target.as_os_str() == link.as_str())
    };
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|process| process.file_name().to_str()?.parse().ok()).find(holds)
}

/// The number of the socket that listens on `port`, in one of the kernel's tables.
fn listening(table: &str, port: u16) -> Option<String> {
    const LISTENS: &str = "0A";
    fs::read_to_string(table).ok()?.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (_, at) = fields.get(1)?.rsplit_once(':')?;
        let matches = u16::from_str_radix(at, 16) == Ok(port) && *fields.get(3)? == LISTENS;
        matches.then(|| fields.get(9).map(|socket| (*socket).to_owned()))?
    })
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

    #[test]
    fn who_listens_is_found() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(process_that_listens_on(port), Some(std::process::id()));
        drop(listener);
        assert_eq!(process_that_listens_on(port), None);
    }
}
