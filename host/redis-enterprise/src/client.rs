//! Calls to one cluster: which node is asked, redirects, credentials, and what is tried again.
//!
//! | answer | what is done (REST reference, 1.5 and 2.2) |
//! |---|---|
//! | 307 | followed at most twice, only to a pod of this cluster, with the same credentials and body; that node is remembered as master |
//! | 401 | passed on, of reads as `CredentialsRefused`; the credential is not sent again until it changes or has rested (`lockout`) |
//! | 503 | the master is forgotten; a read is sent to the other nodes, a change is passed on |
//! | no connection, no member, unknown certificate | the next node is asked: nothing was sent |
//! | reply lost, or the pod is gone meanwhile | a read is sent to the other nodes; a change may have been made, so it is never repeated here |
//! | anything else, 409, 500 and 504 among them | passed on: the step that asked looks at the facts and plans anew |

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Uri};
use kube::core::DynamicObject;
use parking_lot::Mutex;
use stepwright_core::secrets::Fingerprinter;
use stepwright_operator::system::{Reader, ResolvedCall, SystemId};
use tokio_rustls::TlsConnector;

use crate::connection::{Answer, BOOTSTRAP, Connections, Counters, Exchange, Guard};
use crate::dialer::{Dialer, PodRef};
use crate::error::{CallError, Cause};
use crate::lockout::{Lockout, Permit};
use crate::members::{Credentials, Members, cluster_type};
use crate::remote::{self, ByName, Remote};
use crate::settings::Settings;
use crate::tls::{Certificate, Trust};

const MAX_REDIRECTS: usize = 2;
/// Changes below it are tasks, whose ids the caller may choose (REST reference, 11.1).
const CRDBS: &str = "/v1/crdbs";
/// How often the caches are asked whether a process that owes an answer still runs.
const LOOKS: Duration = Duration::from_millis(250);

/// What is shared by the clients of all clusters.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) dialer: Arc<dyn Dialer>,
    pub(crate) fingerprinter: Arc<Fingerprinter>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) counters: Arc<Counters>,
    /// An error if this build's cryptography cannot do TLS.
    pub(crate) tls: Result<TlsConnector, rustls::Error>,
}

/// The way to one cluster.
pub(crate) struct Client {
    system: SystemId,
    tools: Tools,
    connections: Connections,
    /// The cluster's name (FQDN).
    name: String,
    trust: Arc<Trust>,
    lockout: Arc<Lockout>,
    /// The pod that last carried something out.
    master: Mutex<Option<String>>,
}

impl Client {
    pub(crate) fn new(system: SystemId, tools: Tools) -> Self {
        let is_remote = remote::name_of(&system).is_some();
        let lockout = if is_remote { Lockout::shared() } else { Lockout::own() };
        Self::with(system, tools, Arc::default(), Arc::new(lockout))
    }

    /// A second way to the same cluster, with connections of its own: what takes long on one is in nobody's way on the other. What
    /// is known of the login and of certificates is shared.
    pub(crate) fn beside(&self, tools: Tools) -> Self {
        Self::with(self.system.clone(), tools, self.trust.clone(), self.lockout.clone())
    }

    fn with(system: SystemId, tools: Tools, trust: Arc<Trust>, lockout: Arc<Lockout>) -> Self {
        let (name, asked, dialer): (_, _, Arc<dyn Dialer>) = match remote::name_of(&system) {
            None => {
                let name = format!("{}.{}.svc.{}", system.name, system.namespace, tools.settings.cluster_domain);
                (name.clone(), Some(name), tools.dialer.clone())
            }
            Some(remote) => (remote.to_owned(), None, Arc::new(ByName { resolve: tools.settings.resolve.clone() })),
        };
        let connections = Connections::new(dialer, tools.tls.clone(), asked, tools.counters.clone(), &tools.settings);
        Self { system, tools, connections, name, trust, lockout, master: Mutex::default() }
    }

    fn remote(&self) -> Result<Option<Remote>, CallError> {
        let Some(name) = remote::name_of(&self.system) else { return Ok(None) };
        let remote = Remote::of(&self.system, self.tools.reader.as_ref());
        remote.map(Some).ok_or_else(|| CallError::NoRemote(name.to_owned()))
    }

    fn cluster(&self) -> Result<Arc<DynamicObject>, CallError> {
        let found = self.tools.reader.get(&cluster_type(), &self.system.namespace, &self.system.name);
        found.ok_or_else(|| CallError::NoCluster(self.system.name.clone()))
    }

    pub(crate) fn members(&self) -> Members {
        match self.remote() {
            Ok(Some(remote)) => remote.members(&self.system),
            Ok(None) => Members::of(&self.system, self.tools.reader.as_ref()),
            Err(_) => Members::default(),
        }
    }

