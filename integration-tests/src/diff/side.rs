//! One of the two servers: connections to it, and what came back on them after each step.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use super::packet::{Packet, xid};
use super::reading::{self, Names};
use super::script::{Ask, Connect, Step, Wanted};

/// A server and the state of one script's clients.
#[derive(Debug)]
pub(super) struct Side {
    address: SocketAddr,
    slots: Vec<Slot>,
    names: Names,
    /// Every session that was ever had, with its password.
    sessions: Vec<(i64, Vec<u8>)>,
    /// The last transaction that was heard of.
    seen: i64,
}

#[derive(Debug, Default)]
struct Slot {
    connection: Option<Connection>,
    session: Option<(i64, Vec<u8>)>,
    next_xid: i32,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn new(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// The next frame, or why there is none.
    fn frame(&mut self) -> Result<Vec<u8>, &'static str> {
        loop {
            if let Some((head, rest)) = self.buffer.split_first_chunk::<4>() {
                let length = usize::try_from(i32::from_be_bytes(*head)).map_err(|_| "negative length")?;
                if rest.len() >= length {
                    let frame = rest[..length].to_vec();
                    self.buffer.drain(..4 + length);
                    return Ok(frame);
                }
            }
            let mut some = [0; 16 << 10];
            match self.stream.read(&mut some) {
                Ok(0) => return Err("closed"),
                Ok(count) => self.buffer.extend(&some[..count]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err("silent");
                }
                Err(_) => return Err("closed"),
            }
        }
    }
}

impl Side {
    pub(super) fn new(address: SocketAddr, slots: usize) -> Self {
        let slots = (0..slots).map(|_| Slot::default()).collect();
        Self { address, slots, names: Names::default(), sessions: Vec::new(), seen: 0 }
    }

    /// Does a step; what came of it, as lines.
    pub(super) fn step(&mut self, step: &Step) -> Vec<String> {
        let mut lines = Vec::new();
        match step {
            Step::Ask { slot, asks } => self.ask(*slot, asks, &mut lines),
            Step::Bytes { slot, operation, body } => self.bytes(*slot, *operation, body, &mut lines),
            Step::Connect(connect) => self.connect(connect, &mut lines),
            Step::Drop { slot } => self.slots[*slot].connection = None,
            Step::Wait { milliseconds } => sleep(Duration::from_millis(*milliseconds)),
        }
        self.barrier(&mut lines);
        lines
    }

    /// Ends every session.
    pub(super) fn finish(&mut self) {
        for (id, password) in std::mem::take(&mut self.sessions) {
            let Ok(mut connection) = Connection::new(self.address) else { continue };
            let connect = Connect {
                slot: 0,
                session: Wanted::New,
                timeout: 10_000,
                read_only: Some(false),
                ahead: false,
            };
            let mut hello = Packet::default();
            hello.hello(&connect, 0, id, &password);
            let mut close = Packet::default();
            close.int(1).int(-11);
            let sent = connection.stream.write_all(&[hello.framed(), close.framed()].concat());
            // Until it is closed, or answered otherwise; a session may be over already.
            while sent.is_ok() && connection.frame().is_ok() {}
        }
        self.slots.iter_mut().for_each(|slot| slot.connection = None);
    }

