//! Queries of the paged listings: where to start, how much, which rows, in which order.

use std::cmp::Ordering;
use std::net::Ipv4Addr;

use genkan_engine::view::{MappingView, SessionView};
use genkan_engine::wire::ipv4::Protocol;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Query of `GET /v1/sessions`. A row has to fit all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SessionQuery {
    /// `next` of the page before; absent for the first. Not together with `sort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(maximum = 4_294_967_295_u32)]
    pub cursor: Option<u32>,
    /// Most rows, 1,000 by default and 10,000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(maximum = 4_294_967_295_u32)]
    pub limit: Option<u32>,
    /// Only this protocol, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Only rows one of whose endpoints has this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = Ipv4)]
    pub address: Option<Ipv4Addr>,
    /// Only of this inside host, by address or by its name in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Only with this far address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = Ipv4)]
    pub remote: Option<Ipv4Addr>,
    /// Only rows one of whose endpoints has this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(maximum = 65_535)]
    pub port: Option<u16>,
    /// Only in this state, such as `established` or `unanswered`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Only those that this forward has admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<String>,
    /// The first `limit` rows of the whole table in this order; there is no further page then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub sort: Option<SessionSort>,
}

/// Order of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SessionSort {
    /// Those that end first, unless something comes.
    ExpiresFirst,
    /// Those that end last: the ones used just now, long-lived ones before others.
    ExpiresLast,
}

/// Query of `GET /v1/mappings`. A row has to fit all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct MappingQuery {
    /// `next` of the page before; absent for the first. Not together with `sort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(maximum = 4_294_967_295_u32)]
    pub cursor: Option<u32>,
    /// Most rows, 1,000 by default and 10,000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(maximum = 4_294_967_295_u32)]
    pub limit: Option<u32>,
    /// Only this protocol, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Only rows one of whose endpoints has this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = Ipv4)]
    pub address: Option<Ipv4Addr>,
    /// Only of this inside host, by address or by its name in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Only rows one of whose endpoints has this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(maximum = 65_535)]
    pub port: Option<u16>,
    /// The first `limit` rows of the whole table in this order; there is no further page then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub sort: Option<MappingSort>,
}

/// Order of mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MappingSort {
    /// Those that most sessions use.
    SessionsMost,
}

impl SessionQuery {
    /// Whether a session is wanted; `host` is its inside host's name.
    pub fn admits(&self, view: &SessionView, host: Option<&str>) -> bool {
        let endpoints = [view.internal, view.external, view.remote];
        is_wanted(&self.protocol, |wanted| is_protocol(wanted, view.protocol))
            && is_wanted(&self.address, |wanted| endpoints.iter().any(|endpoint| endpoint.ip() == wanted))
            && is_wanted(&self.host, |wanted| is_host(wanted, *view.internal.ip(), host))
            && is_wanted(&self.remote, |wanted| view.remote.ip() == wanted)
            && is_wanted(&self.port, |wanted| endpoints.iter().any(|endpoint| endpoint.port() == *wanted))
            && is_wanted(&self.state, |wanted| wanted.eq_ignore_ascii_case(view.state))
            && is_wanted(&self.forward, |wanted| view.forward.as_ref() == Some(wanted))
    }
}

impl MappingQuery {
    /// Whether a mapping is wanted; `host` is its inside host's name.
    pub fn admits(&self, view: &MappingView, host: Option<&str>) -> bool {
        let endpoints = [view.internal, view.external];
        is_wanted(&self.protocol, |wanted| is_protocol(wanted, view.protocol))
            && is_wanted(&self.address, |wanted| endpoints.iter().any(|endpoint| endpoint.ip() == wanted))
            && is_wanted(&self.host, |wanted| is_host(wanted, *view.internal.ip(), host))
            && is_wanted(&self.port, |wanted| endpoints.iter().any(|endpoint| endpoint.port() == *wanted))
    }
}

