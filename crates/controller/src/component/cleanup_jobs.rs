//! Which Jobs are ours: by the UID of the object that they clean up after, in their labels and their name, never by a
//! label that anybody may use.

use function_mesh_api::{Component, Role, labels};
use function_mesh_workloads::names;
use k8s_openapi::api::batch::v1::Job;
use kube::api::DeleteParams;
use kube::{Resource, ResourceExt};

use super::deletion::End;
use function_mesh_kube::apply::{ChildApplier, ChildError};

/// A Job under the name of a clean-up.
pub(super) enum Found {
    Missing,
    Ours(Box<Job>),
    Foreign(String),
}

/// The Job that cleans up after this very object. What the original operator left asleep for it is deleted.
pub(super) async fn find<C: Component>(
    component: &C,
    children: &ChildApplier<'_>,
) -> Result<Found, ChildError> {
    let (object, uid) = (component.name_any(), component.uid().unwrap_or_default());
    let name = names::cleanup_job(&object, C::ROLE, Some(&uid));
    if let Some(job) = children.read::<Job>(&name).await? {
        return Ok(if is_of(&job, C::ROLE, &object) && job.labels().get(labels::OWNER) == Some(&uid) {
            Found::Ours(Box::new(job))
        } else {
            let why = format!("Job {name:?} exists and is not ours; delete or rename it");
            Found::Foreign(why)
        });
    }
    // An earlier release knew another name, and so did the original operator.
    let Some(job) = children.read::<Job>(&names::legacy_cleanup_job(&object, C::ROLE)).await? else {
        return Ok(Found::Missing);
    };
    if is_sleeping(&job, &object, C::ROLE) && job.labels().get(labels::OWNER) == Some(&uid) {
        if job.meta().deletion_timestamp.is_none() {
            children.delete_with_preconditions(&job, &DeleteParams::background()).await?;
        }
        return Ok(Found::Missing);
    }
    let is_ours = is_of(&job, C::ROLE, &object) && job.labels().get(labels::OWNER) == Some(&uid);
    Ok(if is_ours { Found::Ours(Box::new(job)) } else { Found::Missing })
}

/// Jobs that still clean up after earlier objects of this name. One of them would delete the subscriptions that new
/// pods are about to create.
pub(super) async fn left_over<C: Component>(
    component: &C,
    children: &ChildApplier<'_>,
) -> Result<Vec<Job>, ChildError> {
    let (object, uid) = (component.name_any(), component.uid().unwrap_or_default());
    let selector = format!("{}={},{}={object}", labels::COMPONENT, C::ROLE, labels::NAME);
    let mut jobs = children.list::<Job>(&selector).await?;
    jobs.retain(|job| is_left_over(job, &object, C::ROLE, &uid));
    Ok(jobs)
}

/// Deletes left-over Jobs together with their pods.
pub(super) async fn stop(jobs: &[Job], children: &ChildApplier<'_>) -> Result<(), ChildError> {
    for job in jobs.iter().filter(|job| job.metadata.deletion_timestamp.is_none()) {
        children.delete_with_preconditions(job, &DeleteParams::foreground()).await?;
    }
    Ok(())
}

fn is_left_over(job: &Job, object: &str, role: Role, uid: &str) -> bool {
    let is_of_another = job.labels().get(labels::OWNER).is_some_and(|owner| owner != uid);
    is_of_another && end_of(job).is_none() && (is_of(job, role, object) || is_sleeping(job, object, role))
}

/// Whether a Job is one that we made for an object of this name: its own name follows from the UID in its labels.
fn is_of(job: &Job, role: Role, object: &str) -> bool {
    let labels = job.labels();
    let is = |key: &str, value: &str| labels.get(key).is_some_and(|it| it == value);
    let name = job.name_any();
    let owner = labels.get(labels::OWNER).map(String::as_str);
    let is_named = owner.is_some()
        && [names::cleanup_job(object, role, owner), names::legacy_cleanup_job(object, role)].contains(&name);
    is_named
        && has_container(job)
        && is(labels::APP_NAME, &name)
        && is(labels::COMPONENT, role.as_str())
        && is(labels::NAME, object)
        && is(labels::NAMESPACE, job.metadata.namespace.as_deref().unwrap_or_default())
}

