//! ZooKeeper's encoding: requests out of bytes, replies and events into bytes. Integers are big-endian; a string or buffer has
//! its length in front, -1 meaning null.

use bytes::Bytes;

use crate::store::memory::engine::record::{
    AclEntry, Answer, Code, Create, Event, EventKind, Form, Id, Read, Reply, Request, SetWatches, Stat,
    WatchKind, Write,
};

/// What is left of a packet. Every method answers `None` when the packet is too short or makes no sense.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn int(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    pub(super) fn boolean(&mut self) -> Option<bool> {
        self.take::<1>().map(|[byte]| byte != 0)
    }

    /// The bytes, or that they are null.
    pub(super) fn buffer(&mut self) -> Option<Option<Bytes>> {
        let length = self.int()?;
        if length == -1 {
            return Some(None);
        }
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(Some(Bytes::copy_from_slice(taken)))
    }

    fn string(&mut self) -> Option<String> {
        self.buffer()?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A list; null is an empty one.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.int()?;
        // Nothing is reserved for a number that a client may have made up.
        (0..count).map(|_| item(self)).collect()
    }

    fn strings(&mut self) -> Option<Vec<String>> {
        self.list(Self::string)
    }

    fn acl(&mut self) -> Option<Vec<AclEntry>> {
        self.list(|reader| {
            let perms = reader.int()?;
            let scheme = reader.buffer()?.unwrap_or_default();
            let id = reader.buffer()?.unwrap_or_default();
            let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
            Some(AclEntry { perms, id: Id { scheme: text(&scheme), id: text(&id) } })
        })
    }

    fn create(&mut self, form: Form) -> Option<Create> {
        let (path, data, acl, flags) = (self.string()?, self.buffer()?, self.acl()?, self.int()?);
        let form = if let Form::Ttl(_) = form { Form::Ttl(self.long()?) } else { form };
        Some(Create { path, data, acl, flags, form })
    }

    fn kind(&mut self) -> Option<WatchKind> {
        Some(match self.int()? {
            1 => WatchKind::Children,
            2 => WatchKind::Data,
            3 => WatchKind::Any,
            4 => WatchKind::Persistent,
            5 => WatchKind::Recursive,
            _ => return None,
        })
    }

    fn write(&mut self, operation: i32) -> Option<Write> {
        Some(match operation {
            1 => Write::Create(self.create(Form::Plain)?),
            2 => Write::Delete { path: self.string()?, version: self.int()? },
            5 => Write::SetData { path: self.string()?, data: self.buffer()?, version: self.int()? },
            13 => Write::Check { path: self.string()?, version: self.int()? },
            15 => Write::Create(self.create(Form::WithStat)?),
            19 => Write::Create(self.create(Form::Container)?),
            21 => Write::Create(self.create(Form::Ttl(0))?),
            _ => return None,
        })
    }

    fn read(&mut self, operation: i32) -> Option<Read> {
        Some(match operation {
            4 => Read::Data { path: self.string()?, watch: self.boolean()? },
            8 => Read::Children { path: self.string()?, watch: self.boolean()? },
            _ => return None,
        })
    }

    /// The operations of a multi or a multi-read: each has a header, and one that says so ends them.
    fn operations<T>(&mut self, mut item: impl FnMut(&mut Self, i32) -> Option<T>) -> Option<Vec<T>> {
        let mut all = Vec::new();
        loop {
            let (operation, done, _) = (self.int()?, self.boolean()?, self.int()?);
            if done {
                return Some(all);
            }
            all.push(item(self, operation)?);
        }
    }

    fn set_watches(&mut self, with_persistent: bool) -> Option<SetWatches> {
        let mut watches = SetWatches {
            since: self.long()?,
            data: self.strings()?,
            exist: self.strings()?,
            child: self.strings()?,
            ..SetWatches::default()
        };
        if with_persistent {
            (watches.persistent, watches.recursive) = (self.strings()?, self.strings()?);
        }
        Some(watches)
    }

    fn body(&mut self, operation: i32) -> Option<Request> {
        Some(match operation {
            3 => Request::Exists { path: self.string()?, watch: self.boolean()? },
            4 | 8 => Request::Read(self.read(operation)?),
            1 | 2 | 5 | 15 | 19 | 21 => Request::Write(self.write(operation)?),
            6 => Request::Acl(self.string()?),
            7 => Request::SetAcl { path: self.string()?, acl: self.acl()?, version: self.int()? },
            9 => Request::Sync(self.string()?),
            11 => Request::Ping,
            12 => Request::ChildrenWithStat { path: self.string()?, watch: self.boolean()? },
            14 => Request::Multi(self.operations(Self::write)?),
            16 => Request::Reconfig,
            17 => Request::CheckWatches { path: self.string()?, kind: self.kind()? },
            18 => Request::RemoveWatches { path: self.string()?, kind: self.kind()? },
            20 => Request::DeleteContainer(self.string()?),
            22 => Request::MultiRead(self.operations(Self::read)?),
            100 => {
                let (_, scheme, auth) = (self.int()?, self.string()?, self.buffer()?.unwrap_or_default());
                Request::Auth { scheme, auth }
            }
            101 => Request::SetWatches(Box::new(self.set_watches(false)?)),
            103 => Request::Ephemerals(self.string()?),
            104 => Request::AllChildrenNumber(self.string()?),
            105 => Request::SetWatches(Box::new(self.set_watches(true)?)),
            106 => {
                let (path, mode) = (self.string()?, self.int()?);
                let recursive = match mode {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                Request::AddWatch { path, recursive }
            }
            107 => Request::WhoAmI,
            -11 => Request::CloseSession,
            _ => Request::Unknown,
        })
    }
}

