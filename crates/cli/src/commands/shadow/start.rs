//! Creates the shadow of a function.

use function_mesh_shadow::function;
use serde_json::{Value, json};

use super::{Named, real, refused};
use crate::{Failure, Outcome, Streams, screen};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    named: Named,

    /// Image of the new version
    #[arg(long, value_name = "IMAGE", required_unless_present = "patch")]
    image: Option<String>,

    /// Change of the spec, as a JSON merge patch
    #[arg(long, value_name = "JSON", value_parser = parse)]
    patch: Option<Value>,
}

fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

impl Args {
    /// The change: the patch, with the image.
    fn change(&self) -> Value {
        let mut change = self.patch.clone().unwrap_or_else(|| json!({}));
        if let (Some(image), Some(fields)) = (&self.image, change.as_object_mut()) {
            fields.insert("image".to_owned(), image.as_str().into());
        }
        change
    }
}

pub(super) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let (cluster, id) = args.named.open()?;
    let object = real(&cluster, &id)?;
    let shadow = function::shadow(&object, &args.change()).map_err(|error| refused(&error))?;
    cluster.create_function(&shadow)?;
    screen::line(streams.out, &format!("function/{} created", function::name_of(&id.name)))?;
    let next = match function::output_of(&shadow) {
        Some(topic) => format!(
            "It writes to {topic}. Compare with: kubectl mesh shadow diff function/{} --pulsar URL",
            id.name
        ),
        None => format!(
            "It has no output. See its exceptions with: kubectl mesh shadow diff function/{}",
            id.name
        ),
    };
    screen::line(streams.out, &next)?;
    Ok(Outcome::Success)
}
