//! The admitted kinds: their defaults, validation and endpoints.

use std::borrow::Cow;

use function_mesh_api::validate::{self, Findings, KnownViolations, Scope};
use function_mesh_api::{BackendConfig, Function, FunctionMesh, Sink, Source};
use kube::core::{ObjectMeta, Resource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::admission::Action;

/// The violations of an object before an update.
#[derive(Debug)]
pub enum BrokenRules {
    /// All violations.
    All(KnownViolations),
    /// The listed violations, for kinds whose findings are never capped.
    Listed(Findings),
}

/// A kind that is admitted.
pub trait AdmissionKind: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Send + 'static {
    /// Applies defaults.
    fn apply_defaults(&mut self);
    /// Validates the object: violations and warnings.
    fn check(self) -> Findings;
    /// Validates the object without warnings, where they would be dropped.
    fn check_rules(self) -> Findings {
        Findings { warnings: Vec::new(), ..self.check() }
    }
    /// The violations of an old object, for ratcheting.
    fn broken_rules(self) -> BrokenRules {
        BrokenRules::Listed(self.check_rules())
    }
    /// Validates an update; known violations become warnings.
    fn check_since(self, _known: KnownViolations) -> Findings {
        self.check()
    }
}

macro_rules! component {
    ($($kind:ident),*) => {$(
        impl AdmissionKind for $kind {
            fn apply_defaults(&mut self) {
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

impl AdmissionKind for FunctionMesh {
    fn apply_defaults(&mut self) {
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

impl AdmissionKind for BackendConfig {
    /// A BackendConfig has no defaults.
    fn apply_defaults(&mut self) {}
    fn check(self) -> Findings {
        validate::check_backend_config(&self.spec)
    }
}

/// A BackendConfig whose author may run code in pods; see `--allow-unsafe-backend-config`.
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

impl AdmissionKind for TrustedBackendConfig {
    fn apply_defaults(&mut self) {}
    fn check(self) -> Findings {
        validate::check_trusted_backend_config(&self.0.spec)
    }
}

/// The endpoint for reviews of a kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// API group.
    pub group: String,
    /// Version of the group.
    pub version: String,
    /// Kind in lower case, as in the path.
    pub kind: String,
    /// Plural of the kind, as in rules.
    pub plural: String,
}

impl Endpoint {
    /// The endpoint of a kind.
    pub fn of<K: AdmissionKind>() -> Self {
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

    /// The path of the endpoint. Same as upstream's, which existing webhook configurations have.
    pub fn path(&self, action: Action) -> String {
        let Self { group, version, kind, .. } = self;
        format!("/{action}-{}-{version}-{kind}", group.replace('.', "-"))
    }
}
