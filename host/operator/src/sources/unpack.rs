//! From the bytes of a key to the bytes of a component. The size is bounded while decoding, so that a few kilobytes that
//! would become gigabytes cost no more than the bound.

use std::io::Read;

/// The most that a component may come to, decompressed, where no setting says otherwise: 32 MiB.
pub const MOST_BYTES: usize = 32 << 20;

/// A decoder of zstd must take windows of at least 8 MiB, says RFC 8878. More than a component may have is never needed.
const LEAST_WINDOW: u64 = 8 << 20;

/// How a component is packed, which the name of its key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Packing {
    Plain,
    Zstd,
    Gzip,
}

impl Packing {
    pub const ALL: [Self; 3] = [Self::Plain, Self::Zstd, Self::Gzip];

    /// The key in `binaryData`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Plain => "plugin.wasm",
            Self::Zstd => "plugin.wasm.zst",
            Self::Gzip => "plugin.wasm.gz",
        }
    }
}

/// Why bytes could not be unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    #[error("`{key}` comes to more than {most} bytes, the most that a component may have here")]
    TooLarge { key: &'static str, most: usize },
    #[error("`{key}` could not be decompressed: {message}; compress the component again with `{command}`")]
    Corrupt { key: &'static str, message: String, command: &'static str },
}

impl UnpackError {
    /// One stable word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "PluginTooLarge",
            Self::Corrupt { .. } => "PluginCorrupt",
        }
    }
}

/// Unpacks into at most `most` bytes.
pub fn unpack(packing: Packing, packed: &[u8], most: usize) -> Result<Vec<u8>, UnpackError> {
    let key = packing.key();
    let decoded = match packing {
        Packing::Plain => read(packed, most),
        Packing::Gzip => read(flate2::read::MultiGzDecoder::new(packed), most),
        Packing::Zstd => zstd(packed, most),
    };
    match decoded {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(UnpackError::TooLarge { key, most }),
        Err(error) => {
            let command = if packing == Packing::Zstd { "zstd FILE" } else { "gzip -k FILE" };
            Err(UnpackError::Corrupt { key, message: error.to_string(), command })
        }
    }
}

/// `None`: there is more than `most`.
fn read(from: impl Read, most: usize) -> std::io::Result<Option<Vec<u8>>> {
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    from.take(bound).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= most).then_some(bytes))
}

/// One frame, as `zstd FILE` makes it.
fn zstd(packed: &[u8], most: usize) -> std::io::Result<Option<Vec<u8>>> {
    use ruzstd::decoding::StreamingDecoder;
    let window = u64::try_from(most).unwrap_or(u64::MAX).max(LEAST_WINDOW);
    let mut decoder = StreamingDecoder::new_with_max_window_size(packed, window).map_err(std::io::Error::other)?;
    let Some(bytes) = read(&mut decoder, most)? else { return Ok(None) };
    let (rest, frame) = decoder.into_parts();
    let (stored, computed) = (frame.get_checksum_from_data(), frame.get_calculated_checksum());
    if stored.is_some() && stored != computed {
        return Err(std::io::Error::other("its checksum is another"));
    }
    if !rest.is_empty() {
        return Err(std::io::Error::other("there are bytes after the end of the first frame"));
    }
    Ok(Some(bytes))
}
