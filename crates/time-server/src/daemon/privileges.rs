//! Giving up what the process needs no longer: another user's rights, and writing to files.

use std::fmt;
use std::io;

use zk_registry::cli::UsageError;

/// The user, and by the user its groups, that the process becomes once it listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserName(pub String);

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Becomes this user for good, in every thread.
///
/// # Errors
///
/// A user that does not exist, or one that this process may not become.
#[cfg(target_os = "linux")]
pub(crate) fn become_user(name: &UserName) -> Result<(), UsageError> {
    use nix::unistd::{Uid, User, geteuid, initgroups, setgid, setresuid};

    let wrong = |what: String| UsageError::new("--user", format!("{name}: {what}"));
    let failed = |error: nix::Error| wrong(format!("cannot become this user: {}", error.desc()));
    let user = User::from_name(&name.0)
        .map_err(failed)?
        .ok_or_else(|| wrong("there is no such user; use the name of one".to_owned()))?;
    if geteuid() == user.uid {
        return Ok(());
    }
    let c_name = std::ffi::CString::new(name.0.as_str()).map_err(|error| wrong(error.to_string()))?;
    initgroups(&c_name, user.gid).map_err(failed)?;
    setgid(user.gid).map_err(failed)?;
    setresuid(user.uid, user.uid, user.uid).map_err(failed)?;
    // A process that could go back would have given up nothing.
    if !user.uid.is_root() && nix::unistd::setuid(Uid::from_raw(0)).is_ok() {
        return Err(wrong("the rights of root could be taken back".to_owned()));
    }
    Ok(())
}

/// Becomes another user: not here.
///
/// # Errors
///
/// Always.
#[cfg(not(target_os = "linux"))]
pub(crate) fn become_user(_: &UserName) -> Result<(), UsageError> {
    Err(UsageError::new("--user", "needs Linux; start the program as that user"))
}

/// How far the process is confined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Confined {
    /// The kernel cannot do it.
    No,
    /// Every write to a file, and every execution of one, is refused, for each thread that is started from now on.
    ReadsOnly,
}

/// Gives up writing to files, and running them, but for making and removing the socket of the admin endpoint in `socket_dir`.
///
/// Must be called before any other thread is started. Reading stays allowed: renewed certificates may lie anywhere.
///
/// # Errors
///
/// The kernel's. A kernel without Landlock is none.
#[cfg(target_os = "linux")]
pub fn confine(socket_dir: Option<&std::path::Path>) -> io::Result<Confined> {
    use landlock::{
        ABI, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
        RulesetCreatedAttr as _, RulesetStatus,
    };

    // Of a kernel that knows less, as much as it knows.
    let refused = AccessFs::from_write(ABI::V5) | AccessFs::Execute;
    let confine = || -> Result<RulesetStatus, Box<dyn std::error::Error>> {
        let mut ruleset =
            Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(refused)?.create()?;
        if let Some(dir) = socket_dir {
            let allowed = AccessFs::MakeSock | AccessFs::RemoveFile;
            ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(dir)?, allowed))?;
        }
        Ok(ruleset.restrict_self()?.ruleset)
    };
    match confine().map_err(|error| io::Error::other(error.to_string()))? {
        RulesetStatus::NotEnforced => Ok(Confined::No),
        _ => Ok(Confined::ReadsOnly),
    }
}

/// Confines nothing: not here.
///
/// # Errors
///
/// None.
#[cfg(not(target_os = "linux"))]
pub fn confine(_: Option<&std::path::Path>) -> io::Result<Confined> {
    Ok(Confined::No)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_confined_thread_reads_and_writes_nothing_but_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let (file, sockets) = (dir.path().join("file"), dir.path().join("sockets"));
        fs::write(&file, "kept").unwrap();
        fs::create_dir(&sockets).unwrap();
        // It holds for this thread, and those that it starts, for good.
        let confined = std::thread::spawn({
            let file = file.clone();
            move || {
                if confine(Some(&sockets)).unwrap() == Confined::No {
                    println!("there is no Landlock here: skipped");
                    return;
                }
                assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
                for refused in [
                    fs::write(&file, "changed"),
                    fs::write(file.with_extension("new"), "made"),
                    fs::write(sockets.join("file"), "made"),
                    fs::remove_file(&file),
                    fs::rename(&file, file.with_extension("moved")),
                ] {
                    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
                }
                let socket = sockets.join("socket");
                drop(UnixListener::bind(&socket).unwrap());
                fs::remove_file(&socket).unwrap();
                assert!(std::process::Command::new("/bin/true").status().is_err(), "no program is run");
            }
        });
        confined.join().unwrap();
        fs::write(&file, "changed").unwrap(); // other threads are free
    }
}
