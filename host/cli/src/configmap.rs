//! `stepwright plugins configmap`: a component as the ConfigMaps that offer it, so that nobody has to know how it is packed
//! and cut, or how wishes are spelt. What comes out has been read as the operator reads it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stepwright_core::guest::Digest;
use stepwright_engine::section;
use stepwright_operator::offer::{data, wish};
use stepwright_operator::sources::unpack::{MOST_BYTES, Packing};
use stepwright_operator::sources::{MOST_PARTS, maps};

/// Of packed bytes in one ConfigMap. The API server takes a mebibyte over all keys; the rest is for settings.
const PART_BYTES: usize = 900 << 10;

#[derive(Debug, Parser)]
pub(crate) struct ConfigMapArgs {
    /// The ConfigMap's name; further parts are called NAME-2, NAME-3, ….
    name: String,
    /// A packed component.
    file: PathBuf,
    /// The operator's namespace. Default: the one that kubectl is set to.
    #[arg(short, long)]
    namespace: Option<String>,
    /// How the component is compressed; `auto` is zstd.
    #[arg(long, value_enum, default_value_t = Compress::Auto)]
    compress: Compress,
    /// `active`, `shadow` or `canary`.
    #[arg(long)]
    mode: Option<String>,
    /// The canary's share of the primaries, 0 to 100.
    #[arg(long)]
    canary_percent: Option<String>,
    /// Labels of the canary's primaries: `tier=dev,team=x`.
    #[arg(long)]
    canary_labels: Option<String>,
    /// Good passes in a row after which a shadow or canary becomes active.
    #[arg(long)]
    promote_after: Option<String>,
    /// Of a policy: smaller ones are asked first.
    #[arg(long, allow_hyphen_values = true)]
    priority: Option<String>,
    /// `hold`, `skip`, `stop` or `fallback`.
    #[arg(long)]
    on_failure: Option<String>,
    /// The ServiceAccount as which its effects are carried out.
    #[arg(long)]
    service_account: Option<String>,
    /// `live`: rehearse on every primary there is.
    #[arg(long)]
    rehearse: Option<String>,
    /// A JSON file with its settings.
    #[arg(long)]
    settings: Option<PathBuf>,
    /// A file with the calls that are confirmed, `METHOD /path/*` in each line.
    #[arg(long)]
    calls: Option<PathBuf>,
    /// A file with what `stepwright plugins sign` printed.
    #[arg(long)]
    signature: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compress {
    Auto,
    Zstd,
    Gzip,
    None,
}

impl Compress {
    fn packing(self) -> Packing {
        match self {
            Self::Auto | Self::Zstd => Packing::Zstd,
            Self::Gzip => Packing::Gzip,
            Self::None => Packing::Plain,
        }
    }
}

/// Prints YAML for `kubectl apply --server-side -f -`.
pub(crate) fn print(args: ConfigMapArgs) -> anyhow::Result<()> {
    let component = std::fs::read(&args.file).with_context(|| format!("failed to read {}", args.file.display()))?;
    if section::data(&component).is_none() {
        bail!("{} carries no manifest; run `stepwright plugins pack` on it first", args.file.display());
    }
    let packing = args.compress.packing();
    let maps = cut(plain(&args)?, packing, &pack(packing, &component)?)?;
    check(&maps)?;
    // Without it kubectl copies the whole into an annotation, which may have a quarter of a mebibyte.
    let mut text = "# kubectl apply --server-side -f FILE".to_owned();
    for map in &maps {
        text.push_str("\n---\n");
        text.push_str(serde_yaml_ng::to_string(map)?.trim_end());
    }
    crate::print(&text);
    Ok(())
}

/// The ConfigMap without bytes.
fn plain(args: &ConfigMapArgs) -> anyhow::Result<ConfigMap> {
    let wishes = [
        (wish::MODE, &args.mode),
        (wish::CANARY_PERCENT, &args.canary_percent),
        (wish::CANARY_LABELS, &args.canary_labels),
        (wish::PROMOTE_AFTER, &args.promote_after),
        (wish::PRIORITY, &args.priority),
        (wish::ON_FAILURE, &args.on_failure),
        (wish::SERVICE_ACCOUNT, &args.service_account),
        (wish::REHEARSE, &args.rehearse),
    ];
    let wished = wishes.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
    let texts = [(data::SETTINGS, &args.settings), (data::CALLS, &args.calls), (data::SIGNATURE, &args.signature)];
    let mut read = BTreeMap::new();
    for (key, file) in texts {
        if let Some(file) = file {
            read.insert(key.to_owned(), text(file)?);
        }
    }
    Ok(ConfigMap {
        metadata: metadata(&args.name, args.namespace.as_ref(), wished.collect()),
        data: (!read.is_empty()).then_some(read),
        ..ConfigMap::default()
    })
}

fn metadata(name: &str, namespace: Option<&String>, annotations: BTreeMap<String, String>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.cloned(),
        labels: Some(BTreeMap::from([("stepwright.dev/plugin".to_owned(), "true".to_owned())])),
        annotations: (!annotations.is_empty()).then_some(annotations),
        ..ObjectMeta::default()
    }
}

fn text(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))
}

fn pack(packing: Packing, component: &[u8]) -> anyhow::Result<Vec<u8>> {
    match packing {
        Packing::Plain => Ok(component.to_vec()),
        Packing::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(component)?;
            Ok(encoder.finish()?)
        }
        Packing::Zstd => {
            // 19 is the last level that needs no more memory to decode than every decoder has to have.
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 19)?;
            encoder.include_checksum(true)?;
            encoder.set_pledged_src_size(Some(u64::try_from(component.len())?))?;
            encoder.write_all(component)?;
            Ok(encoder.finish()?)
        }
    }
}

/// One ConfigMap, or as many as it takes.
fn cut(whole: ConfigMap, packing: Packing, packed: &[u8]) -> anyhow::Result<Vec<ConfigMap>> {
    let pieces: Vec<&[u8]> = packed.chunks(PART_BYTES).collect();
    if pieces.len() > MOST_PARTS {
        bail!("{} packed bytes are more than {MOST_PARTS} ConfigMaps hold; compress them", packed.len());
    }
    let name = whole.metadata.name.clone().unwrap_or_default();
    let digest = Digest::of(packed).to_string();
    let mut maps = Vec::new();
    for (number, piece) in (1..).zip(&pieces) {
        let mut map = if number == 1 {
            whole.clone()
        } else {
            let further = format!("{name}-{number}");
            let metadata = metadata(&further, whole.metadata.namespace.as_ref(), BTreeMap::new());
            ConfigMap { metadata, ..ConfigMap::default() }
        };
        map.binary_data = Some(BTreeMap::from([(packing.key().to_owned(), ByteString(piece.to_vec()))]));
        if pieces.len() > 1 {
            let annotations = map.metadata.annotations.get_or_insert_default();
            annotations.insert(wish::PART_OF.to_owned(), name.clone());
            annotations.insert(wish::PART.to_owned(), format!("{number}/{}", pieces.len()));
            annotations.insert(wish::PARTS_DIGEST.to_owned(), digest.clone());
        }
        maps.push(map);
    }
    Ok(maps)
}

/// What the operator would refuse is not printed.
fn check(maps: &[ConfigMap]) -> anyhow::Result<()> {
    let shared: Vec<Arc<ConfigMap>> = maps.iter().cloned().map(Arc::new).collect();
    match maps::offers(&shared, MOST_BYTES).1.into_iter().next() {
        None => Ok(()),
        Some((_, error)) => bail!("the operator would refuse this ({}): {error}", error.reason()),
    }
}
