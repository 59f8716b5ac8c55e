//! Why a request was refused: a status, the product's `error_code`, and words (REST reference, 2).

use serde_json::{Value, json};

/// Which of the product's error bodies is used (REST reference, 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `error_code` and `message`: most of v1.
    A,
    /// `error_code` and `description`: availability.
    B,
    /// As B with `status_code`: `/v4`.
    C,
    /// A problem with `title` and `detail`: Active-Active.
    D,
}

/// A refused request.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Stable word.
    pub code: &'static str,
    /// Words for people.
    pub message: String,
    /// Form of the body.
    pub shape: Shape,
}

impl Refusal {
    /// A refusal in the common shape.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), shape: Shape::A }
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "bad_request", message)
    }

    /// 404: no such object.
    pub fn not_found(code: &'static str, what: impl Into<String>) -> Self {
        Self::new(404, code, what)
    }

    /// 409: another change is under way.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(409, "busy", message)
    }

    /// 503: the cluster cannot decide.
    pub fn no_quorum() -> Self {
        Self::new(503, "no_quorum", "the cluster has no quorum")
    }

    /// The same refusal in another shape.
    pub fn shaped(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// The body.
    pub fn body(&self) -> Value {
        match self.shape {
            Shape::A => json!({"error_code": self.code, "message": self.message}),
            Shape::B => json!({"error_code": self.code, "description": self.message}),
            Shape::C => json!({"error_code": self.code, "description": self.message, "status_code": self.status}),
            Shape::D => {
                let title = http::StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
                json!({"type": "about:blank", "title": title, "status": self.status, "detail": self.message})
            }
        }
    }
}
