//! The records of ZooKeeper's protocol as values: requests, answers, refusals, events. No bytes and no behaviour.

use std::sync::Arc;

use bytes::Bytes;

/// An identity: a scheme (`world`, `ip`, `digest`, `auth`) and a name within it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Id {
    pub(crate) scheme: String,
    pub(crate) id: String,
}

impl Id {
    pub(crate) fn new(scheme: &str, id: impl Into<String>) -> Self {
        Self { scheme: scheme.to_owned(), id: id.into() }
    }
}

/// One entry of an access control list: the permissions, as a sum of [`perms`], of one identity.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct AclEntry {
    pub(crate) perms: i32,
    pub(crate) id: Id,
}

/// An entry of a list as it is asked for; one that has nulls where it may not is refused so.
pub(crate) type AskedEntry = Result<AclEntry, Code>;

/// A node's access control list. Nodes with the same list share it.
pub(crate) type AclList = Arc<[AclEntry]>;

/// The permissions of an [`AclEntry`].
pub(crate) mod perms {
    pub(crate) const READ: i32 = 1;
    pub(crate) const WRITE: i32 = 2;
    pub(crate) const CREATE: i32 = 4;
    pub(crate) const DELETE: i32 = 8;
    pub(crate) const ADMIN: i32 = 16;
    pub(crate) const ALL: i32 = 31;
}

/// What ZooKeeper tells of a node besides its data. Times are milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Stat {
    pub(crate) czxid: i64,
    pub(crate) mzxid: i64,
    pub(crate) ctime: i64,
    pub(crate) mtime: i64,
    pub(crate) version: i32,
    pub(crate) cversion: i32,
    pub(crate) aversion: i32,
    pub(crate) owner: i64,
    pub(crate) data_length: i32,
    pub(crate) children: i32,
    pub(crate) pzxid: i64,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Code {
    AuthFailed,
    BadArguments,
    BadVersion,
    InvalidAcl,
    Marshalling,
    NoAuth,
    NoChildrenForEphemerals,
    NoNode,
    NoWatcher,
    NodeExists,
    NotEmpty,
    ReconfigDisabled,
    /// Another operation of the same transaction was refused.
    RuntimeInconsistency,
    SessionExpired,
    Unimplemented,
}

impl Code {
    /// The number in a reply's header.
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::AuthFailed => -115,
            Self::BadArguments => -8,
            Self::BadVersion => -103,
            Self::InvalidAcl => -114,
            Self::Marshalling => -5,
            Self::NoAuth => -102,
            Self::NoChildrenForEphemerals => -108,
            Self::NoNode => -101,
            Self::NoWatcher => -121,
            Self::NodeExists => -110,
            Self::NotEmpty => -111,
            Self::ReconfigDisabled => -123,
            Self::RuntimeInconsistency => -2,
            Self::SessionExpired => -112,
            Self::Unimplemented => -6,
        }
    }
}

/// One operation of a transaction. Version -1 matches any version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Write {
    Check { path: String, version: i32 },
    Create(Create),
    Delete { path: String, version: i32 },
    SetData { path: String, data: Option<Bytes>, version: i32 },
}

/// The creation of a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Create {
    /// `None`: null, which is refused when it is looked at.
    pub(crate) path: Option<String>,
    /// The data; null is told from empty.
    pub(crate) data: Option<Bytes>,
    pub(crate) acl: Vec<AskedEntry>,
    /// The mode's number: 0 persistent, 1 ephemeral, 2 and 3 the same, sequential, 4 container, 5 and 6 with a time to live.
    pub(crate) flags: i32,
    pub(crate) form: Form,
}

/// The operation by which a node is created.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// Answered with the path and the stat; the node is removed some time after its last child.
    Container,
    /// Answered with the path alone.
    Plain,
    /// Answered with the path and the stat; the node is removed so many milliseconds after its last change.
    Ttl(i64),
    /// Answered with the path and the stat.
    WithStat,
}

/// One read of a multi-read, or alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Read {
    Children { path: String, watch: bool },
    Data { path: String, watch: bool },
}

