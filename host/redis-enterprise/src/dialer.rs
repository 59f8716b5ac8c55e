//! How a node is reached: straight at its pod's address, or through the API server. Bytes only; TLS is `tls`'s.

use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, Portforwarder};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

/// A pod that is a node: names it for the API server, and says where it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodRef {
    pub namespace: String,
    pub pod: String,
    /// `status.podIP`.
    pub ip: String,
}

/// A stream of bytes in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Opens a stream to a port of a pod. Time limits are the caller's.
#[async_trait]
pub trait Dialer: Send + Sync {
    async fn dial(&self, pod: &PodRef, port: u16) -> std::io::Result<Box<dyn Io>>;
}

/// TCP to the pod's address: for an operator that runs inside the cluster.
#[derive(Debug, Default, Clone, Copy)]
pub struct Direct;

impl Direct {
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Dialer for Direct {
    async fn dial(&self, pod: &PodRef, port: u16) -> std::io::Result<Box<dyn Io>> {
        let stream = TcpStream::connect((pod.ip.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// The API server's port-forward: for an operator that runs outside of the cluster. One stream for each connection.
#[derive(Clone)]
pub struct PortForward {
    client: Client,
}

impl PortForward {
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl Dialer for PortForward {
    async fn dial(&self, pod: &PodRef, port: u16) -> std::io::Result<Box<dyn Io>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let mut forwarder = pods.portforward(&pod.pod, &[port]).await.map_err(std::io::Error::other)?;
        let stream = forwarder.take_stream(port).ok_or(std::io::ErrorKind::NotConnected)?;
        Ok(Box::new(Forwarded { stream, forwarder }))
    }
}

/// A forwarded stream together with the task that feeds it, which ends with it.
struct Forwarded {
    stream: DuplexStream,
    forwarder: Portforwarder,
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}

impl AsyncRead for Forwarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
