//! A program on a terminal.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use genkan_lab::Namespace;
use nix::pty::{Winsize, openpty};

use crate::fixture::wait_for;

/// A terminal with one program on it.
pub(crate) struct Terminal {
    line: OwnedFd,
    written: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    child: Child,
}

impl Terminal {
    /// Starts a program at a host, on a terminal of this size.
    pub(crate) fn start(host: &Namespace, command: &mut Command, columns: u16, rows: u16) -> Terminal {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("the kernel has terminals");
        let end = || pair.slave.try_clone().expect("there are descriptors");
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let child = host.start(command).expect("the program is there");
        // The command keeps its copies of the terminal's end.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        let mut screen = File::from(pair.master);
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4_096];
            // The last end of a terminal closes with EIO.
            while let Ok(length @ 1..) = screen.read(&mut piece) {
                sink.lock().expect("nobody panics").extend_from_slice(&piece[..length]);
            }
        });
        Terminal { line: pair.slave, written, reader: Some(reader), child }
    }

    /// Waits for the program's end. Returns how it ended and all that it wrote.
    #[track_caller]
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut status = None;
        wait_for("the program ends", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        let Terminal { line, written, mut reader, .. } = self;
        drop(line);
        reader.take().map(JoinHandle::join);
        let written = String::from_utf8_lossy(&written.lock().expect("nobody panics")).into_owned();
        (status.expect("it has ended"), written)
    }
}
