#![allow(clippy::needless_pass_by_value, reason = "JSON reads best where it is used")]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn at(fields: &[&str], value: Value) -> Value {
    let step = |name: &&str| match name.strip_prefix('*') {
        Some(item) => Step::Item(item.to_owned()),
        None => Step::Field((*name).to_owned()),
    };
    value_at(&Path(fields.iter().map(step).collect()), &value)
}

#[test]
fn secrets_are_redacted_by_name() {
    assert_eq!(at(&["spec", "sinkConfig", "dbPassword"], json!("x")), json!(HIDDEN));
    assert_eq!(at(&["env", "*API_TOKEN", "value"], json!("x")), json!(HIDDEN));
    assert_eq!(at(&["command", "--client_auth_params"], json!("token:x")), json!(HIDDEN));
    let whole = json!([{ "name": "DB_PASSWORD", "value": "x" }, { "name": "A", "value": "x" }]);
    let expected = json!([{ "name": "DB_PASSWORD", "value": HIDDEN }, { "name": "A", "value": "x" }]);
    assert_eq!(at(&["env"], whole), expected);
    let nested = json!({ "auth": { "clientSecret": "x", "id": 1 }, "credentials": { "a": ["b"] } });
    let expected = json!({ "auth": { "clientSecret": HIDDEN, "id": 1 }, "credentials": { "a": [HIDDEN] } });
    assert_eq!(at(&["config"], nested), expected);
}

#[test]
fn references_to_secrets_are_kept() {
    for (path, value) in [
        (&["env", "*DB_PASSWORD", "valueFrom", "secretKeyRef", "name"][..], json!("db")),
        (&["secretsMap", "db-password"], json!({ "path": "db", "key": "password" })),
        (&["volumes", "*v", "secret", "secretName"], json!("s")),
        (&["spec", "pulsar", "authSecret"], json!("s")),
        (&["imagePullSecrets"], json!([{ "name": "s" }])),
    ] {
        assert_eq!(at(path, value.clone()), value);
    }
    let variable =
        json!({ "name": "DB_PASSWORD", "valueFrom": { "secretKeyRef": { "name": "a", "key": "b" } } });
    assert_eq!(at(&["env", "*X"], variable.clone()), variable);
}

