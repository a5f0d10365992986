//! One connection, from its first byte to its end, in one straight line.
//!
//! An idle connection holds no buffer and one timer. The peer never loses a reply to a TCP reset: before a connection is
//! closed, its write side is, and what the peer still sends is read for a short while.

use std::future::poll_fn;
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead as _, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::codec::{Decoder, Encoder};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::answer::{answer, asked};
use crate::clock::Clock;
use crate::limits::{Admission, Full, Limits};
use crate::metrics::{Answers, Asked, Fault, Metrics};
use crate::protocol::{Refusal, Reply, ServerCodec};

/// What all connections of one listener share.
#[derive(Debug)]
pub(crate) struct Host {
    /// The listener's address; `None` if it is unspecified, and each connection has to be asked for its own.
    pub(crate) address: Option<Arc<str>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) admission: Arc<Admission>,
    /// Once cancelled, connections end as soon as nothing is under way.
    pub(crate) draining: CancellationToken,
}

/// The place of one open connection, which it gives back when it ends, in whichever way.
#[must_use = "dropping it gives the place back"]
#[derive(Debug)]
pub(crate) struct Place {
    host: Arc<Host>,
    peer: SocketAddr,
}

impl Place {
    pub(crate) fn take(host: &Arc<Host>, peer: SocketAddr) -> Result<Self, Full> {
        host.admission.admit(peer.ip())?;
        host.metrics.count_opened();
        Ok(Self { host: Arc::clone(host), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.host.admission.leave(self.peer.ip());
        self.host.metrics.count_closed();
        if std::thread::panicking() {
            self.host.metrics.count_fault(Fault::Panic);
        }
    }
}

struct Connection<'a> {
    stream: TcpStream,
    peer: SocketAddr,
    host: &'a Host,
    codec: ServerCodec,
    input: BytesMut,
    output: BytesMut,
    /// Whether it is one that stays open after a reply.
    kept: bool,
}

/// What a connection waits for; each has its own deadline.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Waiting {
    FirstByte,
    NextRequest,
    RestOfRequest,
}

/// Serves a connection until it ends.
///
/// # Cancel safety
///
/// Dropping the future closes the connection at once; replies on the way may be lost.
pub(crate) async fn serve(stream: TcpStream, place: Place) {
    let Place { host, peer } = &place;
    let peer = *peer;
    let codec = ServerCodec::new(host.limits.request_bytes);
    let (input, output) = (BytesMut::new(), BytesMut::new());
    let mut connection = Connection { stream, peer, host, codec, input, output, kept: false };
    if let Err(error) = connection.converse().await {
        if error.kind() != io::ErrorKind::TimedOut {
            host.metrics.count_fault(Fault::Lost);
        }
        debug!(%peer, %error, "connection lost");
    }
}

