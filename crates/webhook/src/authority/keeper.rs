//! Reads the Secret and the configurations again and again, does the step that is due, and serves what is there.
//!
//! Nobody leads among several replicas. Each write of the Secret carries the version that was read, so of two
//! that want to do the same one is late, reads again, and finds it done. The configurations are read before the
//! Secret and written with the version that was read: a bundle is written only if no other was since, and so none
//! that was made from an older Secret replaces one that was made from a newer.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_serving::tls::Change;
use function_mesh_serving::{Certificates, Gate};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use super::certificate::{Authority, Moment};
use super::configurations::{Configuration, Reading};
use super::held::{Found, Held};
use super::metrics::Metrics;
use super::step::{Plan, Seen, Step, next, take};
use super::trouble::Trouble;

/// Who writes the Secret.
const MANAGER: &str = "functionmesh.io/authority";
/// How long the API server may take for one answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How often to look, at most and at least: a bundle that somebody wiped is back after as long.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// The longest wait after failures.
const LONGEST: Duration = Duration::from_secs(15);

/// What keeps the Secret, the configurations and the served certificate in step.
pub(super) struct Keeper {
    secrets: Api<Secret>,
    /// Namespace and name of the Secret.
    name: (String, String),
    configurations: Vec<Configuration>,
    plan: Plan,
    certificates: Arc<Certificates>,
    served: Gate,
    metrics: Metrics,
    /// What was served last.
    known: Option<Held>,
    /// Since when all configurations are seen to trust these certificates.
    trusted: Option<(String, Instant)>,
    /// Since when this authority is seen to sign.
    signing: Option<(Authority, Instant)>,
    /// What was told of last, so that it is told once.
    told: String,
}

impl Keeper {
    pub(super) fn new(
        client: &Client,
        (namespace, name): (String, String),
        configurations: Vec<Configuration>,
        plan: Plan,
        (certificates, served, metrics): (Arc<Certificates>, Gate, Metrics),
    ) -> Self {
        let secrets = Api::namespaced(client.clone(), &namespace);
        let name = (namespace, name);
        let (known, trusted, signing, told) = (None, None, None, String::new());
        Self {
            secrets,
            name,
            configurations,
            plan,
            certificates,
            served,
            metrics,
            known,
            trusted,
            signing,
            told,
        }
    }

