//! The program as it is typed: arguments, exit status, files in and out.

mod bench;
mod command_line;
mod daemon;
mod documents;
mod replay;
mod rule_tests;
mod support;
mod trace;
