//! A terminal that only a test looks at: what a program draws on it, and when.
//!
//! [`tmux`](crate::tmux) is a real one, for what a person would see; this one says to the moment when something was there.

mod screen;

use std::fs::File;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use nix::pty::{Winsize, openpty};

use self::screen::Screen;
use crate::lookout::Lookout;
use crate::process::Program;

/// A program in a terminal of its own. Dropping it kills the program.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    lookout: Lookout,
}

impl Terminal {
    /// Starts a program in a terminal of this size.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(program: &Program, width: u16, height: u16) -> Self {
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("the system has pseudo terminals");
        // A copy is not inherited: the program must not keep the other end of its own terminal open.
        let mut from = File::from(pair.master.try_clone().expect("a descriptor is free"));
        drop(pair.master);
        let inner = program.command();
        // The program finds its terminal's size by the session that it belongs to. `setsid` becomes the program: the process id stays.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(inner.get_program()).args(inner.get_args());
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let end = || Stdio::from(pair.slave.try_clone().expect("a descriptor is free"));
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("setsid is part of util-linux");
        let lookout = Lookout::default();
        let tell = lookout.clone();
        // It ends with the program: the other end of the terminal is closed then.
        thread::spawn(move || {
            let (mut screen, mut bytes) = (Screen::new(width, height), [0; 64 * 1024]);
            while let Ok(read @ 1..) = from.read(&mut bytes) {
                let at = Instant::now();
                screen.take_up(&bytes[..read]);
                tell.look(at, |text| screen.shows(text));
            }
        });
        Self { child, lookout }
    }

    /// The process that runs there.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What can be waited for on its screen.
    pub fn lookout(&self) -> &Lookout {
        &self.lookout
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // An error of either means that it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_program_has_a_terminal_of_that_size_and_what_it_draws_is_seen() {
        let script = "sleep 0.2; printf '\\033[2J\\033[3;5Hab\\033[3;6Hcd'; stty size; sleep 60";
        let terminal = Terminal::start(&Program::at("sh").args(["-c", script]), 80, 24);
        let (drawn, size) = (terminal.lookout().wait_for("acd"), terminal.lookout().wait_for("24 80"));
        drawn.seen(Duration::from_secs(20)).await;
        size.seen(Duration::from_secs(20)).await;
    }
}
