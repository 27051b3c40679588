//! Who is at the other end of a connection, as the kernel says.

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

/// Credentials of the process that connected (`SO_PEERCRED`); empty for what the router does by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// User.
    pub uid: Option<u32>,
    /// Process.
    pub pid: Option<i32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        match stream.io().peer_cred() {
            Ok(credentials) => Peer { uid: Some(credentials.uid()), pid: credentials.pid() },
            Err(error) => {
                tracing::warn!(%error, "the kernel does not say who connected");
                Peer::default()
            }
        }
    }
}
