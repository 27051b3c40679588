//! `genkan forward`: the port forwards of the running router.

use std::time::Duration;

use clap::Subcommand;
use genkan_control::api::{ClosedBy, ForwardPatch, ForwardRow, NewForward, OneOrMany, PortWord};
use genkan_control::devices::{DeviceState, TargetDevice};
use genkan_engine::UnixTime;

use super::change::Options;
use super::{Target, ask, history};
use crate::output::{self, Exit, Failure, Format, Listing};

const AFTER_HELP: &str = "\
A change is checked, put in force in all workers at once, and written to the configuration file, whose comments and order
stay; all of that or nothing. Sessions of a forward that is removed or disabled end at once; all others go on.

Examples:
  genkan forward add web --protocol tcp --port 80 --to 192.168.0.10:8080
  genkan forward add game --protocol tcp,udp --port 10000-10010 --to console --for 2h
  genkan forward add ssh --protocol tcp --port 2222 --to nas:22 --from 198.51.100.0/24 --confirm 60s
  genkan forward add vpn --protocol tcp --port 443 --to nas --schedule 'Mon-Fri 18:00-23:00' --max-sessions 50
  genkan forward change ssh --max-new-per-source 20/min --without from
  genkan forward disable web
  genkan forward remove web --dry-run
  genkan forward list";

/// List and change the port forwards of the running router
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a forward
    Add(AddArguments),
    /// Give keys of a forward other values; its sessions go on as far as these allow them
    Change(ChangeArguments),
    /// Remove a forward; its sessions end
    Remove(NameArguments),
    /// Open a forward again
    Enable(NameArguments),
    /// Close a forward, its ports stay taken; its sessions end
    Disable(NameArguments),
    /// List the forwards of the running configuration
    List(ListArguments),
}

#[derive(Debug, clap::Args)]
struct AddArguments {
    /// A name for it, unique
    name: String,
    /// tcp, udp, or both as tcp,udp
    #[arg(long, value_delimiter = ',', required = true)]
    protocol: Vec<String>,
    /// External ports: 80, 10000-10010, or several as 80,443
    #[arg(long, value_delimiter = ',', required = true)]
    port: Vec<String>,
    /// The inside machine: address or name of its `[[host]]`, with a port if that is another one
    #[arg(long, value_name = "HOST[:PORT]")]
    to: String,
    #[command(flatten)]
    keys: KeyArguments,
    /// Add it closed
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
struct ChangeArguments {
    /// Its name
    name: String,
    /// tcp, udp, or both as tcp,udp
    #[arg(long, value_delimiter = ',')]
    protocol: Option<Vec<String>>,
    /// External ports: 80, 10000-10010, or several as 80,443
    #[arg(long, value_delimiter = ',')]
    port: Option<Vec<String>>,
    /// The inside machine: address or name of its `[[host]]`, with a port if that is another one
    #[arg(long, value_name = "HOST[:PORT]")]
    to: Option<String>,
    #[command(flatten)]
    keys: KeyArguments,
    /// Take these keys away
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    without: Vec<Key>,
    #[command(flatten)]
    options: Options,
}

/// Keys that a forward need not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Key {
    Address,
    From,
    Expires,
    Schedule,
    MaxSessions,
    MaxNewPerSource,
    Log,
}

/// What a forward need not say.
#[derive(Debug, clap::Args)]
struct KeyArguments {
    /// Admit only this network; may be given several times
    #[arg(long, value_name = "CIDR")]
    from: Vec<String>,
    /// Only on this external address
    #[arg(long)]
    address: Option<String>,
    /// Open for so long, such as 2h; then it leaves the file
    #[arg(long = "for", value_name = "TIME", conflicts_with = "expires", value_parser = genkan_config::duration)]
    lifetime: Option<Duration>,
    /// Closed from then on, such as 2026-12-31T23:59:59+09:00
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Open in these hours only, such as 'Mon-Fri 18:00-23:00'
    #[arg(long, value_name = "HOURS", value_parser = genkan_config::opening_hours)]
    schedule: Option<String>,
    /// Most sessions at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(genkan_config::MOST_SESSIONS)))]
    max_sessions: Option<u32>,
    /// How fast each source may open sessions, such as 20/min
    #[arg(long, value_name = "RATE", value_parser = genkan_config::rate)]
    max_new_per_source: Option<String>,
    /// Log every new session
    #[arg(long)]
    log: bool,
}

