//! A real browser without a window, driven by its DevTools protocol.
//!
//! The protocol goes through pipes (`--remote-debugging-pipe`: descriptor 3 is read, 4 is written; a message ends with a NUL).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use crate::eventually::eventually;
use crate::peers::absent;

/// A browser with one page. Dropping it ends it.
#[derive(Debug)]
pub struct Chromium {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    sent: u64,
    session: Option<String>,
    _profile: TempDir,
}

impl Chromium {
    /// A browser with an empty page. `None`, and a line that says so, without Chromium.
    ///
    /// # Panics
    ///
    /// When it does not start; without it, where `CI` is `true`: such a run needs to be complete.
    pub async fn start() -> Option<Self> {
        let there =
            |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|run| run.status.success());
        let Some(name) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(there) else {
            return absent("a browser", "chromium");
        };
        let profile = tempfile::tempdir().expect("a directory for its profile");
        let flags = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --remote-debugging-pipe";
        let directory = profile.path().display();
        let run =
            format!("exec {name} {flags} --user-data-dir={directory} about:blank 3<&0 4>&1 0</dev/null 1>&2");
        let mut command = tokio::process::Command::new("/bin/sh");
        command.args(["-c", &run]).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("there is a shell");
        let to = child.stdin.take().expect("it is piped");
        let from = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut browser = Self { child, to, from, sent: 0, session: None, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser.call("Page.enable", json!({})).await;
        Some(browser)
    }

    /// Opens an address.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub async fn open(&mut self, address: &str) {
        let opened = self.call("Page.navigate", json!({ "url": address })).await;
        assert!(opened["errorText"].is_null(), "{address}: {opened}");
        self.until("document.readyState === 'complete'", LONG).await;
    }

    /// The value of an expression in the page.
    ///
    /// # Panics
    ///
    /// When it throws.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", ask).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page.
    ///
    /// # Panics
    ///
    /// When it is not `within` that time; the message shows the page's text.
    pub async fn until(&mut self, expression: &str, within: Duration) {
        // A page that is being loaded has no body yet.
        let ask = format!(
            "(() => {{ try {{ return ({expression}) ? '' : document.body.innerText || 'empty'; }} \
             catch (error) {{ return String(error); }} }})()"
        );
        eventually(within, expression, async || match self.evaluate(&ask).await.as_str() {
            Some("") => Ok(()),
            other => Err(other.unwrap_or_default().to_owned()),
        })
        .await;
    }

    /// Waits until the page shows a text.
    ///
    /// # Panics
    ///
    /// As [`Chromium::until`].
    pub async fn shows(&mut self, text: &str, within: Duration) {
        self.until(&format!("document.body.innerText.includes({})", json!(text)), within).await;
    }

    /// Gives the page the size of a window or a phone.
    pub async fn resize(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Prefers a scheme of colours: `dark` or `light`.
    pub async fn prefer(&mut self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// Lets pages run scripts, or not.
    pub async fn disable_scripts(&mut self, disabled: bool) {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": disabled })).await;
    }

    /// Writes what the page looks like to a PNG file.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub async fn photograph(&mut self, file: &Path) {
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        let bytes = STANDARD.decode(picture["data"].as_str().unwrap_or_default()).expect("base64");
        std::fs::write(file, bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// Calls a method of the protocol; its result.
    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).await.unwrap_or_else(|error| panic!("{method}: {error}"));
        let id = self.sent;
        let answer = timeout(LONG, async {
            loop {
                let mut bytes = Vec::new();
                let read = self.from.read_until(0, &mut bytes).await;
                assert!(read.is_ok_and(|read| read > 0), "the browser has ended");
                bytes.pop();
                let message: Value = serde_json::from_slice(&bytes).expect("the protocol is JSON");
                // The others are events.
                if message["id"] == id {
                    return message;
                }
            }
        });
        let mut answer = answer.await.unwrap_or_else(|_| panic!("{method}: no answer from the browser"));
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].take()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It has many processes, all in one group. They may have ended.
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// How long a browser may take for anything, on a busy machine.
const LONG: Duration = Duration::from_secs(60);
