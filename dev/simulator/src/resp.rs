//! The Redis protocol as far as a proxy and a supervisor need it: requests as arrays of bytes, replies as frames.
//!
//! Replies are kept as the bytes they came in, so that the proxy adds and loses nothing.

use std::io;

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// Longest bulk string taken, as in Redis.
const LONGEST: usize = 512 << 20;

/// A request: its words.
pub type Words = Vec<Vec<u8>>;

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("Protocol error: {what}"))
}

async fn line<R: AsyncRead + Unpin>(reader: &mut BufReader<R>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    // Inline commands and headers are short; a stranger may not make us keep a line without end.
    let read = reader.take(64 << 10).read_until(b'\n', &mut line).await?;
    if read == 0 {
        return Ok(None);
    }
    if !line.ends_with(b"\n") {
        return Err(broken("too big inline request"));
    }
    while line.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
        line.pop();
    }
    Ok(Some(line))
}

fn number(text: &[u8]) -> io::Result<i64> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| broken("invalid length"))
}

async fn exactly<R: AsyncRead + Unpin>(reader: &mut BufReader<R>, length: usize) -> io::Result<Vec<u8>> {
    if length > LONGEST {
        return Err(broken("invalid bulk length"));
    }
    let mut bytes = Vec::new();
    reader.take(length as u64 + 2).read_to_end(&mut bytes).await?;
    if bytes.len() != length + 2 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Reads a request; `None` when the client is done.
pub async fn read_request<R: AsyncRead + Unpin>(reader: &mut BufReader<R>) -> io::Result<Option<Words>> {
    loop {
        let Some(head) = line(reader).await? else { return Ok(None) };
        let Some((b'*', count)) = head.split_first() else {
            let words: Words =
                head.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect();
            if words.is_empty() {
                continue;
            }
            return Ok(Some(words));
        };
        let count = number(count)?;
        if !(0..=1 << 20).contains(&count) {
            return Err(broken("invalid multibulk length"));
        }
        let mut words = Vec::new();
        for _ in 0..count {
            let head = line(reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let Some((b'$', length)) = head.split_first() else { return Err(broken("expected '$'")) };
            let length = usize::try_from(number(length)?).map_err(|_| broken("invalid bulk length"))?;
            words.push(exactly(reader, length).await?);
        }
        if !words.is_empty() {
            return Ok(Some(words));
        }
    }
}

/// Reads one reply, whole, as bytes.
pub async fn read_reply<R: AsyncRead + Unpin>(reader: &mut BufReader<R>) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut frames: i64 = 1;
    while frames > 0 {
        frames -= 1;
        let head = line(reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        out.extend_from_slice(&head);
        out.extend_from_slice(b"\r\n");
        let Some((kind, rest)) = head.split_first() else { return Err(broken("empty reply")) };
        match kind {
            b'$' | b'=' | b'!' => {
                if let Ok(length) = usize::try_from(number(rest)?) {
                    out.extend_from_slice(&exactly(reader, length).await?);
                    out.extend_from_slice(b"\r\n");
                }
            }
            b'*' | b'~' | b'>' => frames += number(rest)?.max(0),
            b'%' => frames += number(rest)?.max(0) * 2,
            _ => {}
        }
    }
    Ok(out)
}

/// A request as bytes.
pub fn encode<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.as_ref().len()).as_bytes());
        out.extend_from_slice(word.as_ref());
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A bulk string as bytes.
pub fn bulk(text: &[u8]) -> Vec<u8> {
    let mut out = format!("${}\r\n", text.len()).into_bytes();
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
    out
}

/// The content of a bulk or simple string reply.
pub fn text_of(reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(reply);
    match text.split_once("\r\n") {
        Some((head, rest)) if head.starts_with('$') => rest.trim_end_matches("\r\n").to_owned(),
        Some((head, _)) => head.get(1..).unwrap_or_default().to_owned(),
        None => text.into_owned(),
    }
}

/// The integer in an integer reply.
pub fn integer_of(reply: &[u8]) -> Option<i64> {
    reply.strip_prefix(b":").and_then(|rest| std::str::from_utf8(rest).ok()).and_then(|text| text.trim().parse().ok())
}

/// The strings of an array reply, nested arrays flattened.
pub fn strings_of(reply: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = reply;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let (head, tail) = (rest.get(..end).unwrap_or_default(), rest.get(end + 2..).unwrap_or_default());
        rest = tail;
        if let Some(length) =
            head.strip_prefix(b"$").and_then(|length| number(length).ok()).and_then(|n| usize::try_from(n).ok())
        {
            out.push(tail.get(..length).unwrap_or_default().to_vec());
            rest = tail.get(length + 2..).unwrap_or_default();
        }
    }
    out
}

/// A connection to one redis-server.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    pub async fn open(host: &str, port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks and waits for the answer, as bytes.
    pub async fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Vec<u8>> {
        self.send(&encode(words)).await?;
        read_reply(&mut self.stream).await
    }

    /// Asks; an error reply is an error.
    pub async fn demand<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Vec<u8>> {
        let reply = self.ask(words).await?;
        if reply.starts_with(b"-") { Err(io::Error::other(text_of(&reply))) } else { Ok(reply) }
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes).await
    }

    /// The connection itself, for what is no sequence of questions.
    pub fn stream(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.stream
    }

    /// Reads one reply.
    pub async fn reply(&mut self) -> io::Result<Vec<u8>> {
        read_reply(&mut self.stream).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_and_nested_replies_are_read_whole() {
        let bytes = encode(&["SET", "k", "v\r\nw"]);
        let mut reader = BufReader::new(bytes.as_slice());
        assert_eq!(
            read_request(&mut reader).await.unwrap().unwrap(),
            vec![b"SET".to_vec(), b"k".to_vec(), b"v\r\nw".to_vec()]
        );
        assert!(read_request(&mut reader).await.unwrap().is_none());
        let reply = b"*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$-1\r\n".as_slice();
        let mut reader = BufReader::new(reply);
        assert_eq!(read_reply(&mut reader).await.unwrap(), reply);
        assert_eq!(strings_of(reply), vec![b"0".to_vec(), b"a".to_vec()]);
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused() {
        let endless = vec![b'a'; 100_000];
        assert!(read_request(&mut BufReader::new(endless.as_slice())).await.is_err());
    }
}