#[derive(Debug, clap::Args)]
struct NameArguments {
    /// Its name
    name: String,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
struct ListArguments {
    #[command(flatten)]
    target: Target,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let enable = |arguments: &NameArguments, enabled| {
        let patch = ForwardPatch { enabled: Some(enabled), ..ForwardPatch::default() };
        let name = &arguments.name;
        arguments.options.change(async |client, query| client.patch_forward(name, &patch, query).await)
    };
    match &arguments.action {
        Action::Add(add) => {
            let forward = new_forward(add);
            add.options.change(async |client, query| client.add_forward(&forward, query).await)
        }
        Action::Change(change) => {
            let (name, patch) = (&change.name, patch(change));
            change.options.change(async |client, query| client.patch_forward(name, &patch, query).await)
        }
        Action::Remove(remove) => {
            remove.options.change(async |client, query| client.remove_forward(&remove.name, query).await)
        }
        Action::Enable(arguments) => enable(arguments, true),
        Action::Disable(arguments) => enable(arguments, false),
        Action::List(list) => print_list(list),
    }
}

fn new_forward(add: &AddArguments) -> NewForward {
    let keys = &add.keys;
    NewForward {
        name: add.name.clone(),
        protocol: OneOrMany::Many(add.protocol.clone()),
        port: ports(&add.port),
        to: add.to.clone(),
        address: keys.address.clone(),
        from: keys.from.clone(),
        enabled: !add.disabled,
        expires: keys.expires.clone(),
        for_seconds: keys.for_seconds(),
        temporary: false,
        schedule: keys.schedule.clone(),
        max_sessions: keys.max_sessions,
        max_new_per_source: keys.max_new_per_source.clone(),
        log: keys.log,
    }
}

fn patch(change: &ChangeArguments) -> ForwardPatch {
    let keys = &change.keys;
    let goes = |key| change.without.contains(&key);
    // What is given goes before what is to be taken away.
    let text = |given: &Option<String>, key| given.clone().map(Some).or(goes(key).then_some(None));
    ForwardPatch {
        protocol: change.protocol.clone().map(OneOrMany::Many),
        port: change.port.as_deref().map(ports),
        to: change.to.clone(),
        address: text(&keys.address, Key::Address),
        from: match keys.from.is_empty() {
            true => goes(Key::From).then_some(None),
            false => Some(Some(keys.from.clone())),
        },
        enabled: None,
        expires: text(&keys.expires, Key::Expires),
        for_seconds: keys.for_seconds(),
        temporary: None,
        schedule: text(&keys.schedule, Key::Schedule),
        max_sessions: keys.max_sessions.map(Some).or(goes(Key::MaxSessions).then_some(None)),
        max_new_per_source: text(&keys.max_new_per_source, Key::MaxNewPerSource),
        log: (keys.log || goes(Key::Log)).then_some(keys.log),
    }
}

fn ports(words: &[String]) -> OneOrMany<PortWord> {
    OneOrMany::Many(words.iter().cloned().map(PortWord::Text).collect())
}

impl KeyArguments {
    fn for_seconds(&self) -> Option<u32> {
        // At most a year.
        self.lifetime.map(|time| time.as_secs() as u32)
    }
}

fn print_list(arguments: &ListArguments) -> Result<Exit, Failure> {
    let rows = ask(&arguments.target.socket, async |client| client.forwards().await)?;
    match arguments.target.format {
        Format::Json => output::print_json(&rows)?,
        Format::Table if rows.is_empty() => output::remark("no forwards"),
        Format::Table => output::print(&table(&rows))?,
    }
    Ok(Exit::Done)
}

/// Whether a forward is open, and if not, why.
pub(super) fn state(row: &ForwardRow) -> String {
    let time = |seconds| genkan_config::rfc3339(UnixTime(seconds));
    match (row.closed_by, row.opens, row.expires) {
        (None, ..) if row.open => match &row.device {
            Some(TargetDevice { state: DeviceState::Silent, last_seen, .. }) => match last_seen {
                Some(seen) => format!("open, silent since {}", time(*seen)),
                None => "open, silent".to_owned(),
            },
            _ => "open".to_owned(),
        },
        (None, ..) => "closed".to_owned(),
        (Some(ClosedBy::Disabled), ..) => "disabled".to_owned(),
        (Some(ClosedBy::Expired), _, Some(expired)) => format!("expired {}", time(expired)),
        (Some(ClosedBy::Expired), ..) => "expired".to_owned(),
        (Some(ClosedBy::Schedule), Some(opens), _) => format!("opens {}", time(opens)),
        (Some(ClosedBy::Schedule), None, _) => "out of hours".to_owned(),
        (Some(ClosedBy::Clock), ..) => "clock not set".to_owned(),
        (Some(ClosedBy::Absent), ..) => match &row.device {
            Some(TargetDevice { last_seen: Some(seen), last_address: Some(address), .. }) => {
                format!("absent since {}, last at {address}", time(*seen))
            }
            _ => "absent".to_owned(),
        },
    }
}

fn table(rows: &[ForwardRow]) -> String {
    let mut listing = Listing::new(&[
        "name", "protocol", "port", "to", "address", "from", "state", "since", "by", "expires",
    ])
    .shrinks(&[("name", 12), ("port", 12), ("from", 12), ("expires", 10)])
    .drops(&["address", "by", "protocol", "since", "from", "expires", "to"]);
    let dash = || "-".to_owned();
    let any = |text: String| if text.is_empty() { "any".to_owned() } else { text };
    for row in rows {
        let expires = row.expires.map(|expires| genkan_config::rfc3339(UnixTime(expires)));
        listing.row([
            row.name.clone(),
            row.protocols.join("+"),
            row.ports.join(","),
            row.to.clone(),
            any(row.address.map(|address| address.to_string()).unwrap_or_default()),
            any(row.from.join(", ")),
            state(row),
            row.opened.map_or_else(dash, |opened| genkan_config::rfc3339(UnixTime(opened.since))),
            row.opened.map_or_else(dash, |opened| history::user(opened.uid)),
            expires.unwrap_or_else(dash) + if row.ad_hoc { " (temporary)" } else { "" },
        ]);
    }
    listing.text()
}

#[cfg(test)]
mod tests {
    use genkan_control::api::Opened;

