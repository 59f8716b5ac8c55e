//! Why a call had no answer, and what an answer that is an error says.
//!
//! Texts are stable from one try to the next: they become part of facts, and a fact that differs each time would wake
//! everybody. Details of a failure (addresses, operating system errors) go to the debug log where it happens.

use serde_json::Value;

/// Longest part of a foreign text that is passed on.
const MAX_TEXT: usize = 300;

/// What went wrong on the wire, as a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    #[error("connection refused")]
    Refused,
    #[error("no route to it")]
    NoRoute,
    #[error("its host name cannot be resolved")]
    NoName,
    #[error("timed out")]
    TimedOut,
    #[error("connection closed")]
    Closed,
    #[error("TLS handshake failed")]
    Tls,
    #[error("the reply is not HTTP")]
    NotHttp,
    #[error("the reply is cut off or not JSON")]
    CutOff,
    #[error("the reply is too large")]
    TooLarge,
    #[error("the reply is neither JSON nor text")]
    NotText,
    #[error("it does not say whether it is a member of the cluster")]
    Undecided,
    #[error("connection failed")]
    Other,
}

impl From<&std::io::Error> for Cause {
    fn from(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => Self::NoRoute,
            ErrorKind::NotFound => Self::NoName,
            ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe => Self::Closed,
            ErrorKind::InvalidData => Self::Tls,
            _ => Self::Other,
        }
    }
}

/// No answer came, or none was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("RedisEnterpriseCluster `{0}` does not exist")]
    NoCluster(String),
    #[error("RedisEnterpriseRemoteCluster `{0}` does not exist")]
    NoRemote(String),
    #[error("the cluster has no node with an address yet")]
    NoNode,
    #[error("{pod} is not a member of a cluster yet")]
    NotMember { pod: String },
    #[error("`{pod}` is not a node of this cluster or has no address yet")]
    UnknownTarget { pod: String },
    #[error("{pod} is not reachable: {cause}")]
    Unreachable { pod: String, cause: Cause },
    #[error("no answer from {pod}: {cause}")]
    Lost { pod: String, cause: Cause },
    #[error("Secret `{secret}` does not exist or lacks a user name or password")]
    NoCredentials { secret: String },
    #[error(
        "the user name or password in Secret `{secret}` was refused; it is not tried again until the Secret changes or a while has passed, since five attempts lock the account"
    )]
    CredentialsRefused { secret: String },
    #[error(
        "{pod} shows a certificate that is neither the one known nor made for `{cluster}`; no credentials were sent to it"
    )]
    CertificateChanged { pod: String, cluster: String },
    #[error(
        "{pod} shows a certificate that `ca.crt` of Secret `{secret}` does not vouch for; no credentials were sent to it"
    )]
    CertificateNotVouched { pod: String, secret: String },
    #[error("{pod} redirects to an address that is not a node of this cluster; no credentials were sent there")]
    ForeignRedirect { pod: String },
    #[error("{pod} redirects once more after {limit} redirects")]
    TooManyRedirects { pod: String, limit: usize },
    #[error("the call is malformed: {what}")]
    Malformed { what: &'static str },
}

impl CallError {
    /// Metric label and log field.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoCluster(_) => "NoCluster",
            Self::NoRemote(_) => "NoRemoteCluster",
            Self::NoNode => "NoNode",
            Self::NotMember { .. } => "NotMember",
            Self::UnknownTarget { .. } => "UnknownTarget",
            Self::Unreachable { .. } => "Unreachable",
            Self::Lost { .. } => "ReplyLost",
            Self::NoCredentials { .. } => "NoCredentials",
            Self::CredentialsRefused { .. } => "CredentialsRefused",
            Self::CertificateChanged { .. } => "CertificateChanged",
            Self::CertificateNotVouched { .. } => "CertificateNotVouched",
            Self::ForeignRedirect { .. } => "ForeignRedirect",
            Self::TooManyRedirects { .. } => "TooManyRedirects",
            Self::Malformed { .. } => "MalformedCall",
        }
    }

    /// Whether another node may be asked instead. A call that may have been carried out is repeated only if it is `safe`.
    pub(crate) fn elsewhere(&self, safe: bool) -> bool {
        match self {
            Self::NotMember { .. } | Self::Unreachable { .. } | Self::CertificateChanged { .. } => true,
            Self::Lost { .. } | Self::ForeignRedirect { .. } | Self::TooManyRedirects { .. } => safe,
            _ => false,
        }
    }
}

/// What an error reply says: status, code and words, whatever shape the body has (REST reference, 2.1).
pub(crate) fn describe(status: u16, body: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let field = |name: &str| parsed.as_ref().and_then(|body| body.get(name)).and_then(Value::as_str);
    let words = ["message", "description", "detail"].into_iter().find_map(field);
    let text = match (&parsed, field("error_code"), words) {
        (_, Some(code), Some(words)) => format!("{code}: {words}"),
        (_, Some(text), None) | (_, None, Some(text)) => text.to_owned(),
        (Some(Value::String(text)), None, None) => text.clone(),
        (_, None, None) => String::from_utf8_lossy(body).into_owned(),
    };
    let text: String = text.trim().chars().take(MAX_TEXT).collect();
    if text.is_empty() { format!("HTTP status {status}") } else { format!("HTTP status {status}, {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &str) {
        assert_eq!(describe(406, body.as_bytes()), expected);
    }

    #[test]
    fn every_shape_of_error_is_told() {
        check(
            r#"{"error_code":"port_unavailable","message":"Port 12000 is in use"}"#,
            "HTTP status 406, port_unavailable: Port 12000 is in use",
        );
        check(r#"{"error_code":"no_quorum","description":"lost"}"#, "HTTP status 406, no_quorum: lost");
        check(r#"{"error_code":"busy","description":"wait","status_code":406}"#, "HTTP status 406, busy: wait");
        check(
            r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"None is not"}"#,
            "HTTP status 406, None is not",
        );
        check(r#"{"error_code":"busy"}"#, "HTTP status 406, busy");
        check(r#"{"error_code":7,"message":null}"#, r#"HTTP status 406, {"error_code":7,"message":null}"#);
        check("<html>\n<h1>502</h1></html>", "HTTP status 406, <html>\n<h1>502</h1></html>");
        check("", "HTTP status 406");
        check(&"x".repeat(5000), &format!("HTTP status 406, {}", "x".repeat(300)));
    }
}
