//! Changes to the running configuration, and the history of them.

use std::net::Ipv4Addr;

use crate::devices::TargetDevice;
use genkan_engine::UnixTime;
use genkan_engine::plan::{ForwardRule, PortRange};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ForwardCounts;

/// Query of every request that changes something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ChangeQuery {
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Take it back by itself after so many seconds, 1 to 86,400, unless it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 86_400)]
    pub confirm_seconds: Option<u32>,
    /// The revision that the change was thought out against; refused when another one is in force. The header
    /// `If-Match` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    pub revision: Option<u64>,
}

/// Longest time to wait for a confirmation in seconds: a day.
pub const MAX_CONFIRM_SECONDS: u32 = 86_400;

/// Answer to a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeReport {
    /// Path of the configuration file.
    pub config: String,
    /// The revision in force from now on; with `dry_run`, as before.
    pub revision: u64,
    /// What is different, one short line each; empty when nothing is.
    pub changes: Vec<String>,
    /// Warnings as `check` prints them, those that the change brings; of a reload, all of them.
    pub warnings: String,
    /// Nothing was done.
    #[serde(default)]
    pub dry_run: bool,
    /// It is taken back after so many seconds unless it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_seconds: Option<u32>,
}

/// One or several of something, as in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Several.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// All of them.
    pub fn into_vec(self) -> Vec<T> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

/// A port or a run of ports, as in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum PortWord {
    /// `80`.
    Number(u32),
    /// `"10000-10010"`.
    Text(String),
}

impl std::fmt::Display for PortWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PortWord::Number(number) => number.fmt(f),
            PortWord::Text(text) => text.fmt(f),
        }
    }
}

/// Body of `POST /v1/forwards`: the keys of a `[[forward]]`, and `for_seconds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewForward {
    /// Its name, not yet taken.
    pub name: String,
    /// `tcp`, `udp` or both.
    pub protocol: OneOrMany<String>,
    /// External ports and runs of them.
    pub port: OneOrMany<PortWord>,
    /// The inside machine: address or name, with or without a port.
    pub to: String,
    /// Only this external address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Only these sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// Open from the start.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Closed from then on: a date and time with its offset from UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Open for so many seconds from now, at least 1; then it leaves the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 4_294_967_295_u32)]
    pub for_seconds: Option<u32>,
    /// Once it has expired, it leaves the file.
    #[serde(default)]
    pub temporary: bool,
    /// Open in these hours only, such as `Mon-Fri 18:00-23:00`, by the clock of `router.timezone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Most sessions at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 16_777_216_u32)]
    pub max_sessions: Option<u32>,
    /// How fast each source may open sessions, such as `20/min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_per_source: Option<String>,
    /// Log every new session.
    #[serde(default)]
    pub log: bool,
}

fn yes() -> bool {
    true
}

/// Body of `PATCH /v1/forwards/{name}`: the keys that are to be different, as a JSON Merge Patch (RFC 7396): what is
/// absent stays, and `null` takes a key away that a forward need not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardPatch {
    /// `tcp`, `udp` or both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<OneOrMany<String>>,
    /// External ports and runs of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<OneOrMany<PortWord>>,
    /// The inside machine: address or name, with or without a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Only this external address.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub address: Option<Option<String>>,
    /// Only these sources; an empty list, like `null`, for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>)]
    pub from: Option<Option<Vec<String>>>,
    /// Open or closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Closed from then on: a date and time with its offset from UTC; `never`, like `null`, takes that away.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub expires: Option<Option<String>>,
    /// Open for so many seconds from now, at least 1; then it leaves the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 4_294_967_295_u32)]
    pub for_seconds: Option<u32>,
    /// Once it has expired, it leaves the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporary: Option<bool>,
    /// Open in these hours only, such as `Mon-Fri 18:00-23:00`, by the clock of `router.timezone`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub schedule: Option<Option<String>>,
    /// Most sessions at once.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 16_777_216_u32)]
    pub max_sessions: Option<Option<u32>>,
    /// How fast each source may open sessions, such as `20/min`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub max_new_per_source: Option<Option<String>>,
    /// Log every new session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<bool>,
}

/// What is there, be it `null`; what is absent gets the default.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Body of `PUT /v1/dmz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDmz {
    /// The machine: address or name.
    pub to: String,
}

/// Body of `POST /v1/rollback`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The revision whose text is to be in force again, under a new number.
    #[schema(maximum = 18_446_744_073_709_551_615_u64)]
    pub to: u64,
}

