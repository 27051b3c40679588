//! `[log]`: what the router tells while it runs.

use schemars::JsonSchema;

use crate::LogFormat;
use crate::table::Table;
use crate::value::Field;
use crate::value::log::LogLevel;
use crate::value::name::AbsolutePath;
use crate::value::word::Word;

/// What the router tells while it runs.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Log {
    /// How much: `off`, `error`, `warn`, `info`, `debug` or `trace`, also by part of the program:
    /// `info,genkan_control=debug`. The variable `GENKAN_LOG` goes before it, and `genkan log-level` changes it for a
    /// while.
    #[schemars(extend("default" = "info"))]
    pub(crate) level: Field<LogLevel>,
    /// How it is written: lines of `text` or of `json` to standard error, or in `journald`'s own protocol. `auto` takes
    /// the journal where standard error leads to it, else text.
    #[schemars(extend("default" = "auto"))]
    pub(crate) format: Field<Word<LogFormat>>,
    /// File for the record of translations, a JSON line for each event in the fields of RFC 8158: who had which external
    /// endpoint, and when. Without it none is kept.
    pub(crate) nat_events: Field<AbsolutePath>,
    /// Whether that record also says with whom inside hosts speak: a line for every session (RFC 6888 REQ-12 wants that
    /// only where it has to be).
    #[schemars(extend("default" = false))]
    pub(crate) nat_destinations: Field<bool>,
}

impl Log {
    pub(super) fn read(mut t: Table<'_, '_>) -> Log {
        let log = Log {
            level: t.optional("level", "\"info\""),
            format: t.optional("format", "\"json\""),
            nat_events: t.optional("nat_events", "\"/var/log/genkan/nat.jsonl\""),
            nat_destinations: t.optional("nat_destinations", "true"),
        };
        t.finish();
        log
    }
}
