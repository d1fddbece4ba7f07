//! The model of the chaos run: meshes and functions, edited at random.

use std::collections::{BTreeMap, BTreeSet};

use function_mesh_api::{Function, FunctionMesh, FunctionSpec, labels};
use function_mesh_testkit::fixtures::{self, Part};

use crate::fixture::Fixture;

const MESHES: [&str; 3] = ["a", "b", "c"];
const FUNCTIONS: [&str; 3] = ["x", "y", "z"];
const MEMBERS: [&str; 4] = ["one", "two", "three", "four"];

/// The edited fields of a function.
#[derive(Clone, Debug)]
struct Wanted {
    image: u32,
    replicas: i32,
    most: Option<i32>,
}

/// The current manifests.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Functions of each mesh, in addition to one source and one sink.
    meshes: BTreeMap<&'static str, BTreeMap<&'static str, Wanted>>,
    functions: BTreeMap<&'static str, Wanted>,
    /// Suspended meshes.
    suspended: BTreeSet<&'static str>,
    edits: BTreeMap<&'static str, usize>,
}

impl Wanted {
    fn new(random: &mut fastrand::Rng) -> Self {
        Self { image: random.u32(0..9), replicas: random.i32(0..3), most: None }
    }

    fn edit(&mut self, random: &mut fastrand::Rng) -> &'static str {
        match random.u32(0..4) {
            0 => {
                self.replicas = random.i32(1..4);
                "replicas"
            }
            1 => {
                self.most = if self.most.is_some() { None } else { Some(random.i32(3..6)) };
                "autoscaler"
            }
            _ => {
                self.image += 1;
                "image"
            }
        }
    }

    fn spec(&self, name: &str) -> FunctionSpec {
        let mut spec = fixtures::java_function(name);
        spec.image = Some(format!("runner:{}", self.image));
        // An autoscaler needs a replica to scale.
        spec.replicas = Some(if self.most.is_some() { self.replicas.max(1) } else { self.replicas });
        spec.max_replicas = self.most;
        spec
    }
}

impl Model {
    /// Edits by kind.
    pub(crate) fn edits(&self) -> &BTreeMap<&'static str, usize> {
        &self.edits
    }

    /// Applies all manifests.
    pub(crate) async fn apply(&self, fixture: &Fixture) -> anyhow::Result<()> {
        for name in self.meshes.keys() {
            fixture.apply(&self.mesh(name)?).await?;
        }
        for name in self.functions.keys() {
            fixture.apply(&self.function(name)?).await?;
        }
        Ok(())
    }

    /// Applies one edit.
    pub(crate) async fn edit(&mut self, random: &mut fastrand::Rng, fixture: &Fixture) -> anyhow::Result<()> {
        let what = if random.u32(0..4) == 0 {
            self.edit_function(random, fixture).await?
        } else {
            self.edit_mesh(random, fixture).await?
        };
        *self.edits.entry(what).or_default() += 1;
        Ok(())
    }

    async fn edit_function(
        &mut self,
        random: &mut fastrand::Rng,
        fixture: &Fixture,
    ) -> anyhow::Result<&'static str> {
        let name = FUNCTIONS[random.usize(0..FUNCTIONS.len())];
        let what = match self.functions.get_mut(name) {
            None => {
                self.functions.insert(name, Wanted { most: None, ..Wanted::new(random) });
                "create a function"
            }
            Some(_) if random.u32(0..4) == 0 => {
                self.functions.remove(name);
                fixture.delete::<Function>(name).await?;
                return Ok("delete a function");
            }
            Some(wanted) => wanted.edit(random),
        };
        fixture.apply(&self.function(name)?).await?;
        Ok(what)
    }

    async fn edit_mesh(
        &mut self,
        random: &mut fastrand::Rng,
        fixture: &Fixture,
    ) -> anyhow::Result<&'static str> {
        let name = MESHES[random.usize(0..MESHES.len())];
        let Some(members) = self.meshes.get_mut(name) else {
            let members = [(MEMBERS[0], Wanted::new(random)), (MEMBERS[1], Wanted::new(random))];
            self.meshes.insert(name, members.into());
            fixture.apply(&self.mesh(name)?).await?;
            return Ok("create a mesh");
        };
        let free = MEMBERS.into_iter().find(|member| !members.contains_key(member));
        let taken: Vec<_> = members.keys().copied().collect();
        let member = taken.get(random.usize(0..taken.len().max(1))).copied();
        let what = match (random.u32(0..12), member, free) {
            (0, ..) => {
                self.meshes.remove(name);
                self.suspended.remove(name);
                fixture.delete::<FunctionMesh>(name).await?;
                return Ok("delete a mesh");
            }
            (1 | 2, Some(old), Some(new)) => {
                if let Some(wanted) = members.remove(old) {
                    members.insert(new, wanted);
                }
                "rename"
            }
            (3, Some(member), _) => {
                members.remove(member);
                "remove a component"
            }
            (4 | 5, Some(member), _) if members[member].most.is_some() => {
                // It may not exist yet.
                let scaled = fixture.scale::<Function>(&format!("{name}-{member}"), random.i32(1..3)).await;
                return Ok(if scaled.is_ok() { "scale" } else { "scale what is not there" });
            }
            (6, ..) => {
                if !self.suspended.remove(name) {
                    self.suspended.insert(name);
                }
                "suspend or resume"
            }
            (_, Some(member), _) if random.bool() => {
                members.get_mut(member).map_or("nothing", |wanted| wanted.edit(random))
            }
            (_, _, Some(new)) => {
                members.insert(new, Wanted::new(random));
                "add a component"
            }
            (_, Some(member), None) => {
                members.get_mut(member).map_or("nothing", |wanted| wanted.edit(random))
            }
            (_, None, None) => "nothing",
        };
        fixture.apply(&self.mesh(name)?).await?;
        Ok(what)
    }

    fn mesh(&self, name: &str) -> anyhow::Result<FunctionMesh> {
        let members = self.meshes.get(name).into_iter().flatten();
        let functions = members.map(|(member, wanted)| Part::from(wanted.spec(member)));
        let around: [Part; 2] = [fixtures::source("feed").into(), fixtures::sink("drain").into()];
        let mut mesh = fixtures::mesh(name, functions.chain(around))?;
        if self.suspended.contains(name) {
            mesh.metadata.annotations = Some([(labels::SUSPEND.to_owned(), "true".to_owned())].into());
        }
        Ok(mesh)
    }

    fn function(&self, name: &str) -> anyhow::Result<Function> {
        let spec = self
            .functions
            .get(name)
            .map_or_else(|| fixtures::java_function(name), |wanted| wanted.spec(name));
        fixtures::function(spec)
    }
}
