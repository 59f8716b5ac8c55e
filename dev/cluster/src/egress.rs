//! How the API server reaches what runs in the cluster, webhooks above all: through a proxy, as where control plane and nodes have
//! networks of their own (`EgressSelectorConfiguration`). It asks for a pod's address, and is connected with the process that
//! stands for the pod. Services it looks up itself, so that manifests need no change here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::files;
use crate::network::loopback;

/// How long a request and a connection may take.
const WITHIN: Duration = Duration::from_secs(10);
/// Paths of sockets are short: what the kernel takes, less one.
const LONGEST_PATH: usize = 107;

/// Listens below the folder, and says in a file for the API server where.
pub(crate) fn listen(folder: &Path) -> anyhow::Result<UnixListener> {
    let socket = folder.join("egress.sock");
    let length = socket.as_os_str().len();
    anyhow::ensure!(
        length <= LONGEST_PATH,
        "the path `{}` has {length} bytes, and a socket's may have {LONGEST_PATH}: choose a folder with a shorter one",
        socket.display()
    );
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener =
        UnixListener::bind(&socket).with_context(|| format!("failed to listen on `{}`", socket.display()))?;
    let selection = json!({
        "name": "cluster",
        "connection": {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": socket}}},
    });
    let configuration = json!({
        "apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration", "egressSelections": [selection],
    });
    files::write_atomically(&folder.join("egress.json"), &serde_json::to_vec_pretty(&configuration)?)?;
    Ok(listener)
}

/// Connects until the future is dropped, and all connections with it.
pub(crate) async fn serve(listener: UnixListener, number: u8) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(async move {
                        if let Err(error) = connect(stream, number).await {
                            tracing::debug!(error = %error, "a connection from the API server ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(error = %error, "a connection from the API server could not be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn connect(stream: UnixStream, number: u8) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let wanted = tokio::time::timeout(WITHIN, request(&mut stream)).await??;
    let Some(address) = target(&wanted, number) else {
        return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    };
    let connected = tokio::time::timeout(WITHIN, TcpStream::connect(address)).await;
    let Ok(Ok(mut server)) = connected else {
        return stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
    };
    stream.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut stream, &mut server).await.map(|_| ())
}

/// The address out of `CONNECT address HTTP/1.1` and headers.
async fn request(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut address = None;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => return address.ok_or_else(|| io::ErrorKind::InvalidData.into()),
            ["CONNECT", wanted, _] => address = Some((*wanted).to_owned()),
            _ => {}
        }
    }
}

/// Where somebody listens for that address: pods on loopback, under the same numbers.
fn target(wanted: &str, number: u8) -> Option<SocketAddr> {
    let wanted: SocketAddr = wanted.parse().ok()?;
    match wanted.ip() {
        IpAddr::V4(ip) if ip.octets().starts_with(&[10, number]) => {
            Some(SocketAddr::new(loopback(ip).into(), wanted.port()))
        }
        ip if ip.is_loopback() => Some(wanted),
        _ => None,
    }
}

/// What the API server is to be told.
pub(crate) fn arguments(folder: &Path) -> [String; 2] {
    [
        format!("--egress-selector-config-file={}", folder.join("egress.json").display()),
        // Addresses of Services lead nowhere: those of the pods behind them are asked for.
        "--enable-aggregator-routing=true".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_reached_on_loopback_and_strangers_not() {
        let target = |wanted: &str| target(wanted, 40).map(|it| it.to_string());
        assert_eq!(target("10.40.1.7:8443").as_deref(), Some("127.40.1.7:8443"));
        assert_eq!(target("127.40.0.1:10250").as_deref(), Some("127.40.0.1:10250"));
        assert_eq!(target("10.41.1.7:8443"), None);
        assert_eq!(target("example.com:443"), None);
    }

    #[tokio::test]
    async fn bytes_pass_both_ways() {
        let folder = std::env::temp_dir().join(format!("stepwright-egress-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let listener = listen(&folder).unwrap();
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let work = async {
            let mut client = UnixStream::connect(folder.join("egress.sock")).await.unwrap();
            client.write_all(format!("CONNECT {address} HTTP/1.1\r\nHost: x\r\n\r\nping").as_bytes()).await.unwrap();
            let (mut taken, _) = server.accept().await.unwrap();
            let mut bytes = [0; 4];
            tokio::io::AsyncReadExt::read_exact(&mut taken, &mut bytes).await.unwrap();
            assert_eq!(&bytes, b"ping");
            taken.write_all(b"pong").await.unwrap();
            drop(taken);
            let mut answer = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut client, &mut answer).await.unwrap();
            assert!(answer.ends_with("\r\n\r\npong"), "{answer}");
        };
        tokio::select! {
            () = serve(listener, 40) => unreachable!("it serves until it is dropped"),
            () = work => {}
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
