//! A program on a terminal: what it writes, what is typed, and what it leaves behind.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use genkan_lab::Namespace;
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;

use crate::fixture::wait_for;

/// A terminal with one program on it.
pub(crate) struct Terminal {
    keyboard: File,
    line: OwnedFd,
    written: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
    child: Child,
}

impl Terminal {
    /// Starts a program at a host, on a terminal of this size.
    pub(crate) fn start(host: &Namespace, command: &mut Command, columns: u16, rows: u16) -> Terminal {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("the kernel has terminals");
        // Copies close when another program starts, which the originals do not: a router would keep them open.
        let copy = |end: &OwnedFd| end.try_clone().expect("there are descriptors");
        let (master, line) = (copy(&pair.master), copy(&pair.slave));
        drop(pair);
        let end = || copy(&line);
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let child = host.start(command).expect("the program is there");
        // The command keeps its copies of the terminal's end.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        let keyboard = File::from(master);
        let mut screen = keyboard.try_clone().expect("there are descriptors");
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4_096];
            // The last end of a terminal closes with EIO.
            while let Ok(length @ 1..) = screen.read(&mut piece) {
                sink.lock().expect("nobody panics").extend_from_slice(&piece[..length]);
            }
        });
        Terminal { keyboard, line, written, reader, child }
    }

    /// Everything that was written so far, escapes included.
    pub(crate) fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().expect("nobody panics")).into_owned()
    }

    /// Waits until this was written.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        wait_for(&format!("'{text}' on the terminal"), || self.written().contains(text));
    }

    /// Types this.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal is open");
    }

    /// Sends the program a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it runs");
    }

    /// Whether the terminal waits for whole lines and shows what is typed, as it does for a shell.
    pub(crate) fn is_ordinary(&self) -> bool {
        is_ordinary(&self.line)
    }

    /// [`Terminal::end`] of a program that gives the terminal back as it was.
    #[track_caller]
    pub(crate) fn end_ordinary(mut self) -> (ExitStatus, String) {
        self.wait();
        assert!(self.is_ordinary(), "the terminal is not as it was: {:?}", self.written());
        self.end()
    }

    /// Waits for the program's end. Returns how it ended and all that it wrote.
    #[track_caller]
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = self.wait();
        let Terminal { line, written, reader, .. } = self;
        drop(line);
        reader.join().expect("nobody panics");
        let written = String::from_utf8_lossy(&written.lock().expect("nobody panics")).into_owned();
        (status, written)
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        wait_for("the program ends", || self.child.try_wait().expect("it is our child").is_some());
        self.child.wait().expect("it has ended")
    }
}

fn is_ordinary(line: &OwnedFd) -> bool {
    let flags = tcgetattr(line).expect("it is a terminal").local_flags;
    flags.contains(LocalFlags::ICANON | LocalFlags::ECHO)
}
