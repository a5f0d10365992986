//! Requests out of bytes, with what a server makes of those that are cut off, have nulls, or mix what does not belong together.

use super::reader::Reader;
use crate::store::memory::engine::record::{
    AclEntry, AskedEntry, Code, Create, Form, Id, Read, Request, SetWatches, WatchKind, Write,
};

/// A packet after the handshake: the number of the request, and the request. `None`: the server closes the connection, for the
/// packet lacks a header, or is an authentication that cannot be read.
pub(super) fn request(packet: &[u8]) -> Option<(i32, Request)> {
    let mut reader = Reader(packet);
    let (xid, operation) = (reader.int()?, reader.int()?);
    let request = match operation {
        14 => {
            reader.multi().unwrap_or_else(|broken| Request::Malformed { takes_zxid: broken == Broken::Bytes })
        }
        100 => reader.auth()?,
        operation => reader.body(operation).unwrap_or(Request::Malformed { takes_zxid: false }),
    };
    Some((xid, request))
}

/// Why a transaction cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Broken {
    /// It is not what it should be; the server takes a number for it all the same.
    Bytes,
    /// A list is null where it must not be, on which the server trips before it takes a number.
    NullList,
}

/// A list as it is asked for; `None`: null.
type AskedList = Option<Vec<AskedEntry>>;

