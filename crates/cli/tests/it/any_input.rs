//! No input makes a command panic, and every location lies within the text.

use kubectl_mesh::input::{Source, load, parse};
use proptest::prelude::*;

/// Manifests with random edits.
fn damaged() -> impl Strategy<Value = String> {
    let whole = [
        include_str!("../fixtures/pipe.yaml"),
        include_str!("../fixtures/faulty.yaml"),
        include_str!("../fixtures/loop.yaml"),
    ];
    let piece = prop_oneof![
        Just(String::new()),
        "[ -~\n]{0,6}",
        Just("null".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("\n---\n".to_owned()),
        Just("&a *a".to_owned()),
        "\\PC{1,3}",
    ];
    (0..3_usize, prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, piece), 1..4)).prop_map(
        move |(which, cuts)| {
            let mut text: Vec<char> = whole[which].chars().collect();
            for (at, length, piece) in cuts {
                let start = at.index(text.len() + 1).min(text.len());
                let end = (start + length).min(text.len());
                text.splice(start..end, piece.chars());
            }
            text.into_iter().collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn load_never_panics(text in "\\PC{0,200}") {
        let _ = load(&text);
    }

    #[test]
    fn damaged_manifests_never_panic(text in damaged()) {
        let (documents, _) = parse(Source { name: "m.yaml".to_owned(), text: text.clone() });
        for document in &documents {
            for path in ["spec", "spec.functions[0].input.topics[0]", "metadata.name", "spec[\"a.b\"].c"] {
                let at = document.node.locate(path);
                prop_assert!(at.end <= text.len() && text.get(at).is_some());
            }
        }
        let file = std::env::temp_dir().join(format!("kubectl-mesh-{}.yaml", std::process::id()));
        std::fs::write(&file, &text).unwrap();
        for command in ["validate", "render", "graph"] {
            let cli = <kubectl_mesh::Cli as clap::Parser>::try_parse_from(
                ["kubectl-mesh".as_ref(), command.as_ref(), "-f".as_ref(), file.as_os_str()],
            ).unwrap();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut streams = kubectl_mesh::Streams { out: &mut out, err: &mut err, colour: false, terminal: false };
            let outcome = kubectl_mesh::run(&cli, &mut streams);
            let has_output = outcome == kubectl_mesh::Outcome::Success || !(out.is_empty() && err.is_empty());
            prop_assert!(has_output, "{} prints nothing", command);
        }
        let _ = std::fs::remove_file(&file);
    }
}
