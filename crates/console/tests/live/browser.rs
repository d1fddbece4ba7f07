//! A real browser, controlled by the DevTools protocol.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use function_mesh_testkit::PATIENCE;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Debian's package `chromium`.
const PROGRAM: &str = "chromium";

/// Runs before the scripts of each page.
const RECORD: &str = "globalThis.violations = []; \
    addEventListener('securitypolicyviolation', (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`)); \
    globalThis.errors = []; addEventListener('error', (event) => errors.push(event.message)); \
    addEventListener('unhandledrejection', (event) => errors.push(String(event.reason)));";

/// A browser with one tab.
pub(crate) struct Browser {
    program: Child,
    /// Its files, also temporary ones.
    profile: TempDir,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Option<String>,
    number: u64,
    /// URLs of all requests.
    pub(crate) requests: Vec<String>,
    /// What the console of the browser shows.
    pub(crate) log: Vec<String>,
}

impl Drop for Browser {
    /// Deletes the profile until it stays away: other processes of the browser end after it, and write until then.
    fn drop(&mut self) {
        _ = self.program.start_kill();
        let mut gone = 0;
        for _ in 0..100 {
            gone = if self.profile.path().exists() { 0 } else { gone + 1 };
            if gone >= 5 && matches!(self.program.try_wait(), Ok(Some(_))) {
                return;
            }
            _ = std::fs::remove_dir_all(self.profile.path());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Browser {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut program = Command::new(PROGRAM)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--remote-debugging-port=0",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-dev-shm-usage",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("TMPDIR", profile.path())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {PROGRAM}; install Debian's package of this name"))?;
        let mut lines = BufReader::new(program.stderr.take().context("no output")?).lines();
        let url = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, url)) = line.split_once("DevTools listening on ") {
                    return Ok(url.to_owned());
                }
            }
            bail!("{PROGRAM} has ended")
        })
        .await??;
        // It must not block on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let (socket, _) = connect_async(url).await?;
        let mut browser = Self {
            program,
            profile,
            socket,
            session: None,
            number: 0,
            requests: Vec::new(),
            log: Vec::new(),
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({})).await?;
        }
        browser.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": RECORD })).await?;
        browser.resize(1280, 800, false).await?;
        Ok(browser)
    }

    /// Calls a method, and keeps the events that arrive meanwhile.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.number += 1;
        let mut request = json!({ "id": self.number, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = session.as_str().into();
        }
        self.socket.send(Message::text(request.to_string())).await?;
        loop {
            let message =
                tokio::time::timeout(PATIENCE, self.socket.next()).await?.context("no browser")??;
            let Message::Text(text) = message else { continue };
            let mut answer: Value = serde_json::from_str(&text)?;
            if answer["id"] == self.number {
                ensure!(answer.get("error").is_none(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].take());
            }
            self.keep(&answer);
        }
    }

    fn keep(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                self.requests.extend(params["request"]["url"].as_str().map(str::to_owned));
            }
            Some("Log.entryAdded") => self.log.push(params["entry"].to_string()),
            Some("Runtime.exceptionThrown") => self.log.push(params["exceptionDetails"].to_string()),
            _ => {}
        }
    }

    pub(crate) async fn open(&mut self, url: &str) -> anyhow::Result<()> {
        self.call("Page.navigate", json!({ "url": url })).await.map(drop)
    }

    /// Loads the page again, and waits until the old one has gone.
    pub(crate) async fn reload(&mut self) -> anyhow::Result<()> {
        self.eval("globalThis.isOld = true").await?;
        self.call("Page.reload", json!({})).await?;
        self.until("!globalThis.isOld").await
    }

    /// The value of an expression.
    pub(crate) async fn eval(&mut self, expression: &str) -> anyhow::Result<Value> {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut result = self.call("Runtime.evaluate", params).await?;
        ensure!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        Ok(result["result"]["value"].take())
    }

    /// Waits until an expression is true. While a page loads, it cannot be evaluated.
    pub(crate) async fn until(&mut self, expression: &str) -> anyhow::Result<()> {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found = self.eval(&format!("Boolean({expression})")).await;
            match found {
                Ok(Value::Bool(true)) => return Ok(()),
                found if tokio::time::Instant::now() > end => {
                    let text = self.eval("document.body.innerText").await?;
                    bail!("{expression} is still {found:?} after 30 s: {text}\n{:?}", self.log);
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    pub(crate) async fn press(&mut self, key: &str) -> anyhow::Result<()> {
        let number = match key {
            "Enter" => 13,
            "Escape" => 27,
            _ => 0,
        };
        for kind in ["keyDown", "keyUp"] {
            let mut params =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": number });
            if key == "Enter" && kind == "keyDown" {
                // A button is pressed by the letter, and not by the key.
                params["text"] = "\r".into();
            }
            self.call("Input.dispatchKeyEvent", params).await?;
        }
        Ok(())
    }

    pub(crate) async fn resize(&mut self, width: u32, height: u32, dark: bool) -> anyhow::Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size).await?;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media).await.map(drop)
    }

    /// Saves a picture of the page for people, if the environment names a folder.
    pub(crate) async fn picture(&mut self, name: &str) -> anyhow::Result<()> {
        let Some(folder) = std::env::var_os("CONSOLE_IMAGES") else { return Ok(()) };
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" })).await?;
        let bytes = STANDARD.decode(shot["data"].as_str().context("no picture")?)?;
        Ok(std::fs::write(Path::new(&folder).join(format!("console-{name}.png")), bytes)?)
    }

    /// Roles and names of what a screen reader can reach.
    pub(crate) async fn accessible(&mut self) -> anyhow::Result<Vec<(String, String)>> {
        let tree = self.call("Accessibility.getFullAXTree", json!({})).await?;
        let text = |node: &Value, field: &str| node[field]["value"].as_str().unwrap_or_default().to_owned();
        let nodes = tree["nodes"].as_array().context("no tree")?;
        Ok(nodes.iter().map(|node| (text(node, "role"), text(node, "name"))).collect())
    }

    /// Fails if the page broke its policy, threw an error, or asked another server.
    pub(crate) async fn check(&mut self, origin: &str) -> anyhow::Result<()> {
        let found = self.eval("({ violations, errors })").await?;
        ensure!(found == json!({ "violations": [], "errors": [] }), "{found}");
        ensure!(self.log.is_empty(), "{:?}", self.log);
        let foreign: Vec<_> = self.requests.iter().filter(|url| !url.starts_with(origin)).collect();
        ensure!(foreign.is_empty() && !self.requests.is_empty(), "{foreign:?}");
        Ok(())
    }
}
