//! The kinds that are admitted: what completes them, what checks them, and where their reviews arrive.

use std::borrow::Cow;

use function_mesh_api::validate::{self, Findings, KnownViolations, Scope};
use function_mesh_api::{BackendConfig, Function, FunctionMesh, Sink, Source};
use kube::core::{ObjectMeta, Resource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::admission::Action;

/// The rules that an object breaks.
#[derive(Debug)]
pub enum BrokenRules {
    /// All of them.
    All(KnownViolations),
    /// As many as findings list, of a kind that has no more.
    Listed(Findings),
}

/// A kind that is admitted.
pub trait Admitted: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Send + 'static {
    /// Fills in what the object leaves open.
    fn complete(&mut self);
    /// What the rules say of the object, and what else its author should know.
    fn check(self) -> Findings;
    /// What the rules say of the object, without advice: for where nobody would hear it.
    fn check_rules(self) -> Findings {
        Findings { warnings: Vec::new(), ..self.check() }
    }
    /// The rules that the object breaks.
    fn broken_rules(self) -> BrokenRules {
        BrokenRules::Listed(self.check_rules())
    }
    /// What the rules say of an object that broke these before.
    fn check_since(self, _known: KnownViolations) -> Findings {
        self.check()
    }
}

macro_rules! component {
    ($($kind:ident),*) => {$(
        impl Admitted for $kind {
            fn complete(&mut self) {
                self.set_defaults();
            }
            fn check(self) -> Findings {
                validate::check_component(&self)
            }
            fn check_rules(self) -> Findings {
                validate::check_component_for(&self, Scope::Rules)
            }
            fn broken_rules(self) -> BrokenRules {
                BrokenRules::All(validate::component_violations(&self))
            }
            fn check_since(self, known: KnownViolations) -> Findings {
                validate::check_component_update(&self, known, Scope::RulesAndWarnings)
            }
        }
    )*};
}

component!(Function, Source, Sink);

impl Admitted for FunctionMesh {
    fn complete(&mut self) {
        self.spec.set_defaults();
    }
    fn check(self) -> Findings {
        validate::check_mesh(&self)
    }
    fn check_rules(self) -> Findings {
        validate::check_mesh_for(&self, Scope::Rules)
    }
    fn broken_rules(self) -> BrokenRules {
        BrokenRules::All(validate::mesh_violations(&self))
    }
    fn check_since(self, known: KnownViolations) -> Findings {
        validate::check_mesh_update(&self, known, Scope::RulesAndWarnings)
    }
}

impl Admitted for BackendConfig {
    /// It is made of defaults, and has none itself.
    fn complete(&mut self) {}
    fn check(self) -> Findings {
        validate::check_backend_config(&self.spec)
    }
}

/// A BackendConfig where whoever writes one may run code in pods; see `--allow-unsafe-backend-config`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct TrustedBackendConfig(BackendConfig);

impl Resource for TrustedBackendConfig {
    type DynamicType = ();
    type Scope = <BackendConfig as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        BackendConfig::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        BackendConfig::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        BackendConfig::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        BackendConfig::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

impl Admitted for TrustedBackendConfig {
    fn complete(&mut self) {}
    fn check(self) -> Findings {
        validate::check_trusted_backend_config(&self.0.spec)
    }
}

/// Where reviews of a kind arrive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// API group.
    pub group: String,
    /// Version of the group.
    pub version: String,
    /// Kind in lower case, as it stands in the path.
    pub kind: String,
    /// Kind in the plural, as rules name it.
    pub plural: String,
}

impl Endpoint {
    /// The endpoint of a kind.
    pub fn of<K: Admitted>() -> Self {
        Self {
            group: K::group(&()).into_owned(),
            version: K::version(&()).into_owned(),
            kind: K::kind(&()).to_lowercase(),
            plural: K::plural(&()).into_owned(),
        }
    }

    /// The endpoints of all kinds.
    pub fn all() -> [Self; 5] {
        [
            Self::of::<Function>(),
            Self::of::<Source>(),
            Self::of::<Sink>(),
            Self::of::<FunctionMesh>(),
            Self::of::<BackendConfig>(),
        ]
    }

    /// The path that reviews are sent to. Its form is the original's, which charts and clusters have stored.
    pub fn path(&self, action: Action) -> String {
        let Self { group, version, kind, .. } = self;
        format!("/{action}-{}-{version}-{kind}", group.replace('.', "-"))
    }
}
