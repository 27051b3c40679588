//! The file's JSON Schema, for editors, and the list of its keys, for "did you mean".

use std::collections::BTreeMap;
use std::sync::OnceLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use serde_json::Value;

use crate::schema::File;

/// The JSON Schema (draft 2020-12) of the configuration file, for editors that check TOML.
pub fn schema_json() -> Value {
    let mut without_null = RecursiveTransform(drop_null);
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<File>();
    without_null.transform(&mut schema);
    schema.to_value()
}

/// An optional key may be left out, but TOML has no null to write.
fn drop_null(schema: &mut Schema) {
    let names_null = |value: &Value| value.as_str() == Some("null");
    let is_null = |value: &Value| names_null(value) || value.get("type").is_some_and(names_null);
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|value| !is_null(value));
        if let [only] = &types[..] {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|value| !is_null(value));
        if let [Value::Object(only)] = &choices[..] {
            let only = only.clone();
            object.remove("anyOf");
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
}

/// Keys by table, the top of the file as `""`.
pub(crate) type Keys = BTreeMap<String, Vec<String>>;

/// The keys of every table of a configuration.
pub(crate) fn keys() -> &'static Keys {
    static INDEX: OnceLock<Keys> = OnceLock::new();
    INDEX.get_or_init(|| {
        let schema = schema_json();
        let mut index = BTreeMap::new();
        collect(&schema, &schema, "", &mut index);
        index
    })
}

fn collect(root: &Value, table: &Value, path: &str, index: &mut BTreeMap<String, Vec<String>>) {
    let Some(properties) = resolve(root, table).get("properties").and_then(Value::as_object) else { return };
    index.insert(path.to_owned(), properties.keys().cloned().collect());
    for (key, value) in properties {
        let value = resolve(root, value);
        let inner = value.get("items").map_or(value, |items| resolve(root, items));
        if inner.get("properties").is_some() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            collect(root, inner, &path, index);
        }
    }
}

/// Follows `$ref`.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| root.pointer(reference.trim_start_matches('#')))
        .unwrap_or(schema)
}