#[test]
fn secrets_in_text_are_redacted() {
    for (given, shown) in [
        ("jdbc:x?user=u&password=p w", "jdbc:x?user=u&password=(hidden) w"),
        ("pulsar://u:p@host:6650/x", "pulsar://(hidden)@host:6650/x"),
        ("token:abc", "token:(hidden)"),
        ("-Ddb.password=a -Xmx1g", "-Ddb.password=(hidden) -Xmx1g"),
        (r#"{"configs":"{\"password\":\"p\"}"}"#, r#"{"configs":"{\"password\":\"(hidden)\"}"}"#),
    ] {
        assert_eq!(text(given), shown);
    }
}

/// None of these contains a secret.
#[test]
fn similar_text_is_kept() {
    for plain in [
        "persistent://public/default/tokens",
        "org.example.TokenFilter",
        "secret \"pulsar-auth\" not found",
        "MountVolume.SetUp failed for volume \"my-secret\" : secret \"x\" not found",
        "couldn't find key password in Secret ns/pulsar",
        "pull access denied, may require authorization: server message: insufficient_scope: authorization failed",
        "Back-off pulling image \"host/a:1@sha256:abc\"",
        "function://t/n/f@1",
        "https://h:80/a@b/f.jar",
        "Basic authentication is not supported",
        "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----",
        "100%25 of it, 5% more",
    ] {
        assert_eq!(text(plain), plain);
    }
}

/// The usual formats of secrets, each with a canary.
const FORMATS: [&str; 54] = [
    "jdbc:postgresql://h/db?user=u&pass=CANARY",
    "jdbc:postgresql://h/db?pwd=CANARY&user=u",
    "jdbc:oracle:thin:scott/CANARY@//h:1521/x",
    "jdbc:mysql://root:CANARY@h/db",
    "AccountName=x;AccountKey=CANARY;EndpointSuffix=y",
    "Endpoint=sb://h/;SharedAccessKeyName=x;SharedAccessKey=CANARY",
    "mongodb://user:CANARY@h1,h2/db",
    "mongodb://user:CAN/ARY:CANARY@h1/db",
    "redis://:CANARY@h:6379/0",
    "https://CANARY@host/x.git",
    "amqp%3A%2F%2Fu%3ACANARY%40h%2Fx",
    "user:CANARY@host:5432",
    "Basic CANARY",
    "Authorization: Basic CANARY",
    "authorization=Bearer CANARY",
    "Bearer CANARY",
    "bearer%20CANARY",
    "eyJhbGciOiJIUzI1NiJ9.CANARY.x",
    "the token is eyJhbGciOiJIUzI1NiJ9.CANARY.x, it says",
    "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"CANARY\";",
    "PlainLoginModule required username=\"u\" password='CANARY';",
    "ScramLoginModule required username=\\\"u\\\" password=\\\"CANARY\\\";",
    "required password=\"a\\\"CANARY\";",
    "sig=CANARY",
    "https://h/x?se=1&sig=CANARY&sp=r",
    "https://h/x.jar?X-Amz-Signature=CANARY",
    "https://h/x.jar?X-Amz-Credential=CANARY&a=b",
    "https://h/x?X-Amz-Security-Token=CANARY",
    "https://h/x?X-Goog-Signature=CANARY",
    "https://h/x?access_token=CANARY#a",
    "a=1&password%3DCANARY%26b%3D2",
    "a%26sig%3DCANARY",
    "a%2526sig%253DCANARY",
    "password = CANARY",
    "password : \"CANARY",
    "password: CANARY",
    "password=>CANARY",
    "PASSWORD=CANARY",
    "keystorePass=CANARY",
    "api-key: CANARY",
    "api_key=CANARY",
    "--password CANARY --x",
    "--client-secret=CANARY",
    "token:CANARY",
    "error: token:CANARY is rejected",
    "cannot log in with {\"password\": \"CANARY\"}",
    "cannot log in with {\"password\" : \"CANARY\"}",
    "cannot log in with {\\\"password\\\":\\\"CANARY\\\"}",
    "cannot log in with {'secret': 'CANARY'}",
    "-----BEGIN RSA PRIVATE KEY-----\nCANARY\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\\nCANARY\\n-----END PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nCANARY",
    "ghp_CANARYCANARY",
    "Cookie: CANARY",
];

/// Keys whose values are secrets.
const KEYS: [&str; 24] = [
    "auth",
    "authorization",
    "token",
    "accessToken",
    "secret",
    "client_secret",
    "password",
    "dbPassword",
    "db.password",
    "passwd",
    "pass",
    "pwd",
    "encryptionKey",
    "credential",
    "credentials",
    "apiKey",
    "api-key",
    "X-API-Key",
    "privateKey",
    "private_key_pem",
    "accessKey",
    "accountKey",
    "sasl.jaas.config",
    "sig",
];

#[test]
fn usual_formats_of_secrets_are_redacted() {
    for format in FORMATS {
        let in_text = json!(format!("cannot do it: {format}\nnext")).to_string();
        let in_json = json!({ "a": [format], "b": { "c": format } }).to_string();
        let within_json = json!({ "a": in_json }).to_string();
        let in_error = format!("failed with {within_json}");
        for given in
            [format.to_owned(), format!("cannot do it: {format}"), in_text, in_json, within_json, in_error]
        {
            for shown in [text(&given), message(&given), value(&json!({ "k": given })).to_string()] {
                assert!(!shown.contains("CANARY"), "{given}\n  became {shown}");
            }
        }
    }
}

#[test]
fn values_of_secret_keys_are_redacted() {
    for key in KEYS {
        let object = json!({ key: "CANARY", "list": [{ key: ["CANARY"] }], "n": json!({ key: "CANARY" }).to_string() });
        let variables = json!({ "httpHeaders": [{ "name": key, "value": "CANARY" }] });
        for given in [
            object.clone(),
            variables,
            json!(object.to_string()),
            json!(json!(object.to_string()).to_string()),
        ] {
            let shown = value(&given).to_string();
            assert!(!shown.contains("CANARY"), "{given}\n  became {shown}");
        }
        let path = at(&["spec", "sinkConfig", key], json!("CANARY")).to_string();
        assert!(!path.contains("CANARY"), "{key}");
        for line in [format!("{key}=CANARY"), format!("x {key}: CANARY y"), format!("a&{key}%3DCANARY%26b")] {
            assert!(!text(&line).contains("CANARY"), "{line} became {}", text(&line));
        }
    }
}

/// Long texts whose parts could be scanned from every character.
#[test]
fn redaction_is_linear() {
    for piece in [
        "a:",
        "a://",
        "password",
        "password=\"",
        "%25",
        "Basic ",
        "-----BEGIN ",
        "\\\"",
        "x%40",
        "{\"",
        "u:p@",
    ] {
        let given = piece.repeat(1_000_000 / piece.len());
        let start = std::time::Instant::now();
        let shown = text(&given);
        assert!(start.elapsed().as_secs() < 20, "{piece}: {:?}", start.elapsed());
        assert!(!shown.is_empty());
    }
}

proptest! {
    #[test]
    fn any_text_does_not_panic(given in "\\PC{0,60}|([a-z:/@=%\"'\\\\ ]|password|%3D|eyJ|Basic|://){0,30}") {
        let shown = text(&given);
        prop_assert!(shown.len() <= given.len() * 10 + 10);
        let _ = message(&given);
    }
}
