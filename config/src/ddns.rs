//! Dynamic DNS: what `[[ddns]]` says, in the terms of the client, and where its passwords are.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use genkan_services::ddns::{
    Cloudflare, DnsUpdate, Entry, EntryError, Family, Http, Provider, Secret, Service, TsigAlgorithm,
    TsigKey, TsigKeyError, host,
};

use crate::Loaded;
use crate::error::{Code, Report, Severity};

/// Longest file that holds a password, in octets.
const MAX_SECRET: u64 = 4096;
/// Permission bits of everybody but the owner and the group.
const OTHERS: u32 = 0o007;

/// `[[ddns]]`: names of one account that follow the address of the wan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ddns {
    /// The names, in lower case, without trailing dot; at least one.
    pub names: Vec<String>,
    /// Which of their addresses.
    pub family: Family,
    /// What the file calls the service.
    pub provider: &'static str,
    /// Who keeps them.
    pub service: DdnsService,
    /// Where the password, token or key is; none with an unsigned update.
    pub secret: Option<SecretSource>,
    /// The key of the file that tells it.
    pub(crate) secret_key: &'static str,
    /// Where the address comes from.
    pub source: AddressSource,
    /// Whether an address that nobody outside reaches is published too.
    pub allow_private: bool,
    /// Certificates to trust instead of the system's, in PEM.
    pub ca_file: Option<PathBuf>,
}

/// Who keeps the names; without passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DdnsService {
    /// A well-known update service.
    Known {
        /// Which.
        provider: &'static Provider,
        /// May be empty.
        username: String,
        /// Who answers for the router, for services that ask.
        contact: Option<String>,
    },
    /// Any service that takes dyndns2 updates.
    Custom {
        /// Template of its URL.
        url: String,
        /// May be empty.
        username: String,
        /// Who answers for the router, for services that ask.
        contact: Option<String>,
    },
    /// The Cloudflare API.
    Cloudflare {
        /// Where the API is, if not at Cloudflare.
        url: Option<String>,
        /// The zone that all names lie in.
        zone: String,
    },
    /// A DNS server (RFC 2136).
    DnsUpdate {
        /// Its name or address.
        server: String,
        /// Its port.
        port: u16,
        /// Asked of the server when not given.
        zone: Option<String>,
        /// The key's name.
        key: Option<String>,
        /// What it signs with.
        algorithm: TsigAlgorithm,
        /// Of the records, in seconds.
        ttl: u32,
    },
}

/// Where a password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// In the configuration.
    Inline(Secret),
    /// In a file of its own.
    File(PathBuf),
}

/// Where the address of the names comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// The wan has it.
    Wan,
    /// What a STUN server sees (RFC 8489).
    Stun {
        /// Name or address, that of IPv6 without brackets.
        host: String,
        /// UDP port.
        port: u16,
    },
    /// What a web server sees, and says in its answer.
    Http {
        /// Where, scheme https.
        url: String,
    },
}

/// Why a file does not give a password.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It is not there, or may not be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It holds nothing, more than a line, or more than 4096 octets.
    #[error("{}: one line with the password is wanted", path.display())]
    NoLine {
        /// Which.
        path: PathBuf,
    },
}

/// Why an entry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DdnsError {
    /// The file of the password.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The key of an RFC 2136 update.
    #[error(transparent)]
    Key(#[from] TsigKeyError),
    /// Anything else.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

impl AddressSource {
    /// The family of the server's address, where that is written in place of a name.
    pub fn literal_family(&self) -> Option<Family> {
        let host = match self {
            AddressSource::Wan => return None,
            AddressSource::Stun { host, .. } => host.as_str(),
            AddressSource::Http { url } => host(url).ok()?,
        };
        host.parse().ok().map(Family::of)
    }
}

impl fmt::Display for AddressSource {
    /// As the file has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressSource::Wan => f.write_str("wan"),
            AddressSource::Stun { host, port } if host.contains(':') => write!(f, "stun:[{host}]:{port}"),
            AddressSource::Stun { host, port } => write!(f, "stun:{host}:{port}"),
            AddressSource::Http { url } => f.write_str(url),
        }
    }
}

impl SecretSource {
    /// The password itself.
    ///
    /// # Errors
    /// When its file does not give one.
    pub fn read(&self) -> Result<Secret, SecretFileError> {
        match self {
            SecretSource::Inline(secret) => Ok(secret.clone()),
            SecretSource::File(path) => read_secret(path),
        }
    }
}

