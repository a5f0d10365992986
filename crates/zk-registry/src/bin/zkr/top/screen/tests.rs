//! The guard in a terminal of its own: this test starts itself anew there.

use std::env;
use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread;

use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};

use super::*;

const HOW: &str = "ZKR_SCREEN_TEST_ENDS_BY";

#[test]
fn the_terminal_is_given_back_by_a_drop_by_a_panic_and_by_a_panic_of_another_thread() {
    if let Ok(how) = env::var(HOW) {
        let screen = Screen::take().unwrap();
        match how.as_str() {
            "drop" => drop(screen),
            "panic" => panic!("by intention"),
            _ => {
                assert!(screen.is_taken());
                thread::spawn(|| panic!("by intention")).join().unwrap_err();
                assert!(!screen.is_taken());
            }
        }
        return;
    }
    for how in ["drop", "panic", "other thread"] {
        let terminal = openpty(None, None).unwrap();
        let before = tcgetattr(&terminal.slave).unwrap();
        let end = || Stdio::from(terminal.slave.try_clone().unwrap());
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                &format!(
                    "{}::the_terminal_is_given_back_by_a_drop_by_a_panic_and_by_a_panic_of_another_thread",
                    module_path!().split_once("::").unwrap().1
                ),
            ])
            .env(HOW, how)
            .env("TERM", "xterm")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let mut master = File::from(terminal.master);
        let reader = thread::spawn(move || {
            let (mut written, mut bytes) = (Vec::new(), [0; 4096]);
            // Reading a terminal that nothing holds open any more is an error.
            while let Ok(n @ 1..) = master.read(&mut bytes) {
                written.extend_from_slice(&bytes[..n]);
            }
            (String::from_utf8_lossy(&written).into_owned(), master)
        });
        let status = child.wait().unwrap();
        let after = tcgetattr(&terminal.slave).unwrap();
        drop(terminal.slave);
        let (written, _master) = reader.join().unwrap();
        assert_eq!(status.success(), how != "panic", "{how}: {written}");
        let (entered, left) = ("\u{1b}[?1049h", "\u{1b}[?1049l");
        assert!(written.contains(entered), "{how}: {written:?}");
        let (_, rest) = written.split_once(left).expect("the second screen is left");
        assert!(rest.contains("\u{1b}[?25h"), "{how}: the cursor is back: {rest:?}");
        assert_eq!(
            rest.contains("by intention"),
            how != "drop",
            "{how}: after that it is complained: {rest:?}"
        );
        assert_eq!(after.local_flags, before.local_flags, "{how}");
        assert!(after.local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON));
    }
}
