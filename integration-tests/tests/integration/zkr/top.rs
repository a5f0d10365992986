//! `zkr top` in a real terminal.

use integration_tests::proxy::Proxy;
use integration_tests::tmux::Tmux;
use nix::pty::{Winsize, openpty};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::*;

/// The command line of `zkr top` against this ZooKeeper; what it ends with is written below it.
fn top(to: &str, words: &str) -> String {
    let zkr = Program::zkr().path().display().to_string();
    format!(
        "stty > a; {zkr} top {words} --zookeeper {to}; echo ended: $?; stty > b; cmp a b && printf 'as %s' before"
    )
}

/// A shell in an empty directory.
fn terminal(width: u16, height: u16, environment: &[(&str, &str)]) -> Option<(Tmux, tempfile::TempDir)> {
    let tmux = Tmux::start(width, height, environment)?;
    let directory = tempfile::tempdir().unwrap();
    tmux.line(&format!("cd {} && clear", directory.path().display()));
    Some((tmux, directory))
}

#[tokio::test]
async fn the_fleet_is_seen_and_changed_on_screens_of_every_size_and_the_terminal_given_back() {
    let world = World::new(2).await;
    let Some((tmux, _directory)) = terminal(40, 10, &[]) else { return };
    let (first, second) = (world.address(0).to_string(), world.address(1).to_string());
    let id = first.clone().min(second.clone());
    tmux.line(&top(&world.chroot.connect_string(), "--write"));
    let small = tmux.shows(&id, SOON).await;
    assert!(small.contains("live") && !small.contains("SERVICE") && small.lines().count() <= 10, "{small}");
    tmux.resize(200, 60);
    let large = tmux.shows("SERVICE", SOON).await;
    for shown in [first.as_str(), &second, "history", "OWNER", "0x", "2 instances", "WRITES"] {
        assert!(large.contains(shown), "{shown}: {large}");
    }
    // Age: two instances, registered a moment ago.
    let row = large.lines().find(|line| line.contains(&id) && line.contains("0x")).unwrap();
    assert!(row.split_whitespace().any(|cell| cell.len() <= 3 && cell.ends_with('s')), "{row}");
    tmux.key("Down");
    tmux.key("d");
    tmux.shows(&format!("drain {id}? y/n"), SOON).await;
    tmux.key("y");
    tmux.shows("written, status up -> draining", SOON).await;
    // What is asked for next is based on what is shown.
    tmux.shows("update     time", SOON).await;
    assert!(world.record(id.parse().unwrap()).await.contains(r#""status":"draining""#));
    tmux.key("w");
    tmux.line("7");
    tmux.key("y");
    tmux.shows("weight 1 -> 7", SOON).await;
    tmux.key("?");
    tmux.shows("next pane", SOON).await;
    tmux.key("Escape");
    // A terminal tells Escape with a key right behind it as that key with Alt.
    tmux.hides("next pane", SOON).await;
    tmux.line("/nothing-has-this");
    tmux.shows("0 of 2", SOON).await;
    tmux.resize(40, 10);
    tmux.key("C-c");
    let after = tmux.shows("as before", SOON).await;
    assert!(after.contains("ended: 0") && !after.contains("live"), "{after}");
}

#[tokio::test]
async fn nothing_is_coloured_where_no_colour_is_wanted_or_possible() {
    let world = World::new(1).await;
    let to = world.chroot.connect_string();
    for (environment, colours) in
        [(("TERM", "xterm-256color"), true), (("NO_COLOR", "1"), false), (("TERM", "vt220"), false)]
    {
        let Some((tmux, _directory)) = terminal(120, 30, &[environment]) else { return };
        tmux.line(&top(&to, "time"));
        tmux.shows("read-only", SOON).await;
        tmux.shows(&world.address(0).to_string(), SOON).await;
        let screen = tmux.coloured_screen();
        // 3x and 38;5;x set the colour of letters.
        let coloured = screen.split("\x1b[").skip(1).any(|code| {
            let numbers = code.split('m').next().unwrap_or_default();
            numbers.split(';').any(|number| number.len() == 2 && number.starts_with('3') && number != "39")
        });
        assert_eq!(coloured, colours, "{environment:?}: {screen:?}");
        tmux.key("d");
        tmux.shows("--write", SOON).await;
        tmux.key("q");
        tmux.shows("as before", SOON).await;
    }
}

#[tokio::test]
async fn without_zookeeper_it_says_stale_keeps_the_instances_and_comes_back() {
    let world = World::new(1).await;
    let proxy = Proxy::to(ZooKeeper::shared().address(1)).await;
    let to = world.chroot.connect_string();
    let chroot = to.split_once('/').unwrap().1;
    let Some((tmux, _directory)) = terminal(100, 30, &[]) else { return };
    tmux.line(&top(&format!("{}/{chroot}", proxy.address()), "time --session-timeout 4s"));
    let id = world.address(0).to_string();
    tmux.shows(&id, SOON).await;
    proxy.refuse().await;
    proxy.cut_rst().await;
    assert!(tmux.shows("zkr top  stale", SOON).await.contains(&id));
    proxy.accept().await;
    assert!(tmux.shows("zkr top  live", SOON).await.contains(&id));
    tmux.key("q");
    tmux.shows("ended: 0", SOON).await;
}

#[tokio::test]
async fn records_of_others_cannot_command_the_terminal() {
    let world = World::new(1).await;
    let Some((tmux, _directory)) = terminal(200, 40, &[]) else { return };
    let hostile =
        world.record(world.address(0)).await.replace("127.0.0.1", "\\u001b]2;owned\\u0007\\u001b[2Jh");
    world.raw.create("/services/time/hostile", hostile.as_bytes(), CreateMode::Persistent).await.unwrap();
    tmux.line(&top(&world.chroot.connect_string(), ""));
    let screen = tmux.shows("2 instances", SOON).await;
    world.raw.set("/services/time/hostile", hostile.replace("2;owned", "2;again").as_bytes()).await.unwrap();
    let later = tmux.shows("update", SOON).await;
    assert!(later.contains(r"\u{1b}") && screen.contains("hostile"), "{later}");
    tmux.key("q");
    tmux.shows("as before", SOON).await;
}

#[tokio::test]
async fn it_ends_with_what_happened() {
    let world = World::new(1).await;
    assert!(world.refused("top", 2).await.contains("needs a terminal"));
    let Some((tmux, directory)) = terminal(100, 30, &[]) else { return };
    tmux.line(&top("127.0.0.1:1", "--connect-timeout 1s"));
    assert!(tmux.shows("as before", SOON).await.contains("ended: 3"));
    tmux.line("clear; echo $$ > shell");
    tmux.line(&format!("TERM=dumb {}", top(&world.chroot.connect_string(), "").replace("stty > a; ", "")));
    tmux.shows("ended: 2", SOON).await;
    tmux.line("clear");
    tmux.line(&top(&world.chroot.connect_string(), ""));
    tmux.shows("1 instance", SOON).await;
    let shell = std::fs::read_to_string(directory.path().join("shell")).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", shell.trim());
    let child = std::fs::read_to_string(children).unwrap();
    kill(Pid::from_raw(child.trim().parse().unwrap()), Signal::SIGTERM).unwrap();
    let after = tmux.shows("as before", SOON).await;
    assert!(after.contains("ended: 0") && !after.contains("1 instance"), "{after}");
}

#[tokio::test]
async fn a_screen_that_cannot_be_drawn_on_any_more_is_an_error() {
    let world = World::new(1).await;
    let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let (keyboard, screen) = (openpty(Some(&size), None).unwrap(), openpty(Some(&size), None).unwrap());
    // A copy is not inherited: the program must not keep the other end of its own screen open.
    let mut drawn = std::fs::File::from(screen.master.try_clone().unwrap());
    drop(screen.master);
    // In a session without a terminal of its own: the loss of that would end it by a signal.
    let mut command = std::process::Command::new("setsid");
    command.arg(Program::zkr().path()).args(["top", "--zookeeper", &world.chroot.connect_string()]);
    command.env("TERM", "xterm-256color").stderr(std::process::Stdio::piped());
    let mut run = command.stdin(keyboard.slave).stdout(screen.slave).spawn().unwrap();
    drop(command);
    let mut first = [0; 1];
    std::io::Read::read_exact(&mut drawn, &mut first).unwrap();
    drop(drawn);
    let ended = eventually(SOON, "its end", async || run.try_wait().unwrap()).await;
    let mut said = String::new();
    std::io::Read::read_to_string(&mut run.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(ended.code(), Some(1), "{said}");
    assert!(said.contains("cannot be written"), "{said}");
}