    /// Forgets connections to pods that are gone.
    pub(crate) fn keep(&self, members: &Members) {
        let pods: Vec<&PodRef> = members.reachable.iter().map(|member| &member.pod).collect();
        self.connections.keep(&pods);
    }

    pub(crate) fn credentials(&self) -> Result<Credentials, CallError> {
        let (reader, fingerprinter) = (self.tools.reader.as_ref(), self.tools.fingerprinter.as_ref());
        match self.remote()? {
            Some(remote) => Credentials::of_remote(&self.system, &remote, reader, fingerprinter),
            None => Credentials::of(&self.system, self.cluster()?.as_ref(), reader, fingerprinter),
        }
    }

    /// `GET` a path of the cluster. A login that is refused is an error here, so that whoever reads several stops at the first.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, CallError> {
        let answer = self.anywhere(&Exchange::get(path, self.tools.settings.read_timeout)).await?;
        if answer.status == 401 {
            return Err(CallError::CredentialsRefused { secret: self.credentials()?.secret });
        }
        Ok(answer)
    }

    /// What one pod says of its own bootstrap, asked without credentials.
    pub(crate) async fn bootstrap(&self, pod: &PodRef) -> Result<Answer, CallError> {
        self.connections.anonymous(pod, &Exchange::get(BOOTSTRAP, self.tools.settings.probe_timeout)).await
    }

    /// Sends a step's call.
    pub(crate) async fn call(&self, call: &ResolvedCall) -> Result<Answer, CallError> {
        if self.remote()?.is_none() {
            self.cluster()?;
        }
        let malformed = |what| CallError::Malformed { what };
        let method = Method::from_bytes(call.method.as_bytes()).map_err(|_| malformed("no such method"))?;
        if !call.path.starts_with('/') || call.path.parse::<Uri>().is_err() {
            return Err(malformed("the path is not one"));
        }
        let body = call.body.as_ref().map(|body| Bytes::from(body.clone().into_bytes()));
        let exchange = Exchange {
            method,
            path: call.path.clone(),
            body,
            limit: self.tools.settings.read_timeout,
            task: task(call),
        };
        let Some(target) = call.target.as_deref() else { return self.anywhere(&exchange).await };
        let members = self.members();
        let member = members.named(target).ok_or_else(|| CallError::UnknownTarget { pod: target.to_owned() })?;
        if is_bootstrap(&exchange.path) {
            // A node without a cluster knows no users.
            return self.while_it_runs(&member.pod, self.connections.anonymous(&member.pod, &exchange)).await;
        }
        let authority = self.authority()?;
        self.while_it_runs(&member.pod, self.connections.authorised(&member.pod, &exchange, &authority)).await
    }

    /// Waits for an answer for as long as Kubernetes says that the process which was asked still runs. What lies in between may
    /// never tell that it does not: a port-forward outlives its pod, a lost machine closes nothing.
    async fn while_it_runs(
        &self,
        pod: &PodRef,
        asked: impl Future<Output = Result<Answer, CallError>>,
    ) -> Result<Answer, CallError> {
        let process = self.members().process(pod).map(str::to_owned);
        let gone = async {
            loop {
                tokio::time::sleep(LOOKS).await;
                if self.members().process(pod) != process.as_deref() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            answer = asked => answer,
            () = gone => Err(CallError::Lost { pod: pod.pod.clone(), cause: Cause::Closed }),
        }
    }

    /// Asks one node after another until one answers for the cluster.
    async fn anywhere(&self, exchange: &Exchange) -> Result<Answer, CallError> {
        let authority = self.authority()?;
        let members = self.members();
        let mut pods: Vec<&PodRef> = members.reachable.iter().map(|member| &member.pod).collect();
        let master = self.master.lock().clone();
        pods.sort_by_key(|pod| Some(&pod.pod) != master.as_ref());
        let mut last = Err(CallError::NoNode);
        for pod in pods {
            let result = self.follow(pod, exchange, &members, &authority).await;
            let elsewhere = match &result {
                Ok(answer) => answer.status == 503,
                Err(error) => error.elsewhere(exchange.safe()),
            };
            if elsewhere {
                *self.master.lock() = None;
            }
            // Of several reasons the one that came closest to an answer is told.
            let closer = match (&last, &result) {
                (Ok(_), _) => false,
                (_, Ok(_)) | (Err(CallError::NoNode), _) => true,
                (Err(CallError::NotMember { .. }), Err(error)) => !matches!(error, CallError::NotMember { .. }),
                _ => false,
            };
            let repeat = elsewhere && (exchange.safe() || result.is_err());
            if !repeat {
                return result;
            }
            if closer {
                last = result;
            }
        }
        last
    }

    async fn follow(
        &self,
        pod: &PodRef,
        exchange: &Exchange,
        members: &Members,
        authority: &Authority<'_>,
    ) -> Result<Answer, CallError> {
        let mut pod = pod;
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.while_it_runs(pod, self.connections.authorised(pod, exchange, authority)).await?;
            if answer.status != 307 {
                if answer.status != 503 && answer.status != 401 {
                    *self.master.lock() = Some(pod.pod.clone());
                }
                return Ok(answer);
            }
            let foreign = || CallError::ForeignRedirect { pod: pod.pod.clone() };
            let next =
                answer.location.as_deref().and_then(address).and_then(|ip| members.at(&ip)).ok_or_else(foreign)?;
            pod = &next.pod;
        }
        Err(CallError::TooManyRedirects { pod: pod.pod.clone(), limit: MAX_REDIRECTS })
    }

    fn authority(&self) -> Result<Authority<'_>, CallError> {
        Ok(Authority { client: self, credentials: self.credentials()?, attempt: AtomicBool::new(false) })
    }
}

