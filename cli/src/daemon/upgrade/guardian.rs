//! What is left of a router's first program where its process id is all that others know of the router.
//!
//! Whoever supervises the router without systemd's protocol (another service manager, a container's runtime, a shell)
//! waits for the process that it has started, and sends it signals. So that process stays, without anything of a router,
//! until the last of the programs after it has ended. A lifeline leads from it to the program that runs: signals go along
//! it, and when its other end is closed there, as the guardian was killed, that program ends as well.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use tracing::{debug, warn};

use crate::daemon::event_loop::Signals;
use crate::output::{Exit, Failure};

/// One end of the way between a guardian and the program that runs.
#[derive(Debug)]
pub(crate) struct Lifeline(UnixStream);

/// What comes along it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// To end.
    Terminate,
    /// To read the configuration again.
    Reload,
}

/// What the guardian says. A program that hands over stops listening before the next one begins, and what it has not heard
/// waits for that one.
#[derive(Debug)]
pub(crate) struct Calls(tokio::net::UnixStream);

impl Calls {
    /// Waits for the next one; may be dropped at any time, and takes none along then.
    pub(crate) async fn next(&self) -> Call {
        let mut octet = [0];
        while self.0.readable().await.is_ok() {
            match self.0.try_read(&mut octet) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(1) if octet == [Call::Reload as u8] => return Call::Reload,
                // Told to, or nobody is left to tell.
                Ok(_) | Err(_) => return Call::Terminate,
            }
        }
        // The event loop ends.
        Call::Terminate
    }
}

impl Lifeline {
    /// The guardian's end and the other one.
    ///
    /// # Errors
    /// When no socket can be had.
    pub(crate) fn pair() -> io::Result<(Lifeline, Lifeline)> {
        let (one, other) = UnixStream::pair()?;
        Ok((Lifeline(one), Lifeline(other)))
    }

    /// An end that another process has given us.
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> Lifeline {
        Lifeline(descriptor.into())
    }

    /// To be given to another process.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// For the program that runs, to hear what the guardian says.
    ///
    /// # Errors
    /// When there is no room for another descriptor, or outside of an event loop.
    pub(crate) fn calls(&self) -> io::Result<Calls> {
        let stream = self.0.try_clone()?;
        stream.set_nonblocking(true)?;
        Ok(Calls(tokio::net::UnixStream::from_std(stream)?))
    }

    fn call(&self, call: Call) {
        if let Err(error) = (&self.0).write_all(&[call as u8]) {
            // It is about to end by itself.
            debug!(%error, "the router was not reached");
        }
    }
}

/// Passes signals on until the last of our children has ended; how that ended is how this process ends.
pub(crate) async fn guard(lifeline: Lifeline, signals: &mut Signals) -> Result<Exit, Failure> {
    // Children of a child that has ended become ours.
    if let Err(error) = prctl::set_child_subreaper(true) {
        warn!(%error, "this process will end with the program that runs now");
    }
    let mut ended = tokio::task::spawn_blocking(last_status);
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => lifeline.call(Call::Terminate),
            _ = signals.interrupt.recv() => lifeline.call(Call::Terminate),
            _ = signals.hangup.recv() => lifeline.call(Call::Reload),
            status = &mut ended => {
                return match status.ok().flatten() {
                    Some(WaitStatus::Exited(_, 0)) => Ok(Exit::Done),
                    other => Err(Failure::message(format!("the router has ended: {other:?}"))),
                };
            }
        }
    }
}

/// How the last child ended, once there is none any more.
fn last_status() -> Option<WaitStatus> {
    let mut last = None;
    loop {
        match waitpid(None::<Pid>, None) {
            Ok(status) => last = Some(status),
            Err(Errno::EINTR) => {}
            Err(_) => return last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_arrive_and_a_lost_guardian_is_one() {
        let (guardian, router) = Lifeline::pair().expect("sockets");
        let calls = router.calls().expect("an event loop");
        guardian.call(Call::Reload);
        assert_eq!(calls.next().await, Call::Reload);
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(1), calls.next()).await;
        assert!(waiting.is_err(), "nobody has said anything");
        // What one program has not heard, the next one hears.
        guardian.call(Call::Reload);
        drop(calls);
        let calls = router.calls().expect("an event loop");
        assert_eq!(calls.next().await, Call::Reload);
        guardian.call(Call::Terminate);
        assert_eq!(calls.next().await, Call::Terminate);
        drop(guardian);
        assert_eq!(calls.next().await, Call::Terminate);
    }
}
