//! What the service manager is told: ready, reloading, ending (sd_notify(3)).
//!
//! One that does not listen must not hold up the router: its socket takes some ten messages, and then whoever writes
//! to it would wait for ever.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

/// How long it may take to make room for a message.
const PATIENCE: Duration = Duration::from_millis(100);

/// Tells the service manager, where there is one.
///
/// # Errors
/// When it cannot be reached, or does not take the message in time.
pub(super) fn tell(state: &[NotifyState<'_>]) -> io::Result<()> {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
        return Ok(());
    };
    let lines: Vec<String> = state.iter().map(ToString::to_string).collect();
    send(&socket, &lines.join("\n"))
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_write_timeout(Some(PATIENCE))?;
    sender.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_and_a_deaf_manager_holds_nobody_up() {
        let path = std::env::temp_dir().join(format!("genkan-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let manager = UnixDatagram::bind(&path).expect("bound");
        send(path.as_os_str(), &NotifyState::Ready.to_string()).expect("there is room");
        let mut message = [0; 64];
        let length = manager.recv(&mut message).expect("it came");
        assert_eq!(&message[..length], b"READY=1");

        let refused = (0..10_000).find_map(|_| send(path.as_os_str(), "STATUS=x").err());
        assert_eq!(refused.expect("it is full").kind(), io::ErrorKind::WouldBlock);
        std::fs::remove_file(path).expect("removed");

        let name = format!("genkan-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("short");
        let manager = UnixDatagram::bind_addr(&address).expect("bound");
        send(OsStr::new(&format!("@{name}")), "STOPPING=1").expect("there is room");
        assert_eq!(manager.recv(&mut message).expect("it came"), 10);
    }
}
