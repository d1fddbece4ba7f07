//! Identifies clean-up Jobs by the UID of their component, in their labels and their name: a single label could be on
//! any Job.

use function_mesh_api::{Component, Role, labels};
use function_mesh_workloads::names;
use k8s_openapi::api::batch::v1::Job;
use kube::api::DeleteParams;
use kube::{Resource, ResourceExt};

use super::cleanup_pods::ContainerEnd;
use super::cleanup_step::End;
use super::summary::JobSummary;
use function_mesh_kube::apply::{ChildApplier, ChildError};
use function_mesh_kube::cache::Cache;

/// A Job under the name of a clean-up.
pub(super) enum Found {
    Missing,
    Ours(Box<Job>),
    Foreign(String),
}

/// Finds the clean-up Job of this object. Deletes a suspended Job that upstream's operator created for it.
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
            let cause = format!("Job {name:?} already exists and is not ours; delete or rename it");
            Found::Foreign(cause)
        });
    }
    // An earlier release and upstream's operator used another name.
    let Some(job) = children.read::<Job>(&names::legacy_cleanup_job(&object, C::ROLE)).await? else {
        return Ok(Found::Missing);
    };
    if is_legacy_suspended_job(&job, &object, C::ROLE) && job.labels().get(labels::OWNER) == Some(&uid) {
        if job.meta().deletion_timestamp.is_none() {
            children.delete_with_preconditions(&job, &DeleteParams::background()).await?;
        }
        return Ok(Found::Missing);
    }
    let is_ours = is_of(&job, C::ROLE, &object) && job.labels().get(labels::OWNER) == Some(&uid);
    Ok(if is_ours { Found::Ours(Box::new(job)) } else { Found::Missing })
}

/// Unfinished clean-up Jobs of previous objects of this name. They would delete the subscriptions that new pods create.
/// Few names have one, so they are listed only if the cache has a Job of this name. It has it long before a new object
/// takes the name: the finalizer of the previous one stays until its Job has ended.
pub(super) async fn previous_jobs<C: Component>(
    component: &C,
    jobs: &Cache<JobSummary>,
    children: &ChildApplier<'_>,
) -> Result<Vec<Job>, ChildError> {
    let (object, uid) = (component.name_any(), component.uid().unwrap_or_default());
    let namespace = component.namespace();
    let is_of_name = |job: &JobSummary| {
        job.labels().get(labels::NAME) == Some(&object) && job.meta().namespace == namespace
    };
    if jobs.find(is_of_name).is_none() {
        return Ok(Vec::new());
    }
    let selector = format!("{}={},{}={object}", labels::COMPONENT, C::ROLE, labels::NAME);
    let mut jobs = children.list::<Job>(&selector).await?;
    jobs.retain(|job| is_pending_gc(job, &object, C::ROLE, &uid));
    Ok(jobs)
}

/// Deletes Jobs together with their pods.
pub(super) async fn stop(jobs: &[Job], children: &ChildApplier<'_>) -> Result<(), ChildError> {
    for job in jobs.iter().filter(|job| job.metadata.deletion_timestamp.is_none()) {
        children.delete_with_preconditions(job, &DeleteParams::foreground()).await?;
    }
    Ok(())
}

fn is_pending_gc(job: &Job, object: &str, role: Role, uid: &str) -> bool {
    let is_of_another = job.labels().get(labels::OWNER).is_some_and(|owner| owner != uid);
    is_of_another
        && end_of(job).is_none()
        && (is_of(job, role, object) || is_legacy_suspended_job(job, object, role))
}

/// Whether we created a Job for an object of this name: the name of the Job contains the UID from its labels.
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

/// Whether upstream's operator created a Job for a component of this name: it has the labels of the component's pods,
/// and is suspended until the component is deleted.
pub(super) fn is_legacy_suspended_job(job: &Job, object: &str, role: Role) -> bool {
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

/// The result of a Job, if it has finished.
pub(super) fn end_of(job: &Job) -> Option<End> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let holds = |type_: &str| conditions.iter().find(|it| it.type_ == type_ && it.status == "True");
    if holds("Complete").is_some() {
        return Some(End::Succeeded);
    }
    let failed = holds("Failed")?;
    let name = job.name_any();
    let message = failed.message.as_deref().unwrap_or("no message");
    Some(End::Failed(format!("Job {name} failed: {message}; see its pod logs")))
}

/// The result of an unfinished Job by that of its container, whose sidecars may run forever.
pub(super) fn end_of_container(job: &Job, ended: Option<ContainerEnd>) -> Option<End> {
    match ended? {
        ContainerEnd::Succeeded => Some(End::Succeeded),
        ContainerEnd::CannotStart => {
            let name = job.name_any();
            Some(End::Failed(format!("Job {name} failed: its program cannot be started; see its pod logs")))
        }
        ContainerEnd::Failed => None,
    }
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
    fn unfinished_job_of_a_previous_object_is_found() {
        assert!(is_pending_gc(&job(|_| {}), "f", Role::Function, "new"));
        assert!(!is_pending_gc(&job(|_| {}), "f", Role::Function, "01d"));
        assert!(!is_pending_gc(&job(|_| {}), "g", Role::Function, "new"));
        let ended =
            job(|job| job["status"] = json!({ "conditions": [{ "type": "Complete", "status": "True" }] }));
        assert!(!is_pending_gc(&ended, "f", Role::Function, "new"));
    }

    #[test]
    fn foreign_jobs_are_not_ours_whatever_their_names() {
        for key in [labels::APP_NAME, labels::COMPONENT, labels::NAME, labels::NAMESPACE] {
            for value in [Value::Null, json!("other")] {
                let foreign = job(|job| set(job, key, &value));
                let labels = foreign.metadata.labels.clone();
                assert!(!is_pending_gc(&foreign, "f", Role::Function, "new"), "{labels:?}");
            }
        }
        let other_name = job(|job| {
            job["metadata"]["name"] = json!("f-function-cleanup-nightly");
            set(job, labels::APP_NAME, &json!("f-function-cleanup-nightly"));
        });
        let other_container =
            job(|job| job["spec"]["template"]["spec"]["containers"][0]["name"] = json!("report"));
        for foreign in [other_name, other_container] {
            assert!(!is_pending_gc(&foreign, "f", Role::Function, "new"), "{foreign:?}");
        }
    }

    #[test]
    fn identifies_suspended_jobs_of_upstream() {
        let suspended = |change: fn(&mut Value)| {
            job(|job| {
                job["metadata"]["name"] = json!("f-function-cleanup");
                job["metadata"]["labels"][labels::APP_NAME] = json!("f-function");
                change(job);
            })
        };
        assert!(is_legacy_suspended_job(&suspended(|_| {}), "f", Role::Function));
        assert!(is_pending_gc(&suspended(|_| {}), "f", Role::Function, "new"));
        let report =
            suspended(|job| job["spec"]["template"]["spec"]["containers"][0]["name"] = json!("report"));
        assert!(!is_legacy_suspended_job(&report, "f", Role::Function));
    }
}
