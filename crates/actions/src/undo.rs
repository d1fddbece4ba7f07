//! Which revision the pods of components get when a rollout is undone: the spec stays as its author wrote it.

use function_mesh_rollout::Undo;
use jiff::{SignedDuration, Timestamp};

use crate::revisions::{History, Revision};

/// Time within which the operator applies the components that one change of a mesh changes.
const LAST_CHANGE: SignedDuration = SignedDuration::from_mins(1);

/// The revision that the spec asks for: the one that failed, or else the newest.
fn asked(history: &History) -> Option<&Revision> {
    let failed = history.revisions.iter().find(|it| it.is_failed);
    failed.or_else(|| history.revisions.iter().find(|it| it.is_newest))
}

/// Keeps the components whose revision was created with the newest one, and that have an earlier one.
pub(crate) fn keep_last_change(histories: &mut Vec<History>) {
    let created =
        |history: &History| asked(history).and_then(|it| it.created.as_ref()?.parse::<Timestamp>().ok());
    histories.retain(|history| history.revisions.len() > 1);
    let Some(last) = histories.iter().filter_map(created).max() else { return };
    histories.retain(|it| created(it).is_some_and(|at| last.duration_since(at) <= LAST_CHANGE));
}

/// From the revision that the spec asks for to the named one, or to the one before.
pub(crate) fn undo(history: &History, to_revision: Option<i64>) -> Result<Undo, String> {
    let name = format!("{}/{}", history.kind.to_lowercase(), history.name);
    let from = asked(history).ok_or_else(|| format!("{name} has no revisions"))?;
    let to = match to_revision {
        Some(number) => history.revisions.iter().find(|it| it.revision == number),
        None if from.is_failed && !from.is_newest => {
            return Err(format!("{name} is rolled back already; name another revision with --to-revision"));
        }
        None => history.revisions.iter().filter(|it| it.name != from.name).max_by_key(|it| it.revision),
    };
    let numbers =
        || history.revisions.iter().map(|it| it.revision.to_string()).collect::<Vec<_>>().join(", ");
    let to = to.ok_or_else(|| format!("{name} has no such revision; there are {}", numbers()))?;
    if to.name == from.name {
        return Err(format!("{name} asks for revision {} itself; there are {}", to.revision, numbers()));
    }
    Ok(Undo { from: from.name.clone(), to: to.name.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(revisions: &[(i64, &str)]) -> History {
        let revision = |(number, note): &(i64, &str)| Revision {
            revision: *number,
            name: format!("f-{number}"),
            created: Some(format!("2026-01-01T00:{number:02}:00Z")),
            is_newest: note.contains("newest"),
            is_good: false,
            is_failed: note.contains("failed"),
            changes: Vec::new(),
        };
        let (kind, namespace, name) = ("Function".to_owned(), "n".to_owned(), "f".to_owned());
        History { kind, namespace, name, revisions: revisions.iter().map(revision).collect() }
    }

    #[test]
    fn the_revision_before_or_the_named_one_is_wanted() {
        let undo = |revisions: &[(i64, &str)], to| undo(&history(revisions), to).map(|it| it.to_string());
        let three = [(1, ""), (2, ""), (3, "newest")];
        assert_eq!(undo(&three, None), Ok("f-3/f-2".to_owned()));
        assert_eq!(undo(&three, Some(1)), Ok("f-3/f-1".to_owned()));
        let rolled_back = [(1, ""), (3, "failed"), (4, "newest")];
        assert_eq!(undo(&rolled_back, Some(1)), Ok("f-3/f-1".to_owned()));
        for (revisions, to, expected) in [
            (&rolled_back[..], None, "rolled back already"),
            (&three[..], Some(7), "there are 1, 2, 3"),
            (&three[..], Some(3), "asks for revision 3 itself"),
            (&three[2..], None, "no such revision"),
            (&[][..], None, "no revisions"),
        ] {
            let error = undo(revisions, to).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_mesh_undoes_its_last_change() {
        let mut histories = vec![
            history(&[(1, ""), (9, "newest")]),
            history(&[(1, ""), (8, "newest")]),
            history(&[(9, "newest")]),
        ];
        histories.push(history(&[(1, ""), (3, "newest")]));
        keep_last_change(&mut histories);
        let kept: Vec<_> = histories.iter().map(|it| it.revisions[1].revision).collect();
        assert_eq!(kept, [9, 8]);
    }
}
