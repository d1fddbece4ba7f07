//! The decision on one object, the same for every kind.

use std::fmt;

use function_mesh_api::validate::{Findings, ratchet};
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, Operation};
use serde_json::Value;

use crate::denial::{Subject, failure, warnings};
use crate::patch::completion;
use crate::{Admitted, review};

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// To complete the object.
    Mutate,
    /// To check the object.
    Validate,
}

impl Action {
    /// The name in paths and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// The object passes as it is.
    Allowed,
    /// The object passes without a look: it is deleted, or its specification stays the same.
    Exempt,
    /// The object passes completed.
    Patched,
    /// The object breaks rules, or cannot be read.
    Denied,
    /// The request is none that can be decided on.
    Malformed,
    /// There was no time, or no room, for a decision.
    Overloaded,
}

impl Outcome {
    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Exempt => "exempt",
            Self::Patched => "patched",
            Self::Denied => "denied",
            Self::Malformed => "malformed",
            Self::Overloaded => "overloaded",
        }
    }
}

/// A decision: the answer, and what is counted and logged of it.
#[derive(Debug)]
pub struct Verdict {
    /// What is sent back.
    pub response: AdmissionResponse,
    /// What was decided.
    pub outcome: Outcome,
    /// What was to be done with the object; `unknown` when the request could not be read.
    pub operation: &'static str,
    /// How many rules the object breaks.
    pub violations: usize,
}

impl Verdict {
    pub(crate) fn refused(response: AdmissionResponse, outcome: Outcome) -> Self {
        Self { response, outcome, operation: "unknown", violations: 0 }
    }
}

/// Decides on the object of the review in `body`, which is to be of the kind `K`.
pub fn decide<K: Admitted>(action: Action, body: &[u8]) -> Verdict {
    let request = match review::read(body) {
        Ok(request) => request,
        Err(refusal) => {
            // What is wrong with it is told to the sender alone, since it may quote the object.
            tracing::warn!(
                webhook = %action,
                kind = %K::kind(&()),
                uid = refusal.uid,
                bytes = body.len(),
                "refused a request that cannot be read"
            );
            return Verdict::refused(*refusal, Outcome::Malformed);
        }
    };
    let Decision { response, outcome, violations } = decide_on::<K>(action, &request);
    let operation = operation(&request.operation);
    // Neither the object nor what is wrong with it: both may quote what is secret.
    tracing::info!(
        webhook = %action,
        kind = %K::kind(&()),
        namespace = request.namespace.as_deref().unwrap_or_default(),
        name = name(&request),
        operation,
        dry_run = request.dry_run,
        allowed = response.allowed,
        outcome = outcome.as_str(),
        violations,
        "decided"
    );
    Verdict { response, outcome, operation, violations }
}

struct Decision {
    response: AdmissionResponse,
    outcome: Outcome,
    violations: usize,
}

fn decide_on<K: Admitted>(action: Action, request: &AdmissionRequest<DynamicObject>) -> Decision {
    let mut response = AdmissionResponse::from(request);
    let decision = |response, outcome| Decision { response, outcome, violations: 0 };
    let mut refuse = |message: String| {
        response.allowed = false;
        response.result = failure(400, "BadRequest", message);
        decision(response.clone(), Outcome::Malformed)
    };
    let (group, version, kind) = (K::group(&()), K::version(&()), K::kind(&()));
    let asked = &request.kind;
    if (asked.group.as_str(), asked.version.as_str(), asked.kind.as_str()) != (&*group, &*version, &*kind) {
        return refuse(format!(
            "this address decides on {kind} of {group}/{version}; it was asked about {} of {}/{}, so a rule of the \
             webhook configuration names the wrong path",
            asked.kind, asked.group, asked.version
        ));
    }
    if is_exempt(request) {
        return decision(response, Outcome::Exempt);
    }
    let Some(object) = &request.object else {
        return refuse(format!("the request to {} has no object", operation(&request.operation)));
    };
    let raw = match serde_json::to_value(object) {
        Ok(raw) => raw,
        Err(error) => return refuse(format!("the object cannot be read: {error}")),
    };
    let subject = Subject { group: &group, kind: &kind, name: name(request) };
    match action {
        Action::Mutate => {
            let decision = mutate::<K>(response.clone(), &raw);
            // What is to be refused is refused here already. Between this step and the next the API server applies
            // the simple rules by itself, and would tell those alone, not which component of a mesh is meant.
            let judged = validate::<K>(response, raw, request.old_object.as_ref(), &subject);
            let is_readable = decision.response.warnings.is_none();
            if is_readable && judged.outcome == Outcome::Denied { judged } else { decision }
        }
        Action::Validate => validate::<K>(response, raw, request.old_object.as_ref(), &subject),
    }
}

