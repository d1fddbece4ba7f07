//! The actions of `kubectl mesh ui`: which ones a viewer may carry out, and carrying one out. The console in the cluster does
//! not have these routes.
//!
//! A request that writes is a POST of JSON with the session, a header that only a script of this origin can set, and the
//! `Origin` of this server. It names the version of the object that the viewer saw.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use function_mesh_actions::{Action, ActionError, Need, Restart, tried_revision, version};
use function_mesh_api::labels;
use function_mesh_status::object_ref::{ObjectRef, controller};
use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::App;
use super::access::{Access, Cache, Permission};
use super::detail::sanitized;
use super::error::ApiError;
use super::pods::is_object_name;
use crate::store::MeshKey;

/// Longest body of a request, in bytes.
const MOST_BODY: usize = 4 << 10;
/// The header of requests that write. Another origin would need a preflight request for it, which nothing answers.
const HEADER: &str = "x-function-mesh-action";
/// How long an answer about a permission counts, and how many are kept.
const PERMISSIONS: (Duration, usize) = (Duration::from_secs(30), 1000);

/// What the routes keep.
#[derive(Debug)]
pub(super) struct Actions {
    /// Flags of the commands that are shown, which select the cluster.
    flags: Vec<String>,
    /// Whether the viewer may do this in a namespace.
    allowed: Cache<(String, Need), bool>,
}

impl Actions {
    pub(super) fn new(flags: Vec<String>) -> Arc<Self> {
        Arc::new(Self { flags, allowed: Cache::new(PERMISSIONS.0, PERMISSIONS.1) })
    }
}

/// The routes.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/actions/{namespace}/{kind}/{name}", get(offers).post(act))
        .layer(DefaultBodyLimit::max(MOST_BODY))
}

/// What can be done to an object.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Offers {
    /// The version of the object that this is about.
    version: String,
    offers: Vec<Offer>,
}

/// An action that can be chosen.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Offer {
    label: &'static str,
    /// What it does, in a sentence.
    text: &'static str,
    /// The command line that does the same.
    command: String,
    /// What is sent to carry it out.
    act: Action,
    /// Why it would be denied, or have no effect; null if it can be carried out.
    reason: Option<String>,
}

/// What a viewer wants to be done.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// The version of the object that the viewer saw.
    version: String,
    act: Action,
}

/// An object by the parts of a path, which become parts of another path.
fn object((namespace, kind, name): (String, String, String)) -> Result<ObjectRef, ApiError> {
    let kind = match kind.as_str() {
        "functionmesh" => "FunctionMesh",
        "function" => "Function",
        "source" => "Source",
        "sink" => "Sink",
        _ => return Err(ApiError::not_found("no such kind")),
    };
    if !is_object_name(&namespace) || !is_object_name(&name) {
        return Err(ApiError::not_found("no object can have this name"));
    }
    Ok(ObjectRef::new(kind, &namespace, &name))
}

async fn offers(
    State(app): State<App>,
    Path(path): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let id = object(path)?;
    let object = function_mesh_actions::read(&app.client, &id).await?;
    let actions = offered(&object, &id);
    let denied = denied(&app, &id, actions.iter().flat_map(|(_, _, action)| action.needs(&id))).await;
    let offer = |(label, text, act): (_, _, Action)| {
        let forbidden = act.needs(&id).into_iter().find_map(|need| denied.get(&need).cloned());
        let reason =
            forbidden.or_else(|| overridden(&app, &object, &id, &act)).or_else(|| idle(&object, &act));
        Offer { label, text, command: act.command(&id, &app.actions.flags), act, reason }
    };
    let offers = Offers { version: version(&object), offers: actions.into_iter().map(offer).collect() };
    Ok(Json(sanitized(serde_json::to_value(offers).unwrap_or_default())))
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(key)?.as_str()
}

