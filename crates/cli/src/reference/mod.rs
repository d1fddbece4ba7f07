//! The reference of all kinds and their fields, as Markdown.
//!
//! What it says comes from the definitions, as a cluster gets them; the types behind them give only the names
//! under which shared parts are described once.

mod rules;
mod types;

use std::fmt::{self, Write};

use function_mesh_api::bounds::{MAX_ITEMS, MAX_LENGTH, MAX_PROPERTIES};
use function_mesh_api::conditions::{ConditionType, Reason};
use function_mesh_api::{BackendConfig, Function, FunctionMesh, Sink, Source};
use schemars::{Schema, schema_for};
use serde_json::Value;

use rules::Rule;
use types::Types;

/// What the file begins with. The reader sees the rest.
const HEADER: &str = "<!-- Made by `kubectl-mesh crds -o markdown --dir docs` from the types in crates/api. Do not edit. -->\n";

const INTRODUCTION: &str = "\
# Reference

Every kind and every field, from the definitions in [deploy/crds](../deploy/crds). `kubectl explain` says the same
on a cluster that has them; [examples](../examples/README.md) show the fields at work.

- What is not **required** may be left out. `null` is the same as leaving it out, except within configurations that
  are passed on as they are.
- Defaults are filled in by the webhook, and by the operator itself where the webhook does not run.
- Types of Kubernetes are not repeated here: their names lead to its own reference.
- The rules of each kind are kept by the API server, even without the webhook. The webhook knows more of them and
  names every fault at once. What broke a rule before a change is no reason to refuse the change.
";

/// A kind, with its definition and with the schema that knows the names of types.
struct Kind {
    name: String,
    definition: Value,
    shape: Value,
}

/// The whole document.
pub(crate) fn markdown() -> Result<String, serde_json::Error> {
    let kinds = kinds()?;
    let mut types = Types::default();
    let mut document = Document(format!(
        "{HEADER}{INTRODUCTION}- Where a field says nothing else, a list has at most {MAX_ITEMS} items, a map \
         {MAX_PROPERTIES} entries, and a string\n  {MAX_LENGTH} characters.\n"
    ));
    let mut parts = String::new();
    let rules: Vec<Vec<Rule>> = kinds.iter().map(|kind| rules::of(schema(&kind.definition))).collect();
    for (kind, own) in kinds.iter().zip(&rules) {
        types.enter(schema(&kind.definition), &kind.shape);
        let mut part = Document(String::new());
        part.kind(kind);
        part.rules(&kind.name, &rules::not_told(own, &kinds, &rules));
        parts.push_str(&part.0);
    }
    document.contents(&kinds, &types);
    document.0.push_str(&parts);
    document.text(format_args!("## Types\n"));
    for (name, shared) in types.by_name() {
        document.shared(name, shared);
    }
    let types = ConditionType::ALL.iter().map(|it| (it.as_str(), it.description()));
    document.names("Conditions", "Types of conditions in a status.", types);
    let reasons = Reason::ALL.iter().map(|it| (it.as_str(), it.description()));
    document.names("Reasons", "Reasons of conditions and of Events.", reasons);
    Ok(document.0)
}

/// Kinds as people meet them: what holds others first.
fn kinds() -> Result<Vec<Kind>, serde_json::Error> {
    let shapes: [(&str, Schema); 5] = [
        ("FunctionMesh", schema_for!(FunctionMesh)),
        ("Function", schema_for!(Function)),
        ("Source", schema_for!(Source)),
        ("Sink", schema_for!(Sink)),
        ("BackendConfig", schema_for!(BackendConfig)),
    ];
    let mut definitions = function_mesh_api::crd::all()?;
    let mut kinds = Vec::new();
    for (name, shape) in shapes {
        if let Some(at) = definitions.iter().position(|crd| crd.spec.names.kind == name) {
            kinds.push(Kind {
                name: name.to_owned(),
                definition: serde_json::to_value(definitions.remove(at))?,
                shape: shape.to_value(),
            });
        }
    }
    Ok(kinds)
}

