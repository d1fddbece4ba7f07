//! Deletions of children, with the UID and the version of the object as preconditions.

use kube::ResourceExt;
use kube::api::{DeleteParams, Preconditions};

use super::ownership::{check_owner, controller_of};
use super::{Child, ChildApplier, ChildError, MAX_ATTEMPTS, api_error};
use crate::request::send_for_text;

impl ChildApplier<'_> {
    /// Deletes a child of ours in the background: the garbage collector deletes its dependents.
    pub async fn delete<K: Child>(&self, live: &K) -> Result<(), ChildError> {
        check_owner(live, self.owner)?;
        self.delete_with_preconditions(live, &DeleteParams::background()).await
    }

    /// Deletes a child of ours in the foreground: it exists until its dependents are deleted.
    pub async fn delete_foreground<K: Child>(&self, live: &K) -> Result<(), ChildError> {
        check_owner(live, self.owner)?;
        self.delete_with_preconditions(live, &DeleteParams::foreground()).await
    }

    /// Deletes exactly this object: not a newer one of the same name, and not one that has another owner by now. A
    /// change of anything else, such as the status, is retried.
    pub async fn delete_with_preconditions<K: Child>(
        &self,
        live: &K,
        how: &DeleteParams,
    ) -> Result<(), ChildError> {
        let name = live.name_any();
        let owner = controller_of(live).map(|owner| owner.uid.clone());
        let (uid, mut version) = (live.uid(), live.resource_version());
        let mut attempts = 1;
        loop {
            let params = DeleteParams {
                preconditions: Some(Preconditions { uid: uid.clone(), resource_version: version.clone() }),
                ..how.clone()
            };
            let deleted = send_for_text(self.client, self.request::<K>().delete(&name, &params)).await;
            let error = match deleted {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
                Err(source) => api_error::<K>("delete", &name, source),
            };
            let newer = if error.is_conflict() { self.read::<K>(&name).await? } else { return Err(error) };
            let Some(newer) = newer.filter(|newer| newer.uid() == uid) else { return Ok(()) };
            let is_same_owner = controller_of(&newer).map(|owner| &owner.uid) == owner.as_ref();
            // Too many changes are reported as a conflict, so that the caller backs off.
            if !is_same_owner || newer.resource_version() == version || attempts == MAX_ATTEMPTS {
                return Err(error);
            }
            attempts += 1;
            version = newer.resource_version();
        }
    }
}