fn mutate<K: Admitted>(mut response: AdmissionResponse, raw: &Value) -> Decision {
    let patch = match completion::<K>(raw) {
        Ok(patch) => patch,
        // The schema says which field is wrong, and so does the check, once this has let the object pass.
        Err(violation) => {
            response.warnings = warnings(&[violation]);
            return Decision { response, outcome: Outcome::Allowed, violations: 0 };
        }
    };
    if patch.is_empty() {
        return Decision { response, outcome: Outcome::Allowed, violations: 0 };
    }
    match response.clone().with_patch(patch) {
        Ok(response) => Decision { response, outcome: Outcome::Patched, violations: 0 },
        // Defaults that are not written down take effect all the same: the controller applies them again.
        Err(error) => {
            tracing::error!(%error, "a patch could not be written");
            Decision { response, outcome: Outcome::Allowed, violations: 0 }
        }
    }
}

fn validate<K: Admitted>(
    mut response: AdmissionResponse,
    raw: Value,
    old: Option<&DynamicObject>,
    subject: &Subject<'_>,
) -> Decision {
    let mut findings = findings::<K>(raw);
    // Only a change that would be refused makes it worth to know what the object was before.
    if let Some(old) = old.filter(|_| !findings.violations.is_empty())
        && let Ok(old) = serde_json::to_value(old)
    {
        findings = ratchet(&self::findings::<K>(old), findings);
    }
    let Findings { violations, warnings: warned } = findings;
    response.warnings = warnings(&warned);
    if violations.is_empty() {
        return Decision { response, outcome: Outcome::Allowed, violations: 0 };
    }
    response.allowed = false;
    response.result = subject.invalid(&violations);
    Decision { response, outcome: Outcome::Denied, violations: violations.len() }
}

fn findings<K: Admitted>(raw: Value) -> Findings {
    match function_mesh_api::parse::<K>(raw) {
        Ok(object) => object.check(),
        Err(violation) => Findings { violations: vec![violation], warnings: Vec::new() },
    }
}

/// Whether the object passes without a look. An update that leaves the specification alone must never be
/// refused: an object that was stored before a rule could otherwise not even lose its finalizer.
fn is_exempt(request: &AdmissionRequest<DynamicObject>) -> bool {
    let subresource = request.sub_resource.as_deref().is_some_and(|name| !name.is_empty());
    match (&request.operation, &request.object, &request.old_object) {
        (Operation::Delete | Operation::Connect, _, _) => true,
        _ if subresource => true,
        (Operation::Update, Some(new), _) if new.metadata.deletion_timestamp.is_some() => true,
        (Operation::Update, Some(new), Some(old)) => new.data.get("spec") == old.data.get("spec"),
        (Operation::Create | Operation::Update, _, _) => false,
    }
}

/// The name of the object, or the prefix that it is yet to be made from.
fn name(request: &AdmissionRequest<DynamicObject>) -> &str {
    let metadata = request.object.as_ref().map(|object| &object.metadata);
    let names = [
        Some(request.name.as_str()),
        metadata.and_then(|metadata| metadata.name.as_deref()),
        metadata.and_then(|metadata| metadata.generate_name.as_deref()),
    ];
    names.into_iter().flatten().find(|name| !name.is_empty()).unwrap_or_default()
}

fn operation(operation: &Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}
