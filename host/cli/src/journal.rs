//! `stepwright journal export`, and reading what it wrote: a header, then a recorded pass a line, as JSON. Secrets are not in
//! it, since plugins are never given one.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use stepwright_core::journal::{FORMAT, Header, PassRecord};

use crate::remote::kinds::{Kinds, kind_and_name};
use crate::remote::{Answer, Cluster, ClusterArgs, block_on, query};

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Write what the operator has recorded into one file.
    Export(Box<ExportArgs>),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Only passes over this object: KIND/NAME. Default: over every object, of the given namespace or of all.
    object: Option<String>,
    /// Where to write; compressed if it ends in `.gz`. Default: standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(crate) fn run(command: JournalCommand) -> anyhow::Result<()> {
    match command {
        JournalCommand::Export(args) => block_on(export(*args)),
    }
}

async fn export(args: ExportArgs) -> anyhow::Result<()> {
    let ExportArgs { object, output, cluster } = args;
    let object = object.as_deref().map(kind_and_name).transpose()?;
    let given = cluster.namespace().map(str::to_owned);
    let cluster = Cluster::connect(cluster).await?;
    let (kind, namespace) = match object {
        None => (None, given),
        Some((kind, _)) => {
            let kinds = Kinds::discover(&cluster.client).await?;
            let kind = kinds.resolve(kind)?;
            (Some(kind.resource.kind.clone()), kind.namespaced.then(|| cluster.namespace.clone()))
        }
    };
    let wanted =
        [("kind", kind.as_deref()), ("namespace", namespace.as_deref()), ("name", object.map(|(_, name)| name))];
    let answers = cluster.ask_all(&format!("/v1/journal{}", query(&wanted))).await?;
    let answers: Vec<Answer> = answers.into_iter().map(|(_, answer)| answer).collect();
    match output {
        None => {
            write(answers, std::io::stdout().lock()).await?;
        }
        Some(file) => {
            let passes = to_file(answers, &file).await?;
            eprintln!("{passes} passes written to {}", file.display());
        }
    }
    Ok(())
}

/// Under another name until it is whole, so that a file of the right name is never half of one.
async fn to_file(answers: Vec<Answer>, file: &Path) -> anyhow::Result<usize> {
    if file.extension().is_some_and(|it| it == "zst") {
        bail!("{} cannot be written: name it .gz, or with no such ending for plain text", file.display());
    }
    let partial = PathBuf::from(format!("{}.partial", file.display()));
    let result = async {
        let attempted = || format!("failed to write {}", partial.display());
        let plain = BufWriter::new(File::create(&partial).with_context(attempted)?);
        if file.extension().is_some_and(|it| it == "gz") {
            let mut packed = GzEncoder::new(plain, Compression::default());
            let passes = write(answers, &mut packed).await?;
            packed.finish().with_context(attempted)?.flush().with_context(attempted)?;
            Ok(passes)
        } else {
            write(answers, plain).await
        }
    };
    let passes = result.await.inspect_err(|_: &anyhow::Error| {
        // The error to tell is the first one.
        let _ = std::fs::remove_file(&partial);
    })?;
    std::fs::rename(&partial, file).with_context(|| format!("failed to name {}", file.display()))?;
    Ok(passes)
}

/// Copies as it comes, and counts the passes. Of several journals the header of the first stands for all.
async fn write(answers: Vec<Answer>, mut to: impl Write) -> anyhow::Result<usize> {
    let mut passes: usize = 0;
    for (number, mut answer) in answers.into_iter().enumerate() {
        let mut lines: usize = 0;
        while let Some(bytes) = answer.next().await? {
            // The header, which may come in pieces, ends with the first line.
            let header = match bytes.iter().position(|byte| *byte == b'\n') {
                _ if lines > 0 || number == 0 => 0,
                Some(end) => end + 1,
                None => bytes.len(),
            };
            lines += bytes.iter().filter(|byte| **byte == b'\n').count();
            to.write_all(bytes.get(header..).unwrap_or_default()).context("failed to write what was exported")?;
        }
        passes += lines.checked_sub(1).context("the operator's journal came without its first line")?;
    }
    to.flush().context("failed to write what was exported")?;
    Ok(passes)
}

/// An exported journal, read a pass at a time.
pub(crate) struct Exported {
    pub(crate) header: Header,
    file: PathBuf,
    lines: std::io::Lines<BufReader<Box<dyn Read>>>,
    number: usize,
}

impl Exported {
    /// Opens a file, compressed or not, and checks that it is one.
    pub(crate) fn open(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let mut opened = BufReader::new(File::open(file).with_context(|| format!("failed to read {shown}"))?);
        let magic = opened.fill_buf().with_context(|| format!("failed to read {shown}"))?.starts_with(&[0x1f, 0x8b]);
        let source: Box<dyn Read> = if magic { Box::new(MultiGzDecoder::new(opened)) } else { Box::new(opened) };
        let mut lines = BufReader::new(source).lines();
        let first = lines.next().with_context(|| format!("{shown} is empty"))?;
        let first = first.with_context(|| format!("failed to read {shown}"))?;
        let header: Header = serde_json::from_str(&first)
            .with_context(|| format!("{shown} is no journal: `stepwright journal export` writes them"))?;
        if header.format != FORMAT {
            bail!("{shown} has format {}, and this version reads {FORMAT}; export it with this version", header.format);
        }
        Ok(Self { header, file: file.to_owned(), lines, number: 1 })
    }
}

impl Iterator for Exported {
    type Item = anyhow::Result<PassRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.next()?;
        self.number += 1;
        let place = || format!("failed to read line {} of {}", self.number, self.file.display());
        Some(line.with_context(place).and_then(|line| serde_json::from_str(&line).with_context(place)))
    }
}
