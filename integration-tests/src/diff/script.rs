//! A script: what the sessions of a seed do, step by step. A line of JSON per step, so that a script can be kept and replayed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One step, of the connection in one slot.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) enum Step {
    /// Sends these requests in one piece.
    Ask { slot: usize, asks: Vec<Ask> },
    /// Sends a request of this operation with this body, whatever it says.
    Bytes { slot: usize, operation: i32, body: Vec<u8> },
    /// Opens the slot's connection; an earlier one stays open at the client's end, and is looked at no more.
    Connect(Connect),
    /// Closes the slot's connection.
    Drop { slot: usize },
    /// Lets time pass.
    Wait { milliseconds: u64 },
}

/// A client's first packet.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Connect {
    pub(super) slot: usize,
    pub(super) session: Wanted,
    pub(super) timeout: i32,
    /// `None`: the packet ends without the flag, as that of an old client.
    pub(super) read_only: Option<bool>,
    /// Whether the client has seen more transactions than there were.
    pub(super) ahead: bool,
}

/// The session that a client wants.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(super) enum Wanted {
    New,
    /// The last one of this slot.
    Of(usize),
    /// The same, with a wrong password.
    Stolen(usize),
    Unknown,
}

/// A request.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) enum Ask {
    AddWatch {
        path: Text,
        mode: i32,
    },
    AllChildrenNumber(Text),
    Auth {
        scheme: Text,
        auth: Option<String>,
    },
    Check {
        path: Text,
        version: i32,
    },
    CheckWatches {
        path: Text,
        kind: i32,
    },
    Close,
    /// The operation is 1, 15, 19 or 21.
    Create {
        operation: i32,
        path: Text,
        data: Option<String>,
        acl: Option<Vec<Entry>>,
        flags: i32,
        ttl: i64,
    },
    Delete {
        path: Text,
        version: i32,
    },
    DeleteContainer(Text),
    Ephemerals(Text),
    Exists {
        path: Text,
        watch: bool,
    },
    GetAcl(Text),
    GetChildren {
        path: Text,
        watch: bool,
    },
    GetChildren2 {
        path: Text,
        watch: bool,
    },
    GetData {
        path: Text,
        watch: bool,
    },
    Multi(Vec<Self>),
    MultiRead(Vec<Self>),
    Other(i32),
    Ping,
    Reconfig {
        joining: Text,
        version: i64,
    },
    RemoveWatches {
        path: Text,
        kind: i32,
    },
    SetAcl {
        path: Text,
        acl: Option<Vec<Entry>>,
        version: i32,
    },
    SetData {
        path: Text,
        data: Option<String>,
        version: i32,
    },
    SetWatches {
        /// By how many transactions what the client has seen is behind.
        behind: i64,
        /// Data, exist and child watches; persistent and recursive ones if the operation is to know of those.
        paths: Vec<Vec<Text>>,
    },
    Sync(Text),
    WhoAmI,
}

/// A string, or null.
pub(super) type Text = Option<String>;

/// An entry of an access control list: permissions, scheme, id.
pub(super) type Entry = (i32, Text, Text);

impl Ask {
    /// The number of the operation.
    pub(super) fn operation(&self) -> i32 {
        match self {
            Self::AddWatch { .. } => 106,
            Self::AllChildrenNumber(_) => 104,
            Self::Auth { .. } => 100,
            Self::Check { .. } => 13,
            Self::CheckWatches { .. } => 17,
            Self::Close => -11,
            Self::Create { operation, .. } | Self::Other(operation) => *operation,
            Self::Delete { .. } => 2,
            Self::DeleteContainer(_) => 20,
            Self::Ephemerals(_) => 103,
            Self::Exists { .. } => 3,
            Self::GetAcl(_) => 6,
            Self::GetChildren { .. } => 8,
            Self::GetChildren2 { .. } => 12,
            Self::GetData { .. } => 4,
            Self::Multi(_) => 14,
            Self::MultiRead(_) => 22,
            Self::Ping => 11,
            Self::Reconfig { .. } => 16,
            Self::RemoveWatches { .. } => 18,
            Self::SetAcl { .. } => 7,
            Self::SetData { .. } => 5,
            Self::SetWatches { paths, .. } => {
                if paths.len() > 3 {
                    105
                } else {
                    101
                }
            }
            Self::Sync(_) => 9,
            Self::WhoAmI => 107,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}
