//! The decision on one object, the same for every kind.
//!
//! What must pass anyway passes first, by the text of its specification. Then the text is weighed, and read into its
//! type; there is never a tree of it. The steps free what they do not hand on.

use std::fmt;

use function_mesh_api::complexity;
use function_mesh_api::validate::{Findings, Violation, ratchet};
use serde_json::value::RawValue;

use crate::denial::{Subject, failure, shortened, warnings};
use crate::kinds::BrokenRules;
use crate::patch::complete;
use crate::response::Response;
use crate::review::{self, Operation, Outline, Request};
use crate::{Admitted, same};

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
    pub response: Response,
    /// What was decided.
    pub outcome: Outcome,
    /// What was to be done with the object; `unknown` when the request could not be read.
    pub operation: &'static str,
    /// How many rules the object breaks.
    pub violations: usize,
}

impl Verdict {
    pub(crate) fn refused(response: Response, outcome: Outcome) -> Self {
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
    let new = Outline::of(request.object);
    let name = name(&request, &new);
    let Decision { response, outcome, violations } = decide_on::<K>(action, &request, &new, name);
    let operation = request.operation.as_str();
    // Neither the object nor what is wrong with it: both may quote what is secret.
    tracing::info!(
        webhook = %action,
        kind = %K::kind(&()),
        namespace = %shortened(request.namespace.as_deref().unwrap_or_default()),
        name = %shortened(name),
        operation,
        dry_run = request.dry_run.unwrap_or_default(),
        allowed = response.allowed,
        outcome = outcome.as_str(),
        violations,
        "decided"
    );
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

fn decide_on<K: Admitted>(action: Action, request: &Request<'_>, new: &Outline<'_>, name: &str) -> Decision {
    let allowed = Response::allow(request.version, &request.uid);
    let refuse = |message: String| {
        let status = failure(400, "BadRequest", message);
        Decision::new(Response::deny(request.version, &request.uid, status), Outcome::Malformed)
    };
    let (group, version, kind) = (K::group(&()), K::version(&()), K::kind(&()));
    let asked = &request.kind;
    if (&*asked.group, &*asked.version, &*asked.kind) != (&*group, &*version, &*kind) {
        return refuse(format!(
            "this address decides on {kind} of {group}/{version}; it was asked about {} of {}/{}, so a rule of the \
             webhook configuration names the wrong path",
            shortened(&asked.kind),
            shortened(&asked.group),
            shortened(&asked.version)
        ));
    }
    let old = Outline::of(request.old_object);
    if is_exempt(request, new, &old) {
        return Decision::new(allowed, Outcome::Exempt);
    }
    let Some(object) = request.object else {
        return refuse(format!("the request to {} has no object", request.operation.as_str()));
    };
    let subject = Subject { group: &group, kind: &kind, name };
    if let Err(too_complex) = complexity::check(object.get().as_bytes()) {
        let field = function_mesh_api::validate::FieldPath::root("spec");
        return denied(&allowed, &[Violation { field, message: too_complex.to_string() }], &[], &subject);
    }
    match action {
        Action::Mutate => mutate::<K>(allowed, object, request.old_object, &subject),
        Action::Validate => {
            let findings = function_mesh_api::parse_text::<K>(object.get()).map(Admitted::check);
            judge::<K>(allowed, or_violation(findings), object, request.old_object, &subject)
        }
    }
}

/// Completes the object. What is to be refused is refused here already: between this step and the next the API server
/// applies the simple rules by itself, and would tell those alone, not which component of a mesh is meant.
fn mutate<K: Admitted>(
    allowed: Response,
    object: &RawValue,
    old: Option<&RawValue>,
    subject: &Subject<'_>,
) -> Decision {
    let mut completed = match complete::<K>(object.get()) {
        Ok(completed) => completed,
        // The schema says which field is wrong, and so does the check, once this has let the object pass.
        Err(violation) => {
            return Decision::new(allowed.warned(warnings(&[violation])), Outcome::Allowed);
        }
    };
    let patch = completed.patch.take();
    let findings = completed.object.check_rules();
    let judged = judge::<K>(allowed.clone(), findings, object, old, subject);
    match patch {
        _ if judged.outcome == Outcome::Denied => judged,
        None => Decision::new(allowed, Outcome::Allowed),
        Some(patch) => Decision::new(allowed.patched(patch), Outcome::Patched),
    }
}

/// Answers by what the rules found.
fn judge<K: Admitted>(
    allowed: Response,
    mut findings: Findings,
    object: &RawValue,
    old: Option<&RawValue>,
    subject: &Subject<'_>,
) -> Decision {
    // Only a change that would be refused makes it worth to know what the object was before.
    if let Some(old) = old.filter(|_| !findings.violations.is_empty())
        && complexity::check(old.get().as_bytes()).is_ok()
    {
        findings = since::<K>(old, object, findings);
    }
    let Findings { violations, warnings: warned, .. } = findings;
    if violations.is_empty() {
        return Decision::new(allowed.warned(warnings(&warned)), Outcome::Allowed);
    }
    denied(&allowed, &violations, &warned, subject)
}

/// What was found, less what the object broke before. Lists of findings are cut, so all are found once more and
/// compared, one version of the object after the other, since both take memory.
fn since<K: Admitted>(old: &RawValue, object: &RawValue, findings: Findings) -> Findings {
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
    let response = denied.warned(warnings(warned));
    Decision { response, outcome: Outcome::Denied, violations: violations.len() }
}

fn or_violation(findings: Result<Findings, Violation>) -> Findings {
    findings.unwrap_or_else(|violation| Findings { violations: vec![violation], ..Findings::default() })
}

/// Whether the object passes without a look. An update that leaves the specification alone must never be
/// refused: an object that was stored before a rule could otherwise not even lose its finalizer.
fn is_exempt(request: &Request<'_>, new: &Outline<'_>, old: &Outline<'_>) -> bool {
    let subresource = request.sub_resource.as_deref().is_some_and(|name| !name.is_empty());
    match request.operation {
        Operation::Delete | Operation::Connect => true,
        _ if subresource => true,
        Operation::Create => false,
        Operation::Update => {
            let is_deleted = new.metadata.as_ref().is_some_and(|new| new.deletion_timestamp.is_some());
            let has_both = request.object.is_some() && request.old_object.is_some();
            is_deleted || has_both && same::same(new.spec, old.spec)
        }
    }
}

/// The name of the object, or the prefix that it is yet to be made from.
fn name<'a>(request: &'a Request<'_>, object: &'a Outline<'_>) -> &'a str {
    let metadata = object.metadata.as_ref();
    let names = [
        request.name.as_deref(),
        metadata.and_then(|metadata| metadata.name.as_deref()),
        metadata.and_then(|metadata| metadata.generate_name.as_deref()),
    ];
    names.into_iter().flatten().find(|name| !name.is_empty()).unwrap_or_default()
}