/// Reads a password from its file: one line, whose end does not belong to it.
fn read_secret(path: &Path) -> Result<Secret, SecretFileError> {
    let failed = |error| SecretFileError::Io { path: path.to_owned(), error };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(MAX_SECRET + 1).read_to_string(&mut text)).map_err(failed)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || text.len() as u64 > MAX_SECRET || line.contains(char::is_control) {
        return Err(SecretFileError::NoLine { path: path.to_owned() });
    }
    Ok(Secret::new(line))
}

impl Ddns {
    /// What tells the entry from all others: no two have the same name and family.
    pub fn id(&self) -> String {
        let name = self.names.first().map_or("", String::as_str);
        match self.family {
            Family::V4 => name.to_owned(),
            // No name has such a sign.
            Family::V6 => format!("{name}@v6"),
        }
    }

    /// Reads the password and makes what the client keeps.
    ///
    /// # Errors
    /// When the password cannot be read, or does not fit the service.
    pub fn entry(&self) -> Result<Entry, DdnsError> {
        let secret = self.secret.as_ref().map(SecretSource::read).transpose()?;
        self.entry_with(secret)
    }

    /// The same with a given password.
    ///
    /// # Errors
    /// When it does not fit the service.
    pub fn entry_with(&self, secret: Option<Secret>) -> Result<Entry, DdnsError> {
        let password = || secret.clone().unwrap_or_else(|| Secret::new(""));
        let service = match &self.service {
            DdnsService::Known { provider, username, contact } => {
                let http = Http::of_provider(provider, self.family, username.clone(), password())?;
                Service::Http(Http { contact: contact.clone(), ..http })
            }
            DdnsService::Custom { url, username, contact } => {
                let http = Http::custom(url, username.clone(), password())?;
                Service::Http(Http { contact: contact.clone(), ..http })
            }
            DdnsService::Cloudflare { url, zone } => {
                Service::Cloudflare(Cloudflare { url: url.clone(), token: password(), zone: zone.clone() })
            }
            DdnsService::DnsUpdate { server, port, zone, key, algorithm, ttl } => {
                let key = match (key, &secret) {
                    (Some(key), Some(secret)) => Some(TsigKey::new(key, *algorithm, secret.expose())?),
                    _ => None,
                };
                Service::DnsUpdate(DnsUpdate {
                    server: server.clone(),
                    port: *port,
                    zone: zone.clone(),
                    key,
                    ttl: *ttl,
                })
            }
        };
        Ok(Entry::new(&self.names, self.family, service)?)
    }
}

/// Adds warnings about passwords that others can read, and files of passwords that are not there.
pub(crate) fn lint_files(loaded: &mut Loaded, config: &Path) {
    let mut report = Report::new(Arc::clone(&loaded.places.file));
    let mut inline_told = !is_open(config);
    for (index, entry) in loaded.config.ddns.iter().enumerate() {
        let key = entry.secret_key;
        let span = || loaded.places.key("ddns", index, key).unwrap_or_default();
        match &entry.secret {
            Some(source @ SecretSource::File(path)) => {
                if let Err(error) = source.read() {
                    report
                        .warning(
                            Code::SecretFile,
                            &span(),
                            format!("`ddns.{key}` gives no password: {error}"),
                        )
                        .label("until it does, these names are not updated")
                        .help(format!("put it on a line of {}, and nothing else", path.display()));
                } else if is_open(path) {
                    let message = format!("everybody on this machine can read {}", path.display());
                    report
                        .warning(Code::SecretFile, &span(), message)
                        .label("it holds a password")
                        .help(format!("`chmod 600 {}`", path.display()));
                }
            }
            Some(SecretSource::Inline(_)) if !inline_told => {
                inline_told = true;
                let message = format!("everybody on this machine can read the `ddns.{key}` of this file");
                report
                    .warning(Code::SecretFile, &span(), message)
                    .label("it is for the router only")
                    .help(format!("`chmod 600 {}`", config.display()))
                    .help(format!(
                        "or put it into a file of its own, and that one's path here: `{key}_file`"
                    ));
            }
            Some(SecretSource::Inline(_)) | None => {}
        }
    }
    loaded.warnings.extend(report.into_sorted(Severity::Warning));
    loaded
        .warnings
        .sort_by_key(|warning| warning.primary.as_ref().map_or(usize::MAX, |label| label.span.start));
}

fn is_open(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & OTHERS != 0)
}
