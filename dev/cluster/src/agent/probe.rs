//! One check of a probe: a command, an HTTP request, or a connection.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::process::{Guarded, Spec};

/// How much of a command's output is kept for the message.
const OUTPUT_LIMIT: u64 = 4096;

/// What a check needs of its container.
pub(crate) struct Target<'a> {
    pub(crate) container: &'a Container,
    /// Where the pod's ports are served.
    pub(crate) host: Ipv4Addr,
    /// How a command is started in the container; program and arguments are filled in.
    pub(crate) spec: &'a Spec,
    /// The arguments as the process has to see them.
    pub(crate) rewrite: &'a (dyn Fn(&str) -> String + Sync),
}

/// Checks once; the error is what goes into the Event.
pub(crate) async fn check(probe: &Probe, target: &Target<'_>) -> Result<(), String> {
    let limit = Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1));
    match tokio::time::timeout(limit, check_untimed(probe, target)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("timed out after {} s", limit.as_secs())),
    }
}

async fn check_untimed(probe: &Probe, target: &Target<'_>) -> Result<(), String> {
    if let Some(action) = &probe.exec {
        return run(action.command.as_deref().unwrap_or_default(), target).await;
    }
    if let Some(action) = &probe.http_get {
        return get(action, target).await;
    }
    if let Some(action) = &probe.tcp_socket {
        let port = port(&action.port, target.container)?;
        return TcpStream::connect((target.host, port)).await.map(drop).map_err(|error| error.to_string());
    }
    Err("this kind of probe is not supported by the development cluster".to_owned())
}

async fn run(command: &[String], target: &Target<'_>) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else { return Err("no command given".to_owned()) };
    let spec = Spec {
        program: (target.rewrite)(program).into(),
        arguments: arguments.iter().map(|argument| (target.rewrite)(argument).into()).collect(),
        pid_file: None,
        ..target.spec.clone()
    };
    let mut process = Guarded::spawn(&spec, Stdio::piped(), Stdio::piped()).map_err(|error| format!("{error:#}"))?;
    let (stdout, stderr) = process.outputs();
    let (stdout, stderr, code) = tokio::join!(read(stdout), read(stderr), process.wait());
    if code == 0 { Ok(()) } else { Err(format!("{stdout}{stderr}").trim().to_owned()) }
}

async fn read(output: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut output) = output else { return String::new() };
    let mut bytes = Vec::new();
    let _ = (&mut output).take(OUTPUT_LIMIT).read_to_end(&mut bytes).await;
    // The rest is read and dropped, so that the command does not end of a closed pipe.
    let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn get(action: &HTTPGetAction, target: &Target<'_>) -> Result<(), String> {
    let port = port(&action.port, target.container)?;
    let stream = TcpStream::connect((target.host, port)).await.map_err(|error| error.to_string())?;
    let code = if action.scheme.as_deref() == Some("HTTPS") {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(trust_anybody()?));
        let name = ServerName::IpAddress(std::net::IpAddr::V4(target.host).into());
        let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        status_code(action, stream).await?
    } else {
        status_code(action, stream).await?
    };
    if (200..400).contains(&code) { Ok(()) } else { Err(format!("HTTP probe failed with statuscode: {code}")) }
}

async fn status_code(action: &HTTPGetAction, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<u16, String> {
    let path = action.path.as_deref().unwrap_or("/");
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\nUser-Agent: kube-probe/stepwright\r\n");
    let headers = action.http_headers.iter().flatten();
    let mut has_host = false;
    for header in headers {
        has_host |= header.name.eq_ignore_ascii_case("host");
        request.push_str(&format!("{}: {}\r\n", header.name, header.value));
    }
    if !has_host {
        request.push_str(&format!("Host: {}\r\n", action.host.as_deref().unwrap_or("localhost")));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    // "HTTP/1.1 200" is all that is wanted; some servers end the connection without the closing of TLS.
    while answer.len() < 12 {
        let mut buffer = [0_u8; 64];
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => answer.extend(buffer.iter().take(count)),
            _ => break,
        }
    }
    let line = String::from_utf8_lossy(&answer);
    line.split(' ').nth(1).and_then(|code| code.get(..3)?.parse().ok()).ok_or_else(|| "no HTTP answer".to_owned())
}

fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let declared = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name));
            declared.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    };
    number.and_then(|number| u16::try_from(number).ok()).ok_or_else(|| "the probe's port is unknown".to_owned())
}

/// A kubelet does not verify certificates either.
fn trust_anybody() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAnybody(provider)))
        .with_no_client_auth();
    Ok(config)
}

#[derive(Debug)]
struct TrustAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
