//! What a request is refused with, in the form that the specification asks for.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("the user name or the password is not the broker's; they are in its Secret")]
    Unauthorized,
    #[error("the header X-Broker-API-Version is missing or names a version other than 2.x; send 2.17")]
    Version,
    #[error("{0}")]
    Invalid(String),
    #[error("{what} `{id}` is there already with other settings; delete it first, or choose another id")]
    Conflict { what: &'static str, id: String },
    #[error("there is no {what} `{id}`")]
    Gone { what: &'static str, id: String },
    #[error("service instance `{0}` is not ready yet; ask for its last operation until that has succeeded")]
    NotReady(String),
    #[error("service instance `{instance}` has bindings: {bindings}; unbind them first")]
    Bound { instance: String, bindings: String },
    #[error("this broker works asynchronously; ask again with accepts_incomplete=true")]
    AsyncRequired,
    #[error("failed to {action}: {source}")]
    Kubernetes { action: String, source: kube::Error },
    #[error("failed to keep bindings in `{file}`: {source}; the volume must be writable")]
    Store { file: String, source: std::io::Error },
}

impl BrokerError {
    /// Stable words, in the log and as `error` where the specification has none of its own.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unauthorized => "Unauthorized",
            Self::Version => "UnsupportedVersion",
            Self::Invalid(_) => "InvalidRequest",
            Self::Conflict { .. } => "Conflict",
            Self::Gone { .. } => "NotFound",
            Self::NotReady(_) => "ConcurrencyError",
            Self::Bound { .. } => "InstanceHasBindings",
            Self::AsyncRequired => "AsyncRequired",
            Self::Kubernetes { .. } => "KubernetesRefused",
            Self::Store { .. } => "StoreFailed",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Version => StatusCode::PRECONDITION_FAILED,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::Gone { .. } => StatusCode::GONE,
            Self::NotReady(_) | Self::AsyncRequired | Self::Bound { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Kubernetes { .. } | Self::Store { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for BrokerError {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::error!(reason = self.reason(), error = &self as &dyn std::error::Error, "a request failed");
        }
        // A platform shows the description to its user.
        let body = Json(json!({"error": self.reason(), "description": self.to_string()}));
        let mut response = (status, body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = axum::http::HeaderValue::from_static("Basic realm=\"service broker\"");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
