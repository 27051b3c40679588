//! Names: of devices, lans, hosts, forwards; and paths.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Bad, Text, quoted};

/// Name of a network device: 1 to 15 octets, without `/`, `:` and white space.
///
/// The kernel keeps names in 16 octets with a closing zero (`IFNAMSIZ`); longer ones would be cut in
/// silence, so that another device would be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceName(pub(crate) String);

/// Longest name of a device in octets.
const DEVICE_MAX: usize = 15;

impl Text for DeviceName {
    const TAKES: &'static str = "a device name";
    const MANY: &'static str = "device names";

    fn parse(text: &str) -> Result<DeviceName, Bad> {
        let accepted = "1 to 15 letters, digits or signs such as `-`, `_`, `.` are accepted";
        if text.is_empty() {
            return Err(Bad::new("it is empty", accepted).help("`ip link` lists the devices of this machine"));
        }
        if text == "." || text == ".." {
            return Err(Bad::new("the kernel takes no device of this name", accepted));
        }
        if let Some(wrong) =
            text.chars().find(|c| *c == '/' || *c == ':' || c.is_whitespace() || c.is_control())
        {
            let bad = Bad::new(format!("a device name has no {}", spell(wrong)), accepted);
            let trimmed = text.trim();
            return Err(match text.strip_prefix("/dev/").or(Some(trimmed).filter(|short| *short != text)) {
                Some(name) if DeviceName::parse(name).is_ok() => bad.fix(quoted(name)),
                _ => bad,
            });
        }
        if text.len() > DEVICE_MAX {
            return Err(Bad::new(
                format!("it is {} octets long, a device name has at most {DEVICE_MAX}", text.len()),
                accepted,
            )
            .help("`ip link` lists the devices of this machine"));
        }
        Ok(DeviceName(text.to_owned()))
    }
}

/// A name that a person gives to something: a lan, a forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label(pub(crate) String);

/// Longest name in octets.
const LABEL_MAX: usize = 63;

impl Text for Label {
    const TAKES: &'static str = "a name";
    const MANY: &'static str = "names";

    fn parse(text: &str) -> Result<Label, Bad> {
        let accepted = "1 to 63 octets of text are accepted";
        if text.trim().is_empty() {
            return Err(Bad::new("it is empty", accepted));
        }
        if text.trim() != text {
            return Err(Bad::new("it begins or ends with a blank", accepted).fix(quoted(text.trim())));
        }
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            return Err(Bad::new(format!("a name has no {}", spell(control)), accepted));
        }
        if text.len() > LABEL_MAX {
            let octets = text.len();
            return Err(Bad::new(
                format!("it is {octets} octets long, a name has at most {LABEL_MAX}"),
                accepted,
            ));
        }
        Ok(Label(text.to_owned()))
    }
}

/// Name of a `[[host]]`: one that can stand before a port in `to` and is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostName(pub(crate) String);

impl Text for HostName {
    const TAKES: &'static str = "a host name";
    const MANY: &'static str = "host names";

    fn parse(text: &str) -> Result<HostName, Bad> {
        let accepted = "letters, digits, `-`, `_` and `.` are accepted, a letter first";
        if text.is_empty() {
            return Err(Bad::new("it is empty", accepted));
        }
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        let tidy: String = text
            .trim()
            .chars()
            .map(|c| if fits(c) { c } else { '-' })
            .skip_while(|c| !c.is_alphabetic())
            .collect();
        if let Some(wrong) = text.chars().find(|c| !fits(*c)) {
            let bad = Bad::new(format!("a host name has no {}", spell(wrong)), accepted);
            return Err(if tidy.is_empty() { bad } else { bad.fix(quoted(&tidy)) });
        }
        if text.split('.').any(str::is_empty) && text.starts_with(char::is_alphabetic) {
            let labels: Vec<&str> = text.split('.').filter(|label| !label.is_empty()).collect();
            return Err(Bad::new("a dot has a name on both sides", accepted).fix(quoted(&labels.join("."))));
        }
        if !text.starts_with(char::is_alphabetic) {
            return Err(Bad::new("it does not begin with a letter", accepted)
                .note("so that `to = \"NAME:80\"` cannot be mistaken for an address"));
        }
        if text.len() > LABEL_MAX {
            let octets = text.len();
            return Err(Bad::new(
                format!("it is {octets} octets long, a name has at most {LABEL_MAX}"),
                accepted,
            ));
        }
        Ok(HostName(text.to_owned()))
    }
}

/// What a DHCP server is told: one label of a name (RFC 2132 section 3.14, RFC 1035 section 2.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostLabel(pub(crate) String);

impl Text for HostLabel {
    const TAKES: &'static str = "a host name";
    const MANY: &'static str = "host names";

    fn parse(text: &str) -> Result<HostLabel, Bad> {
        let accepted = "1 to 63 letters of a to z, digits and `-` are accepted, no `-` at the ends";
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let tidy: String =
            text.trim().chars().map(|c| if fits(c) { c } else { '-' }).take(LABEL_MAX).collect();
        let tidy = tidy.trim_matches('-');
        if text.is_empty() {
            return Err(
                Bad::new("it is empty", accepted).help("leave it out: then the server is told no name")
            );
        }
        if text == tidy {
            return Ok(HostLabel(text.to_owned()));
        }
        let bad = match text.chars().find(|c| !fits(*c)) {
            Some(wrong) => Bad::new(format!("a host name on the wan has no {}", spell(wrong)), accepted),
            None if text.len() > LABEL_MAX => Bad::new(format!("it is {} octets long", text.len()), accepted),
            None => Bad::new("it begins or ends with `-`", accepted),
        };
        Err(if tidy.is_empty() { bad } else { bad.fix(quoted(tidy)) })
    }
}

