//! Requests into bytes, as clients write them, and worse.

use super::script::{Ask, Connect, Entry};

/// A packet that is being written; the length comes in front.
#[derive(Debug, Default)]
pub(super) struct Packet(Vec<u8>);

impl Packet {
    pub(super) fn int(&mut self, value: i32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn long(&mut self, value: i64) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn flag(&mut self, value: bool) -> &mut Self {
        self.0.push(value.into());
        self
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    pub(super) fn buffer(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            None => self.int(-1),
            Some(bytes) => self.count(bytes.len()).bytes(bytes),
        }
    }

    fn text(&mut self, text: Option<&str>) -> &mut Self {
        self.buffer(text.map(str::as_bytes))
    }

    fn count(&mut self, count: usize) -> &mut Self {
        self.int(i32::try_from(count).expect("a script is small"))
    }

    fn acl(&mut self, acl: Option<&[Entry]>) -> &mut Self {
        let Some(acl) = acl else { return self.int(-1) };
        self.count(acl.len());
        for (perms, scheme, id) in acl {
            self.int(*perms).text(scheme.as_deref()).text(id.as_deref());
        }
        self
    }

    fn operations(&mut self, asks: &[Ask]) {
        for ask in asks {
            self.int(ask.operation()).flag(false).int(-1);
            self.body(ask, 0);
        }
        self.int(-1).flag(true).int(-1);
    }

    /// The body of a request; `seen`: the last transaction that the client has seen.
    pub(super) fn body(&mut self, ask: &Ask, seen: i64) {
        match ask {
            Ask::AddWatch { path, mode } => self.text(path.as_deref()).int(*mode),
            Ask::AllChildrenNumber(path)
            | Ask::DeleteContainer(path)
            | Ask::Ephemerals(path)
            | Ask::GetAcl(path)
            | Ask::Sync(path) => self.text(path.as_deref()),
            Ask::Auth { scheme, auth } => self.int(0).text(scheme.as_deref()).text(auth.as_deref()),
            Ask::Check { path, version } | Ask::Delete { path, version } => {
                self.text(path.as_deref()).int(*version)
            }
            Ask::CheckWatches { path, kind } | Ask::RemoveWatches { path, kind } => {
                self.text(path.as_deref()).int(*kind)
            }
            Ask::Close | Ask::Other(_) | Ask::Ping | Ask::WhoAmI => self,
            Ask::Create { operation, path, data, acl, flags, ttl } => {
                self.text(path.as_deref()).text(data.as_deref()).acl(acl.as_deref()).int(*flags);
                if *operation == 21 { self.long(*ttl) } else { self }
            }
            Ask::Exists { path, watch }
            | Ask::GetChildren { path, watch }
            | Ask::GetChildren2 { path, watch }
            | Ask::GetData { path, watch } => self.text(path.as_deref()).flag(*watch),
            Ask::Multi(asks) | Ask::MultiRead(asks) => {
                self.operations(asks);
                self
            }
            Ask::Reconfig { joining, version } => {
                self.text(joining.as_deref()).text(None).text(None).long(*version)
            }
            Ask::SetAcl { path, acl, version } => {
                self.text(path.as_deref()).acl(acl.as_deref()).int(*version)
            }
            Ask::SetData { path, data, version } => {
                self.text(path.as_deref()).text(data.as_deref()).int(*version)
            }
            Ask::SetWatches { behind, paths } => {
                // Before the first transaction of either server there is nothing to have seen.
                self.long((seen - behind).max(1));
                for list in paths {
                    self.count(list.len());
                    for path in list {
                        self.text(path.as_deref());
                    }
                }
                self
            }
        };
    }

    /// A client's first packet.
    pub(super) fn hello(&mut self, connect: &Connect, seen: i64, session: i64, password: &[u8]) {
        self.int(0).long(seen).int(connect.timeout).long(session).buffer(Some(password));
        if let Some(read_only) = connect.read_only {
            self.flag(read_only);
        }
    }

    /// The bytes, with their length in front.
    pub(super) fn framed(&self) -> Vec<u8> {
        let length = i32::try_from(self.0.len()).expect("a script is small");
        [&length.to_be_bytes()[..], &self.0].concat()
    }
}

/// The number by which a request of this operation is told from others; clients have some of them reserved.
pub(super) fn xid(operation: i32, next: &mut i32) -> i32 {
    match operation {
        11 => -2,
        100 => -4,
        101 | 105 => -8,
        _ => {
            *next += 1;
            *next
        }
    }
}
