//! `zkr web`: the fleet, live, as a page on loopback.

mod body;
mod changing;
mod gate;
mod html;
mod page;
mod query;
mod site;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::RngExt as _;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use zk_registry::ServiceName;
use zk_registry::cli::UsageError;
use zk_registry::cli::program::{Format, Output};
use zk_registry::operate::Operator;

use self::site::Site;
use crate::common_args::CommonArgs;
use crate::exit::{Exit, Failure};
use crate::fleet::{Fleet, any_reachable};
use crate::live::{Board, News, Now, watching};

/// What to show, and where.
#[derive(Args, Clone, Debug)]
pub(crate) struct WebArgs {
    /// Names of services; without any, all
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,

    /// The address of this machine's loopback to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8890", value_parser = loopback)]
    listen: SocketAddr,

    /// Lets the page change instances, each after a question; the address that is written has the token that this needs
    #[arg(long)]
    write: bool,

    #[command(flatten)]
    common: CommonArgs,
}

/// Where the page is.
#[derive(Serialize)]
struct Line {
    url: String,
}

/// Serves the page until a signal.
pub(crate) async fn run(args: WebArgs, output: &Output, stop: &CancellationToken) -> Result<Exit, Failure> {
    let format = args.common.format();
    let fleet = Fleet::of(args.common)?;
    let listener = TcpListener::bind(args.listen).await;
    let listener =
        listener.map_err(|error| UsageError::new("--listen", format!("{}: {error}", args.listen)))?;
    let token = args.write.then(|| format!("{:032x}", rand::rng().random::<u128>()));
    let fragment = token.as_ref().map(|token| format!("#token={token}")).unwrap_or_default();
    let address = listener.local_addr().map_err(|error| UsageError::new("--listen", error))?;
    let line = Line { url: format!("http://{address}/{fragment}") };
    let served = fleet
        .with(stop, async |registry| {
            any_reachable(registry, &args.services).await?;
            let (tell, mut news) = mpsc::channel(WAITING);
            let board = Board::new(&args.services);
            let _watching =
                AbortOnDropHandle::new(tokio::spawn(watching(registry.clone(), args.services, tell)));
            let site = Site::new(board, fleet.to.to_string(), token, Operator::new(registry));
            let _serving = AbortOnDropHandle::new(tokio::spawn(serve(site.clone(), listener)));
            match format {
                Format::Json => output.json(&line),
                Format::Text => output.line(&line.url),
            }
            follow(&site, &mut news).await;
            Err(Failure::Interrupted)
        })
        .await;
    match served {
        Err(Failure::Interrupted) => Ok(Exit::Yes),
        served => served,
    }
}

/// Takes up what the watches tell.
async fn follow(site: &Site, news: &mut mpsc::Receiver<News>) {
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            told = news.recv() => {
                let Some(told) = told else { return };
                let now = Now::read();
                site.update(|board| {
                    board.hear(told, now);
                    while let Ok(told) = news.try_recv() {
                        board.hear(told, now);
                    }
                });
            }
            _ = second.tick() => site.update(|board| board.tick(Now::read())),
        }
    }
}

/// Answers for ever; dropping the future ends all its connections.
async fn serve(site: Site, listener: TcpListener) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) if connections.len() < MOST => {
                connections.spawn(converse(site.clone(), stream));
            }
            // Further ones come again.
            Ok(_) => {}
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn converse(site: Site, stream: TcpStream) {
    let answer = service_fn(|request| {
        let site = site.clone();
        async move { Ok::<_, Infallible>(site.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), answer);
    // A browser that went away, or one that speaks another protocol.
    let _ = connection.await;
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|error| format!("{error}: use 127.0.0.1:8890, say"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("the page has no users and no passwords: it is on loopback; reach it from elsewhere through ssh -L".to_owned())
    }
}

/// How many connections there may be.
const MOST: usize = 64;
/// How long after a failure to accept the next attempt is.
const PAUSE: Duration = Duration::from_millis(100);
/// The time for the head of a request, which a connection that is kept has between two of them.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How many news may wait before a watch does.
const WAITING: usize = 64;

/// The text that `--help` shows below the flags.
pub(crate) const HELP: &str = "\
Writes the page's address and serves it on loopback until a signal. Requests with a Host that is not this machine, or with the Origin of
another site, are refused. A change is one write, refused when the instance was written since it was shown.

Examples:
  zkr web
  zkr web time --write
  ssh -L 8890:127.0.0.1:8890 admin-host zkr web

Exit codes:
  0  ended by a signal, or the reader of the output went away
  1  the output could not be written
  2  wrong usage, or the address is not free; nothing was touched
  3  ZooKeeper was not reached, or does not let us read";
