//! Other people's clients as processes, for tests and benchmarks: Apache Curator and kazoo, where this machine has them.
//!
//! Debian packages: `libcurator-discovery-java`, `libcurator-recipes-java`, `default-jdk-headless`; `python3-kazoo`. Those from
//! PyPI are `.ci/peers`'.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::checkout::checkout;
use crate::process::Program;

/// Curator, to be given the arguments of `peers/Curator.java`; `None` where it is not installed.
///
/// # Panics
///
/// Where it is not installed although the environment variable `CI` is `true`.
pub fn curator() -> Option<Program> {
    // Many of them run at once, each for a few seconds.
    curator_runs("Curator.java", &["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
}

/// Curator at its full speed, driven as `peers/CuratorBench.java` says; as [`curator`].
///
/// # Panics
///
/// As [`curator`].
pub fn curator_bench() -> Option<Program> {
    curator_runs("CuratorBench.java", &["-Xmx512m"])
}

/// Curator with Spring Cloud Zookeeper's payload, to be given the arguments of `peers/Spring.java`; as [`curator`].
///
/// # Panics
///
/// As [`curator`].
pub fn spring() -> Option<Program> {
    curator_runs("Spring.java", &["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
}

/// Curator with the payload of Dubbo's applications, to be given the arguments of `peers/DubboApp.java`; as [`curator`].
///
/// # Panics
///
/// As [`curator`].
pub fn dubbo_app() -> Option<Program> {
    curator_runs("DubboApp.java", &["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
}

/// Prometheus, as Debian packages it, in the path or where the environment variable `PROMETHEUS` says; `None` where it is not: no
/// run needs it to be complete.
pub fn prometheus() -> Option<Program> {
    let named = std::env::var_os("PROMETHEUS").map(PathBuf::from);
    let path = named.unwrap_or_else(|| PathBuf::from("/usr/bin/prometheus"));
    path.is_file().then(|| Program::at(path))
}

/// One of the peers of `peers/python`, where the environment variable `PYTHON_PEERS` names the directory with a virtual
/// environment for each, as `.ci/peers` makes them; `None` without that variable: no run needs them to be complete.
///
/// # Panics
///
/// When the variable is set, and the peer's environment is not there.
pub fn in_python(peer: &str) -> Option<Program> {
    let environment = PathBuf::from(std::env::var_os("PYTHON_PEERS")?).join(peer);
    let python = environment.join("bin/python");
    assert!(python.is_file(), "{peer} is asked for, and {} is not there", python.display());
    Some(Program::at(python).arg(checkout().join(format!("integration-tests/peers/python/{peer}.py"))))
}

/// Java's serialization of a string, to be given the arguments of `peers/JavaString.java`; as [`curator`].
///
/// # Panics
///
/// As [`curator`].
pub fn java_string() -> Option<Program> {
    curator_runs("JavaString.java", &["-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
}

fn curator_runs(source: &str, flags: &[&str]) -> Option<Program> {
    let jars: Vec<PathBuf> = JARS.iter().map(|jar| Path::new("/usr/share/java").join(jar)).collect();
    let missing = jars.iter().find(|jar| !jar.is_file()).map(|jar| jar.display().to_string());
    // A program in one file is compiled by the launcher, which needs more than a runtime.
    let missing = missing.or_else(|| (!runs("javac", &["--version"])).then(|| "javac".to_owned()));
    if let Some(missing) = missing {
        return absent("Curator", &missing);
    }
    let classpath = jars.iter().map(|jar| jar.display().to_string()).collect::<Vec<_>>().join(":");
    let source = checkout().join("integration-tests/peers").join(source);
    Some(Program::at("java").args(flags).args(["-cp", &classpath]).arg(source))
}

/// kazoo, to be given the arguments of `peers/kazoo_peer.py`; as [`curator`].
///
/// # Panics
///
/// As [`curator`].
pub fn kazoo() -> Option<Program> {
    // Debian's modules belong to Debian's interpreter, which need not be the first in the path.
    let python =
        ["python3", "/usr/bin/python3"].into_iter().find(|python| runs(python, &["-c", "import kazoo"]));
    let Some(python) = python else { return absent("kazoo", "python3 with the module kazoo") };
    Some(Program::at(python).arg(checkout().join("integration-tests/peers/kazoo_peer.py")))
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A run that must be complete fails; any other says on the terminal, past the runner's capture, what it leaves out.
pub(crate) fn absent<T>(peer: &str, missing: &str) -> Option<T> {
    let complete = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!complete, "{peer} is not installed ({missing} is missing), and CI=true skips nothing");
    // A terminal that cannot be written to is no reason to fail.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("SKIPPED: what runs beside {peer}: {missing} is missing\n").as_bytes(),
    );
    None
}

const JARS: [&str; 14] = [
    "curator-x-discovery.jar",
    "curator-framework.jar",
    "curator-client.jar",
    "curator-recipes.jar",
    "zookeeper.jar",
    "zookeeper-jute.jar",
    "guava.jar",
    "jackson-annotations.jar",
    "jackson-core.jar",
    "jackson-databind.jar",
    "netty-all.jar",
    "slf4j-api.jar",
    "slf4j-nop.jar",
    "metrics-core.jar",
];
