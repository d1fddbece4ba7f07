//! The ServiceAccount that a client authenticates as, by the claims of its token.
//!
//! Reading them takes no request and no permission. The signature is not checked: the token is the client's own, and the
//! API server checks it with each request.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Config;
use serde::Deserialize;

/// Claims of a token that the API server issues to pods.
#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: PodClaims,
}

#[derive(Deserialize)]
struct PodClaims {
    namespace: String,
    #[serde(rename = "serviceaccount")]
    service_account: ServiceAccountClaims,
}

#[derive(Deserialize)]
struct ServiceAccountClaims {
    name: String,
    uid: String,
}

/// A reference to the ServiceAccount whose token this configuration reads from a file, as it does in a pod, if the
/// ServiceAccount is in `namespace`: owners in other namespaces do not exist. None for other credentials.
pub fn owner_reference(config: &Config, namespace: &str) -> Option<OwnerReference> {
    let token = std::fs::read_to_string(config.auth_info.token_file.as_deref()?).ok()?;
    by_claims(&token, namespace)
}

fn by_claims(token: &str, namespace: &str) -> Option<OwnerReference> {
    let payload = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
    let PodClaims { namespace: own, service_account } =
        serde_json::from_slice::<Claims>(&payload).ok()?.kubernetes;
    (own == namespace).then(|| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ServiceAccount".to_owned(),
        name: service_account.name,
        uid: service_account.uid,
        ..OwnerReference::default()
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::{Value, json};

    use super::*;

    fn token(claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2lnbmF0dXJl\n", part(&json!({ "alg": "RS256" })), part(claims))
    }

    fn claims() -> Value {
        json!({ "iss": "https://kubernetes.default.svc", "kubernetes.io": {
            "namespace": "function-mesh", "pod": { "name": "p", "uid": "1" },
            "serviceaccount": { "name": "controller", "uid": "2-3" } } })
    }

    #[test]
    fn owner_is_the_account_of_the_token_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(token(&claims()).as_bytes()).unwrap();
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        assert_eq!(owner_reference(&config, "function-mesh"), None);
        config.auth_info.token_file = Some(file.path().to_str().unwrap().to_owned());
        let owner = owner_reference(&config, "function-mesh").unwrap();
        let parts = [&owner.api_version, &owner.kind, &owner.name, &owner.uid];
        assert_eq!(parts, ["v1", "ServiceAccount", "controller", "2-3"]);
        assert_eq!((owner.controller, owner.block_owner_deletion), (None, None));
    }

    #[test]
    fn account_of_another_namespace_is_no_owner() {
        assert_eq!(by_claims(&token(&claims()), "other"), None);
    }

    #[test]
    fn other_tokens_name_no_owner() {
        for other in ["", "opaque", "a.b.c", "a.%.c", &token(&json!({ "sub": "jane" }))] {
            assert_eq!(by_claims(other, "function-mesh"), None, "{other}");
        }
    }
}
