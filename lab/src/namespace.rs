//! Doing things inside a network namespace.
//!
//! A namespace belongs to a thread, and a socket keeps the namespace in which it was made. So a short-lived thread
//! enters the namespace, makes the socket or starts the program, and hands it out.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, setns};

/// A named network namespace, held open.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    file: Arc<File>,
}

impl Namespace {
    /// Opens the namespace that `ip netns` calls `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(name: &str) -> io::Result<Namespace> {
        let file = File::open(PathBuf::from("/run/netns").join(name))?;
        Ok(Namespace { name: name.to_owned(), file: Arc::new(file) })
    }

    /// The namespace that `file` holds open, named so by the caller.
    pub(crate) fn of(name: String, file: File) -> Namespace {
        Namespace { name, file: Arc::new(file) }
    }

    /// Its name, as `ip netns` prints it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread inside the namespace and returns what it returns. Sockets made there stay there.
    ///
    /// # Panics
    /// When the namespace cannot be entered, and when `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts `work` on a thread of its own inside the namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let namespace = self.clone();
        thread::spawn(move || {
            namespace.enter();
            work()
        })
    }

    /// Starts a program inside the namespace.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn start(&self, command: &mut Command) -> io::Result<Child> {
        self.run(|| command.spawn())
    }

    /// Runs a program inside the namespace to its end and collects what it says.
    ///
    /// # Errors
    /// As [`Command::output`].
    pub fn output(&self, command: &mut Command) -> io::Result<Output> {
        self.run(|| command.output())
    }

    fn enter(&self) {
        setns(&*self.file, CloneFlags::CLONE_NEWNET)
            .unwrap_or_else(|error| panic!("cannot enter the namespace {}: {error}", self.name));
    }
}
