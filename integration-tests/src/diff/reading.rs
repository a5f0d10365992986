//! Replies and events out of bytes, as text in which nothing is left that two servers cannot have in common: sessions are
//! numbered in their order, transactions are counted from the script's first, times are told by the transactions that they are of.

use std::collections::HashMap;
use std::fmt::Write;

/// What one server has told so far, in this script.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The first transaction number that was heard of.
    first: Option<i64>,
    /// The time of each transaction.
    times: HashMap<i64, i64>,
    pub(super) sessions: Vec<i64>,
}

impl Names {
    /// A transaction's number.
    fn zxid(&mut self, zxid: i64) -> String {
        match zxid {
            0 | -1 => zxid.to_string(),
            zxid => format!("{:+}", zxid - *self.first.get_or_insert(zxid)),
        }
    }

    /// A time, by the transaction of which it should be.
    fn time(&mut self, zxid: i64, time: i64) -> String {
        if zxid == 0 {
            return if time == 0 { "0".to_owned() } else { "set".to_owned() };
        }
        let known = *self.times.entry(zxid).or_insert(time);
        if known == time { "ok".to_owned() } else { format!("{:+}", time - known) }
    }

    fn session(&self, id: i64) -> String {
        match self.sessions.iter().position(|known| *known == id) {
            _ if id == 0 => "none".to_owned(),
            Some(n) => format!("s{n}"),
            None => format!("{id:#x}"),
        }
    }
}

/// What is left of a frame. `None`: it ends too soon.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn int(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn long(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn flag(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn buffer(&mut self) -> Option<String> {
        let length = self.int()?;
        let Ok(length) = usize::try_from(length) else { return Some(format!("null{length}")) };
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(format!("\"{}\"", taken.escape_ascii()))
    }

    /// What comes in the same order from both.
    fn list(&mut self, item: impl FnMut(&mut Self) -> Option<String>) -> Option<String> {
        self.items(item, |_| ())
    }

    /// What has no order.
    fn set(&mut self, item: impl FnMut(&mut Self) -> Option<String>) -> Option<String> {
        self.items(item, |all| all.sort())
    }

    fn items(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Option<String>,
        arrange: impl FnOnce(&mut Vec<String>),
    ) -> Option<String> {
        let count = self.int()?;
        let mut all = (0..count.max(0)).map(|_| item(self)).collect::<Option<Vec<_>>>()?;
        arrange(&mut all);
        Some(if count < 0 { format!("null{count}") } else { format!("[{}]", all.join(", ")) })
    }

    fn stat(&mut self, names: &mut Names) -> Option<String> {
        let (czxid, mzxid, ctime, mtime) = (self.long()?, self.long()?, self.long()?, self.long()?);
        let (version, cversion, aversion) = (self.int()?, self.int()?, self.int()?);
        let (owner, length, children, pzxid) = (self.long()?, self.int()?, self.int()?, self.long()?);
        Some(format!(
            "{{c {} {}, m {} {}, p {}, versions {version} {cversion} {aversion}, of {}, {length} bytes, {children} children}}",
            names.zxid(czxid),
            names.time(czxid, ctime),
            names.zxid(mzxid),
            names.time(mzxid, mtime),
            names.zxid(pzxid),
            names.session(owner),
        ))
    }

    fn results(&mut self, names: &mut Names) -> Option<String> {
        let mut text = String::new();
        loop {
            let (operation, done, code) = (self.int()?, self.flag()?, self.int()?);
            // Writing to a string does not fail.
            let _ = write!(text, "({operation} {code}");
            if done != 0 {
                return Some(text + ")");
            }
            let body = if operation == -1 { self.int()?.to_string() } else { self.body(operation, names)? };
            let _ = write!(text, " {body}) ");
        }
    }

    fn body(&mut self, operation: i32, names: &mut Names) -> Option<String> {
        Some(match operation {
            1 | 9 => self.buffer()?,
            15 | 19 | 21 => self.buffer()? + " " + &self.stat(names)?,
            3 | 5 | 7 => self.stat(names)?,
            4 => self.buffer()? + " " + &self.stat(names)?,
            6 => {
                let acl = self.list(|reader| {
                    Some(format!("{} {} {}", reader.int()?, reader.buffer()?, reader.buffer()?))
                })?;
                acl + " " + &self.stat(names)?
            }
            8 => self.list(Self::buffer)?,
            103 => self.set(Self::buffer)?,
            12 => self.list(Self::buffer)? + " " + &self.stat(names)?,
            14 | 22 => self.results(names)?,
            104 | 106 => self.int()?.to_string(),
            107 => self.set(|reader| Some(format!("{} {}", reader.buffer()?, reader.buffer()?)))?,
            _ => String::new(),
        })
    }
}

/// The fields of every reply: the number of its request, the transaction, the error.
pub(super) fn header(frame: &[u8]) -> Option<(i32, i64, i32)> {
    let mut reader = Reader(frame);
    Some((reader.int()?, reader.long()?, reader.int()?))
}

/// A reply to a request of this operation.
pub(super) fn reply(operation: i32, frame: &[u8], names: &mut Names) -> String {
    let mut reader = Reader(frame.get(16..).unwrap_or_default());
    let Some((xid, zxid, code)) = header(frame) else { return format!("\"{}\"", frame.escape_ascii()) };
    let body = if code == 0 { reader.body(operation, names) } else { Some(String::new()) };
    let rest = match (body, reader.0) {
        (Some(body), []) => body,
        (Some(body), rest) => format!("{body} and {rest:?}"),
        (None, _) => format!("short: {:?}", frame.get(16..).unwrap_or_default()),
    };
    format!("{operation} #{xid} at {}: {code} {rest}", names.zxid(zxid))
}

/// A notification.
pub(super) fn event(frame: &[u8], names: &mut Names) -> String {
    let mut reader = Reader(frame.get(16..).unwrap_or_default());
    let told = (|| Some((reader.int()?, reader.int()?, reader.buffer()?)))();
    match (header(frame), told, reader.0) {
        (Some((_, zxid, code)), Some((kind, state, path)), []) => {
            format!("event at {}: {code} {kind} {state} {path}", names.zxid(zxid))
        }
        _ => format!("event {frame:?}"),
    }
}

/// The answer to a client's first packet, its session and its password.
pub(super) fn greeting(frame: &[u8], names: &mut Names) -> (String, Option<(i64, Vec<u8>)>) {
    let mut reader = Reader(frame);
    let told = (|| Some((reader.int()?, reader.int()?, reader.long()?, reader.int()?)))();
    let Some((protocol, timeout, session, length)) = told else { return (format!("{frame:?}"), None) };
    if session != 0 && !names.sessions.contains(&session) {
        names.sessions.push(session);
    }
    let (password, rest) = reader.0.split_at(usize::try_from(length).unwrap_or_default().min(reader.0.len()));
    let zeros = password.iter().all(|byte| *byte == 0);
    let text = format!(
        "greeting {protocol}, {timeout} ms, {}, {length} bytes {}, rest {rest:?}",
        names.session(session),
        if zeros { "zero" } else { "set" }
    );
    (text, (session != 0).then(|| (session, password.to_vec())))
}
