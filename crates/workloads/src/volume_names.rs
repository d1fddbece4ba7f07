//! Names of the volumes that are added to a pod: each source has a name of its own.
//!
//! A name is made of the names of a Secret and its key, and different ones can make the same: `a` and `b-c`, or
//! `a-b` and `c`. Until the pod is complete a volume therefore goes by its natural name and its source. Then the
//! first source keeps the natural name, as ever, and another one that makes the same gets a digest behind it. A
//! volume of the user's own stands in the place of the first source of that name: that is how to replace it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use k8s_openapi::api::core::v1::PodSpec;
use sha2::{Digest, Sha256};

/// Stands between the natural name and the source; no name of Kubernetes holds it.
const MARK: char = '\0';
/// Longest name of a volume.
const LONGEST: usize = 63;

/// The name of a volume until the pod is complete.
pub(crate) fn provisional(natural: &str, source: &[&str]) -> String {
    format!("{natural}{MARK}{}", source.join("\0"))
}

/// Gives all volumes of a pod their final names, and their mounts too.
pub(crate) fn settle(pod: &mut PodSpec) {
    let mut own = BTreeSet::new();
    let mut taken = BTreeSet::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for volume in pod.volumes.iter_mut().flatten() {
        if !volume.name.contains(MARK) {
            own.insert(volume.name.clone());
        }
    }
    let settle = |provisional: &str, taken: &mut BTreeSet<String>| {
        let (natural, source) = provisional.split_once(MARK)?;
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
            let Some((name, is_replaced)) = settle(&volume.name, &mut taken) else { return true };
            names.insert(std::mem::replace(&mut volume.name, name.clone()), name);
            !is_replaced
        });
    }
    let containers = pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten());
    for mount in containers.flat_map(|container| container.volume_mounts.iter_mut().flatten()) {
        let natural = mount.name.split_once(MARK).map(|(natural, _)| natural.to_owned());
        if let Some(name) = names.get(&mount.name).cloned().or(natural) {
            mount.name = name;
        }
    }
}

/// The natural name, and others for the same source: with more and more of a digest behind it.
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
        // A natural name has only letters of one byte.
        let head = natural.get(..natural.len().min(LONGEST - 1 - digest.len())).unwrap_or_default();
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

    /// Names of the volumes of a pod, and of what mounts them, in their order.
    fn settled(volumes: &[String]) -> (Vec<String>, Vec<String>) {
        let mounts = volumes.iter().map(|name| VolumeMount { name: name.clone(), ..VolumeMount::default() });
        let container = Container { volume_mounts: Some(mounts.collect()), ..Container::default() };
        let mut pod = PodSpec {
            volumes: Some(volumes.iter().cloned().map(volume).collect()),
            init_containers: Some(vec![container.clone()]),
            containers: vec![container],
            ..PodSpec::default()
        };
        settle(&mut pod);
        let mounts =
            |container: Container| container.volume_mounts.unwrap().into_iter().map(|it| it.name).collect();
        let all: Vec<String> = mounts(pod.containers.remove(0));
        assert_eq!(mounts(pod.init_containers.unwrap().remove(0)), all);
        (pod.volumes.unwrap().into_iter().map(|it| it.name).collect(), all)
    }

    #[test]
    fn s11_the_second_source_of_a_name_gets_a_digest_and_the_first_keeps_it() {
        let (volumes, mounts) = settled(&[secret("pulsar-auth", "key"), secret("pulsar", "auth-key")]);
        assert_eq!(volumes[0], "pulsar-auth-key");
        assert!(volumes[1].starts_with("pulsar-auth-key-") && volumes[1].len() == 24, "{volumes:?}");
        assert_eq!(volumes, mounts);
        // What has nothing to do with them changes nothing.
        let more =
            [secret("a", "b"), secret("pulsar-auth", "key"), secret("c", "d"), secret("pulsar", "auth-key")];
        let (others, _) = settled(&more);
        assert_eq!([&others[1], &others[3]], [&volumes[0], &volumes[1]]);
    }

    #[test]
    fn s11_a_users_volume_replaces_one_source_only() {
        let own = "pulsar-auth-key".to_owned();
        let all = [own.clone(), secret("pulsar-auth", "key"), secret("pulsar", "auth-key")];
        let (volumes, mounts) = settled(&all);
        assert_eq!((volumes.len(), &volumes[0]), (2, &own));
        assert_eq!((&mounts[0], &mounts[1], &mounts[2]), (&own, &own, &volumes[1]));
    }

    proptest! {
        #[test]
        fn s11_different_sources_have_different_names(
            sources in prop::collection::vec(("[ab._-]{0,3}|a{61,64}", "[ab._-]{0,3}|b{0,64}"), 1..12),
            own in prop::collection::vec("[ab]{1,2}(-[ab]{1,2})?", 0..3),
        ) {
            let sources: Vec<_> = sources.iter().map(|(name, key)| secret(name, key)).collect();
            let all: Vec<_> = own.iter().cloned().collect::<BTreeSet<_>>().into_iter().chain(sources.clone()).collect();
            let (volumes, mounts) = settled(&all);
            let distinct: BTreeSet<_> = volumes.iter().collect();
            prop_assert_eq!(distinct.len(), volumes.len());
            let by_source: BTreeMap<_, _> = all.iter().zip(&mounts).collect();
            let of_sources: BTreeSet<_> = sources.iter().map(|source| by_source[source]).collect();
            prop_assert_eq!(of_sources.len(), sources.iter().collect::<BTreeSet<_>>().len());
            for name in mounts {
                prop_assert!(volumes.contains(&name) && name.len() <= 63 && !name.is_empty());
                prop_assert!(!name.starts_with('-') && !name.contains(MARK));
            }
        }
    }
}