    use super::*;

    #[test]
    fn the_list_says_what_is_open() {
        let row = |name: &str, closed_by: Option<ClosedBy>, opens| ForwardRow {
            name: name.to_owned(),
            protocols: vec!["tcp".to_owned(), "udp".to_owned()],
            ports: vec!["80".to_owned(), "90-99".to_owned()],
            to: "192.168.0.10".to_owned(),
            address: None,
            from: Vec::new(),
            enabled: closed_by != Some(ClosedBy::Disabled),
            open: closed_by.is_none(),
            closed_by,
            opens,
            opened: closed_by.is_none().then_some(Opened { since: 60, revision: 2, uid: None }),
            expires: Some(0),
            ad_hoc: closed_by.is_none(),
            schedule: None,
            max_sessions: None,
            max_new_per_source: None,
            log: false,
            device: None,
            counts: Default::default(),
        };
        let text = table(&[
            row("a", None, None),
            row("b", Some(ClosedBy::Schedule), Some(60)),
            row("c", Some(ClosedBy::Disabled), None),
            row("d", Some(ClosedBy::Expired), None),
            row("e", Some(ClosedBy::Clock), None),
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("tcp+udp") && lines[1].contains("80,90-99") && lines[1].contains("open"));
        assert!(lines[1].ends_with("1970-01-01T00:00:00Z (temporary)"), "{text}");
        assert!(lines[2].contains("opens 1970-01-01T00:01:00Z") && lines[3].contains("disabled"), "{text}");
        assert!(lines[4].contains("expired 1970-01-01T00:00:00Z"), "{text}");
        assert!(lines[5].contains("clock not set"), "{text}");
    }
}