/// Whether a Job is the original operator's for a component of this name: its labels are those of the component's
/// pods, and it sleeps for as long as the component lives.
pub(super) fn is_sleeping(job: &Job, object: &str, role: Role) -> bool {
    let labels = job.labels();
    let is = |key: &str, value: &str| labels.get(key).is_some_and(|it| it == value);
    has_container(job)
        && job.name_any() == names::legacy_cleanup_job(object, role)
        && labels.contains_key(labels::OWNER)
        && is(labels::APP_NAME, &names::stateful_set(object, role))
        && is(labels::COMPONENT, role.as_str())
        && is(labels::NAME, object)
}

fn has_container(job: &Job) -> bool {
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    pod.is_some_and(|pod| pod.containers.iter().any(|it| it.name == "cleanup"))
}

/// How a Job ended, if it did.
pub(super) fn end_of(job: &Job) -> Option<End> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let holds = |type_: &str| conditions.iter().find(|it| it.type_ == type_ && it.status == "True");
    if holds("Complete").is_some() {
        return Some(End::Succeeded);
    }
    let failed = holds("Failed")?;
    let name = job.name_any();
    let message = failed.message.as_deref().unwrap_or("it failed");
    Some(End::Failed(format!("Job {name}: {message}; see the log of its pods")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(change: impl Fn(&mut Value)) -> Job {
        let mut job = json!({
            "metadata": {
                "name": "f-function-cleanup-01d", "namespace": "n",
                "labels": {
                    labels::APP_NAME: "f-function-cleanup-01d", labels::COMPONENT: "function", labels::NAME: "f",
                    labels::NAMESPACE: "n", labels::OWNER: "01d",
                },
            },
            "spec": { "template": { "spec": { "containers": [{ "name": "cleanup" }] } } },
        });
        change(&mut job);
        serde_json::from_value(job).expect("a Job")
    }

    fn set(job: &mut Value, label: &str, value: &Value) {
        let labels = job["metadata"]["labels"].as_object_mut().expect("labels");
        if value.is_null() {
            labels.remove(label);
        } else {
            labels.insert(label.to_owned(), value.clone());
        }
    }

    #[test]
    fn a_job_of_an_earlier_object_is_left_over_until_it_has_ended() {
        assert!(is_left_over(&job(|_| {}), "f", Role::Function, "new"));
        assert!(!is_left_over(&job(|_| {}), "f", Role::Function, "01d"));
        assert!(!is_left_over(&job(|_| {}), "g", Role::Function, "new"));
        let ended =
            job(|job| job["status"] = json!({ "conditions": [{ "type": "Complete", "status": "True" }] }));
        assert!(!is_left_over(&ended, "f", Role::Function, "new"));
    }

    #[test]
    fn nobody_elses_job_is_ours_whatever_it_is_called() {
        for key in [labels::APP_NAME, labels::COMPONENT, labels::NAME, labels::NAMESPACE] {
            for value in [Value::Null, json!("other")] {
                let foreign = job(|job| set(job, key, &value));
                let labels = foreign.metadata.labels.clone();
                assert!(!is_left_over(&foreign, "f", Role::Function, "new"), "{labels:?}");
            }
        }
        let other_name = job(|job| {
            job["metadata"]["name"] = json!("f-function-cleanup-nightly");
            set(job, labels::APP_NAME, &json!("f-function-cleanup-nightly"));
        });
        let other_work =
            job(|job| job["spec"]["template"]["spec"]["containers"][0]["name"] = json!("report"));
        for foreign in [other_name, other_work] {
            assert!(!is_left_over(&foreign, "f", Role::Function, "new"), "{foreign:?}");
        }
    }

    #[test]
    fn the_original_operators_sleeping_job_is_known_by_its_form() {
        let sleeping = |change: fn(&mut Value)| {
            job(|job| {
                job["metadata"]["name"] = json!("f-function-cleanup");
                job["metadata"]["labels"][labels::APP_NAME] = json!("f-function");
                change(job);
            })
        };
        assert!(is_sleeping(&sleeping(|_| {}), "f", Role::Function));
        assert!(is_left_over(&sleeping(|_| {}), "f", Role::Function, "new"));
        let report =
            sleeping(|job| job["spec"]["template"]["spec"]["containers"][0]["name"] = json!("report"));
        assert!(!is_sleeping(&report, "f", Role::Function));
    }
}