/// What `reaches` lists: a lan's name, or `*` for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LanPattern(pub(crate) String);

impl Text for LanPattern {
    const TAKES: &'static str = "the name of a lan, or \"*\"";
    const MANY: &'static str = "names of lans, or [\"*\"]";

    fn parse(text: &str) -> Result<LanPattern, Bad> {
        Ok(LanPattern(text.to_owned()))
    }
}

/// An absolute path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AbsolutePath(pub(crate) PathBuf);

/// Longest path of a Unix socket in octets: `sun_path` has 108 with a closing zero (unix(7)).
pub(crate) const SOCKET_PATH_MAX: usize = 107;

impl Text for AbsolutePath {
    const TAKES: &'static str = "a path";
    const MANY: &'static str = "paths";

    fn parse(text: &str) -> Result<AbsolutePath, Bad> {
        let accepted = "a path from `/` on is accepted";
        if text.contains('\0') {
            return Err(Bad::new("a path has no zero character", accepted));
        }
        if !text.starts_with('/') {
            return Err(Bad::new("it does not begin with `/`", accepted)
                .note("the router may run in another directory than you type this in"));
        }
        Ok(AbsolutePath(PathBuf::from(text)))
    }
}

/// A path that can be bound as a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SocketPath(pub(crate) PathBuf);

impl Text for SocketPath {
    const TAKES: &'static str = "a path";
    const MANY: &'static str = "paths";

    fn parse(text: &str) -> Result<SocketPath, Bad> {
        let AbsolutePath(path) = AbsolutePath::parse(text)?;
        if text.len() > SOCKET_PATH_MAX {
            return Err(Bad::new(
                format!(
                    "it is {} octets long, the path of a socket has at most {SOCKET_PATH_MAX}",
                    text.len()
                ),
                "a shorter path is needed",
            )
            .fix("\"/run/genkan/control.sock\""));
        }
        if text.ends_with('/') {
            return Err(Bad::new("it names a directory", "the path of the socket itself is needed")
                .fix(quoted(&format!("{text}control.sock"))));
        }
        Ok(SocketPath(path))
    }
}

/// A character for a message.
pub(super) fn spell(character: char) -> String {
    match character {
        ' ' => "blank".to_owned(),
        c if c.is_control() || c.is_whitespace() => format!("character U+{:04X}", u32::from(c)),
        c => format!("`{c}`"),
    }
}

/// Strings without a schema of their own beyond a pattern.
macro_rules! string_schema {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

string_schema!(DeviceName, "DeviceName", { "type": "string", "pattern": "^[^/:\\s]{1,15}$" });
string_schema!(Label, "Label", { "type": "string", "minLength": 1, "maxLength": 63 });
string_schema!(HostName, "HostName", { "type": "string", "pattern": "^\\p{L}[\\p{L}\\p{N}._-]*$" });
string_schema!(HostLabel, "HostLabel", {
    "type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"
});
string_schema!(LanPattern, "LanPattern", { "type": "string" });
string_schema!(AbsolutePath, "AbsolutePath", { "type": "string", "pattern": "^/" });
string_schema!(SocketPath, "SocketPath", { "type": "string", "pattern": "^/", "maxLength": 107 });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_fit_the_kernel() {
        for good in ["eth0", "eth0.20", "enp0s31f6", "veth-a_b@1", "abcdefghijklmno"] {
            assert!(DeviceName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "abcdefghijklmnop", "a/b", "a b", "a:1", ".", "..", "a\tb"] {
            assert!(DeviceName::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(DeviceName::parse("/dev/tap0").expect_err("a path").fix.as_deref(), Some("\"tap0\""));
        assert_eq!(DeviceName::parse(" eth0").expect_err("a blank").fix.as_deref(), Some("\"eth0\""));
    }

    #[test]
    fn host_names_are_no_addresses() {
        for good in ["nas", "nas.lan", "ps5-0", "玄関"] {
            assert!(HostName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "192.168.0.1", "3ds", "a:b", "a b", "nas..x", "nas."] {
            assert!(HostName::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(HostName::parse("my nas").expect_err("a blank").fix.as_deref(), Some("\"my-nas\""));
    }

    #[test]
    fn host_labels_are_what_dhcp_may_say() {
        for good in ["genkan", "3ds", "a", "a-b", &"x".repeat(63)] {
            assert!(HostLabel::parse(good).is_ok(), "{good}");
        }
        for (bad, fix) in [
            ("", None),
            ("---", None),
            ("-a-", Some("\"a\"")),
            ("my router", Some("\"my-router\"")),
            ("box.example.net", Some("\"box-example-net\"")),
            ("玄関", None),
        ] {
            assert_eq!(HostLabel::parse(bad).expect_err("refused").fix.as_deref(), fix, "{bad}");
        }
        assert!(HostLabel::parse(&"x".repeat(64)).is_err());
    }

    #[test]
    fn socket_paths_fit_the_kernel() {
        let longest = format!("/{}", "x".repeat(SOCKET_PATH_MAX - 1));
        assert!(SocketPath::parse(&longest).is_ok());
        assert!(SocketPath::parse(&format!("{longest}x")).is_err());
        assert!(SocketPath::parse("control.sock").is_err());
        assert!(SocketPath::parse("/run/genkan/").is_err());
    }
}
