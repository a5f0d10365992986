//! `zkr top`: the fleet, live, on the whole screen.

mod key;
mod model;
mod screen;
mod theme;
mod view;

use std::io::{self, IsTerminal as _};
use std::thread;
use std::time::Duration;

use clap::Args;
use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use zk_registry::ServiceName;
use zk_registry::cli::UsageError;
use zk_registry::operate::Operator;

use self::key::Key;
use self::model::{Effect, Model, Request, Writes};
use self::screen::Screen;
use self::theme::Theme;
use crate::amend::{Amended, amend};
use crate::common_args::CommonArgs;
use crate::exit::{Exit, Failure};
use crate::fleet::{Fleet, any_reachable};
use crate::live::{Board, News, Now, watching};

/// What to show.
#[derive(Args, Clone, Debug)]
pub(crate) struct TopArgs {
    /// Names of services; without any, all
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,

    /// Lets the keys d, u and w change instances, each after a yes
    #[arg(long)]
    write: bool,

    #[command(flatten)]
    common: CommonArgs,
}

/// Shows the fleet until it is told to end.
pub(crate) async fn run(args: TopArgs, stop: &CancellationToken) -> Result<Exit, Failure> {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal())
        || std::env::var("TERM").is_ok_and(|term| term == "dumb")
    {
        let why = "it needs a terminal with a cursor on standard input and output; `zkr watch` and `zkr list` do without";
        return Err(UsageError::new("top", why).into());
    }
    let fleet = Fleet::of(args.common)?;
    let writes = if args.write { Writes::Armed } else { Writes::Refused };
    let model = Model::new(Board::new(&args.services), fleet.to.to_string(), writes);
    let shown = fleet
        .with(stop, async |registry| {
            any_reachable(registry, &args.services).await?;
            let (tell, mut news) = mpsc::channel(WAITING);
            let _watching =
                AbortOnDropHandle::new(tokio::spawn(watching(registry.clone(), args.services, tell)));
            show(model, Operator::new(registry), &mut news).await
        })
        .await;
    match shown {
        Err(Failure::Interrupted) => Ok(Exit::Yes),
        shown => shown,
    }
}

/// The loop of the screen: whatever comes is taken up at once, and drawn soon.
async fn show(
    mut model: Model,
    operator: Operator,
    news: &mut mpsc::Receiver<News>,
) -> Result<Exit, Failure> {
    let theme = Theme::of_this_terminal();
    let mut screen =
        Screen::take().map_err(|error| UsageError::new("top", format!("the terminal: {error}")))?;
    let mut input = keys();
    let (said, mut says) = mpsc::unbounded_channel();
    let mut changes = tokio::task::JoinSet::new();
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // When to draw, if there is something new, and when at the earliest.
    let (mut due, mut earliest) = (Some(Instant::now()), Instant::now());
    loop {
        tokio::select! {
            () = sleep_until(due.unwrap_or(earliest)), if due.is_some() => {
                if !screen.is_taken() {
                    return Err(Failure::Refused("a part of this program failed; see above".to_owned()));
                }
                let now = Now::read();
                screen.terminal.draw(|frame| view::draw(&model, theme, now, frame.buffer_mut())).map_err(lost)?;
                (due, earliest) = (None, Instant::now() + BETWEEN);
                continue;
            }
            told = news.recv() => {
                let Some(told) = told else { return Err(Failure::Interrupted) };
                let now = Now::read();
                model.hear(told, now);
                while let Ok(told) = news.try_recv() {
                    model.hear(told, now);
                }
            }
            event = input.recv() => match event {
                Some(Event::Key(event)) => {
                    let Some(key) = Key::of(event) else { continue };
                    let page = view::page(&model, screen.terminal.get_frame().area());
                    match model.press(key, page, Now::read()) {
                        Effect::Change(request) => {
                            model.say(format!("{} {} ...", request.wish, request.id), Now::read());
                            let (operator, said) = (operator.clone(), said.clone());
                            changes.spawn(async move { let _ = said.send(change(&operator, request).await); });
                        }
                        Effect::Nothing => {}
                        Effect::Quit => return Ok(Exit::Yes),
                    }
                }
                Some(_) => {} // another size: the next drawing has it
                None => return Ok(Exit::Yes), // the terminal went
            },
            Some(text) = says.recv() => model.say(text, Now::read()),
            _ = second.tick() => model.board.tick(Now::read()),
        }
        due.get_or_insert_with(|| earliest.max(Instant::now()));
    }
}

/// Makes a change; what came of it.
async fn change(operator: &Operator, request: Request) -> String {
    let Request { service, id, shown, wish } = request;
    match amend(operator, &service, &id, &wish, Some(shown)).await {
        Ok(Amended::Already) => format!("{id}: it is so already"),
        Ok(Amended::Written(_, changed)) => format!("{id}: written, {}", changed.join(", ")),
        Err(failure) => failure.to_string(),
    }
}

/// What the terminal tells, from a thread of its own: reading it blocks. The thread ends with the process.
fn keys() -> mpsc::UnboundedReceiver<Event> {
    let (tell, told) = mpsc::unbounded_channel();
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if tell.send(event).is_err() {
                return;
            }
        }
    });
    told
}

fn lost(error: io::Error) -> Failure {
    Failure::Refused(format!("the terminal cannot be written: {error}"))
}

/// The least time between two drawings: a change is on the screen within this.
const BETWEEN: Duration = Duration::from_millis(80);
/// How many news may wait before a watch does.
const WAITING: usize = 64;

/// The text that `--help` shows below the flags.
pub(crate) const HELP: &str = "\
The keys are shown by `?`. Without --write nothing can be changed. A change is one write, refused when the instance was written since
it was shown; `zkr drain` is for scripts, and waits until a second reader has seen it.

Examples:
  zkr top
  zkr top time --write
  NO_COLOR=1 zkr top com/example/billing

Exit codes:
  0  ended by q, Ctrl-C or a signal
  1  the terminal cannot be written
  2  wrong usage, or no terminal; nothing was touched
  3  ZooKeeper was not reached, or does not let us read";
