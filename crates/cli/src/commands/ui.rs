//! `ui`: shows running meshes in a browser.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use function_mesh_console::hub::Times;
use function_mesh_console::link::LinkTemplate;
use function_mesh_console::local::Local;
use tokio_util::sync::CancellationToken;

use super::status::{not_found, object_name};
use crate::cluster::Cluster;
use crate::object_ref::ObjectRef;
use crate::{Failure, Outcome, Streams, screen};
use function_mesh_kube::connect::ConnectArgs;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl mesh ui                       all meshes of the context's namespace
  kubectl mesh ui people                one mesh as its graph, with phases, rates, backlog and lag
  kubectl mesh ui -A                    the meshes of all namespaces
  kubectl mesh ui --no-open --port 8600
      prints the URL and opens nothing, for a browser at the end of a tunnel: ssh -L 8600:127.0.0.1:8600 HOST

The console runs on this machine, listens on the loopback interface only, and reads the cluster with the
permissions of the kubeconfig: it shows what you may list and watch, and logs if you may get pods/log. It writes
only what you confirm: suspend, resume, restart, scale, and pause, resume or undo a rollout, each with its command.
The token in the URL works once; the browser tab then has a session that ends with this command.

Exit code: 0 after Ctrl-C, 2 mesh not found, no connection or invalid command line.")]
pub(crate) struct Args {
    /// FunctionMesh to show first [default: all of the namespace]
    #[arg(value_name = "NAME", value_parser = object_name)]
    mesh: Option<String>,

    /// Namespace [default: the context's]
    #[arg(short, long, value_name = "NAMESPACE", value_parser = object_name)]
    namespace: Option<String>,

    /// All namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "mesh"])]
    all_namespaces: bool,

    /// Port on the loopback interface; 0 is any free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,

    /// Link from components to a dashboard, with {namespace}, {kind} and {name}, such as
    /// https://grafana.example/d/mesh?var-namespace={namespace}&var-name={name}
    #[arg(long, env = "FUNCTION_MESH_GRAFANA_URL", value_name = "URL")]
    grafana_url: Option<LinkTemplate>,

    /// Print the URL, and do not open a browser
    #[arg(long)]
    no_open: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<Outcome, Failure> {
    let cluster = Cluster::open(&args.connect)?;
    let namespace = args.namespace.as_deref().unwrap_or_else(|| cluster.namespace());
    let page = match &args.mesh {
        Some(mesh) => {
            let id = ObjectRef::new("FunctionMesh", namespace, mesh);
            cluster.get(&id)?.ok_or_else(|| not_found(&cluster, &id))?;
            format!("{namespace}/{mesh}")
        }
        None => String::new(),
    };
    let scope = (!args.all_namespaces).then(|| namespace.to_owned());
    cluster.block_on(async {
        let local = Local::listen(args.port).await?.with_dashboard(args.grafana_url.clone());
        let local = local.with_flags(flags(&args.connect));
        let url = local.url(&page);
        screen::line(streams.out, &format!("Console: {url}"))?;
        screen::line(streams.out, "The URL works once. Ctrl-C ends the console.")?;
        streams.out.flush()?;
        let opened = if args.no_open { None } else { Browser::open(&url, streams)? };
        let shutdown = CancellationToken::new();
        let interrupt = shutdown.clone();
        tokio::spawn(async move {
            // Without a handler the signal ends the program, which is what it is for.
            if tokio::signal::ctrl_c().await.is_ok() {
                interrupt.cancel();
            }
        });
        let served = local.serve(cluster.client(), scope, Times::default(), shutdown).await;
        drop(opened);
        served?;
        Ok(Outcome::Success)
    })
}

/// The flags that select the same cluster in the commands that the page shows.
fn flags(connect: &ConnectArgs) -> Vec<String> {
    let ConnectArgs { kubeconfig, context } = connect;
    let file = kubeconfig.as_ref().map(|file| format!("--kubeconfig={}", file.display()));
    let context = context.as_ref().map(|context| format!("--context={context}"));
    [file, context].into_iter().flatten().collect()
}

/// A browser that was opened with a file that leads to the console. Command lines can be seen by every user of a machine,
/// and the URL has a token in it. The file is deleted when this is dropped.
struct Browser(PathBuf);

impl Browser {
    /// Opens a browser, or says why there is none.
    fn open(url: &str, streams: &mut Streams<'_>) -> io::Result<Option<Self>> {
        let file = std::env::temp_dir().join(format!("kubectl-mesh-ui-{}.html", std::process::id()));
        let opened = write_redirect(&file, url).map(|()| Self(file)).and_then(|browser| {
            let (program, arguments) = opener();
            let mut command = Command::new(program);
            command.args(arguments).arg(&browser.0);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(|_| browser)
        });
        match opened {
            Ok(browser) => Ok(Some(browser)),
            Err(error) => {
                let note = format!("note: no browser was opened ({error}); open the URL above");
                screen::line(streams.err, &note)?;
                streams.err.flush()?;
                Ok(None)
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

/// What opens a file in the browser of this system.
const fn opener() -> (&'static str, &'static [&'static str]) {
    if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("rundll32", &["url.dll,FileProtocolHandler"])
    } else {
        ("xdg-open", &[])
    }
}

/// Writes a page that leads to the URL, for its owner alone.
fn write_redirect(file: &Path, url: &str) -> io::Result<()> {
    // A file that is left from a process with this number.
    _ = std::fs::remove_file(file);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let page = format!(
        "<!doctype html><meta charset=\"utf-8\"><meta name=\"referrer\" content=\"no-referrer\">\
         <meta http-equiv=\"refresh\" content=\"0;url={url}\"><title>Function Mesh</title>\n"
    );
    options.open(file)?.write_all(page.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_token_is_in_a_file_of_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.html");
        std::fs::write(&file, "old").unwrap();
        write_redirect(&file, "http://127.0.0.1:1/#/?token=t").unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("0;url=http://127.0.0.1:1/#/?token=t\""), "{text}");
        drop(Browser(file.clone()));
        assert!(!file.exists());
    }
}