    /// Goes on until `shutdown` is cancelled.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let look = (self.plan.grace / 3).clamp(LOOK.0, LOOK.1);
        // A replica must not sleep through a change of authorities.
        let longest = LONGEST.min(self.plan.grace / 2).max(look);
        let mut failures = 0_u32;
        loop {
            let pause = match shutdown.run_until_cancelled(self.round()).await {
                None => return,
                Some(Ok(Progress::Wait(most))) => {
                    failures = 0;
                    self.told.clear();
                    look.min(most.max(LOOK.0))
                }
                Some(Ok(Progress::Again)) => LOOK.0 / 5,
                Some(Err(trouble)) => {
                    self.tell(&trouble);
                    failures = failures.saturating_add(1);
                    look.saturating_mul(1 << failures.min(10)).min(longest)
                }
            };
            if shutdown.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    fn tell(&mut self, trouble: &Trouble) {
        self.metrics.failed();
        let text = trouble.to_string();
        if self.told == text {
            tracing::debug!(trouble = text, "still so");
            return;
        }
        tracing::warn!(
            trouble = text,
            served = self.certificates.is_set(),
            "certificates are not in order; trying again"
        );
        self.told = text;
    }

    async fn round(&mut self) -> Result<Progress, Trouble> {
        // What is wrong with a configuration is told last: there is a certificate to serve all the same.
        let mut trouble = None;
        let read = self.configurations.iter().map(async |configuration| {
            let title = configuration.title();
            let found = answer("get", &title, configuration.read()).await?;
            found.ok_or(Trouble::Missing(title))
        });
        let readings = join_all(read).await.into_iter();
        let readings: Vec<_> =
            readings.map(|read| read.map_err(|error| trouble = Some(error)).ok()).collect();
        let secret = answer("get", &self.title(), self.secrets.get_opt(&self.name.1)).await?;
        let held = self.look_into(secret.as_ref())?;
        if let Some(held) = &held {
            self.take_up(held)?;
            if let Err(error) = self.publish(held, &readings).await {
                trouble = Some(error);
            }
        }
        let now = now();
        let step = next(held.as_ref(), now, self.seen(held.as_ref()), &self.plan);
        if let Step::Wait(until) = step {
            return trouble.map_or_else(|| Ok(Progress::Wait(until.saturating_sub(now))), Err);
        }
        let held = take(step, held.as_ref(), self.known.as_ref(), now, &self.plan)?;
        if self.write(secret, &held).await? {
            self.metrics.stepped(step);
            tracing::info!(step = step.as_str(), secret = self.title(), "certificates changed");
            self.take_up(&held)?;
        }
        Ok(Progress::Again)
    }

    fn title(&self) -> String {
        format!("Secret {}/{}", self.name.0, self.name.1)
    }

    fn look_into(&self, secret: Option<&Secret>) -> Result<Option<Held>, Trouble> {
        match secret.map_or(Found::Empty, Found::read) {
            Found::Empty => Ok(None),
            Found::Held(held, faults) => {
                for fault in faults {
                    tracing::warn!(
                        secret = self.title(),
                        fault,
                        "a part of the Secret is no good; made anew"
                    );
                }
                Ok(Some(*held))
            }
            Found::Broken(fault) => {
                tracing::warn!(secret = self.title(), fault, "the Secret is no good; all is made anew");
                Ok(None)
            }
            Found::Foreign(why) => Err(Trouble::Foreign { secret: self.title(), why }),
        }
    }

    /// Serves what is held, if it is good.
    fn take_up(&mut self, held: &Held) -> Result<(), Trouble> {
        let Some(serving) = held.serving.as_ref().filter(|serving| serving.certificate.is_valid(now()))
        else {
            return Ok(());
        };
        let (certificate, key) = (serving.certificate.pem().as_bytes(), serving.key().pem().as_bytes());
        if self.certificates.set(certificate, key, SystemTime::now()) == Change::Refused {
            return Err(Trouble::Unfit(self.title()));
        }
        self.served.set(self.certificates.is_set());
        self.metrics.expires(held.authority.certificate.not_after);
        if self.signing.as_ref().is_none_or(|(authority, _)| *authority != held.authority) {
            self.signing = Some((held.authority.clone(), Instant::now()));
        }
        self.known = Some(held.clone());
        Ok(())
    }

    /// Lets all configurations trust what is held, and notes since when they do.
    async fn publish(&mut self, held: &Held, readings: &[Option<Reading>]) -> Result<(), Trouble> {
        let trusted = held.trusted();
        let is_trusted = |reading: &Option<Reading>| reading.as_ref().is_some_and(|it| it.trusts(&trusted));
        let all = readings.iter().all(is_trusted);
        self.metrics.trusted(all);
        if all {
            if self.trusted.as_ref().is_none_or(|(before, _)| *before != trusted) {
                self.trusted = Some((trusted, Instant::now()));
            }
            return Ok(());
        }
        self.trusted = None;
        // What is wrong with one of them does not keep the other untrusted.
        let mut result = Ok(());
        for (configuration, reading) in self.configurations.iter().zip(readings) {
            let Some(reading) = reading.as_ref().filter(|reading| !reading.trusts(&trusted)) else {
                continue;
            };
            let title = configuration.title();
            match answer("patch", &title, configuration.write(reading, &trusted)).await {
                Ok(()) => tracing::info!(configuration = title, "trusts the authorities of the Secret"),
                // Somebody else wrote it: it is read again soon.
                Err(trouble) if trouble.is_conflict() => {}
                Err(trouble) => result = Err(trouble),
            }
        }
        result
    }

    fn seen(&self, held: Option<&Held>) -> Seen {
        let trusted = held.zip(self.trusted.as_ref()).filter(|(held, (text, _))| held.trusted() == *text);
        let signing =
            held.zip(self.signing.as_ref()).filter(|(held, (authority, _))| held.authority == *authority);
        Seen {
            trusted: trusted.map(|(_, (_, since))| since.elapsed()),
            signing: signing.map(|(_, (_, since))| since.elapsed()).unwrap_or_default(),
        }
    }

    /// Writes the Secret, unless somebody was faster.
    async fn write(&self, secret: Option<Secret>, held: &Held) -> Result<bool, Trouble> {
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let title = self.title();
        let written = if let Some(mut secret) = secret {
            secret.data = Some(held.data());
            answer("update", &title, self.secrets.replace(&self.name.1, &params, &secret)).await
        } else {
            let metadata = ObjectMeta { name: Some(self.name.1.clone()), ..ObjectMeta::default() };
            let secret = Secret {
                metadata,
                type_: Some("Opaque".to_owned()),
                data: Some(held.data()),
                ..Secret::default()
            };
            answer("create", &title, self.secrets.create(&params, &secret)).await
        };
        match written {
            Ok(_) => Ok(true),
            Err(trouble) if trouble.is_conflict() => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }
}

/// What to do after a round.
enum Progress {
    /// To look again at once: something was written.
    Again,
    /// To wait, so long at most.
    Wait(Duration),
}

async fn answer<T>(
    verb: &'static str,
    what: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Trouble> {
    match timeout(ANSWER, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Trouble::of(verb, what, source)),
        Err(_) => Err(Trouble::Late { verb, what: what.to_owned() }),
    }
}

fn now() -> Moment {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
