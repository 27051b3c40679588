//! The terminal while `genkan top` has it, and how it is given back.

use std::io;

use ratatui::DefaultTerminal;

/// The terminal in raw mode with a screen of its own. Dropping this gives it back as it was; so does a panic, whose
/// message then stands where it can be read.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn enter() -> io::Result<Screen> {
        // Sets the panic hook as well.
        match ratatui::try_init() {
            Ok(terminal) => Ok(Screen { terminal }),
            Err(error) => {
                leave();
                Err(error)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // What cannot be put back now cannot be put back at all.
        let _ = self.terminal.show_cursor();
        leave();
    }
}

fn leave() {
    let _ = ratatui::try_restore();
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::process::Command;

    use nix::pty::{Winsize, openpty};
    use nix::sys::termios::{LocalFlags, tcgetattr};

    use super::*;

    const PANICS: &str = "GENKAN_TEST_PANICS_ON_THE_SCREEN";

    /// The test runs itself again on a terminal of its own, where it panics.
    #[test]
    fn a_panic_gives_the_terminal_back() {
        if std::env::var_os(PANICS).is_some() {
            let _screen = Screen::enter().expect("a terminal");
            panic!("as it should");
        }
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("the kernel has terminals");
        // Copies close when another test starts a program, which the originals do not.
        let copy = |end: &OwnedFd| end.try_clone().expect("there are descriptors");
        let (master, line) = (copy(&pair.master), copy(&pair.slave));
        drop(pair);
        let end = || copy(&line);
        let mut again = Command::new(std::env::current_exe().expect("a program knows its own path"));
        again.args(["--exact", "top::terminal::tests::a_panic_gives_the_terminal_back", "--nocapture"]);
        again.env(PANICS, "1").stdin(end()).stdout(end()).stderr(end());
        let mut child = again.spawn().expect("this very program");
        drop(again);
        let mut screen = File::from(master);
        let reader = std::thread::spawn(move || {
            let mut written = Vec::new();
            // The last end of a terminal closes with EIO.
            let _ = screen.read_to_end(&mut written);
            String::from_utf8_lossy(&written).into_owned()
        });
        assert!(!child.wait().expect("our child").success());
        let flags = tcgetattr(&line).expect("it is a terminal").local_flags;
        drop(line);
        let written = reader.join().expect("nobody panics here");
        assert!(flags.contains(LocalFlags::ICANON | LocalFlags::ECHO), "{written:?}");
        let left = written.find("\u{1b}[?1049l").expect("the screen was left");
        assert!(written.find("as it should").is_some_and(|said| said > left), "{written:?}");
    }
}
