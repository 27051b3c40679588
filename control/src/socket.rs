//! The unix socket: made with mode 0660, never taken from a router that lives.
//!
//! A lock file beside the socket says who lives, since the kernel drops its lock with the process, however that
//! ended. The socket is made under a name of its own and renamed when it is ready, so nobody ever connects to one
//! that has the wrong mode or does not listen yet.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::unistd::{Gid, Group};

/// Mode of the socket: its owner and group may control the router.
pub const MODE: u32 = 0o660;

/// Why the control socket could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers there.
    #[error("{}: a running router already answers there; give this one another socket", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The path is taken by something that is no socket.
    #[error("{}: exists and is no socket; it is left alone", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The kernel's limit is 107 octets.
    #[error("{}: too long for a unix socket (at most 107 octets)", path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// The group that may use it does not exist.
    #[error("there is no group `{0}` on this machine (`[services] group`)")]
    NoGroup(String),
    /// A system call failed.
    #[error("{}: {action}", path.display())]
    Io {
        /// The path concerned.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// A listening control socket; removed when dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: Option<std::os::unix::net::UnixListener>,
    /// For another process that goes on with it.
    duplicate: Option<std::os::unix::net::UnixListener>,
    path: PathBuf,
    /// Of the file that goes with this value.
    identity: Option<(u64, u64)>,
    /// Locked until the last duplicate of it is closed.
    lock: File,
}

fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> SocketError {
    move |source| SocketError::Io { path: path.to_owned(), action, source }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

impl ControlSocket {
    /// Makes the socket at `path` and its directory, replacing what a dead process left.
    ///
    /// # Errors
    /// [`SocketError`], also when a living process has the socket.
    pub fn bind(path: &Path) -> Result<ControlSocket, SocketError> {
        ControlSocket::bind_for(path, None)
    }

    /// [`ControlSocket::bind`], for a group of this name or number instead of this process's own.
    ///
    /// # Errors
    /// [`SocketError`], also when there is no such group or it may not have the socket.
    pub fn bind_for(path: &Path, group: Option<&str>) -> Result<ControlSocket, SocketError> {
        let group = group.map(find_group).transpose()?;
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory).map_err(io_error(directory, "cannot make the directory"))?;
        }
        let lock = lock(path)?;
        refuse_foreign(path)?;
        let fresh = beside(path, ".new");
        let listener = listen_at(&fresh, path, group)?;
        std::fs::rename(&fresh, path).map_err(io_error(path, "cannot put the socket in place"))?;
        ControlSocket::with(path, listener, lock)
    }

    /// Listens at the socket of another process, by what its [`ControlSocket::descriptors`] were. It stays that process's
    /// until [`ControlSocket::own`].
    ///
    /// # Errors
    /// When there is no room for another descriptor.
    pub fn adopt(path: &Path, listener: OwnedFd, lock: OwnedFd) -> Result<ControlSocket, SocketError> {
        let mut socket = ControlSocket::with(path, listener.into(), lock.into())?;
        socket.identity = None;
        Ok(socket)
    }

    /// The other process has left it, and it is removed with this value.
    pub fn own(&mut self) {
        self.identity = identity(&self.path).ok();
    }

    fn with(
        path: &Path,
        listener: std::os::unix::net::UnixListener,
        lock: File,
    ) -> Result<ControlSocket, SocketError> {
        let identity = identity(path).map_err(io_error(path, "cannot look at the socket"))?;
        let duplicate = listener.try_clone().map_err(io_error(path, "cannot share the socket"))?;
        Ok(ControlSocket {
            listener: Some(listener),
            duplicate: Some(duplicate),
            path: path.to_owned(),
            identity: Some(identity),
            lock,
        })
    }

    /// What another process needs to go on with it: listener and lock.
    pub fn descriptors(&self) -> Option<[BorrowedFd<'_>; 2]> {
        Some([self.duplicate.as_ref()?.as_fd(), self.lock.as_fd()])
    }

    /// From now on nobody is to go on with it: when the server ends, nobody can connect any more.
    pub fn end(&mut self) {
        self.duplicate = None;
    }

    /// Leaves it to a process that has adopted it.
    pub fn leave(mut self) {
        self.identity = None;
    }

    /// The listener, non-blocking, for the server. `None` after the first call.
    pub fn take_listener(&mut self) -> Option<std::os::unix::net::UnixListener> {
        self.listener.take()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Only ours: an administrator may have put another file there meanwhile.
        let ours = self.identity.is_some() && self.identity == identity(&self.path).ok();
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "control socket not removed");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// The lock file stays when the router ends: removing it would let two starting routers lock two files of one name.
fn lock(path: &Path) -> Result<File, SocketError> {
    let lock_path = beside(path, ".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(io_error(&lock_path, "cannot open the lock file"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io_error(&lock_path, "cannot lock the lock file")(error)),
    }
}

/// Holding the lock, whatever answers at `path` is no router of ours, and still nothing to take over.
fn refuse_foreign(path: &Path) -> Result<(), SocketError> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(path, "cannot look at the path")(error)),
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(_) => Ok(()),
    }
}