/// What keeps a forward closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClosedBy {
    /// `enabled = false`.
    Disabled,
    /// It is past its `expires`, or was once.
    Expired,
    /// It is out of the hours of its schedule.
    Schedule,
    /// It has a schedule, and the clock shows a time that cannot be right.
    Clock,
    /// The device that it leads to is nowhere at the moment.
    Absent,
}

/// Why a forward is closed that is enabled, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Why.
    pub by: ClosedBy,
    /// When its schedule opens it, in seconds since 1970, as far as that is known.
    pub opens: Option<i64>,
}

/// Since when a forward is open, and by which change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Opened {
    /// When that change was made, or when the hours of its schedule began if that is later; in seconds since 1970. What this
    /// run of the router has not seen to begin counts from its start.
    pub since: i64,
    /// The revision that enabled it.
    pub revision: u64,
    /// User who asked for that; absent where the router or an edit of the file did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

/// A forward of the running configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ForwardRow {
    /// Its name.
    pub name: String,
    /// `tcp`, `udp`.
    pub protocols: Vec<String>,
    /// External ports and runs of them: `80`, `10000-10010`.
    pub ports: Vec<String>,
    /// Where it leads: an address, with a port where that is another one.
    pub to: String,
    /// Only this external address.
    #[schema(value_type = Option<String>, format = Ipv4)]
    pub address: Option<Ipv4Addr>,
    /// Only these sources; empty for everybody.
    pub from: Vec<String>,
    /// As the file says.
    pub enabled: bool,
    /// Whether packets pass now.
    pub open: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<ClosedBy>,
    /// When its schedule opens it, in seconds since 1970, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens: Option<i64>,
    /// Since when it is open and who opened it, as far as the history knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<Opened>,
    /// Closed from then on, in seconds since 1970.
    pub expires: Option<i64>,
    /// It leaves the file once it has expired.
    pub ad_hoc: bool,
    /// Open in these hours only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Most sessions at once; without it as many as `[nat]` allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
    /// How fast each source may open sessions, as the file says it: `20/min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_per_source: Option<String>,
    /// Every new session is logged.
    #[serde(default)]
    pub log: bool,
    /// The device that it leads to, where that is a `[[host]]` that can be known wherever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<TargetDevice>,
    /// What has passed through it.
    #[serde(flatten)]
    pub counts: ForwardCounts,
}

impl ForwardRow {
    /// From the plan, which knows of no schedules, and what else keeps it closed; `now` by the clock of the wall.
    pub fn new(rule: &ForwardRule, ad_hoc: bool, now: UnixTime, closed: Option<Closed>) -> ForwardRow {
        let run = |first: u16, last: u16| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        let inside = |range: &PortRange| {
            let length = range.external_last - range.external_first;
            run(range.internal_first, range.internal_first.saturating_add(length))
        };
        let to = match &rule.ports[..] {
            [only] if only.external_first != only.internal_first => format!("{}:{}", rule.to, inside(only)),
            _ => rule.to.to_string(),
        };
        let opens = closed.and_then(|closed| closed.opens).filter(|_| rule.enabled);
        let closed_by = match closed {
            _ if !rule.enabled => Some(ClosedBy::Disabled),
            _ if rule.expires.is_some_and(|expires| expires <= now) => Some(ClosedBy::Expired),
            closed => closed.map(|closed| closed.by),
        };
        ForwardRow {
            name: rule.name.clone(),
            protocols: rule.protocols.iter().map(ToString::to_string).collect(),
            ports: rule.ports.iter().map(|range| run(range.external_first, range.external_last)).collect(),
            to,
            address: rule.address,
            from: rule.from.iter().map(ToString::to_string).collect(),
            enabled: rule.enabled,
            open: closed_by.is_none(),
            closed_by,
            opens,
            opened: None,
            expires: rule.expires.map(|UnixTime(seconds)| seconds),
            ad_hoc,
            schedule: None,
            max_sessions: rule.max_sessions,
            max_new_per_source: rule.max_new_per_source.map(|rate| rate.to_string()),
            log: rule.log,
            device: None,
            counts: ForwardCounts::default(),
        }
    }

    /// With its target by name, where that is a `[[host]]` that is nowhere.
    #[must_use]
    pub fn naming(self, rule: &ForwardRule, target: Option<&String>) -> ForwardRow {
        match target.filter(|_| rule.to.is_unspecified()) {
            Some(host) => ForwardRow { to: self.to.replacen(&rule.to.to_string(), host, 1), ..self },
            None => self,
        }
    }
}

