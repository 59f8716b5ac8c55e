//! Whose fault an error is. It decides who is told: the author of a plugin, the user, the cluster's admin, or us.

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    Plugin,
    User,
    Cluster,
    Host,
}

impl Blame {
    /// A metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::User => "user",
            Self::Cluster => "cluster",
            Self::Host => "host",
        }
    }
}
