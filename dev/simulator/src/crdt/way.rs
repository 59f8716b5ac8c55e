//! The way to an instance's database: where it is dialled, and how it is asked for.

use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    faults::Kind,
    node::Node,
    settings::dial,
    state::{
        Certificate,
        crdb::{Crdb, Instance},
    },
    tls_client,
};

/// Who has not answered in this time is not there.
pub(super) const SILENCE: Duration = Duration::from_secs(5);

/// A connection, with TLS or without.
pub(super) type Stream = BufReader<Box<dyn Bytes>>;

/// What a connection can do.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

/// Where an instance's database is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Way {
    places: Vec<(String, u16)>,
    /// The name to ask for with TLS; none = plain.
    tls: Option<String>,
    /// What is shown there.
    certificate: Option<Certificate>,
}

impl Way {
    /// As it was said, with TLS, else to where its proxies are in its own network.
    pub(super) fn to(crdb: &Crdb, instance: &Instance, certificate: Option<Certificate>) -> Self {
        let said = instance.replication_endpoint.as_deref().and_then(|endpoint| endpoint.rsplit_once(':'));
        if let Some((host, port)) = said.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?))) {
            let name = instance.replication_tls_sni.clone().unwrap_or_else(|| host.clone());
            return Self { places: vec![(host, port)], tls: Some(name), certificate };
        }
        let peer = crdb.peers.get(&instance.id);
        let tls = peer.is_some_and(|peer| peer.tls).then(|| instance.name.clone());
        Self { places: peer.map(|peer| peer.endpoints.clone()).unwrap_or_default(), tls, certificate }
    }

    /// Connects. An error is words for the report of the link.
    pub(super) async fn open(&self, node: &Node) -> Result<Stream, String> {
        if node.faults.stands(&Kind::CrdbPeer) {
            return Err("cut off on demand".to_owned());
        }
        let mut why = "it is not known where its database is".to_owned();
        for (host, port) in &self.places {
            let (address, to) = node.settings.resolve.lead(host, *port);
            let opening = TcpStream::connect((dial(&address), to));
            let stream = match tokio::time::timeout(SILENCE, opening).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    why = format!("failed to connect to {host}:{port}: {error}");
                    continue;
                }
                Err(_) => {
                    why = format!("{host}:{port} does not answer");
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let Some(name) = &self.tls else { return Ok(BufReader::new(Box::new(stream))) };
            let asked = ServerName::try_from(name.clone()).map_err(|error| format!("{name}: {error}"))?;
            let config = tls_client::trusting(self.certificate.as_ref()).map_err(|error| error.to_string())?;
            match tokio::time::timeout(SILENCE, TlsConnector::from(config).connect(asked, stream)).await {
                Ok(Ok(stream)) => return Ok(BufReader::new(Box::new(stream))),
                Ok(Err(error)) => why = format!("failed to speak TLS with {host}:{port} as {name}: {error}"),
                Err(_) => why = format!("{host}:{port} does not speak TLS"),
            }
        }
        Err(why)
    }
}
