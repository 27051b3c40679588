//! The keys of a `[[forward]]` in the words of people, and how they are written into a file.

use toml_edit::{Array, Datetime, Value};

/// What keys of a `[[forward]]` are to say, in the words of the file; what they mean is checked afterwards. `None` leaves
/// a key as it is; `Some(None)` takes it away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardKeys {
    /// `tcp`, `udp`.
    pub protocols: Option<Vec<String>>,
    /// External ports and runs of them: `80`, `10000-10010`.
    pub ports: Option<Vec<String>>,
    /// The inside machine: address or name, with or without a port.
    pub to: Option<String>,
    /// Only this external address.
    pub address: Option<Option<String>>,
    /// Only these sources; empty for everybody.
    pub from: Option<Vec<String>>,
    /// Whether it is open.
    pub enabled: Option<bool>,
    /// Closed from then on: a date and time with its offset.
    pub expires: Option<Option<String>>,
    /// It leaves the file once it has expired.
    pub temporary: Option<bool>,
    /// Open in these hours only.
    pub schedule: Option<Option<String>>,
    /// Most sessions at once.
    pub max_sessions: Option<Option<u32>>,
    /// How fast each source may open sessions: `20/min`.
    pub max_new_per_source: Option<Option<String>>,
    /// Log every new session.
    pub log: Option<bool>,
}

/// What becomes of a key.
pub(super) enum Setting {
    /// It is written.
    To(Value),
    /// It goes.
    Away,
    /// The value is the default: written where the key stands already, and else not.
    Default(Value),
}

impl ForwardKeys {
    /// The keys that are given, in the order in which a new forward has them.
    pub(super) fn settings(&self) -> Vec<(&'static str, Setting)> {
        let text = |text: &String| Value::from(text.as_str());
        let texts = |texts: &Vec<String>| texts.iter().map(text).collect::<Vec<Value>>();
        let flag = |value: bool, default: bool| {
            let setting = if value == default { Setting::Default } else { Setting::To };
            setting(Value::from(value))
        };
        let sources = |from: &Vec<String>| match from.is_empty() {
            true => Setting::Away,
            false => Setting::To(Value::Array(texts(from).into_iter().collect())),
        };
        let ports = |ports: &Vec<String>| one_or_many(ports.iter().map(|text| port(text)).collect());
        let given = [
            ("protocol", self.protocols.as_ref().map(|words| Setting::To(one_or_many(texts(words))))),
            ("port", self.ports.as_ref().map(|words| Setting::To(ports(words)))),
            ("to", self.to.as_ref().map(|to| Setting::To(text(to)))),
            ("address", optional(&self.address, text)),
            ("from", self.from.as_ref().map(sources)),
            ("enabled", self.enabled.map(|value| flag(value, true))),
            ("expires", optional(&self.expires, |text| moment(text))),
            ("temporary", self.temporary.map(|value| flag(value, false))),
            ("schedule", optional(&self.schedule, text)),
            ("max_sessions", optional(&self.max_sessions, |number| Value::from(i64::from(*number)))),
            ("max_new_per_source", optional(&self.max_new_per_source, text)),
            ("log", self.log.map(|value| flag(value, false))),
        ];
        given.into_iter().filter_map(|(key, setting)| Some((key, setting?))).collect()
    }
}

fn optional<T>(given: &Option<Option<T>>, write: impl Fn(&T) -> Value) -> Option<Setting> {
    given.as_ref().map(|value| value.as_ref().map_or(Setting::Away, |value| Setting::To(write(value))))
}

/// What is no date stays text, and the checks say what is wrong with it.
fn moment(text: &str) -> Value {
    match text.parse::<Datetime>() {
        Ok(datetime) => Value::from(datetime),
        Err(_) => Value::from(text),
    }
}

/// One value alone, several as a list.
fn one_or_many(mut values: Vec<Value>) -> Value {
    match values.len() {
        1 => values.remove(0),
        _ => Value::Array(values.into_iter().collect::<Array>()),
    }
}

fn port(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(number) => Value::from(number),
        Err(_) => Value::from(text),
    }
}
