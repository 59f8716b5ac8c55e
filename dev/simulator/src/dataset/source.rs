//! Reads from a redis-server as its replica would: first everything, then what changes.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt};

use super::Trouble;
use crate::resp::{Connection, encode};

/// Length of the mark that ends a data set of unknown length.
const MARK: usize = 40;

/// What a source began to send.
pub(crate) enum Started {
    /// Everything: the data set, and where the stream of changes begins.
    Whole {
        /// The data set in redis-server's format.
        rdb: Vec<u8>,
        /// Name of the stream.
        stream: String,
        /// Position in it.
        offset: u64,
    },
    /// Only what is new since the position asked for.
    Continued,
}

/// Asks a source for its data. With a stream and a position, only for what came after it, if the source still has that.
pub(crate) async fn start(source: &mut Connection, known: Option<(&str, u64)>) -> Result<Started, Trouble> {
    let broken = |error: io::Error| Trouble::general(format!("the source broke off: {error}"));
    // The data set comes without a file of it being made.
    source.demand(&["REPLCONF", "capa", "eof", "capa", "psync2"]).await.map_err(broken)?;
    let (stream, offset) = known.map_or_else(|| ("?", "-1".to_owned()), |(name, at)| (name, (at + 1).to_string()));
    source.send(&encode(&["PSYNC", stream, &offset])).await.map_err(broken)?;
    skip_empty_lines(source).await.map_err(broken)?;
    let reply = source.reply().await.map_err(broken)?;
    let reply = String::from_utf8_lossy(&reply).into_owned();
    let mut words = reply.trim_start_matches('+').split_whitespace();
    match words.next() {
        Some("CONTINUE") => Ok(Started::Continued),
        Some("FULLRESYNC") => {
            let stream = words.next().unwrap_or_default().to_owned();
            let offset = words.next().and_then(|text| text.parse().ok()).unwrap_or(0);
            let rdb = data_set(source).await.map_err(broken)?;
            Ok(Started::Whole { rdb, stream, offset })
        }
        _ => Err(Trouble::general(format!("the source does not replicate: {}", reply.trim()))),
    }
}

/// A source that waits a while for other replicas before it answers keeps the connection with empty lines.
async fn skip_empty_lines(source: &mut Connection) -> io::Result<()> {
    let reader = source.stream();
    while let Some(b'\r' | b'\n') = reader.fill_buf().await?.first() {
        reader.consume(1);
    }
    Ok(())
}

async fn data_set(source: &mut Connection) -> io::Result<Vec<u8>> {
    let reader = source.stream();
    let mut head = String::new();
    // Empty lines come while the source is at work.
    while head.trim().is_empty() {
        head.clear();
        if reader.read_line(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let head = head.trim();
    let mut bytes = Vec::new();
    if let Some(mark) = head.strip_prefix("$EOF:").filter(|mark| mark.len() == MARK) {
        while !bytes.ends_with(mark.as_bytes()) {
            if reader.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        bytes.truncate(bytes.len() - MARK);
        return Ok(bytes);
    }
    let length: u64 =
        head.strip_prefix('$').and_then(|text| text.parse().ok()).ok_or_else(|| io::Error::other(head.to_owned()))?;
    reader.take(length).read_to_end(&mut bytes).await?;
    Ok(bytes)
}
