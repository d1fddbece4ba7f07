//! Connectors that replace the topics of a function.
//!
//! Users set the class, type class and name of a connector either in their fields, or in its configuration, as in the
//! configuration files of Pulsar's tools.

use std::borrow::Cow;
use std::collections::BTreeMap;

use function_mesh_api::types::{FreeForm, FunctionSinkConfig, FunctionSourceConfig, raw_entries};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json;

/// Keys that describe the connector and are not part of its configuration.
const DESCRIPTIVE: [&str; 5] = ["archive", "builtin", "className", "typeClassName", "configs"];

/// A connector with its effective configuration.
#[derive(Debug, Default)]
pub(super) struct Connector<'a> {
    pub(super) class_name: Option<Cow<'a, str>>,
    pub(super) type_class_name: Option<Cow<'a, str>>,
    pub(super) builtin: Option<Cow<'a, str>>,
    pub(super) configs: json::Entries<'a>,
    raw: Option<&'a FreeForm>,
}

impl<'a> Connector<'a> {
    pub(super) fn source(config: &'a FunctionSourceConfig) -> Self {
        let FunctionSourceConfig {
            source_type,
            batch_source_config: _,
            class_name,
            type_class_name,
            configs,
        } = config;
        Self::new(class_name.as_ref(), type_class_name.as_ref(), source_type.as_ref(), configs.as_ref())
    }

    pub(super) fn sink(config: &'a FunctionSinkConfig) -> Self {
        let FunctionSinkConfig { sink_type, class_name, type_class_name, configs } = config;
        let mut connector =
            Self::new(class_name.as_ref(), type_class_name.as_ref(), sink_type.as_ref(), configs.as_ref());
        if let Some(builtin) = &connector.builtin {
            connector.configs.entry(Cow::Borrowed("sinkType")).or_insert_with(|| json::raw(builtin));
        }
        connector
    }

    fn new(
        class_name: Option<&'a String>,
        type_class_name: Option<&'a String>,
        builtin: Option<&'a String>,
        configs: Option<&'a FreeForm>,
    ) -> Self {
        let entries = configs.map(FreeForm::entries).unwrap_or_default();
        let field = |field: Option<&'a String>| {
            field.map(|text| Cow::Borrowed(text.as_str())).filter(|text| !text.is_empty())
        };
        let key = |key: &str| as_text(entries.get(key)?).filter(|text| !text.is_empty());
        let archive = || {
            let archive = key("archive")?;
            archive
                .strip_prefix("builtin://")
                .filter(|name| !name.is_empty())
                .map(|name| Cow::Owned(name.to_owned()))
        };
        Self {
            class_name: field(class_name).or_else(|| key("className")),
            type_class_name: field(type_class_name).or_else(|| key("typeClassName")),
            builtin: field(builtin).or_else(|| key("builtin")).or_else(archive),
            configs: flatten(&entries),
            raw: configs.filter(|configs| !configs.is_empty()),
        }
    }

    /// Replaces class, configuration and name by those of the connector, where it has them.
    pub(super) fn replace(
        &self,
        class_name: &mut Option<Cow<'a, str>>,
        configs: &mut Option<String>,
        builtin: &mut Option<Cow<'a, str>>,
    ) {
        *class_name = self.class_name.clone().or(class_name.take());
        *builtin = self.builtin.clone().or(builtin.take());
        let known = Some(&self.configs).filter(|configs| !configs.is_empty()).map(json::map_of);
        *configs = known.or_else(|| self.raw.map(FreeForm::canonical)).or(configs.take());
    }
}

/// The value, if it is a string.
fn as_text<'a>(value: &&'a RawValue) -> Option<Cow<'a, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'a>>(value.get()).ok().map(|text| text.0)
}

/// The effective configuration: the nested `configs`, overridden by the other keys.
fn flatten<'a>(configs: &BTreeMap<Cow<'a, str>, &'a RawValue>) -> json::Entries<'a> {
    let inner = configs.get("configs").map(|inner| raw_entries(inner)).unwrap_or_default();
    let outer = configs.iter().filter(|(key, _)| !DESCRIPTIVE.contains(&key.as_ref()));
    let outer = outer.map(|(key, value)| (key.clone(), *value));
    let is_set =
        |(key, value): &(Cow<'a, str>, &'a RawValue)| !key.is_empty() && value.get().trim() != "null";
    inner.into_iter().chain(outer).filter(is_set).map(|(key, value)| (key, Cow::Borrowed(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn source(config: Value) -> FunctionSourceConfig {
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn fields_override_configuration_keys() {
        let config = source(json!({
            "className": "Field", "configs": { "className": "Key", "typeClassName": "T", "builtin": "b", "x": 1 },
        }));
        let connector = Connector::source(&config);
        assert_eq!(connector.class_name.as_deref(), Some("Field"));
        assert_eq!(connector.type_class_name.as_deref(), Some("T"));
        assert_eq!(connector.builtin.as_deref(), Some("b"));
        assert_eq!(json::map_of(&connector.configs), r#"{"x":1}"#);
    }

    #[test]
    fn nested_configs_are_flattened() {
        let config = source(json!({
            "configs": { "archive": "builtin://kafka", "configs": { "a": 1, "b": 1, "n": null }, "b": 2, "": 3 },
        }));
        let connector = Connector::source(&config);
        assert_eq!(connector.builtin.as_deref(), Some("kafka"));
        assert_eq!(json::map_of(&connector.configs), r#"{"a":1,"b":2}"#);
    }

    #[test]
    fn descriptive_configuration_is_kept() {
        let config = source(json!({ "configs": { "className": "C" } }));
        let (mut class_name, mut configs, mut builtin) = (None, None, None);
        Connector::source(&config).replace(&mut class_name, &mut configs, &mut builtin);
        assert_eq!((class_name.as_deref(), builtin), (Some("C"), None));
        assert_eq!(configs.as_deref(), Some(r#"{"className":"C"}"#));
    }

    #[test]
    fn sink_type_is_part_of_the_configuration() {
        let config: FunctionSinkConfig = serde_json::from_value(json!({ "sinkType": "es" })).unwrap();
        assert_eq!(json::map_of(&Connector::sink(&config).configs), r#"{"sinkType":"es"}"#);
        let given = json!({ "sinkType": "es", "configs": { "sinkType": "own" } });
        let config: FunctionSinkConfig = serde_json::from_value(given).unwrap();
        assert_eq!(json::map_of(&Connector::sink(&config).configs), r#"{"sinkType":"own"}"#);
    }
}
