//! One connection, from its first byte to its end, in one straight line.
//!
//! An idle connection holds no buffer and one timer. The peer never loses a reply to a TCP reset: before a connection is
//! closed, its write side is, and what the peer still sends is read for a short while.

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::codec::{Decoder, Encoder};
use tracing::debug;

use crate::daemon::admission::Place;
use crate::daemon::answer::{answer, asked};
use crate::daemon::farewell::end;
use crate::daemon::listener_context::ListenerContext;
use crate::daemon::metrics::{Answers, Asked, Fault};
use crate::daemon::permit::ConnectionPermit;
use crate::daemon::socket::{at_once, has_sent_all, read_some};
use crate::protocol::{Refusal, Reply, ServerCodec};

struct Connection<'a> {
    stream: TcpStream,
    peer: SocketAddr,
    context: &'a ListenerContext,
    place: &'a Place,
    codec: ServerCodec,
    input: BytesMut,
    output: BytesMut,
    /// Whether it is one that stays open after a reply.
    kept: bool,
    /// Whether the peer has sent anything.
    heard: bool,
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
pub(crate) async fn serve(stream: TcpStream, permit: ConnectionPermit) {
    let ConnectionPermit { context, peer, place } = &permit;
    let peer = *peer;
    let codec = ServerCodec::new(context.limits.request_bytes);
    let (input, output) = (BytesMut::new(), BytesMut::new());
    let mut connection =
        Connection { stream, peer, context, place, codec, input, output, kept: false, heard: false };
    let Err(error) = connection.converse().await else { return };
    debug!(%peer, %error, "connection lost");
    match error.kind() {
        // Our deadline or the system's.
        io::ErrorKind::TimedOut => {
            context.metrics.count_fault(Fault::SlowReader);
            // What the peer did not take must not stay in the system's memory after us: a reset throws it away. If the
            // socket is gone already, so is its memory.
            let _ = SockRef::from(&connection.stream).set_linger(Some(Duration::ZERO));
        }
        _ if !connection.heard => context.metrics.count_empty(),
        _ => context.metrics.count_fault(Fault::Lost),
    }
}

impl Connection<'_> {
    /// The whole conversation. An error means that the peer cannot be told anything any more.
    async fn converse(&mut self) -> io::Result<()> {
        let limits = &self.context.limits;
        let lifetime = limits.lifetime.map(|age| Instant::now() + age.mul_f64(0.9 + 0.2 * self.place.jitter));
        let mut waiting = Waiting::FirstByte;
        let place = self.place;
        let mut told_to_leave = pin!(place.told_to_leave());
        let (mut is_leaving, mut told) = (false, false);
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
                        told = true;
                        break;
                    }
                    () = self.context.draining.cancelled(), if waiting == Waiting::NextRequest => break,
                    () = told_to_leave.as_mut(), if !is_leaving => {
                        is_leaving = true;
                        self.context.metrics.count_fault(Fault::Evicted);
                        // A request that has come meanwhile is answered before the end.
                        match self.read_at_once()? {
                            Some(read) => read,
                            None if waiting == Waiting::RestOfRequest => continue,
                            None => break,
                        }
                    }
                },
            };
            if read > 0 {
                self.heard = true;
                self.place.set_busy();
            }
            let answered = match (read, waiting) {
                (0, Waiting::FirstByte) => {
                    self.tell_daytime()?;
                    true
                }
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
                let now = Instant::now();
                if is_leaving || lifetime.is_some_and(|end| now >= end) {
                    break;
                }
                (self.input, self.output) = (BytesMut::new(), BytesMut::new());
                waiting = Waiting::NextRequest;
                self.context.admission.set_idle(self.place, now);
                deadline.as_mut().reset(now + limits.idle);
            } else if answered || waiting != Waiting::RestOfRequest {
                waiting = Waiting::RestOfRequest;
                deadline.as_mut().reset(Instant::now() + limits.request_time);
            }
        }
        self.send().await?;
        self.sent_all().await?;
        end(&mut self.stream, &mut self.input, deadline).await?;
        if !self.heard
            && let Some(error) = self.stream.take_error()?
        {
            // The peer was gone already; reading shows only that it ended.
            return Err(error);
        }
        if waiting == Waiting::FirstByte && !self.heard && !told && !is_leaving {
            // A health check that connects and closes ends in an error above, or here where daytime is off.
            let daytime = self.context.limits.daytime_after.is_some();
            if daytime {
                self.context.metrics.count_answers(Asked::Daytime.into());
            } else {
                self.context.metrics.count_empty();
            }
        }
        Ok(())
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
        let received = self.context.clock.now();
        let (mut answered, mut answers) = (false, Answers::default());
        // Once, for as many of the shortest requests as there may be.
        self.output.reserve(self.input.len() / SHORTEST_REQUEST * SHORT_REPLY);
        while let Some(item) = self.codec.decode(&mut self.input)? {
            let reply = match item {
                Ok(request) => {
                    answers.count(asked(request));
                    answer(request, received, || self.address(), &*self.context.clock)
                }
                Err(refusal) => self.refuse(refusal),
            };
            self.codec.encode(&reply, &mut self.output)?;
            answered = true;
        }
        self.context.metrics.count_answers(answers);
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
        self.context.metrics.count_fault(match refusal {
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
            Waiting::FirstByte if self.context.limits.daytime_after.is_some() => {
                self.context.metrics.count_answers(Asked::Daytime.into());
                self.tell_daytime()
            }
            Waiting::NextRequest => {
                self.context.metrics.count_fault(Fault::Idle);
                Ok(())
            }
            Waiting::FirstByte | Waiting::RestOfRequest => {
                debug!(peer = %self.peer, "no complete request in time");
                self.context.metrics.count_fault(Fault::SlowRequest);
                self.codec.encode(&Reply::Error("no complete request in time".into()), &mut self.output)
            }
        }
    }

    /// RFC 867: a peer that says nothing is told the time, if that is wanted.
    fn tell_daytime(&mut self) -> io::Result<()> {
        if self.context.limits.daytime_after.is_none() {
            return Ok(());
        }
        self.codec.encode(&Reply::Now(self.context.clock.now()), &mut self.output)
    }

    /// The address that the peer connected to.
    fn address(&self) -> Arc<str> {
        self.context.address.clone().unwrap_or_else(|| match self.stream.local_addr() {
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
        timeout(self.context.limits.slow_reader, self.stream.write_all_buf(&mut self.output)).await?
    }

    /// Waits until the peer had room for everything that was sent to it: what it has not taken when the connection closes
    /// would stay in the system's memory, counted against no limit.
    async fn sent_all(&self) -> io::Result<()> {
        let sent = async {
            while !has_sent_all(&self.stream) {
                sleep(LOOK_AGAIN).await;
            }
        };
        Ok(timeout(self.context.limits.slow_reader, sent).await?)
    }
}

/// The time between two looks at what a peer has not taken yet.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

const SHORTEST_REQUEST: usize = "now\n".len();
const SHORT_REPLY: usize = "2026-11-22T20:52:06.123456789Z\n".len();
