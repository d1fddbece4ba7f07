//! The API server's audit log of one user's requests.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::Context;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde::Deserialize;
use serde_json::json;

/// Processed requests from the audit log. Unlike metrics, they contain the user, so that a program with its own
/// certificate can be observed from outside.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    reader: Option<BufReader<File>>,
    /// An incomplete line.
    begun: String,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Audited {
    /// The verb: `get`, `list`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// The resource, with the subresource if there is one: `functions`, `functions/status`.
    pub resource: String,
    /// Namespace of the object; empty for cluster-scoped objects.
    pub namespace: String,
    /// When the response was complete.
    pub at: MicroTime,
    /// The HTTP status of the response.
    pub code: u16,
}

impl Audited {
    /// Whether it is a write.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

impl AuditLog {
    /// Writes the audit policy, and returns the API server's flags for it.
    pub(crate) fn prepare(folder: &Path, user: &str) -> anyhow::Result<(Self, Vec<String>)> {
        let (policy, path) = (folder.join("audit-policy.json"), folder.join("audit.log"));
        let rules = json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [
                { "level": "None", "verbs": ["watch"] },
                { "level": "Metadata", "users": [user] },
                { "level": "None" },
            ],
        });
        std::fs::write(&policy, rules.to_string())?;
        let args = vec![
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", path.display()),
            // No rotation: it would hide the content of the old file.
            "--audit-log-maxsize=100000".to_owned(),
        ];
        Ok((Self { path, reader: None, begun: String::new() }, args))
    }

    /// Requests since the last call, in the order of their responses.
    pub fn take(&mut self) -> anyhow::Result<Vec<Audited>> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => match File::open(&self.path) {
                Ok(file) => none.insert(BufReader::new(file)),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error).context("cannot read the audit log"),
            },
        };
        let mut requests = Vec::new();
        while reader.read_line(&mut self.begun)? > 0 && self.begun.ends_with('\n') {
            requests.push(Audited::read(&self.begun)?);
            self.begun.clear();
        }
        Ok(requests)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogEntry {
    verb: String,
    #[serde(default)]
    object_ref: Object,
    stage_timestamp: MicroTime,
    #[serde(default)]
    response_status: ResponseStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    resource: String,
    subresource: String,
    namespace: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl Audited {
    fn read(line: &str) -> anyhow::Result<Self> {
        let LogEntry { verb, object_ref, stage_timestamp: at, response_status: ResponseStatus { code } } =
            serde_json::from_str(line).context("a line of the audit log")?;
        let Object { mut resource, subresource, namespace } = object_ref;
        if !subresource.is_empty() {
            write!(resource, "/{subresource}")?;
        }
        Ok(Self { verb, resource, namespace, at, code })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const LINE: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","stage":"ResponseComplete","verb":"patch","user":{"username":"u"},"objectRef":{"resource":"functions","namespace":"n","name":"f","apiGroup":"compute.functionmesh.io","subresource":"status"},"responseStatus":{"metadata":{},"code":200},"stageTimestamp":"2026-01-01T00:00:00.000001Z"}"#;

    #[test]
    fn reads_complete_lines_once() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, args) = AuditLog::prepare(folder.path(), "u").unwrap();
        assert!(log.take().unwrap().is_empty());
        let path = args.iter().find_map(|arg| arg.strip_prefix("--audit-log-path=")).unwrap();
        let mut file = File::create(path).unwrap();
        let (begin, end) = LINE.split_at(100);
        write!(file, "{LINE}\n{begin}").unwrap();
        let found = log.take().unwrap();
        assert_eq!(found.len(), 1);
        let Audited { verb, resource, namespace, code, .. } = &found[0];
        assert_eq!(
            (verb.as_str(), resource.as_str(), namespace.as_str(), *code),
            ("patch", "functions/status", "n", 200)
        );
        assert!(found[0].is_write());
        writeln!(file, "{end}").unwrap();
        assert_eq!(log.take().unwrap().len(), 1);
        assert!(log.take().unwrap().is_empty());
    }
}