/// The actions that fit the state of an object, with a label and what each does.
fn offered(object: &Value, id: &ObjectRef) -> Vec<(&'static str, &'static str, Action)> {
    let is_on = |key| annotation(object, key) == Some("true");
    let mut actions = vec![
        if is_on(labels::SUSPEND) {
            ("Resume", "Starts the pods again, as many as before.", Action::Resume)
        } else {
            ("Suspend", "Stops all pods. Messages wait in the subscriptions meanwhile.", Action::Suspend)
        },
        (
            "Restart",
            "Replaces the pods, one after the other unless the strategy is Recreate.",
            Action::Restart { at: Restart::at(Timestamp::now()) },
        ),
    ];
    if id.kind != "FunctionMesh" {
        let replicas = object.pointer("/spec/replicas").and_then(Value::as_i64);
        let replicas = replicas.and_then(|it| i32::try_from(it).ok()).unwrap_or(1);
        actions.push(("Scale", "Sets the number of pods.", Action::Scale { replicas }));
    }
    actions.push(if is_on(labels::PAUSE_ROLLOUT) {
        ("Resume rollout", "Applies the changes that were deferred.", Action::ResumeRollout)
    } else {
        (
            "Pause rollout",
            "Defers changes of running pods that do not come from the spec.",
            Action::PauseRollout,
        )
    });
    actions.push((
        "Undo rollout",
        "Gives the pods the revision before, until the spec changes.",
        Action::UndoRollout { to_revision: None },
    ));
    if tried_revision(object).is_some() {
        let text = "Gives all pods the version that a canary tries, regardless of its analysis.";
        actions.push(("Promote canary", text, Action::PromoteCanary));
    }
    actions
}

/// Why an action on a component has no effect: its mesh decides.
fn overridden(app: &App, object: &Value, id: &ObjectRef, act: &Action) -> Option<String> {
    let key = match act {
        Action::Suspend | Action::Resume => labels::SUSPEND,
        Action::Restart { .. } => labels::RESTARTED_AT,
        Action::PauseRollout | Action::ResumeRollout => labels::PAUSE_ROLLOUT,
        Action::Scale { .. } | Action::UndoRollout { .. } | Action::PromoteCanary => return None,
    };
    let (_, mesh, _) = controller(object).filter(|(kind, ..)| *kind == "FunctionMesh")?;
    let mesh = MeshKey { namespace: id.namespace.clone(), name: mesh.to_owned() };
    app.hub.has_annotation(&mesh, key).then(|| {
        format!(
            "the mesh {} has the annotation {key}, which counts for its components: act on the mesh",
            mesh.name
        )
    })
}

/// Why an action has no effect on the object as it is.
fn idle(object: &Value, act: &Action) -> Option<String> {
    if annotation(object, labels::MANAGED) == Some("false") {
        return Some(format!(
            "the operator ignores this object: its annotation {} is \"false\"",
            labels::MANAGED
        ));
    }
    let is_scaled = object.pointer("/spec/maxReplicas").is_some_and(|it| !it.is_null());
    match act {
        Action::Restart { .. } if annotation(object, labels::SUSPEND) == Some("true") => {
            Some("it is suspended and has no pods".to_owned())
        }
        Action::Scale { .. } if is_scaled => Some("an autoscaler sets the number of pods".to_owned()),
        _ => None,
    }
}

