//! What a test is and how it ends: by returning, by a panic, or by a reason why it could not run.

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
    pub(crate) name: String,
    /// The test itself.
    pub(crate) test: fn() -> Outcome,
    /// Whether the kernel's NAT should pass it as well.
    pub(crate) for_kernel_too: bool,
}

impl Case {
    /// Whether it makes sense against the router that is under test.
    pub(crate) fn applies(&self) -> bool {
        self.for_kernel_too || !setup::kernel_stands_in()
    }
}

/// The cases of one module: `cases![a, b; only_genkan: c, d]`.
#[macro_export]
macro_rules! cases {
    ($($both:ident),* $(,)?; only_genkan: $($ours:ident),* $(,)?) => {
        /// The tests of this module.
        pub(crate) fn all() -> Vec<$crate::outcome::Case> {
            let module = module_path!().rsplit("::").next().unwrap_or_default();
            vec![
                $($crate::outcome::Case {
                    name: format!("{module}::{}", stringify!($both)), test: $both, for_kernel_too: true,
                },)*
                $($crate::outcome::Case {
                    name: format!("{module}::{}", stringify!($ours)), test: $ours, for_kernel_too: false,
                },)*
            ]
        }
    };
}
