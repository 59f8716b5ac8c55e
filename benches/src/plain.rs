//! placeholder
use crate::many::{Many, Size};

pub async fn run(_size: Size) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}

pub async fn start(_many: &Many) -> anyhow::Result<tokio::process::Child> {
    anyhow::bail!("not yet")
}