/// Whether a path is served by the asked node itself, before it knows any user.
pub(crate) fn is_bootstrap(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or(path);
    path == BOOTSTRAP || path.strip_prefix(BOOTSTRAP).is_some_and(|rest| rest.starts_with('/'))
}

/// The id of a task that a call begins: what the id of the call says behind `task:`, where the API takes one.
fn task(call: &ResolvedCall) -> Option<String> {
    let takes = call.path == CRDBS || call.path.strip_prefix(CRDBS).is_some_and(|rest| rest.starts_with(['/', '?']));
    call.id.strip_prefix("task:").filter(|_| takes && call.method != "GET").map(str::to_owned)
}

/// The host of a `Location`.
fn address(location: &str) -> Option<String> {
    let uri: Uri = location.parse().ok()?;
    Some(uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned())
}

/// The credentials of one call, and the rules for sending them.
struct Authority<'a> {
    client: &'a Client,
    credentials: Credentials,
    /// This call has the one attempt that a refused credential gets after its rest.
    attempt: AtomicBool,
}

impl Guard for Authority<'_> {
    fn is_proven(&self) -> bool {
        self.client.lockout.is_proven(&self.credentials.fingerprint)
    }

    fn before(&self, pod: &PodRef, certificate: &Certificate) -> Result<HeaderValue, CallError> {
        let (client, pod) = (self.client, pod.pod.clone());
        let names = client.remote()?.map(|it| it.names(&client.tools.settings.cluster_domain)).unwrap_or_default();
        match &self.credentials.authority {
            Some(authority) if !certificate.is_vouched_for(authority, &names) => {
                return Err(CallError::CertificateNotVouched { pod, secret: self.credentials.secret.clone() });
            }
            None if !client.trust.allows(certificate) && !certificate.is_made_for(&names) => {
                return Err(CallError::CertificateChanged { pod, cluster: client.name.clone() });
            }
            _ => {}
        }
        if !self.attempt.load(Ordering::Relaxed) {
            match self.client.lockout.ask(&self.credentials.fingerprint, Instant::now()) {
                Permit::No => {
                    return Err(CallError::CredentialsRefused { secret: self.credentials.secret.clone() });
                }
                Permit::Yes => {}
                Permit::OneAttempt => self.attempt.store(true, Ordering::Relaxed),
            }
        }
        Ok(self.credentials.header.clone())
    }

    fn after(&self, certificate: &Certificate, status: u16) {
        match status {
            401 => {
                self.attempt.store(false, Ordering::Relaxed);
                self.client.lockout.refused(&self.credentials.fingerprint, Instant::now());
            }
            // A node may redirect or be out of order without having looked at the credentials.
            200..300 | 400 | 403..500 => {
                self.client.lockout.accepted(&self.credentials.fingerprint);
                self.client.trust.accepted(certificate);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_redirect_is_read() {
        assert_eq!(address("https://10.0.0.5:9443/v1/bdbs").as_deref(), Some("10.0.0.5"));
        assert_eq!(address("https://[fd00::5]:9443/v1").as_deref(), Some("fd00::5"));
        assert_eq!(address("/v1/bdbs"), None);
        assert_eq!(address("::"), None);
    }

    #[test]
    fn only_bootstrap_paths_are_asked_without_credentials() {
        for path in ["/v1/bootstrap", "/v1/bootstrap?x=1", "/v1/bootstrap/create_cluster"] {
            assert!(is_bootstrap(path), "{path}");
        }
        for path in ["/v1/bootstrapped", "/v1/bdbs", "/v1", "/v1/cluster?next=/v1/bootstrap"] {
            assert!(!is_bootstrap(path), "{path}");
        }
    }
}