fn schema(definition: &Value) -> &Value {
    &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

fn words(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Names in a row, each as code.
fn codes(values: &Value) -> String {
    let all: Vec<_> = values.as_array().into_iter().flatten().map(|name| code(words(name))).collect();
    all.join(", ")
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// A link to a heading of this document.
fn link(heading: &str) -> String {
    format!("[{heading}](#{})", heading.to_lowercase())
}

/// Text for the cell of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

struct Document(String);

impl Document {
    /// A table of names and what they mean.
    fn names(&mut self, title: &str, about: &str, names: impl Iterator<Item = (&'static str, &'static str)>) {
        self.text(format_args!("## {title}\n\n{about}\n"));
        let rows: Vec<_> = names.map(|(name, meaning)| [code(name), meaning.to_owned()]).collect();
        self.table(["Name", "Meaning"], &rows);
    }

    /// Adds text; writing to memory does not fail.
    fn text(&mut self, text: fmt::Arguments<'_>) {
        let _ = writeln!(self.0, "{text}");
    }

    /// Adds a table, if it has any rows.
    fn table<const N: usize>(&mut self, head: [&str; N], rows: &[[String; N]]) {
        if rows.is_empty() {
            return;
        }
        self.text(format_args!("| {} |\n|{}", head.join(" | "), "---|".repeat(N)));
        for row in rows {
            self.text(format_args!("| {} |", row.each_ref().map(|text| cell(text)).join(" | ")));
        }
        self.text(format_args!(""));
    }

    fn contents(&mut self, kinds: &[Kind], types: &Types) {
        let kinds: Vec<_> = kinds.iter().map(|kind| link(&kind.name)).collect();
        self.text(format_args!("\nKinds: {}.\n", kinds.join(", ")));
        let types: Vec<_> = types.by_name().map(|(name, _)| link(name)).collect();
        self.text(format_args!("Types: {}.\n", types.join(", ")));
    }

    fn kind(&mut self, kind: &Kind) {
        let spec = &kind.definition["spec"];
        let version = &spec["versions"][0];
        let schema = schema(&kind.definition);
        self.text(format_args!("## {}\n\n{}\n", kind.name, words(&schema["description"])));

        let names = &spec["names"];
        let mut facts = vec![
            [
                "API version".to_owned(),
                code(&format!("{}/{}", words(&spec["group"]), words(&version["name"]))),
            ],
            ["Scope".to_owned(), words(&spec["scope"]).to_lowercase()],
            [
                "Names".to_owned(),
                format!("{}, {}", code(words(&names["plural"])), code(words(&names["singular"]))),
            ],
        ];
        if names["shortNames"].is_array() {
            facts.push(["Short name".to_owned(), codes(&names["shortNames"])]);
        }
        facts.push(["Categories".to_owned(), codes(&names["categories"])]);
        let scale = words(&version["subresources"]["scale"]["specReplicasPath"]);
        if !scale.is_empty() {
            facts.push(["Scaled by".to_owned(), code(scale.trim_start_matches('.'))]);
        }
        self.table(["", ""], &facts);

        let parts: Vec<_> = types::fields(schema, &kind.shape, &kind.shape)
            .filter(|field| ["spec", "status"].contains(&field.name.as_str()))
            .map(|field| [code(&field.name), field.type_name, cell(&field.description)])
            .collect();
        self.table(["Field", "Type", "What it is"], &parts);

        let columns: Vec<_> = version["additionalPrinterColumns"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|column| {
                [words(&column["name"]).to_owned(), code(words(&column["jsonPath"]).trim_start_matches('.'))]
            })
            .collect();
        self.table(["Column of `kubectl get`", "From"], &columns);
    }

    fn rules(&mut self, kind: &str, rules: &[Rule]) {
        if rules.is_empty() {
            return;
        }
        self.text(format_args!("### Rules of {kind}\n"));
        if kind == "FunctionMesh" {
            self.text(format_args!(
                "Each component keeps the rules of its kind: {}, {} or {}. Here the API server names only the kind and \
                 the field, the webhook the component too. Besides:\n",
                link("Function"),
                link("Source"),
                link("Sink")
            ));
        }
        let rows: Vec<_> = rules.iter().map(|rule| [code(&rule.field), rule.message.clone()]).collect();
        self.table(["Field", "What holds"], &rows);
        self.text(format_args!("<details><summary>The same in CEL</summary>\n\n```text"));
        for rule in rules {
            self.text(format_args!("{}\n    {}", rule.field, rule.expression));
        }
        self.text(format_args!("```\n\n</details>\n"));
    }

    fn shared(&mut self, name: &str, shared: &types::Shared) {
        self.text(format_args!("### {name}\n"));
        if !shared.description.is_empty() {
            self.text(format_args!("{}\n", shared.description));
        }
        let uses: Vec<_> =
            shared.uses.iter().map(|(owner, field)| format!("{} {}", link(owner), code(field))).collect();
        self.text(format_args!("Used in: {}.\n", uses.join(", ")));
        let rows: Vec<_> = shared
            .fields
            .iter()
            .map(|field| {
                let type_name = match field.constraints.as_str() {
                    "" => field.type_name.clone(),
                    constraints => format!("{}: {constraints}", field.type_name),
                };
                let default = if field.is_required { "**required**" } else { &field.default };
                [code(&field.name), type_name, default.to_owned(), field.description.clone()]
            })
            .collect();
        if rows.is_empty() {
            self.text(format_args!("It has no fields.\n"));
        }
        self.table(["Field", "Type", "Default", "What it is"], &rows);
    }
}
