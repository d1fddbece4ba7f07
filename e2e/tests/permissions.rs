//! What the operator's accounts may do, against what they did: the API server's own log of the whole run says it.
//! The last of all stories, since it looks back on them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, ensure};
use function_mesh_e2e::{OPERATOR, World};
use k8s_openapi::api::authorization::v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::Value;

const ACCOUNTS: [&str; 2] = ["function-mesh-controller-manager", "function-mesh-webhook"];

/// Rights that the API server asks about while it handles another request, so that no request of their own tells of
/// them. The run's API server does ask (OwnerReferencesPermissionEnforcement), so that without them nothing that the
/// operator makes could be made.
const ASKED_FOR_BY_OTHERS: &str = "/finalizers";

/// One thing to do with one kind of object.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Right {
    group: String,
    resource: String,
    verb: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, resource, verb } = self;
        if group.is_empty() { write!(f, "{verb} {resource}") } else { write!(f, "{verb} {resource}.{group}") }
    }
}

/// What an account may do in a namespace, as `kubectl auth can-i --list` has it.
async fn granted(world: &World, account: &str, namespace: &str) -> Result<BTreeSet<Right>> {
    let mut config = world.config.clone();
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{OPERATOR}:{account}"));
    let groups = ["system:serviceaccounts", "system:authenticated"].map(str::to_owned);
    config.auth_info.impersonate_groups = Some(groups.into());
    let reviews = Api::<SelfSubjectRulesReview>::all(Client::try_from(config)?);
    let spec = SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) };
    let review = SelfSubjectRulesReview { spec, ..SelfSubjectRulesReview::default() };
    let status = reviews.create(&PostParams::default(), &review).await?.status.context("no answer")?;
    let mut rights = BTreeSet::new();
    for rule in status.resource_rules {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    let (group, resource, verb) = (group.clone(), resource.clone(), verb.clone());
                    rights.insert(Right { group, resource, verb });
                }
            }
        }
    }
    Ok(rights)
}

/// What accounts asked for, and what of that was forbidden.
#[derive(Default)]
struct Asked {
    used: BTreeSet<Right>,
    forbidden: BTreeMap<Right, u64>,
}

fn asked(world: &World) -> Result<BTreeMap<String, Asked>> {
    let path = world.state.join("audit/audit.log");
    let file = File::open(&path).context("no audit log: hack/test e2e has the API server write one")?;
    let mut all = BTreeMap::<String, Asked>::new();
    for line in BufReader::new(file).lines() {
        let event: Value = serde_json::from_str(&line?)?;
        let text = |pointer| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let account = text("/user/username").rsplit(':').next().unwrap_or_default().to_owned();
        let (resource, part) = (text("/objectRef/resource"), text("/objectRef/subresource"));
        if resource.is_empty() {
            continue; // what is served, and under which versions: everybody may ask
        }
        let resource = if part.is_empty() { resource.to_owned() } else { format!("{resource}/{part}") };
        let right =
            Right { group: text("/objectRef/apiGroup").to_owned(), resource, verb: text("/verb").to_owned() };
        let asked = all.entry(account).or_default();
        if event.pointer("/responseStatus/code").and_then(Value::as_u64) == Some(403) {
            *asked.forbidden.entry(right).or_default() += 1;
        } else {
            asked.used.insert(right);
        }
    }
    Ok(all)
}

fn list(rights: &BTreeSet<Right>) -> String {
    rights.iter().map(Right::to_string).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "the comparison is for people, too")]
async fn accounts_may_do_what_they_did_and_nothing_more() -> Result<()> {
    let world = World::find().await?;
    let asked = asked(&world)?;
    for account in ACCOUNTS {
        let mut granted_all = BTreeSet::new();
        for namespace in ["default", OPERATOR] {
            // What everybody may is not given to this one.
            let everybody = granted(&world, "nobody", namespace).await?;
            granted_all.extend(granted(&world, account, namespace).await?.difference(&everybody).cloned());
        }
        let nothing = Asked::default();
        let Asked { used, forbidden } = asked.get(account).unwrap_or(&nothing);
        println!("{account}\n  may: {}\n  did: {}", list(&granted_all), list(used));
        ensure!(forbidden.is_empty(), "{account} was refused {forbidden:?}");
        let more: BTreeSet<_> = granted_all.difference(used).cloned().collect();
        let (asked_by_others, unused): (BTreeSet<_>, _) =
            more.into_iter().partition(|right| right.resource.ends_with(ASKED_FOR_BY_OTHERS));
        println!("  may, for the API server to check: {}", list(&asked_by_others));
        ensure!(unused.is_empty(), "{account} may and never did: {}", list(&unused));
        for right in &granted_all {
            let resource = right.resource.as_str();
            ensure!(!resource.starts_with("secrets") && resource != "pods/exec", "{account} may {right}");
            ensure!(resource != "*" && right.verb != "*" && right.group != "*", "{account} may {right}");
        }
    }
    Ok(())
}
