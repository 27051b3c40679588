//! What a test is and how it ends: by returning, by a panic, or by a reason why it could not run.

use std::cell::Cell;
use std::fmt;

use crate::setup;

/// Why a test was not run.
#[derive(Debug)]
pub(crate) struct Skip(pub(crate) String);

impl fmt::Display for Skip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The result of a test; failures are panics.
pub(crate) type Outcome = Result<(), Skip>;

/// One test.
pub(crate) struct Case {
    /// `module::function`.
    pub(crate) name: &'static str,
    /// The test itself.
    pub(crate) test: fn() -> Outcome,
    /// Whether the kernel's NAT should pass it as well.
    pub(crate) for_kernel_too: bool,
}

thread_local! {
    static RUNNING: Cell<&'static str> = const { Cell::new("") };
}

/// The name of the test that runs on this thread.
pub(crate) fn running() -> &'static str {
    RUNNING.get()
}

impl Case {
    /// Runs it.
    pub(crate) fn run(&self) -> Outcome {
        RUNNING.set(self.name);
        (self.test)()
    }

    /// Whether it makes sense against the router that is under test.
    pub(crate) fn applies(&self) -> bool {
        self.for_kernel_too || !setup::kernel_stands_in()
    }
}

/// `module::function` of a whole path.
pub(crate) fn short(path: &'static str) -> &'static str {
    path.rmatch_indices("::").nth(1).map_or(path, |(at, _)| &path[at + 2..])
}

/// The cases of one module: `cases![a, b; only_genkan: c, d]`.
#[macro_export]
macro_rules! cases {
    ($($both:ident),* $(,)?; only_genkan: $($ours:ident),* $(,)?) => {
        /// The tests of this module.
        pub(crate) fn all() -> Vec<$crate::outcome::Case> {
            vec![
                $($crate::outcome::Case {
                    name: $crate::outcome::short(concat!(module_path!(), "::", stringify!($both))), test: $both, for_kernel_too: true,
                },)*
                $($crate::outcome::Case {
                    name: $crate::outcome::short(concat!(module_path!(), "::", stringify!($ours))), test: $ours, for_kernel_too: false,
                },)*
            ]
        }
    };
}
