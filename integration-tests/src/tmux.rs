//! A real terminal for a program that needs one: a tmux of its own, whose screen can be read.

use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::eventually::eventually;
use crate::peers::absent;

/// A tmux with one shell in it. Dropping it ends it, and what runs there.
#[derive(Debug)]
pub struct Tmux {
    socket: String,
}

impl Tmux {
    /// A shell in a terminal of this size, with these variables in its environment. `None`, and a line that says so, without tmux.
    ///
    /// # Panics
    ///
    /// When tmux does not start; without it, where `CI` is `true`: such a run needs to be complete.
    pub fn start(width: u16, height: u16, environment: &[(&str, &str)]) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            absent::<()>("a terminal", "tmux");
            return None;
        }
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let socket = format!("zkr-{}-{}", process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        let tmux = Self { socket };
        let (width, height) = (width.to_string(), height.to_string());
        let set = environment.iter().map(|(name, value)| format!("{name}={value}"));
        let mut words =
            vec!["new-session", "-d", "-x", &width, "-y", &height, "env", "-u", "NO_COLOR", "PS1=ready> "];
        let set: Vec<_> = set.collect();
        words.extend(set.iter().map(String::as_str));
        words.push("/bin/sh");
        tmux.tmux(&words);
        Some(tmux)
    }

    /// Types a line into the shell, or whatever runs there.
    pub fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.key("Enter");
    }

    /// Presses a key, by tmux's name for it: `q`, `Enter`, `C-c`.
    pub fn key(&self, name: &str) {
        self.tmux(&["send-keys", name]);
    }

    /// Gives the terminal another size.
    pub fn resize(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// The process that runs there.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn process(&self) -> u32 {
        self.tmux(&["display-message", "-p", "#{pane_pid}"]).trim().parse().expect("it has an id")
    }

    /// The lines of the screen.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The same with the codes of its colours.
    pub fn coloured_screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Waits until the screen shows this; the screen.
    ///
    /// # Panics
    ///
    /// When it does not `within` that time; the message shows the screen.
    pub async fn shows(&self, text: &str, within: Duration) -> String {
        eventually(within, &format!("{text:?} on the screen"), async || {
            let screen = self.screen();
            if screen.contains(text) { Ok(screen) } else { Err(screen) }
        })
        .await
    }

    /// Waits until a text is not on the screen any more.
    ///
    /// # Panics
    ///
    /// When it stays.
    pub async fn hides(&self, text: &str, within: Duration) {
        eventually(within, &format!("{text:?} is gone from the screen"), async || {
            let screen = self.screen();
            if screen.contains(text) { Err(screen) } else { Ok(()) }
        })
        .await;
    }

    fn tmux(&self, words: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.args(["-u", "-L", &self.socket, "-f", "/dev/null"]).args(words);
        let output = command.output().expect("tmux was there before");
        assert!(output.status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // It may have ended with its shell.
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output();
    }
}
