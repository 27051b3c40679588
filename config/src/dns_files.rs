//! The files that `[dns]` names, for `genkan check`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::Loaded;
use crate::error::{Code, Report, Severity};

/// Adds warnings about files that are not there, or are none.
pub(crate) fn lint(loaded: &mut Loaded) {
    let Some(dns) = &loaded.config.dns else { return };
    let mut report = Report::new(Arc::clone(&loaded.places.file));
    let authorities =
        dns.tls_ca.iter().map(|path| ("tls_ca", path, "no resolver over TLS is asked without it"));
    let lists = dns.block.iter().map(|path| ("block", path, "its names are not blocked until it is there"));
    for (key, path, effect) in authorities.chain(lists) {
        if let Some(problem) = problem(path) {
            let span = loaded.places.key("dns", 0, key).unwrap_or_default();
            report
                .warning(Code::DnsFile, &span, format!("`dns.{key}`: {} {problem}", path.display()))
                .label(effect)
                .help("put the file there, or take its path out");
        }
    }
    loaded.warnings.extend(report.into_sorted(Severity::Warning));
}

/// What keeps everybody from reading a file; that only the router may read it is no problem.
fn problem(path: &Path) -> Option<&'static str> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Some("is a directory"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some("is not there"),
        _ => None,
    }
}