/// A request of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Request {
    Acl(String),
    AddWatch {
        path: String,
        recursive: bool,
    },
    AllChildrenNumber(String),
    Auth {
        scheme: String,
        auth: Option<Bytes>,
    },
    CheckWatches {
        path: String,
        kind: WatchKind,
    },
    ChildrenWithStat {
        path: String,
        watch: bool,
    },
    CloseSession,
    DeleteContainer(String),
    Ephemerals(String),
    Exists {
        path: String,
        watch: bool,
    },
    /// A request whose body cannot be read. Of some operations it takes a zxid all the same.
    Malformed {
        takes_zxid: bool,
    },
    Multi(Vec<Write>),
    MultiRead(Vec<Read>),
    Ping,
    Read(Read),
    Reconfig,
    RemoveWatches {
        path: String,
        kind: WatchKind,
    },
    SetAcl {
        path: String,
        acl: Vec<AskedEntry>,
        version: i32,
    },
    SetWatches(Box<SetWatches>),
    /// The path is answered as it is asked; null is, too.
    Sync(Option<String>),
    /// An operation that the server does not know.
    Unknown,
    WhoAmI,
    Write(Write),
}

impl Request {
    /// Whether it is a transaction.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Self::CloseSession
            | Self::DeleteContainer(_)
            | Self::Multi(_)
            | Self::Reconfig
            | Self::SetAcl { .. }
            | Self::Write(_) => true,
            Self::Acl(_)
            | Self::AddWatch { .. }
            | Self::AllChildrenNumber(_)
            | Self::Auth { .. }
            | Self::CheckWatches { .. }
            | Self::ChildrenWithStat { .. }
            | Self::Ephemerals(_)
            | Self::Exists { .. }
            | Self::Malformed { .. }
            | Self::MultiRead(_)
            | Self::Ping
            | Self::Read(_)
            | Self::RemoveWatches { .. }
            | Self::SetWatches(_)
            | Self::Sync(_)
            | Self::Unknown
            | Self::WhoAmI => false,
        }
    }
}

/// The watches of an earlier connection of the session, set again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct SetWatches {
    /// The last transaction of which the client knows.
    pub(crate) since: i64,
    /// Paths; at one that is null the server stops, and refuses the request.
    pub(crate) data: Vec<Option<String>>,
    pub(crate) exist: Vec<Option<String>>,
    pub(crate) child: Vec<Option<String>>,
    pub(crate) persistent: Vec<String>,
    pub(crate) recursive: Vec<String>,
}

/// Which watches are looked for, or removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WatchKind {
    Any,
    Children,
    Data,
    Persistent,
    Recursive,
}

/// The answer to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    Acl(Vec<AclEntry>, Stat),
    Checked,
    Children(Vec<String>),
    ChildrenWithStat(Vec<String>, Stat),
    Created(String),
    CreatedWithStat(String, Stat),
    Data(Option<Bytes>, Stat),
    Deleted,
    /// Schemes and user names.
    Identities(Vec<Id>),
    /// One result per operation, of a multi or a multi-read.
    Multi(Vec<Result<Self, Code>>),
    Nothing,
    Number(i32),
    Path(Option<String>),
    Paths(Vec<String>),
    /// A multi of which this operation was refused: none of them is executed.
    Refused {
        index: usize,
        code: Code,
        of: usize,
    },
    Stat(Stat),
    /// A persistent watch is set.
    Watching,
}

/// What became of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reply {
    /// The last transaction that the server had applied; 0 of an authentication, -1 of an operation that is not known.
    pub(crate) zxid: i64,
    pub(crate) result: Result<Answer, Code>,
    /// The server closes the connection once the reply is sent.
    pub(crate) closes: bool,
}

/// What happened to the node of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EventKind {
    ChildrenChanged,
    Created,
    DataChanged,
    Deleted,
}

/// What a watch is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    pub(crate) path: Arc<str>,
    /// The transaction, or -1 when the event is told because a watch was set again.
    pub(crate) zxid: i64,
}
