//! The two directions of a connection.

/// The way in which bytes flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the server to the client.
    ToClient,
    /// From the client to the server.
    ToServer,
}

impl Direction {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::ToClient, Self::ToServer];

    pub(super) fn opposite(self) -> Self {
        match self {
            Self::ToClient => Self::ToServer,
            Self::ToServer => Self::ToClient,
        }
    }
}