    fn connect(&mut self, connect: &Connect, lines: &mut Vec<String>) {
        let (session, mut password) = match connect.session {
            Wanted::New => (0, vec![0; 16]),
            Wanted::Unknown => (0x7777, vec![7; 16]),
            Wanted::Of(slot) | Wanted::Stolen(slot) => {
                self.slots[slot].session.clone().unwrap_or_else(|| (0, vec![0; 16]))
            }
        };
        if let Wanted::Stolen(_) = connect.session {
            password[0] ^= 1;
        }
        let seen = match self.seen {
            _ if !connect.ahead => 0,
            0 => i64::MAX,
            seen => seen + 1_000_000,
        };
        let mut hello = Packet::default();
        hello.hello(connect, seen, session, &password);
        let opened = Connection::new(self.address).and_then(|mut connection| {
            connection.stream.write_all(&hello.framed())?;
            Ok(connection)
        });
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(error) => return lines.push(format!("not connected: {error}")),
        };
        match connection.frame() {
            Err(why) => lines.push(why.to_owned()),
            Ok(frame) => {
                let (text, session) = reading::greeting(&frame, &mut self.names);
                lines.push(text);
                let slot = &mut self.slots[connect.slot];
                slot.connection = Some(connection);
                if let Some(session) = session {
                    if !self.sessions.contains(&session) {
                        self.sessions.push(session.clone());
                    }
                    slot.session = Some(session);
                }
            }
        }
    }

    fn ask(&mut self, slot: usize, asks: &[Ask], lines: &mut Vec<String>) {
        let seen = self.seen;
        let Some((sent, expected)) = self.write(slot, |next| {
            let mut all = Vec::new();
            let mut expected = Vec::new();
            for ask in asks {
                let mut packet = Packet::default();
                let xid = xid(ask.operation(), next);
                packet.int(xid).int(ask.operation());
                packet.body(ask, seen);
                all.extend(packet.framed());
                expected.push((xid, ask.operation()));
            }
            (all, expected)
        }) else {
            return;
        };
        if sent {
            self.read(slot, expected, lines);
        } else {
            self.lost(slot, "closed", lines);
        }
    }

    fn bytes(&mut self, slot: usize, operation: i32, body: &[u8], lines: &mut Vec<String>) {
        let Some((sent, expected)) = self.write(slot, |next| {
            let xid = xid(operation, next);
            let mut packet = Packet::default();
            packet.int(xid).int(operation).bytes(body);
            (packet.framed(), vec![(xid, operation)])
        }) else {
            return;
        };
        if sent {
            self.read(slot, expected, lines);
        } else {
            self.lost(slot, "closed", lines);
        }
    }

    /// Sends what is made with the slot's next number, if the slot has a connection.
    fn write<T>(&mut self, slot: usize, make: impl FnOnce(&mut i32) -> (Vec<u8>, T)) -> Option<(bool, T)> {
        let slot = &mut self.slots[slot];
        let connection = slot.connection.as_mut()?;
        let (bytes, made) = make(&mut slot.next_xid);
        Some((connection.stream.write_all(&bytes).is_ok(), made))
    }

    /// Reads until these replies have come, in this order, or the connection is over.
    fn read(&mut self, slot: usize, expected: Vec<(i32, i32)>, lines: &mut Vec<String>) {
        let mut expected = expected.into_iter();
        let mut next = expected.next();
        while let Some((_, operation)) = next {
            let Some(connection) = &mut self.slots[slot].connection else { return };
            match connection.frame() {
                Err(why) => return self.lost(slot, why, lines),
                Ok(frame) if is_event(&frame) => {
                    let text = reading::event(&frame, &mut self.names);
                    lines.push(format!("{slot}: {text}"));
                }
                Ok(frame) => {
                    self.heard(&frame);
                    let text = reading::reply(operation, &frame, &mut self.names);
                    lines.push(format!("{slot}: {text}"));
                    next = expected.next();
                    let code = reading::header(&frame).map_or(0, |(_, _, code)| code);
                    if matches!(code, UNIMPLEMENTED | AUTH_FAILED) {
                        return self.ends(slot, lines);
                    }
                }
            }
        }
    }

    /// Reads until the server has closed the connection, which it need not do at once.
    fn ends(&mut self, slot: usize, lines: &mut Vec<String>) {
        while let Some(connection) = &mut self.slots[slot].connection {
            match connection.frame() {
                Err(why) => self.lost(slot, why, lines),
                Ok(frame) => lines.push(format!("{slot}: more: {}", frame.escape_ascii())),
            }
        }
    }

    /// Everything that the servers had to tell on any connection is told by now.
    fn barrier(&mut self, lines: &mut Vec<String>) {
        let ping = {
            let mut ping = Packet::default();
            ping.int(-2).int(11);
            ping.framed()
        };
        let open: Vec<usize> =
            (0..self.slots.len()).filter(|n| self.slots[*n].connection.is_some()).collect();
        for slot in &open {
            if let Some(connection) = &mut self.slots[*slot].connection {
                // Whether it is still there is seen when it is read.
                let _ = connection.stream.write_all(&ping);
            }
        }
        for slot in open {
            while let Some(connection) = &mut self.slots[slot].connection {
                match connection.frame() {
                    Err(why) => self.lost(slot, why, lines),
                    Ok(frame) if is_event(&frame) => {
                        let text = reading::event(&frame, &mut self.names);
                        lines.push(format!("{slot}: {text}"));
                    }
                    Ok(frame) => {
                        self.heard(&frame);
                        let text = reading::reply(11, &frame, &mut self.names);
                        if !text.starts_with("11 #-2 ") || !text.ends_with(": 0 ") {
                            lines.push(format!("{slot}: not a ping: {text}"));
                        }
                        break;
                    }
                }
            }
        }
    }

    fn heard(&mut self, frame: &[u8]) {
        if let Some((_, zxid, _)) = reading::header(frame) {
            self.seen = self.seen.max(zxid);
        }
    }

    fn lost(&mut self, slot: usize, why: &str, lines: &mut Vec<String>) {
        lines.push(format!("{slot}: {why}"));
        self.slots[slot].connection = None;
    }
}

fn is_event(frame: &[u8]) -> bool {
    frame.starts_with(&(-1_i32).to_be_bytes())
}

/// The refusals behind which a server closes the connection.
const UNIMPLEMENTED: i32 = -6;
const AUTH_FAILED: i32 = -115;
/// A server that says nothing for so long has nothing to say.
const PATIENCE: Duration = Duration::from_secs(5);
