//! Shows the revisions of StatefulSets, and what differs between them.

use function_mesh_actions::revisions::{History, read};
use serde_json::json;

use super::{Shown, components};
use crate::commands::status::{Format, data};
use crate::{Failure, Outcome, Streams, screen};

pub(super) fn run(args: &Shown, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let (cluster, id) = args.named.open()?;
    let found = components(&cluster, &id)?;
    let client = cluster.client();
    let read = |component| cluster.block_on(read(&client, component));
    let all = found.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    match args.output {
        Format::Text => all.iter().try_for_each(|history| text(history, streams))?,
        format => streams.out.write_all(data(&json!({ "components": all }), format)?.as_bytes())?,
    }
    Ok(Outcome::Success)
}

fn text(history: &History, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let title = format!("{}/{}", history.kind.to_lowercase(), history.name);
    screen::line(streams.out, &screen::painted(&title, "1", streams.colour))?;
    if history.revisions.is_empty() {
        screen::line(streams.out, "  no revisions")?;
    }
    for it in &history.revisions {
        let notes = [(it.is_newest, "newest"), (it.is_good, "good"), (it.is_failed, "failed")];
        let notes: Vec<_> = notes.into_iter().filter(|(is, _)| *is).map(|(_, note)| note).collect();
        let created = it.created.as_deref().unwrap_or("-");
        let text = format!("  {:>3}  {}  {created}  {}", it.revision, it.name, notes.join(", "));
        screen::line(streams.out, text.trim_end())?;
        for change in &it.changes {
            screen::line(streams.out, &format!("         {change}"))?;
        }
    }
    Ok(())
}