impl Reader<'_> {
    /// A path that must be there.
    fn path(&mut self) -> Option<String> {
        self.text()?
    }

    fn paths(&mut self) -> Option<Vec<Option<String>>> {
        self.list(Self::text)?
    }

    fn acl(&mut self) -> Option<AskedList> {
        self.list(|reader| {
            let (perms, scheme, id) = (reader.int()?, reader.text()?, reader.text()?);
            Some(match (scheme, id) {
                (Some(scheme), Some(id)) => Ok(AclEntry { perms, id: Id { scheme, id } }),
                (Some(scheme), None) if scheme == "auth" => Ok(AclEntry { perms, id: Id::new("auth", "") }),
                // The schemes that look at the id trip on it.
                (Some(scheme), None) if matches!(&*scheme, "digest" | "ip" | "world") => {
                    Err(Code::Marshalling)
                }
                _ => Err(Code::InvalidAcl),
            })
        })
    }

    fn create(&mut self, form: Form) -> Option<(Create, bool)> {
        let (path, data, acl, flags) = (self.text()?, self.buffer()?, self.acl()?, self.int()?);
        let form = if let Form::Ttl(_) = form { Form::Ttl(self.long()?) } else { form };
        let null = acl.is_none();
        Some((Create { path, data, acl: acl.unwrap_or_default(), flags, form }, null))
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

    fn auth(&mut self) -> Option<Request> {
        let (_, scheme, auth) = (self.int()?, self.text()?.unwrap_or_default(), self.buffer()?);
        Some(Request::Auth { scheme, auth })
    }

    // Transactions and multi-reads: each operation has a header, and one that says so ends them.

    /// The number of the next operation; `Some(None)`: there is none.
    fn operation(&mut self) -> Option<Option<i32>> {
        let (operation, done, _) = (self.int()?, self.boolean()?, self.int()?);
        Some((!done).then_some(operation))
    }

    fn multi(&mut self) -> Result<Request, Broken> {
        let mut writes = Vec::new();
        let (mut reads, mut nulls) = (0, 0);
        while let Some(operation) = self.operation().ok_or(Broken::Bytes)? {
            if let 4 | 8 = operation {
                self.read(operation).ok_or(Broken::Bytes)?;
                reads += 1;
            } else {
                let (write, null) = self.write_of_multi(operation)?;
                writes.push(write);
                nulls += usize::from(null);
            }
            if reads > 0 && !writes.is_empty() {
                return Err(Broken::Bytes);
            }
        }
        if reads + nulls > 0 { Err(Broken::Bytes) } else { Ok(Request::Multi(writes)) }
    }

    /// A write of a transaction, and whether its path is null.
    fn write_of_multi(&mut self, operation: i32) -> Result<(Write, bool), Broken> {
        let create = match operation {
            1 => Some(Form::Plain),
            15 => Some(Form::WithStat),
            19 => Some(Form::Container),
            21 => Some(Form::Ttl(0)),
            _ => None,
        };
        if let Some(form) = create {
            let (mut create, null) = self.create(form).ok_or(Broken::Bytes)?;
            // Of all but creations with a time to live the mode must be one, and the list may not be null.
            if operation != 21 {
                match create.flags {
                    0..=6 if null => return Err(Broken::NullList),
                    0..=4 => {}
                    // The first has no time to live, as the mode demands; there are no more modes.
                    _ => return Err(Broken::Bytes),
                }
            }
            // The mode decides, before the operation does.
            create.form = match (create.form, create.flags) {
                (form @ Form::Ttl(_), 5 | 6) => form,
                (_, 4) => Form::Container,
                (Form::Ttl(_), _) => Form::Plain,
                (form, _) => form,
            };
            let null = create.path.is_none();
            return Ok((Write::Create(create), null));
        }
        let path = self.text().ok_or(Broken::Bytes)?;
        let null = path.is_none();
        let path = path.unwrap_or_default();
        let write = match operation {
            2 => self.int().map(|version| Write::Delete { path, version }),
            5 => self
                .buffer()
                .and_then(|data| self.int().map(|version| Write::SetData { path, data, version })),
            13 => self.int().map(|version| Write::Check { path, version }),
            _ => None,
        };
        Ok((write.ok_or(Broken::Bytes)?, null))
    }

    fn multi_read(&mut self) -> Option<Vec<Read>> {
        let mut reads = Vec::new();
        while let Some(operation) = self.operation()? {
            let mut read = self.read(operation)?;
            // It sets no watches, whatever is asked.
            let (Read::Children { watch, .. } | Read::Data { watch, .. }) = &mut read;
            *watch = false;
            reads.push(read);
        }
        Some(reads)
    }

    fn read(&mut self, operation: i32) -> Option<Read> {
        Some(match operation {
            4 => Read::Data { path: self.path()?, watch: self.boolean()? },
            8 => Read::Children { path: self.path()?, watch: self.boolean()? },
            _ => return None,
        })
    }

    fn set_watches(&mut self, with_persistent: bool) -> Option<SetWatches> {
        let mut watches = SetWatches {
            since: self.long()?,
            data: self.paths()?,
            exist: self.paths()?,
            child: self.paths()?,
            ..SetWatches::default()
        };
        if with_persistent {
            let flat = |paths: Vec<_>| paths.into_iter().map(Option::unwrap_or_default).collect();
            (watches.persistent, watches.recursive) = (flat(self.paths()?), flat(self.paths()?));
        }
        Some(watches)
    }

    fn set_acl(&mut self) -> Option<Request> {
        let (path, acl, version) = (self.text()?, self.acl()?, self.int()?);
        Some(Request::SetAcl { path: path.unwrap_or_default(), acl: acl.unwrap_or_default(), version })
    }

    fn add_watch(&mut self) -> Option<Request> {
        let (path, mode) = (self.text()?.unwrap_or_default(), self.int()?);
        let recursive = match mode {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Request::AddWatch { path, recursive })
    }

    fn single_create(&mut self, form: Form) -> Option<Request> {
        self.create(form).map(|(create, _)| Request::Write(Write::Create(create)))
    }

    fn reconfig(&mut self) -> Option<Request> {
        let _members: (_, _, _) = (self.text()?, self.text()?, self.text()?);
        self.long()?;
        Some(Request::Reconfig)
    }

    fn body(&mut self, operation: i32) -> Option<Request> {
        Some(match operation {
            1 => self.single_create(Form::Plain)?,
            2 => {
                let (path, version) = (self.text()?, self.int()?);
                path.map_or(Request::Malformed { takes_zxid: true }, |path| {
                    Request::Write(Write::Delete { path, version })
                })
            }
            3 => Request::Exists { path: self.path()?, watch: self.boolean()? },
            4 | 8 => Request::Read(self.read(operation)?),
            5 => {
                let (path, data, version) = (self.text()?.unwrap_or_default(), self.buffer()?, self.int()?);
                Request::Write(Write::SetData { path, data, version })
            }
            6 => Request::Acl(self.path()?),
            7 => self.set_acl()?,
            9 => Request::Sync(self.text()?),
            11 => Request::Ping,
            12 => Request::ChildrenWithStat { path: self.path()?, watch: self.boolean()? },
            15 => self.single_create(Form::WithStat)?,
            16 => self.reconfig()?,
            17 => Request::CheckWatches { path: self.text()?.unwrap_or_default(), kind: self.kind()? },
            18 => Request::RemoveWatches { path: self.text()?.unwrap_or_default(), kind: self.kind()? },
            19 => self.single_create(Form::Container)?,
            20 => Request::DeleteContainer(self.path()?),
            21 => self.single_create(Form::Ttl(0))?,
            22 => Request::MultiRead(self.multi_read()?),
            101 => Request::SetWatches(Box::new(self.set_watches(false)?)),
            103 => Request::Ephemerals(self.text()?.unwrap_or_default()),
            104 => Request::AllChildrenNumber(self.path()?),
            105 => Request::SetWatches(Box::new(self.set_watches(true)?)),
            106 => self.add_watch()?,
            107 => Request::WhoAmI,
            -11 => Request::CloseSession,
            _ => Request::Unknown,
        })
    }
}
