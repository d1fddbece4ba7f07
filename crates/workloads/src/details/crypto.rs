//! Encryption settings in `function_details`.

use function_mesh_api::types::CryptoConfig;
use serde::Serialize;

use crate::json;

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CryptoSpec<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    crypto_key_reader_class_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    crypto_key_reader_config: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    producer_encryption_key_name: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    producer_crypto_failure_action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer_crypto_failure_action: Option<&'static str>,
}

impl<'a> From<&'a CryptoConfig> for CryptoSpec<'a> {
    fn from(config: &'a CryptoConfig) -> Self {
        Self {
            crypto_key_reader_class_name: config.crypto_key_reader_class_name.as_deref().unwrap_or_default(),
            crypto_key_reader_config: config.crypto_key_reader_config.as_ref().map(json::text),
            producer_encryption_key_name: config.encryption_keys.as_deref().unwrap_or_default(),
            producer_crypto_failure_action: action(config.producer_crypto_failure_action.as_deref()),
            consumer_crypto_failure_action: action(config.consumer_crypto_failure_action.as_deref()),
        }
    }
}

/// The action on failure, unless it is the default `FAIL`.
fn action(text: Option<&str>) -> Option<&'static str> {
    ["DISCARD", "CONSUME", "SEND"].into_iter().find(|action| text == Some(action))
}
