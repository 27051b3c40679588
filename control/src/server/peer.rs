//! Who is at the other end of a connection, as the kernel says.

use tokio::net::UnixStream;

/// Credentials of the process that connected (`SO_PEERCRED`); empty for what the router does by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// User.
    pub uid: Option<u32>,
    /// Process.
    pub pid: Option<i32>,
}

impl Peer {
    /// Who it is at the other end of `stream`.
    pub(super) fn of(stream: &UnixStream) -> Peer {
        match stream.peer_cred() {
            Ok(credentials) => Peer { uid: Some(credentials.uid()), pid: credentials.pid() },
            Err(error) => {
                tracing::warn!(%error, "the kernel does not say who connected");
                Peer::default()
            }
        }
    }
}
