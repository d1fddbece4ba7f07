//! Connectors in place of a function's topics: what their configuration says, in whichever way it is written.
//!
//! People give a connector's class, type and name either in the fields for them or among its configuration,
//! as they stand in the configuration files of Pulsar's own tools.

use function_mesh_api::types::{FreeForm, FunctionSinkConfig, FunctionSourceConfig};
use serde_json::Value;

use crate::json;

/// Keys of a configuration that describe the connector rather than configure it.
const DESCRIPTIVE: [&str; 5] = ["archive", "builtin", "className", "typeClassName", "configs"];

/// What a connector's configuration says.
#[derive(Debug, Default)]
pub(super) struct Connector<'a> {
    pub(super) class_name: Option<&'a str>,
    pub(super) type_class_name: Option<&'a str>,
    pub(super) builtin: Option<&'a str>,
    pub(super) configs: FreeForm,
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
        if let Some(builtin) = connector.builtin {
            let name = || Value::String(builtin.to_owned());
            connector.configs.entry("sinkType".to_owned()).or_insert_with(name);
        }
        connector
    }

    fn new(
        class_name: Option<&'a String>,
        type_class_name: Option<&'a String>,
        builtin: Option<&'a String>,
        configs: Option<&'a FreeForm>,
    ) -> Self {
        let field = |field: Option<&'a String>| field.map(String::as_str).filter(|text| !text.is_empty());
        let key = |key: &str| configs?.get(key)?.as_str().filter(|text| !text.is_empty());
        let archive = || key("archive")?.strip_prefix("builtin://").filter(|name| !name.is_empty());
        Self {
            class_name: field(class_name).or_else(|| key("className")),
            type_class_name: field(type_class_name).or_else(|| key("typeClassName")),
            builtin: field(builtin).or_else(|| key("builtin")).or_else(archive),
            configs: configs.map(flatten).unwrap_or_default(),
            raw: configs.filter(|configs| !configs.is_empty()),
        }
    }

    /// Puts what is known of the connector in the place of what was there.
    pub(super) fn replace(
        &self,
        class_name: &mut Option<&'a str>,
        configs: &mut Option<String>,
        builtin: &mut Option<&'a str>,
    ) {
        *class_name = self.class_name.or(*class_name);
        *builtin = self.builtin.or(*builtin);
        let known = Some(&self.configs).filter(|configs| !configs.is_empty()).or(self.raw);
        *configs = known.map(json::text).or(configs.take());
    }
}

/// The configuration proper: the inner `configs` with what stands beside it on top.
fn flatten(configs: &FreeForm) -> FreeForm {
    let inner = configs.get("configs").and_then(Value::as_object).into_iter().flatten();
    let outer = configs.iter().filter(|(key, _)| !DESCRIPTIVE.contains(&key.as_str()));
    let is_set = |(key, value): &(&String, &Value)| !key.is_empty() && !value.is_null();
    inner.chain(outer).filter(is_set).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn source(config: Value) -> FunctionSourceConfig {
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn fields_beat_what_stands_among_the_configuration() {
        let config = source(json!({
            "className": "Field", "configs": { "className": "Key", "typeClassName": "T", "builtin": "b", "x": 1 },
        }));
        let connector = Connector::source(&config);
        assert_eq!(connector.class_name, Some("Field"));
        assert_eq!(connector.type_class_name, Some("T"));
        assert_eq!(connector.builtin, Some("b"));
        assert_eq!(json::text(&connector.configs), r#"{"x":1}"#);
    }

    #[test]
    fn an_inner_configuration_is_lifted_out_and_what_stands_beside_it_wins() {
        let config = source(json!({
            "configs": { "archive": "builtin://kafka", "configs": { "a": 1, "b": 1, "n": null }, "b": 2, "": 3 },
        }));
        let connector = Connector::source(&config);
        assert_eq!(connector.builtin, Some("kafka"));
        assert_eq!(json::text(&connector.configs), r#"{"a":1,"b":2}"#);
    }

    #[test]
    fn a_configuration_that_only_describes_is_passed_on_whole() {
        let config = source(json!({ "configs": { "className": "C" } }));
        let (mut class_name, mut configs, mut builtin) = (None, None, None);
        Connector::source(&config).replace(&mut class_name, &mut configs, &mut builtin);
        assert_eq!((class_name, builtin), (Some("C"), None));
        assert_eq!(configs.as_deref(), Some(r#"{"className":"C"}"#));
    }

    #[test]
    fn a_sink_is_told_its_own_type() {
        let config: FunctionSinkConfig = serde_json::from_value(json!({ "sinkType": "es" })).unwrap();
        assert_eq!(json::text(&Connector::sink(&config).configs), r#"{"sinkType":"es"}"#);
        let given = json!({ "sinkType": "es", "configs": { "sinkType": "own" } });
        let config: FunctionSinkConfig = serde_json::from_value(given).unwrap();
        assert_eq!(json::text(&Connector::sink(&config).configs), r#"{"sinkType":"own"}"#);
    }
}