/// `GET /v1/history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// The revision in force.
    pub revision: u64,
    /// A change that waits for its confirmation.
    pub unconfirmed: Option<Unconfirmed>,
    /// The configuration file has another text: somebody has edited it since.
    pub edited: bool,
    /// The last revisions, newest first.
    pub entries: Vec<HistoryRow>,
}

/// A change that is taken back unless it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unconfirmed {
    /// It.
    pub revision: u64,
    /// The revision before it.
    pub back_to: u64,
    /// Seconds left.
    pub seconds_left: u64,
}

/// One revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryRow {
    /// Its number.
    pub revision: u64,
    /// Seconds since 1970.
    pub time: i64,
    /// User who asked for it; absent where the router did it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Process that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// What was done.
    pub what: String,
}

/// Query of `GET /v1/history/diff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DiffQuery {
    /// A revision.
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    pub from: u64,
    /// Another one; absent for the one in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    pub to: Option<u64>,
}

/// `GET /v1/history/diff`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryDiff {
    /// The first revision.
    pub from: u64,
    /// The second one.
    pub to: u64,
    /// What is different, one short line each; empty when only comments and the like are.
    pub changes: Vec<String>,
    /// The texts line by line, as `diff -u` writes it.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_reads_as_in_the_file() {
        let json = r#"{"name":"web","protocol":"tcp","port":[80,"90-99"],"to":"nas"}"#;
        let forward: NewForward = serde_json::from_str(json).expect("complete");
        assert!(forward.enabled && forward.from.is_empty());
        let words: Vec<String> = forward.port.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            (forward.protocol.into_vec(), words),
            (vec!["tcp".into()], vec!["80".into(), "90-99".into()])
        );
        let wrong = json.replace("\"to\"", "\"too\"");
        assert!(serde_json::from_str::<NewForward>(&wrong).is_err());
    }

    #[test]
    fn a_patch_tells_absent_from_null() {
        let patch: ForwardPatch =
            serde_json::from_str(r#"{"max_sessions":null,"schedule":"daily 01:00-02:00","from":null}"#)
                .expect("a patch");
        let expected = ForwardPatch {
            max_sessions: Some(None),
            schedule: Some(Some("daily 01:00-02:00".to_owned())),
            from: Some(None),
            ..ForwardPatch::default()
        };
        assert_eq!(patch, expected);
        let written = serde_json::to_value(&patch).expect("json");
        assert_eq!(
            written,
            serde_json::json!({"from": null, "schedule": "daily 01:00-02:00", "max_sessions": null})
        );
    }

    #[test]
    fn rows_say_whether_a_forward_is_open() {
        let rule = ForwardRule {
            name: "game".to_owned(),
            protocols: vec![genkan_engine::wire::ipv4::Protocol::UDP],
            ports: vec![PortRange { external_first: 100, external_last: 110, internal_first: 200 }],
            to: Ipv4Addr::new(192, 168, 0, 10),
            address: None,
            from: Vec::new(),
            enabled: true,
            expires: Some(UnixTime(50)),
            log: false,
            max_sessions: None,
            max_new_per_source: None,
        };
        let row = ForwardRow::new(&rule, true, UnixTime(49), None);
        assert_eq!(
            (row.ports[0].as_str(), row.to.as_str(), row.open),
            ("100-110", "192.168.0.10:200-210", true)
        );
        let why = |rule: &ForwardRule, now, closed| {
            let row = ForwardRow::new(rule, false, UnixTime(now), closed);
            assert_eq!(row.open, row.closed_by.is_none());
            (row.closed_by, row.opens)
        };
        let hours = Some(Closed { by: ClosedBy::Schedule, opens: Some(45) });
        assert_eq!(why(&rule, 49, None), (None, None));
        assert_eq!(why(&rule, 50, None), (Some(ClosedBy::Expired), None));
        assert_eq!(why(&rule, 40, hours), (Some(ClosedBy::Schedule), Some(45)));
        let disabled = ForwardRule { enabled: false, ..rule };
        assert_eq!(why(&disabled, 40, hours), (Some(ClosedBy::Disabled), None));
        let unknown = Some(Closed { by: ClosedBy::Clock, opens: None });
        let rule = ForwardRule { enabled: true, expires: None, ..disabled };
        assert_eq!(why(&rule, 0, unknown), (Some(ClosedBy::Clock), None));
    }
}
