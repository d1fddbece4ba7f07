//! The data of a stopped control plane that has our CRDs. Control planes of tests start from a copy of it, which takes
//! half of the processor time that the API server needs to start from nothing and to accept the CRDs.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// The CRDs, as users install them.
const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds");

/// Copies the data to a folder, from which this cluster program starts a control plane then. The data is kept beside the
/// program; the first call with these CRDs prepares it, and concurrent ones wait for that.
pub(crate) fn copy_to(folder: &Path, program: &Path) -> anyhow::Result<()> {
    let home = program.with_file_name("prepared");
    fs::create_dir_all(&home).with_context(|| home.display().to_string())?;
    let lock = File::create(home.join("lock"))?;
    lock.lock()?;
    let data = home.join(key()?);
    if !data.exists() {
        remove_others(&home)?;
        prepare(program, &home.join("unfinished"))?;
        fs::rename(home.join("unfinished"), &data)?;
    }
    run(Command::new("cp").args(["--archive", "--reflink=auto"]).args([&*data, folder]))
}

/// The resources of the CRDs, such as `functions`.
pub(crate) fn resources() -> anyhow::Result<Vec<String>> {
    let files = files()?;
    let names = files.iter().filter_map(|file| file.file_stem()?.to_str());
    Ok(names.map(str::to_owned).collect())
}

fn files() -> anyhow::Result<Vec<PathBuf>> {
    let mut files =
        fs::read_dir(DEFINITIONS)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// Differs between different CRDs.
fn key() -> anyhow::Result<String> {
    let mut hasher = DefaultHasher::new();
    for file in files()? {
        fs::read(file)?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// Removes the data of other CRDs.
fn remove_others(home: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(home)? {
        let path = entry?.path();
        // A process that was killed may have left this one, with a control plane that runs.
        if path.is_dir() && !path.ends_with("unfinished") {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

fn prepare(program: &Path, folder: &Path) -> anyhow::Result<()> {
    let cluster = |args: &[&str]| run(Command::new(program).args(args).arg("--dir").arg(folder));
    let kubectl = |args: &[&str]| {
        let kubeconfig = folder.join("admin.kubeconfig");
        run(Command::new(program).arg("kubectl").args(args).arg("--kubeconfig").arg(kubeconfig))
    };
    cluster(&["down"])?;
    cluster(&["up"])?;
    kubectl(&["apply", "--server-side", "--filename", DEFINITIONS])?;
    kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "customresourcedefinition", "--all"])?;
    cluster(&["down", "--keep-data"])
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
