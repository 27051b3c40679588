//! `genkan`: a userspace NAT and port-forwarding router for Linux.
//!
//! This file knows what can be typed; [`commands`] does it, [`daemon`] is the router itself, [`output`] speaks to
//! people and programs.
#![forbid(unsafe_code)]

mod audit;
mod bench;
mod commands;
mod conformance;
mod daemon;
mod doctor;
mod events;
mod lab;
mod output;
mod reflector;
mod replay;
mod rule_tests;
mod simulation;
mod top;
mod trace;
mod words;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::test as test_command;
use crate::commands::{
    audit as audit_command, capture, check, conformance as conformance_command, counters, ddns, dmz, dns,
    doctor as doctor_command, events as events_command, forward, forwards, help_files, history, hosts,
    lab as lab_command, leases, listing, log_level, reflector as reflector_command, reload,
    replay as replay_command, run, status, top as top_command, trace as trace_command, upgrade,
};

/// A router's tables are large, and looked up all over.
#[cfg(not(test))]
#[global_allocator]
static MEMORY: genkan_io::sys::huge_pages::HugePages = genkan_io::sys::huge_pages::HugePages;

/// Some tests count.
#[cfg(test)]
#[global_allocator]
static MEMORY: genkan_benches::counting::Counting = genkan_benches::counting::Counting;

const AFTER_HELP: &str = "\
Exit status: 0 done, 1 the answer is no, 2 misuse or a configuration with errors.

Examples:
  genkan check home.toml                    is this configuration right?
  sudo genkan run --config home.toml        be the router
  genkan status                             can packets flow?
  genkan sessions --protocol tcp            who talks to whom
  genkan top                                what it does, as it happens
  genkan forward add web --protocol tcp --port 80 --to 192.168.0.10:8080
  genkan lab demo                           see it work, in namespaces, without touching this machine";

/// A userspace NAT and port-forwarding router for Linux.
#[derive(Debug, Parser)]
#[command(name = "genkan", version, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Check(check::Arguments),
    Status(status::Arguments),
    Sessions(listing::SessionArguments),
    Mappings(listing::MappingArguments),
    Neighbors(listing::NeighborArguments),
    Counters(counters::Arguments),
    Top(top_command::Arguments),
    Hosts(hosts::Arguments),
    Dns(dns::Arguments),
    Leases(leases::Arguments),
    Events(events_command::Arguments),
    Capture(capture::Arguments),
    Forward(forward::Arguments),
    Forwards(forwards::Arguments),
    Ddns(ddns::Arguments),
    Dmz(dmz::Arguments),
    Reload(reload::Arguments),
    LogLevel(log_level::Arguments),
    Confirm(history::ConfirmArguments),
    History(history::HistoryArguments),
    Diff(history::DiffArguments),
    Rollback(history::RollbackArguments),
    Upgrade(upgrade::Arguments),
    Trace(trace_command::Arguments),
    Audit(audit_command::Arguments),
    Doctor(doctor_command::Arguments),
    Replay(replay_command::Arguments),
    Reflector(reflector_command::Arguments),
    Lab(lab_command::Arguments),
    Conformance(conformance_command::Arguments),
    Bench(Box<bench::Arguments>),
    Test(test_command::Arguments),
    #[command(hide = true)]
    HelpFiles(help_files::Arguments),
}

fn main() -> ExitCode {
    // No thread is started here: the lab makes namespaces, which the kernel gives to single-threaded programs only.
    let outcome = match Cli::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Sessions(arguments) => listing::sessions(&arguments),
        Command::Mappings(arguments) => listing::mappings(&arguments),
        Command::Neighbors(arguments) => listing::neighbors(&arguments),
        Command::Events(arguments) => events_command::run(&arguments),
        Command::Hosts(arguments) => hosts::run(&arguments),
        Command::Dns(arguments) => dns::run(&arguments),
        Command::Leases(arguments) => leases::run(&arguments),
        Command::Capture(arguments) => capture::run(&arguments),
        Command::Counters(arguments) => counters::run(&arguments),
        Command::Top(arguments) => top_command::run(&arguments),
        Command::Forwards(arguments) => forwards::run(&arguments),
        Command::Forward(arguments) => forward::run(&arguments),
        Command::Ddns(arguments) => ddns::run(&arguments),
        Command::Dmz(arguments) => dmz::run(&arguments),
        Command::LogLevel(arguments) => log_level::run(&arguments),
        Command::Reload(arguments) => reload::run(&arguments),
        Command::Confirm(arguments) => history::confirm(&arguments),
        Command::History(arguments) => history::history(&arguments),
        Command::Diff(arguments) => history::diff(&arguments),
        Command::Rollback(arguments) => history::rollback(&arguments),
        Command::Upgrade(arguments) => upgrade::run(&arguments),
        Command::Trace(arguments) => trace_command::run(&arguments),
        Command::Audit(arguments) => audit_command::run(&arguments),
        Command::Doctor(arguments) => doctor_command::run(&arguments),
        Command::Reflector(arguments) => reflector_command::run(&arguments),
        Command::Replay(arguments) => replay_command::run(&arguments),
        Command::Lab(arguments) => lab_command::run(&arguments),
        Command::Conformance(arguments) => conformance_command::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Test(arguments) => test_command::run(&arguments),
        Command::HelpFiles(arguments) => help_files::run::<Cli>(&arguments),
    };
    output::exit(outcome)
}