fn find_group(group: &str) -> Result<Gid, SocketError> {
    if let Ok(number) = group.parse() {
        return Ok(Gid::from_raw(number));
    }
    let none = || SocketError::NoGroup(group.to_owned());
    Group::from_name(group).ok().flatten().map(|found| found.gid).ok_or_else(none)
}

fn listen_at(
    fresh: &Path,
    path: &Path,
    group: Option<Gid>,
) -> Result<std::os::unix::net::UnixListener, SocketError> {
    match std::fs::remove_file(fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error(fresh, "cannot remove a left-over socket")(error));
        }
        _ => {}
    }
    let address = UnixAddr::new(fresh).map_err(|_| SocketError::TooLong { path: path.to_owned() })?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .map_err(|errno| io_error(path, "cannot make a socket")(errno.into()))?;
    bind(fd.as_raw_fd(), &address).map_err(|errno| io_error(path, "cannot bind the socket")(errno.into()))?;
    // Group and mode come before the first chance to connect.
    if let Some(group) = group {
        std::os::unix::fs::chown(fresh, None, Some(group.as_raw()))
            .map_err(io_error(path, "cannot give the socket to its group"))?;
    }
    std::fs::set_permissions(fresh, std::fs::Permissions::from_mode(MODE))
        .map_err(io_error(path, "cannot set the socket's mode"))?;
    let backlog = Backlog::new(128).unwrap_or(Backlog::MAXCONN);
    listen(&fd, backlog).map_err(|errno| io_error(path, "cannot listen")(errno.into()))?;
    Ok(std::os::unix::net::UnixListener::from(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("genkan-socket-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        path
    }

    #[test]
    fn socket_has_its_mode_and_goes_with_its_owner() {
        let directory = directory("mode");
        let path = directory.join("run/control.sock");
        let socket = ControlSocket::bind(&path).expect("bound");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, MODE);
        UnixStream::connect(&path).expect("it listens");
        drop(socket);
        assert!(!path.exists());
        std::fs::remove_dir_all(directory).expect("cleaned");
    }

    #[test]
    fn another_process_goes_on_with_it() {
        let directory = directory("adopt");
        let path = directory.join("control.sock");
        let first = ControlSocket::bind(&path).expect("bound");
        let [listener, lock] = first.descriptors().expect("it has not ended").map(|descriptor| {
            // As another process gets them.
            descriptor.try_clone_to_owned().expect("there is room")
        });
        let duplicates = [&listener, &lock].map(|it| it.try_clone().expect("there is room"));
        let [again, lock_again] = duplicates;
        drop(ControlSocket::adopt(&path, again, lock_again).expect("it is there"));
        UnixStream::connect(&path).expect("one that comes to nothing changes nothing");
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::InUse { .. })));
        let mut second = ControlSocket::adopt(&path, listener, lock).expect("it is there");
        first.leave();
        second.own();
        let server = second.take_listener().expect("taken once");
        UnixStream::connect(&path).expect("it listens");
        for _ in 0..2 {
            server.accept().expect("somebody has connected");
        }
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::InUse { .. })), "the lock went along");
        drop(server);
        second.end();
        assert!(UnixStream::connect(&path).is_err(), "nobody listens");
        drop(second);
        assert!(!path.exists());
        std::fs::remove_dir_all(directory).expect("cleaned");
    }

    #[test]
    fn the_group_is_as_wished() {
        let directory = directory("group");
        let path = directory.join("control.sock");
        let own = nix::unistd::getgid();
        let socket = ControlSocket::bind_for(&path, Some(&own.to_string())).expect("bound");
        assert_eq!(std::fs::metadata(&path).expect("there").gid(), own.as_raw());
        drop(socket);
        let error = ControlSocket::bind_for(&path, Some("no such group")).expect_err("unknown");
        assert!(error.to_string().contains("no such group"), "{error}");
        std::fs::remove_dir_all(directory).expect("cleaned");
    }

    #[test]
    fn a_live_socket_is_refused_and_a_stale_one_replaced() {
        let directory = directory("live");
        let path = directory.join("control.sock");
        let first = ControlSocket::bind(&path).expect("bound");
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::InUse { .. })));
        drop(first);

        // What `kill -9` leaves: a socket that nobody listens on, and an unlocked lock file.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a stale socket"));
        assert!(path.exists());
        let second = ControlSocket::bind(&path).expect("the stale one is replaced");
        drop(second);

        // Somebody else's living socket, who knows nothing of the lock.
        let foreign = std::os::unix::net::UnixListener::bind(&path).expect("a foreign socket");
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::InUse { .. })));
        drop(foreign);
        std::fs::remove_dir_all(directory).expect("cleaned");
    }

    #[test]
    fn other_files_are_left_alone() {
        let directory = directory("file");
        std::fs::create_dir_all(&directory).expect("made");
        let path = directory.join("control.sock");
        std::fs::write(&path, "precious").expect("written");
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "precious");
        let long = directory.join("x".repeat(120));
        assert!(matches!(ControlSocket::bind(&long), Err(SocketError::TooLong { .. })));
        std::fs::remove_dir_all(directory).expect("cleaned");
    }
}