/// A packet after the handshake: the number of the request, and the request. `None`: it lacks even a header.
pub(super) fn request(packet: &[u8]) -> Option<(i32, Request)> {
    let mut reader = Reader(packet);
    let (xid, operation) = (reader.int()?, reader.int()?);
    // A multi takes its zxid before it is read.
    Some((xid, reader.body(operation).unwrap_or(Request::Malformed { takes_zxid: operation == 14 })))
}

/// A frame that is being written.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Self(vec![0; 4])
    }

    /// The frame, with its length in front.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = length(self.0.len() - 4).to_be_bytes();
        self.0[..4].copy_from_slice(&length);
        self.0
    }

    pub(super) fn int(&mut self, value: i32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn long(&mut self, value: i64) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn boolean(&mut self, value: bool) -> &mut Self {
        self.0.push(value.into());
        self
    }

    pub(super) fn buffer(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            None => self.int(-1),
            Some(bytes) => {
                self.int(length(bytes.len()));
                self.0.extend(bytes);
                self
            }
        }
    }

    fn string(&mut self, text: &str) -> &mut Self {
        self.buffer(Some(text.as_bytes()))
    }

    fn strings(&mut self, all: &[String]) {
        self.int(length(all.len()));
        for one in all {
            self.string(one);
        }
    }

    fn id(&mut self, id: &Id) {
        self.string(&id.scheme).string(&id.id);
    }

    fn stat(&mut self, stat: &Stat) {
        self.long(stat.czxid).long(stat.mzxid).long(stat.ctime).long(stat.mtime);
        self.int(stat.version).int(stat.cversion).int(stat.aversion).long(stat.owner);
        self.int(stat.data_length).int(stat.children).long(stat.pzxid);
    }

    fn answer(&mut self, answer: &Answer) {
        match answer {
            Answer::Checked | Answer::Deleted | Answer::Nothing => {}
            Answer::Acl(acl, stat) => {
                self.int(length(acl.len()));
                for entry in acl {
                    self.int(entry.perms).id(&entry.id);
                }
                self.stat(stat);
            }
            Answer::Children(names) | Answer::Paths(names) => self.strings(names),
            Answer::ChildrenWithStat(names, stat) => {
                self.strings(names);
                self.stat(stat);
            }
            Answer::Created(path) | Answer::Path(path) => drop(self.string(path)),
            Answer::CreatedWithStat(path, stat) => self.string(path).stat(stat),
            Answer::Data(data, stat) => self.buffer(data.as_deref()).stat(stat),
            Answer::Identities(ids) => {
                self.int(length(ids.len()));
                ids.iter().for_each(|id| self.id(id));
            }
            Answer::Multi(all) => {
                for one in all {
                    match one {
                        Ok(answer) => {
                            self.int(operation(answer)).boolean(false).int(0);
                            self.answer(answer);
                        }
                        Err(code) => self.refusal(code.number()),
                    }
                }
                self.int(-1).boolean(true).int(-1);
            }
            Answer::Number(number) => drop(self.int(*number)),
            Answer::Refused { index, code, of } => {
                for n in 0..*of {
                    self.refusal(match n.cmp(index) {
                        std::cmp::Ordering::Less => 0,
                        std::cmp::Ordering::Equal => code.number(),
                        std::cmp::Ordering::Greater => Code::RuntimeInconsistency.number(),
                    });
                }
                self.int(-1).boolean(true).int(-1);
            }
            Answer::Stat(stat) => self.stat(stat),
            Answer::Watching => drop(self.int(0)),
        }
    }

    fn refusal(&mut self, code: i32) {
        self.int(-1).boolean(false).int(code).int(code);
    }
}

/// A reply to the request of this number.
pub(super) fn reply(xid: i32, reply: &Reply) -> Vec<u8> {
    let mut writer = Writer::new();
    let code = reply.result.as_ref().err().map_or(0, |code| code.number());
    writer.int(xid).long(reply.zxid).int(code);
    if let Ok(answer) = &reply.result {
        writer.answer(answer);
    }
    writer.finish()
}

/// A notification.
pub(super) fn event(event: &Event) -> Vec<u8> {
    let kind = match event.kind {
        EventKind::Created => 1,
        EventKind::Deleted => 2,
        EventKind::DataChanged => 3,
        EventKind::ChildrenChanged => 4,
    };
    let mut writer = Writer::new();
    writer.int(-1).long(event.zxid).int(0).int(kind).int(3).string(&event.path);
    writer.finish()
}

/// The number by which the result of a multi says what it is of.
fn operation(answer: &Answer) -> i32 {
    match answer {
        Answer::Children(_) => 8,
        Answer::Created(_) => 1,
        Answer::CreatedWithStat(..) => 15,
        Answer::Data(..) => 4,
        Answer::Deleted => 2,
        Answer::Stat(_) => 5,
        _ => 13,
    }
}

fn length(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
