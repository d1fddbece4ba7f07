//! Unique names of the volumes that the operator adds to a pod.
//!
//! The natural name of a volume consists of the names of a Secret and a key, so two sources can have the same: `a`
//! with `b-c`, and `a-b` with `c`. Therefore volumes have a provisional name, with their source, until the pod is
//! complete. Then the first source gets the natural name, and others with the same name get a digest as suffix. A
//! volume of the user replaces the first source of that name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use k8s_openapi::api::core::v1::PodSpec;
use sha2::{Digest, Sha256};

/// Separates the natural name from the source. Names in Kubernetes cannot contain it.
const SEPARATOR: char = '\0';
/// Maximum length of a volume name.
const MAX_LENGTH: usize = 63;

/// The provisional name of a volume.
pub(crate) fn provisional(natural: &str, source: &[&str]) -> String {
    format!("{natural}{SEPARATOR}{}", source.join("\0"))
}

/// Assigns the final names to all volumes and mounts of a pod.
pub(crate) fn assign(pod: &mut PodSpec) {
    let mut own = BTreeSet::new();
    let mut taken = BTreeSet::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for volume in pod.volumes.iter_mut().flatten() {
        if !volume.name.contains(SEPARATOR) {
            own.insert(volume.name.clone());
        }
    }
    let assign = |provisional: &str, taken: &mut BTreeSet<String>| {
        let (natural, source) = provisional.split_once(SEPARATOR)?;
        let is_replaced = own.contains(natural) && !taken.contains(natural);
        let is_free = |name: &String| !taken.contains(name) && (name == natural || !own.contains(name));
        let name = candidates(natural, source).find(is_free)?;
        taken.insert(name.clone());
        Some((name, is_replaced))
    };
    if let Some(volumes) = pod.volumes.as_mut() {
        volumes.retain_mut(|volume| {
            if names.contains_key(&volume.name) {
                return false;
            }
            let Some((name, is_replaced)) = assign(&volume.name, &mut taken) else { return true };
            names.insert(std::mem::replace(&mut volume.name, name.clone()), name);
            !is_replaced
        });
    }
    let containers = pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten());
    for mount in containers.flat_map(|container| container.volume_mounts.iter_mut().flatten()) {
        let natural = mount.name.split_once(SEPARATOR).map(|(natural, _)| natural.to_owned());
        if let Some(name) = names.get(&mount.name).cloned().or(natural) {
            mount.name = name;
        }
    }
}

/// The candidates for the name of a source: the natural name, then names with digests.
fn candidates<'a>(natural: &'a str, source: &'a str) -> impl Iterator<Item = String> + 'a {
    let digest = move |round: u32| {
        let digest = Sha256::new().chain_update(source).chain_update(round.to_be_bytes()).finalize();
        digest.iter().take(4).fold(String::new(), |mut text, byte| {
            _ = write!(text, "{byte:02x}");
            text
        })
    };
    let with_digest = move |round| {
        let digest = digest(round);
        // Natural names are ASCII.
        let head = natural.get(..natural.len().min(MAX_LENGTH - 1 - digest.len())).unwrap_or_default();
        let name = format!("{}-{digest}", head.trim_end_matches('-'));
        name.trim_start_matches('-').to_owned()
    };
    std::iter::once(natural.to_owned()).filter(|name| !name.is_empty()).chain((0..).map(with_digest))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, Volume, VolumeMount};
    use proptest::prelude::*;

    use super::*;
    use crate::names;

    fn volume(name: String) -> Volume {
        Volume { name, empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
    }

    fn secret(name: &str, key: &str) -> String {
        provisional(&names::volume(&format!("{name}-{key}")), &["secret", name, key])
    }

    /// Final names of the volumes and of the mounts of a pod, in order.
    fn assigned(volumes: &[String]) -> (Vec<String>, Vec<String>) {
        let mounts = volumes.iter().map(|name| VolumeMount { name: name.clone(), ..VolumeMount::default() });
        let container = Container { volume_mounts: Some(mounts.collect()), ..Container::default() };
        let mut pod = PodSpec {
            volumes: Some(volumes.iter().cloned().map(volume).collect()),
            init_containers: Some(vec![container.clone()]),
            containers: vec![container],
            ..PodSpec::default()
        };
        assign(&mut pod);
        let mounts =
            |container: Container| container.volume_mounts.unwrap().into_iter().map(|it| it.name).collect();
        let all: Vec<String> = mounts(pod.containers.remove(0));
        assert_eq!(mounts(pod.init_containers.unwrap().remove(0)), all);
        (pod.volumes.unwrap().into_iter().map(|it| it.name).collect(), all)
    }

    #[test]
    fn second_source_of_a_name_gets_a_digest() {
        let (volumes, mounts) = assigned(&[secret("pulsar-auth", "key"), secret("pulsar", "auth-key")]);
        assert_eq!(volumes[0], "pulsar-auth-key");
        assert!(volumes[1].starts_with("pulsar-auth-key-") && volumes[1].len() == 24, "{volumes:?}");
        assert_eq!(volumes, mounts);
        // Other volumes do not change the names.
        let more =
            [secret("a", "b"), secret("pulsar-auth", "key"), secret("c", "d"), secret("pulsar", "auth-key")];
        let (others, _) = assigned(&more);
        assert_eq!([&others[1], &others[3]], [&volumes[0], &volumes[1]]);
    }

    #[test]
    fn user_volume_replaces_one_source() {
        let own = "pulsar-auth-key".to_owned();
        let all = [own.clone(), secret("pulsar-auth", "key"), secret("pulsar", "auth-key")];
        let (volumes, mounts) = assigned(&all);
        assert_eq!((volumes.len(), &volumes[0]), (2, &own));
        assert_eq!((&mounts[0], &mounts[1], &mounts[2]), (&own, &own, &volumes[1]));
    }

    proptest! {
        #[test]
        fn names_of_sources_are_unique(
            sources in prop::collection::vec(("[ab._-]{0,3}|a{61,64}", "[ab._-]{0,3}|b{0,64}"), 1..12),
            own in prop::collection::vec("[ab]{1,2}(-[ab]{1,2})?", 0..3),
        ) {
            let sources: Vec<_> = sources.iter().map(|(name, key)| secret(name, key)).collect();
            let all: Vec<_> = own.iter().cloned().collect::<BTreeSet<_>>().into_iter().chain(sources.clone()).collect();
            let (volumes, mounts) = assigned(&all);
            let distinct: BTreeSet<_> = volumes.iter().collect();
            prop_assert_eq!(distinct.len(), volumes.len());
            let by_source: BTreeMap<_, _> = all.iter().zip(&mounts).collect();
            let of_sources: BTreeSet<_> = sources.iter().map(|source| by_source[source]).collect();
            prop_assert_eq!(of_sources.len(), sources.iter().collect::<BTreeSet<_>>().len());
            for name in mounts {
                prop_assert!(volumes.contains(&name) && name.len() <= 63 && !name.is_empty());
                prop_assert!(!name.starts_with('-') && !name.contains(SEPARATOR));
            }
        }
    }
}
