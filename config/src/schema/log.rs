//! `[log]`: what the router tells while it runs.

use schemars::JsonSchema;

use crate::LogFormat;
use crate::table::Table;
use crate::value::Field;
use crate::value::log::LogLevel;
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
}

impl Log {
    pub(super) fn read(mut t: Table<'_, '_>) -> Log {
        let log = Log { level: t.optional("level", "\"info\""), format: t.optional("format", "\"json\"") };
        t.finish();
        log
    }
}
