//! `[[forward]]` and `[dmz]`: who gets what comes from outside.

use schemars::JsonSchema;

use crate::error::Span;
use crate::schedule::Schedule;
use crate::schema::Sessions;
use crate::table::Table;
use crate::value::address::{Address, Network};
use crate::value::moment::Moment;
use crate::value::name::Label;
use crate::value::ports::Ports;
use crate::value::rate::PerTime;
use crate::value::target::{DmzTarget, Target};
use crate::value::word::Protocols;
use crate::value::{Field, List};

/// A port forward: a static mapping, both ways.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Forward {
    #[schemars(skip)]
    pub(crate) span: Span,
    /// Its name in listings, unique.
    #[schemars(required)]
    pub(crate) name: Field<Label>,
    /// TCP, UDP or both.
    #[schemars(required)]
    pub(crate) protocol: Field<Protocols>,
    /// External ports.
    #[schemars(required)]
    pub(crate) port: Field<Ports>,
    /// The inside machine, by address or by the name of its `[[host]]`, with or without a port. Without one the
    /// ports stay the same. A run of external ports maps one to one onto as many ports from the one named here on.
    #[schemars(required)]
    pub(crate) to: Field<Target>,
    /// Only this external address; without it all of them.
    pub(crate) address: Field<Address>,
    /// Only these sources; without it everybody.
    pub(crate) from: Field<List<Network>>,
    /// When false it is closed, but its ports stay taken.
    #[schemars(extend("default" = true))]
    pub(crate) enabled: Field<bool>,
    /// Closed from then on, with its sessions.
    pub(crate) expires: Field<Moment>,
    /// Once it has expired, it also leaves this file. `genkan forward add --for 2h` writes that.
    #[schemars(extend("default" = false))]
    pub(crate) temporary: Field<bool>,
    /// Open in these hours only, such as `Mon-Fri 18:00-23:00`, by the clock of `router.timezone`.
    pub(crate) schedule: Field<Schedule>,
    /// Most sessions at once through it; without it as many as `[nat]` allows. TCP connections that both sides have closed
    /// do not count.
    pub(crate) max_sessions: Field<Sessions>,
    /// How fast each source may open sessions through it, such as `20/min`: so many at once, and then as they come in
    /// again evenly. A brake on those who try passwords. Inside hosts are not braked.
    pub(crate) max_new_per_source: Field<PerTime>,
    /// Log every new session.
    #[schemars(extend("default" = false))]
    pub(crate) log: Field<bool>,
}

/// The inside host that gets what nobody else takes.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Dmz {
    #[schemars(skip)]
    pub(crate) span: Span,
    /// The machine, by address or by the name of its `[[host]]`.
    #[schemars(required)]
    pub(crate) to: Field<DmzTarget>,
}

impl Forward {
    pub(super) fn read(mut t: Table<'_, '_>) -> Forward {
        let forward = Forward {
            span: t.span(),
            name: t.required("name", "\"web\""),
            protocol: t.required("protocol", "\"tcp\""),
            port: t.required("port", "80"),
            to: t.required("to", "\"192.168.0.10:8080\""),
            address: t.optional("address", "\"203.0.113.5\""),
            from: t.optional("from", "[\"198.51.100.0/24\"]"),
            enabled: t.optional("enabled", "true"),
            expires: t.optional("expires", "2036-12-31T23:59:59+09:00"),
            temporary: t.optional("temporary", "true"),
            schedule: t.optional("schedule", "\"Mon-Fri 18:00-23:00\""),
            max_sessions: t.optional("max_sessions", "100"),
            max_new_per_source: t.optional("max_new_per_source", "\"20/min\""),
            log: t.optional("log", "true"),
        };
        t.finish();
        forward
    }
}

impl Dmz {
    pub(super) fn read(mut t: Table<'_, '_>) -> Dmz {
        let dmz = Dmz { span: t.span(), to: t.required("to", "\"192.168.0.50\"") };
        t.finish();
        dmz
    }
}