impl Connection<'_> {
    /// The whole conversation. An error means that the peer cannot be told anything any more.
    async fn converse(&mut self) -> io::Result<()> {
        let limits = &self.host.limits;
        let mut waiting = Waiting::FirstByte;
        let mut deadline = pin!(sleep(limits.daytime_after.unwrap_or(limits.request_time)));
        // A busy server finds the first request there already, and need not wait until the runtime has heard of it.
        let mut early = self.read_at_once()?;
        loop {
            let read = match early.take() {
                Some(read) => read,
                None => tokio::select! {
                    biased;
                    read = read_some(&mut self.stream, &mut self.input) => read?,
                    () = deadline.as_mut() => {
                        self.lose_patience(waiting)?;
                        break;
                    }
                    () = self.host.draining.cancelled(), if waiting == Waiting::NextRequest => break,
                },
            };
            let answered = match (read, waiting) {
                (0, Waiting::FirstByte) => self.tell_daytime().map(|()| true)?,
                (0, _) => self.answer_last()?,
                _ => self.answer_complete()?,
            };
            if read == 0 || self.codec.is_finished() {
                break;
            }
            if answered {
                self.keep_open();
                self.send().await?;
            }
            if self.input.is_empty() {
                (self.input, self.output) = (BytesMut::new(), BytesMut::new());
                waiting = Waiting::NextRequest;
                deadline.as_mut().reset(Instant::now() + limits.idle);
            } else if answered || waiting != Waiting::RestOfRequest {
                waiting = Waiting::RestOfRequest;
                deadline.as_mut().reset(Instant::now() + limits.request_time);
            }
        }
        self.send().await?;
        end(&mut self.stream, &mut self.input, deadline).await
    }

    /// The connection has not had its last reply: from now on none waits until the one before it is acknowledged.
    fn keep_open(&mut self) {
        if !self.kept {
            // It fails only for a connection that is broken, which shows soon.
            self.kept = self.stream.set_nodelay(true).is_ok();
        }
    }

    /// Reads what has come with the connection, if anything has.
    fn read_at_once(&mut self) -> io::Result<Option<usize>> {
        let mut first = [0; 64];
        let read = at_once((&*SockRef::from(&self.stream)).read(&mut first))?;
        if let Some(read) = read {
            self.input.extend_from_slice(&first[..read]);
        }
        Ok(read)
    }

    /// Puts the replies to all complete requests into the output; whether there were any.
    fn answer_complete(&mut self) -> io::Result<bool> {
        let received = self.host.clock.now();
        let (mut answered, mut answers) = (false, Answers::default());
        // Once, for as many of the shortest requests as there may be.
        self.output.reserve(self.input.len() / SHORTEST_REQUEST * SHORT_REPLY);
        while let Some(item) = self.codec.decode(&mut self.input)? {
            let reply = match item {
                Ok(request) => {
                    answers.count(asked(request));
                    answer(request, received, || self.address(), &*self.host.clock)
                }
                Err(refusal) => self.refuse(refusal),
            };
            self.codec.encode(&reply, &mut self.output)?;
            answered = true;
        }
        self.host.metrics.count_answers(answers);
        Ok(answered)
    }

    /// Nothing more will come: what is left cannot be complete.
    fn answer_last(&mut self) -> io::Result<bool> {
        if let Some(Err(refusal)) = self.codec.decode_eof(&mut self.input)? {
            let reply = self.refuse(refusal);
            self.codec.encode(&reply, &mut self.output)?;
        }
        Ok(true)
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        debug!(peer = %self.peer, %refusal, "refused");
        self.host.metrics.count_fault(match refusal {
            Refusal::Incomplete => Fault::Incomplete,
            Refusal::TooLong => Fault::TooLong,
            Refusal::Unknown => Fault::Unknown,
        });
        Reply::Error(refusal.to_string().into())
    }

    /// The deadline has passed: says the last word that fits. An idle connection ends without one, because an unasked
    /// line would be taken for the reply to a request that is already on its way.
    fn lose_patience(&mut self, waiting: Waiting) -> io::Result<()> {
        match waiting {
            Waiting::FirstByte if self.host.limits.daytime_after.is_some() => self.tell_daytime(),
            Waiting::NextRequest => {
                self.host.metrics.count_fault(Fault::Idle);
                Ok(())
            }
            Waiting::FirstByte | Waiting::RestOfRequest => {
                debug!(peer = %self.peer, "no complete request in time");
                self.host.metrics.count_fault(Fault::SlowRequest);
                self.codec.encode(&Reply::Error("no complete request in time".into()), &mut self.output)
            }
        }
    }

    /// RFC 867: whoever says nothing is told the time, if that is wanted.
    fn tell_daytime(&mut self) -> io::Result<()> {
        if self.host.limits.daytime_after.is_none() {
            return Ok(());
        }
        self.host.metrics.count_answers(Asked::Daytime.into());
        self.codec.encode(&Reply::Now(self.host.clock.now()), &mut self.output)
    }

    /// The address that the peer connected to.
    fn address(&self) -> Arc<str> {
        self.host.address.clone().unwrap_or_else(|| match self.stream.local_addr() {
            Ok(local) => SocketAddr::new(local.ip().to_canonical(), local.port()).to_string().into(),
            Err(_) => "unknown".into(),
        })
    }

    /// Sends the output, within the time that a peer has to read it.
    async fn send(&mut self) -> io::Result<()> {
        // The socket nearly always takes all of it at once. What it does not take needs the runtime, and a deadline.
        if let Some(sent) = at_once(SockRef::from(&self.stream).send(&self.output))? {
            self.output.advance(sent);
        }
        if self.output.is_empty() {
            return Ok(());
        }
        let sent = timeout(self.host.limits.slow_reader, self.stream.write_all_buf(&mut self.output)).await;
        sent.unwrap_or_else(|_| {
            self.host.metrics.count_fault(Fault::SlowReader);
            Err(io::ErrorKind::TimedOut.into())
        })
    }
}

/// Tells a peer that is not served why, and ends the connection.
pub(crate) async fn turn_away(mut stream: TcpStream, why: &str) {
    let mut input = BytesMut::new();
    let farewell = async {
        let mut deadline = pin!(sleep(LINGER));
        // Nothing has been sent yet: one line fits.
        at_once(SockRef::from(&stream).send(format!("error: {why}\n").as_bytes()))?;
        end(&mut stream, &mut input, deadline.as_mut()).await
    };
    // Who is gone need not be told.
    let _: io::Result<()> = farewell.await;
}

/// Ends the connection so that the peer sees the end of the stream behind the last reply and never a reset: closing a
/// socket that holds unread bytes would reset it, and the peer's system would throw away what it had received.
async fn end(stream: &mut TcpStream, input: &mut BytesMut, mut deadline: Pin<&mut Sleep>) -> io::Result<()> {
    stream.shutdown().await?;
    deadline.as_mut().reset(Instant::now() + LINGER);
    let mut budget = LINGER_BYTES;
    loop {
        input.clear();
        let read = tokio::select! {
            biased;
            read = read_some(stream, input) => read?,
            () = deadline.as_mut() => return Ok(()),
        };
        budget = budget.saturating_sub(read);
        if read == 0 || budget == 0 {
            return Ok(());
        }
    }
}

/// How long, and for how many bytes, a peer that goes on sending is listened to after the last reply.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

const SHORTEST_REQUEST: usize = "now\n".len();
const SHORT_REPLY: usize = "2026-11-22T20:52:06.123456789Z\n".len();

/// `None` if it is not possible at once.
fn at_once(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// How much is read at once: a full batch of the shortest requests makes 8 KiB of replies.
const READ: usize = 1024;

/// Reads what there is; the buffer grows only once something is there.
///
/// # Cancel safety
///
/// Nothing is lost when the future is dropped.
async fn read_some(stream: &mut TcpStream, input: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| {
        ready!(stream.poll_read_ready(cx))?;
        let mut space = [MaybeUninit::uninit(); READ];
        let mut found = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut found))?;
        input.extend_from_slice(found.filled());
        Poll::Ready(Ok(found.filled().len()))
    })
    .await
}