fn is_wanted<T>(wanted: &Option<T>, fits: impl FnOnce(&T) -> bool) -> bool {
    wanted.as_ref().is_none_or(fits)
}

fn is_protocol(wanted: &str, protocol: Protocol) -> bool {
    wanted.parse() == Ok(protocol.0) || wanted.eq_ignore_ascii_case(&protocol.to_string())
}

fn is_host(wanted: &str, address: Ipv4Addr, name: Option<&str>) -> bool {
    wanted.parse().map_or(name == Some(wanted), |wanted: Ipv4Addr| wanted == address)
}

impl SessionSort {
    /// How two sessions stand to each other in this order.
    pub fn compare(self, one: &SessionView, other: &SessionView) -> Ordering {
        match self {
            SessionSort::ExpiresFirst => one.expires_in.cmp(&other.expires_in),
            SessionSort::ExpiresLast => other.expires_in.cmp(&one.expires_in),
        }
    }
}

impl MappingSort {
    /// How two mappings stand to each other in this order.
    pub fn compare(self, one: &MappingView, other: &MappingView) -> Ordering {
        match self {
            MappingSort::SessionsMost => other.sessions.cmp(&one.sessions),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn session() -> SessionView {
        SessionView {
            protocol: Protocol::TCP,
            internal: "192.168.0.10:4000".parse().expect("an endpoint"),
            external: "203.0.113.1:5000".parse().expect("an endpoint"),
            remote: "198.51.100.7:443".parse().expect("an endpoint"),
            origin: "forward",
            is_inbound: true,
            forward: Some("web".to_owned()),
            state: "established",
            expires_in: Duration::from_secs(100),
        }
    }

    fn query(json: serde_json::Value) -> SessionQuery {
        serde_json::from_value(json).expect("a query")
    }

    #[test]
    fn a_session_has_to_fit_all_that_is_given() {
        let fitting = serde_json::json!({
            "protocol": "TCP", "address": "203.0.113.1", "host": "nas", "remote": "198.51.100.7", "port": 443,
            "state": "Established", "forward": "web",
        });
        assert!(query(fitting.clone()).admits(&session(), Some("nas")));
        assert!(query(serde_json::json!({"host": "192.168.0.10"})).admits(&session(), None));
        assert!(query(serde_json::json!({"protocol": "6"})).admits(&session(), None));
        for (key, other) in [
            ("protocol", serde_json::json!("udp")),
            ("address", serde_json::json!("203.0.113.2")),
            ("host", serde_json::json!("laptop")),
            ("host", serde_json::json!("192.168.0.11")),
            ("remote", serde_json::json!("192.168.0.10")),
            ("port", serde_json::json!(444)),
            ("state", serde_json::json!("closing")),
            ("forward", serde_json::json!("game")),
        ] {
            let mut wanted = fitting.clone();
            wanted[key] = other;
            assert!(!query(wanted).admits(&session(), Some("nas")), "{key}");
        }
        let wrong = serde_json::json!({"colour": "red"});
        assert!(serde_json::from_value::<SessionQuery>(wrong).is_err());
    }

    #[test]
    fn a_mapping_has_no_far_end() {
        let mapping = MappingView {
            protocol: Protocol::UDP,
            internal: "192.168.0.10:4000".parse().expect("an endpoint"),
            external: "203.0.113.1:5000".parse().expect("an endpoint"),
            kind: "dynamic",
            sessions: 3,
        };
        let query =
            MappingQuery { host: Some("nas".to_owned()), port: Some(5000), ..MappingQuery::default() };
        assert!(query.admits(&mapping, Some("nas")) && !query.admits(&mapping, None));
        let few = MappingView { sessions: 1, ..mapping.clone() };
        assert_eq!(MappingSort::SessionsMost.compare(&mapping, &few), Ordering::Less);
        assert!(serde_json::from_value::<MappingQuery>(serde_json::json!({"remote": "192.0.2.1"})).is_err());
    }
}
