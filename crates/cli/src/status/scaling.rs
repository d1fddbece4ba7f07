//! Why a component that the operator scales has its number of replicas: what `explain scaling` prints.

use std::fmt::Write as _;

use function_mesh_api::types::{
    LearnedScaling, SCALING_DOWN_WINDOW, SCALING_IDLE_AFTER, SCALING_LAG, SCALING_UTILIZATION, Scaling,
    ScalingSchedule, ScalingStatus,
};
use function_mesh_api::{parse, printable};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;
use serde_json::Value;

use super::number;
use function_mesh_status::object_ref::{ObjectRef, controller};

/// The scaling of a Function, Source or Sink. Fields may join; a field is only removed after a deprecation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingView {
    /// `Function`, `Source` or `Sink`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Name of its FunctionMesh; null without one.
    pub mesh: Option<String>,
    /// `Auto` or `Recommend`.
    pub mode: String,
    /// Fewest replicas outside of schedules.
    pub min_replicas: i32,
    /// Most replicas outside of schedules.
    pub max_replicas: i32,
    /// The objective: the oldest age that a waiting message should reach.
    pub lag: String,
    /// Time in which a backlog is worked off.
    pub catch_up: String,
    /// Share of a replica's time that arriving messages may take, in percent.
    pub utilization: i32,
    /// Time without work after which it sleeps; null if it never does.
    pub idle_after: Option<String>,
    /// Time of which the largest need counts before replicas are removed.
    pub scale_down_window: String,
    /// Other bounds at certain times.
    pub schedules: Vec<ScalingSchedule>,
    /// Wanted pods.
    pub replicas: i64,
    /// Ready pods.
    pub ready_replicas: i64,
    /// The decision, as in `status.scaling`.
    pub status: ScalingStatus,
}

/// Why there is nothing to explain, and what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unexplained(pub String);

impl ScalingView {
    /// The scaling of a component object.
    pub fn of(object: &Value) -> Result<Self, Unexplained> {
        let ObjectRef { kind, namespace, name } = ObjectRef::of(object);
        let mesh = controller(object).filter(|(kind, ..)| *kind == "FunctionMesh").map(|(_, name, _)| name);
        let at = format!("{} {namespace}/{name}", kind.to_lowercase());
        let Some(spec) = object.pointer("/spec/scaling").filter(|scaling| !scaling.is_null()) else {
            return Err(unscaled(object, &at, &name, &kind, mesh));
        };
        let undecodable = |what: &str, error: &dyn std::fmt::Display| {
            Unexplained(format!(
                "{what} of {at} cannot be decoded: {error}; is the operator newer than this program?"
            ))
        };
        let scaling: Scaling =
            parse(spec.clone()).map_err(|violation| undecodable("spec.scaling", &violation))?;
        let Some(status) = object.pointer("/status/scaling").filter(|status| !status.is_null()) else {
            return Err(undecided(object, &at));
        };
        let status: ScalingStatus =
            parse(status.clone()).map_err(|violation| undecodable("status.scaling", &violation))?;
        let count = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
        let duration =
            |text: &Option<String>, default| text.clone().unwrap_or_else(|| number::duration(default));
        let idle_after = duration(&scaling.idle_after, SCALING_IDLE_AFTER);
        let lag = duration(&scaling.lag, SCALING_LAG);
        Ok(Self {
            mesh: mesh.map(str::to_owned),
            mode: if scaling.is_automatic() { "Auto" } else { "Recommend" }.to_owned(),
            min_replicas: scaling.least(),
            max_replicas: scaling.most(),
            catch_up: scaling.catch_up.clone().unwrap_or_else(|| lag.clone()),
            lag,
            utilization: scaling.utilization.unwrap_or(SCALING_UTILIZATION),
            idle_after: scaling.may_reach_zero().then_some(idle_after),
            scale_down_window: duration(&scaling.scale_down_window, SCALING_DOWN_WINDOW),
            schedules: scaling.schedules.unwrap_or_default(),
            replicas: count("/status/replicas"),
            ready_replicas: count("/status/readyReplicas"),
            status,
            kind,
            namespace,
            name,
        })
    }

