//! `[metrics]`: the counters for Prometheus, from a lan.

use schemars::JsonSchema;

use crate::table::Table;
use crate::value::Field;
use crate::value::listen::Listens;

/// The counters for Prometheus, from a lan.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Metrics {
    /// Where `GET /metrics` is answered: an address of the router's own on a lan, with a port from 1024 on, or several.
    /// Needs `router.tun`. Hosts of that lan are answered, those of lans that reach it, networks behind them, and the
    /// box itself; never the wan.
    #[schemars(required)]
    pub(crate) listen: Field<Listens>,
}

impl Metrics {
    pub(super) fn read(mut t: Table<'_, '_>) -> Metrics {
        let metrics = Metrics { listen: t.required("listen", "\"192.168.0.1:9090\"") };
        t.finish();
        metrics
    }
}
