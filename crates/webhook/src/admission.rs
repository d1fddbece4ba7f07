//! The admission decision on one object, the same for every kind.
//!
//! Exempt requests are decided first, by comparing the raw text of the specs. Then the complexity of the text is
//! checked, and it is deserialized straight into its type, never into a `serde_json::Value`, to bound memory.

use std::fmt;

use function_mesh_api::complexity;
use function_mesh_api::validate::{Findings, Violation, ratchet};
use serde_json::value::RawValue;

use crate::kinds::BrokenRules;
use crate::patch::apply_defaults;
use crate::response::Response;
use crate::response::status::{Subject, failure, truncated, warnings};
use crate::review::{self, Operation, PartialObject, Request};
use crate::{AdmissionKind, json_eq};

/// The webhook that is called.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// Apply defaults.
    Mutate,
    /// Validate.
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

/// The outcome of a decision.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// Allowed unchanged.
    Allowed,
    /// Allowed without validation: the object is being deleted, or its spec is unchanged.
    Exempt,
    /// Allowed with a patch.
    Patched,
    /// Denied: the object violates rules or cannot be decoded.
    Denied,
    /// Denied: the request is not a valid admission review.
    Malformed,
    /// Denied: timeout or resource limits.
    Overloaded,
}

impl Outcome {
    /// The label value in metrics.
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

/// The response to a review, with what is logged and counted.
#[derive(Debug)]
pub struct Verdict {
    /// The response.
    pub response: Response,
    /// The outcome.
    pub outcome: Outcome,
    /// The operation of the request; `unknown` when the request cannot be decoded.
    pub operation: &'static str,
    /// Number of violations.
    pub violations: usize,
}

impl Verdict {
    pub(crate) fn rejected(response: Response, outcome: Outcome) -> Self {
        Self { response, outcome, operation: "unknown", violations: 0 }
    }
}

/// Decides on the admission review in `body`, whose object must be of the kind `K`.
pub fn decide<K: AdmissionKind>(action: Action, body: &[u8]) -> Verdict {
    let request = match review::read(body) {
        Ok(request) => request,
        Err(response) => {
            // The error goes to the client only: it may quote the object.
            tracing::warn!(
                webhook = %action,
                kind = %K::kind(&()),
                uid = response.uid,
                bytes = body.len(),
                "malformed admission review"
            );
            return Verdict::rejected(*response, Outcome::Malformed);
        }
    };
    let new = PartialObject::of(request.object);
    let name = name(&request, &new);
    let Decision { response, outcome, violations } = decide_on::<K>(action, &request, &new, name);
    let operation = request.operation.as_str();
    // What is allowed is counted, and the audit log has it: a line for each would be most of the work.
    if response.allowed {
        tracing::debug!(webhook = %action, kind = %K::kind(&()), outcome = outcome.as_str(), "admission decided");
    } else {
        // Neither the object nor the violations: both may quote secrets.
        tracing::info!(
            webhook = %action,
            kind = %K::kind(&()),
            namespace = %truncated(request.namespace.as_deref().unwrap_or_default()),
            name = %truncated(name),
            operation,
            dry_run = request.dry_run.unwrap_or_default(),
            outcome = outcome.as_str(),
            violations,
            "admission denied"
        );
    }
    Verdict { response, outcome, operation, violations }
}

struct Decision {
    response: Response,
    outcome: Outcome,
    violations: usize,
}

impl Decision {
    fn new(response: Response, outcome: Outcome) -> Self {
        Self { response, outcome, violations: 0 }
    }
}

fn decide_on<K: AdmissionKind>(
    action: Action,
    request: &Request<'_>,
    new: &PartialObject<'_>,
    name: &str,
) -> Decision {
    let allowed = Response::allow(request.version, &request.uid);
    let malformed = |message: String| {
        let status = failure(400, "BadRequest", message);
        Decision::new(Response::deny(request.version, &request.uid, status), Outcome::Malformed)
    };
    let (group, version, kind) = (K::group(&()), K::version(&()), K::kind(&()));
    let requested = &request.kind;
    if (&*requested.group, &*requested.version, &*requested.kind) != (&*group, &*version, &*kind) {
        return malformed(format!(
            "this path admits {kind} of {group}/{version}, got {} of {}/{}: a rule of the webhook configuration has the \
             wrong path",
            truncated(&requested.kind),
            truncated(&requested.group),
            truncated(&requested.version)
        ));
    }
    let old = PartialObject::of(request.old_object);
    if is_exempt(request, new, &old) {
        return Decision::new(allowed, Outcome::Exempt);
    }
    let Some(object) = request.object else {
        return malformed(format!("the {} request has no object", request.operation.as_str()));
    };
    let subject = Subject { group: &group, kind: &kind, name };
    if let Err(too_complex) = complexity::check(object.get().as_bytes()) {
        let field = function_mesh_api::validate::FieldPath::root("spec");
        return denied(&allowed, &[Violation { field, message: too_complex.to_string() }], &[], &subject);
    }
    match action {
        Action::Mutate => mutate::<K>(allowed, object, request.old_object, &subject),
        Action::Validate => {
            let findings = function_mesh_api::parse_text::<K>(object.get()).map(AdmissionKind::check);
            respond::<K>(allowed, or_violation(findings), object, request.old_object, &subject)
        }
    }
}

/// Applies defaults. Invalid objects are denied here already: the CEL rules run between the mutating and the
/// validating webhook, and would report fewer violations, without the component of a mesh.
fn mutate<K: AdmissionKind>(
    allowed: Response,
    object: &RawValue,
    old: Option<&RawValue>,
    subject: &Subject<'_>,
) -> Decision {
    let mut defaulted = match apply_defaults::<K>(object.get()) {
        Ok(defaulted) => defaulted,
        // The schema and the validating webhook name the field, if this webhook allows the object.
        Err(violation) => {
            return Decision::new(allowed.with_warnings(warnings(&[violation])), Outcome::Allowed);
        }
    };
    let patch = defaulted.patch.take();
    let findings = defaulted.object.check_rules();
    let decision = respond::<K>(allowed.clone(), findings, object, old, subject);
    match patch {
        _ if decision.outcome == Outcome::Denied => decision,
        None => Decision::new(allowed, Outcome::Allowed),
        Some(patch) => Decision::new(allowed.with_patch(patch), Outcome::Patched),
    }
}

/// The decision for these findings.
fn respond<K: AdmissionKind>(
    allowed: Response,
    mut findings: Findings,
    object: &RawValue,
    old: Option<&RawValue>,
    subject: &Subject<'_>,
) -> Decision {
    // Ratcheting needs the old object, which is decoded only when there are violations.
    if let Some(old) = old.filter(|_| !findings.violations.is_empty())
        && complexity::check(old.get().as_bytes()).is_ok()
    {
        findings = ratcheted::<K>(old, object, findings);
    }
    let Findings { violations, warnings: warned, .. } = findings;
    if violations.is_empty() {
        return Decision::new(allowed.with_warnings(warnings(&warned)), Outcome::Allowed);
    }
    denied(&allowed, &violations, &warned, subject)
}

/// The findings without pre-existing violations. Findings are capped, so both versions are validated once more in
/// full, one after the other to limit memory.
fn ratcheted<K: AdmissionKind>(old: &RawValue, object: &RawValue, findings: Findings) -> Findings {
    let old = match function_mesh_api::parse_text::<K>(old.get()) {
        Ok(old) => old,
        Err(violation) => return ratchet(&or_violation(Err(violation)), findings),
    };
    match old.broken_rules() {
        BrokenRules::All(known) => match function_mesh_api::parse_text::<K>(object.get()) {
            Ok(new) => new.check_since(known),
            Err(_) => findings,
        },
        BrokenRules::Listed(before) => ratchet(&before, findings),
    }
}

fn denied(
    allowed: &Response,
    violations: &[Violation],
    warned: &[Violation],
    subject: &Subject<'_>,
) -> Decision {
    let denied = Response::deny(allowed.version, &allowed.uid, subject.invalid(violations));
    let response = denied.with_warnings(warnings(warned));
    Decision { response, outcome: Outcome::Denied, violations: violations.len() }
}

fn or_violation(findings: Result<Findings, Violation>) -> Findings {
    findings.unwrap_or_else(|violation| Findings { violations: vec![violation], ..Findings::default() })
}

/// Whether the request is allowed without validation. An update with an unchanged spec must never be denied: an
/// object that was stored before a rule existed could not even have its finalizer removed.
fn is_exempt(request: &Request<'_>, new: &PartialObject<'_>, old: &PartialObject<'_>) -> bool {
    let subresource = request.sub_resource.as_deref().is_some_and(|name| !name.is_empty());
    match request.operation {
        Operation::Delete | Operation::Connect => true,
        _ if subresource => true,
        Operation::Create => false,
        Operation::Update => {
            let is_deleted = new.metadata.as_ref().is_some_and(|new| new.deletion_timestamp.is_some());
            let has_both = request.object.is_some() && request.old_object.is_some();
            is_deleted || has_both && json_eq::spec_eq(new.spec, old.spec)
        }
    }
}

/// The object's name, or its generateName.
fn name<'a>(request: &'a Request<'_>, object: &'a PartialObject<'_>) -> &'a str {
    let metadata = object.metadata.as_ref();
    let names = [
        request.name.as_deref(),
        metadata.and_then(|metadata| metadata.name.as_deref()),
        metadata.and_then(|metadata| metadata.generate_name.as_deref()),
    ];
    names.into_iter().flatten().find(|name| !name.is_empty()).unwrap_or_default()
}