    /// As text. Ages are those at `now`.
    pub fn text(&self, now: Timestamp) -> String {
        let mut out = String::new();
        let mesh = self.mesh.as_deref().map(|mesh| format!(", of FunctionMesh {mesh}")).unwrap_or_default();
        let who = if self.mode == "Auto" {
            "the operator sets the replicas"
        } else {
            "the operator changes nothing"
        };
        let mut lines = vec![
            format!("{} {}/{}{mesh}", self.kind, self.namespace, self.name),
            format!("  mode       {}: {who}", self.mode),
            format!("  replicas   {} of {} ready, {}", self.ready_replicas, self.replicas, self.desired()),
            format!("  bounds     {} to {} replicas", self.min_replicas, self.max_replicas),
            self.objective(),
        ];
        lines.extend(self.status.reason.iter().map(|reason| match &self.status.message {
            Some(message) => format!("  reason     {reason}: {message}"),
            None => format!("  reason     {reason}"),
        }));
        lines.extend(self.status.limited_by.iter().map(|limit| format!("  limited by {limit}")));
        lines.push(format!("  decided    {}", self.times(now)));
        if !self.status.explanation.is_empty() {
            lines.extend([String::new(), "Why".to_owned()]);
            lines.extend(self.status.explanation.iter().map(|sentence| format!("  {sentence}")));
        }
        if let Some(learned) = &self.status.learned {
            lines.extend([String::new(), "Learned".to_owned()]);
            lines.extend(sentences(learned).into_iter().map(|sentence| format!("  {sentence}")));
        }
        if !self.schedules.is_empty() {
            lines.extend([String::new(), "Schedules, of which the first active one counts".to_owned()]);
            lines.extend(self.schedules.iter().map(|schedule| format!("  {}", self.bounds(schedule))));
        }
        for line in lines {
            // Texts of the cluster cannot move the cursor.
            let _ = writeln!(out, "{}", printable(line.trim_end()));
        }
        out
    }

    fn desired(&self) -> String {
        let verb = if self.mode == "Auto" { "wanted" } else { "recommended" };
        match self.status.desired_replicas {
            Some(desired) => format!("{desired} {verb}"),
            None => format!("none {verb} yet"),
        }
    }

    fn objective(&self) -> String {
        let Self { lag, catch_up, utilization, scale_down_window, .. } = self;
        let sleep = match &self.idle_after {
            Some(idle) => format!("; sleeps after {idle} without work"),
            None => String::new(),
        };
        format!(
            "  objective  lag {lag}, backlog worked off within {catch_up}, {utilization} % busy, down to the need of {scale_down_window}{sleep}"
        )
    }

    fn times(&self, now: Timestamp) -> String {
        let ago = |at: &Time| format!("{} ago", number::duration(number::age(at, now)));
        let decided = self.status.decided_at.as_ref().map_or("not yet".to_owned(), ago);
        match &self.status.last_scale_time {
            Some(at) => format!("{decided}; the operator last changed the replicas {}", ago(at)),
            None => format!("{decided}; the operator has not changed the replicas"),
        }
    }

    fn bounds(&self, schedule: &ScalingSchedule) -> String {
        let zone = schedule.time_zone.as_deref().unwrap_or("UTC");
        let least = schedule.min_replicas.unwrap_or(self.min_replicas);
        let most = schedule.max_replicas.unwrap_or(self.max_replicas);
        format!("{} {zone}, for {}: {least} to {most} replicas", schedule.start, schedule.duration)
    }
}

/// What was learned, in sentences.
fn sentences(learned: &LearnedScaling) -> Vec<String> {
    let mut all = Vec::new();
    all.push(match learned.rate_per_replica {
        Some(rate) => {
            let source = match learned.source.as_deref() {
                Some("Busy") => ", by the share of time that pods were busy",
                Some("Saturated") => ", by what they finished while messages waited",
                _ => "",
            };
            let count =
                learned.messages.map(|count| format!(", from {count:.0} messages")).unwrap_or_default();
            format!("A replica finishes {} messages per second{source}{count}.", number::rate(rate))
        }
        None => "The rate of a replica is not known yet.".to_owned(),
    });
    all.extend(learned.start_seconds.map(|seconds| {
        format!("New pods are ready {} s after a change of the replicas.", number::rate(seconds))
    }));
    all.extend(learned.points.iter().map(|point| {
        format!(
            "At {} replicas, each finishes {} messages per second.",
            point.replicas,
            number::rate(point.rate)
        )
    }));
    all.extend(learned.plateau.map(|plateau| format!("More than {plateau} replicas bring nothing.")));
    all
}

fn unscaled(object: &Value, at: &str, name: &str, kind: &str, mesh: Option<&str>) -> Unexplained {
    if let Some(most) = object.pointer("/spec/maxReplicas").and_then(Value::as_i64) {
        let role = kind.to_lowercase();
        return Unexplained(format!(
            "{at} has no spec.scaling: a HorizontalPodAutoscaler scales it, up to maxReplicas {most}; see kubectl describe \
             hpa {name}-{role}"
        ));
    }
    let place = mesh.map(|mesh| format!(", in FunctionMesh {mesh},")).unwrap_or_default();
    Unexplained(format!(
        "{at} has no spec.scaling; set `scaling: {{mode: Recommend}}`{place} and the operator says how many replicas it would \
         take"
    ))
}

fn undecided(object: &Value, at: &str) -> Unexplained {
    let is_observed = object.pointer("/status/traffic").is_some_and(|traffic| !traffic.is_null());
    let why = if is_observed {
        "the first decision comes when the pods have been observed for about a minute"
    } else {
        "the operator does not observe Pulsar, or has not yet; start it with --observe (chart: observer.enabled=true)"
    };
    Unexplained(format!("nothing is decided about {at} yet: {why}"))
}

#[cfg(test)]
mod tests;