/// What the viewer may not do of this, with the reason. If the API server does not answer, it decides with the request itself.
async fn denied(app: &App, id: &ObjectRef, needs: impl Iterator<Item = Need>) -> HashMap<Need, String> {
    let needs: HashSet<Need> = needs.collect();
    let asked = needs.into_iter().map(async |need| {
        let key = (id.namespace.clone(), need);
        let allowed = match app.actions.allowed.get(&key) {
            Some(known) => Some(known),
            None => ask(&app.client, &id.namespace, &key.1).await,
        };
        if let Some(allowed) = allowed {
            app.actions.allowed.insert(key.clone(), allowed);
        }
        let (namespace, need) = key;
        let reason = format!("you may not {}", permission(&namespace, &need));
        (allowed == Some(false)).then_some((need, reason))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

fn permission<'a>(namespace: &'a str, need: &'a Need) -> Permission<'a> {
    let Need { verb, group, resource, subresource, name } = need;
    Permission { namespace: Some(namespace), verb, group, resource, subresource, name }
}

/// Asks the API server whether the viewer may do this; None without an answer.
async fn ask(client: &Client, namespace: &str, need: &Need) -> Option<bool> {
    let attributes = permission(namespace, need).attributes();
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..Default::default() };
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await.ok()?;
    answer.status.map(|status| status.allowed)
}

async fn act(
    State(app): State<App>,
    Path(path): Path<(String, String, String)>,
    headers: HeaderMap,
    order: Result<Json<Order>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    check_origin(&app, &headers)?;
    let id = object(path)?;
    let Json(Order { version, act }) =
        order.map_err(|error| ApiError::new(error.status(), error.body_text()))?;
    let written = function_mesh_actions::run(&app.client, &id, &act, Some(&version)).await?;
    Ok(Json(sanitized(json!({ "written": written }))))
}

/// An error unless a script of this page sent the request.
fn check_origin(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_own = match &*app.access {
        Access::Loopback(loopback) => {
            let origin = text(ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
            let host = text(HOST);
            let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
            host.is_some_and(|host| loopback.is_host(host))
                && origin.is_some()
                && origin == host
                && site.is_none_or(|site| site == "same-origin")
        }
        Access::Reviews(_) => false,
    };
    if is_own && headers.contains_key(HEADER) {
        return Ok(());
    }
    let text = "only the page of this console can act: the request has another origin";
    Err(ApiError::new(StatusCode::FORBIDDEN, text))
}

/// The answer of the API server as it is, or why nothing was asked.
impl From<ActionError> for ApiError {
    fn from(error: ActionError) -> Self {
        let text = error.to_string();
        match error {
            ActionError::NotFound(_) => Self::not_found(text),
            ActionError::Changed(_) => Self::new(StatusCode::CONFLICT, text),
            ActionError::Refused(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, text),
            ActionError::Read { source, .. }
            | ActionError::List { source, .. }
            | ActionError::Write { source, .. } => Self::from(*source),
            ActionError::Partial { written, source } => {
                let error = Self::from(*source);
                let text = format!("{}; before that: {}", error.message(), written.join("; "));
                Self::new(error.status(), text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels_of(object: &Value, kind: &str) -> Vec<&'static str> {
        offered(object, &ObjectRef::new(kind, "shop", "m")).into_iter().map(|(label, ..)| label).collect()
    }

    #[test]
    fn actions_fit_the_state_of_the_object() {
        let with = |annotations: Value| json!({ "metadata": { "annotations": annotations } });
        let plain = with(json!({}));
        let component = ["Suspend", "Restart", "Scale", "Pause rollout", "Undo rollout"];
        assert_eq!(labels_of(&plain, "Function"), component);
        assert_eq!(labels_of(&plain, "FunctionMesh").len(), 4);
        let both = with(json!({ labels::SUSPEND: "true", labels::PAUSE_ROLLOUT: "true" }));
        assert_eq!(
            labels_of(&both, "Sink"),
            ["Resume", "Restart", "Scale", "Resume rollout", "Undo rollout"]
        );
        let restart = Action::Restart { at: Restart::at(Timestamp::UNIX_EPOCH) };
        assert!(idle(&both, &restart).is_some_and(|it| it.contains("suspended")));
        assert_eq!(idle(&plain, &restart), None);
        let scaled = json!({ "spec": { "maxReplicas": 3 } });
        assert!(idle(&scaled, &Action::Scale { replicas: 2 }).is_some_and(|it| it.contains("autoscaler")));
        let unmanaged = with(json!({ labels::MANAGED: "false" }));
        assert!(idle(&unmanaged, &Action::Suspend).is_some_and(|it| it.contains("ignores")));
    }

    #[test]
    fn names_cannot_lead_to_another_path() {
        let path = |kind: &str, name: &str| object(("shop".to_owned(), kind.to_owned(), name.to_owned()));
        assert_eq!(path("functionmesh", "m").unwrap(), ObjectRef::new("FunctionMesh", "shop", "m"));
        for (kind, name) in [("secret", "m"), ("function", "../m"), ("function", ""), ("Function", "m")] {
            assert!(path(kind, name).is_err(), "{kind} {name}");
        }
    }
}
