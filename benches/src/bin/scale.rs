//! Many databases on one cluster, from an operator's cold start to rest: Stepwright, and beside it a plain operator with the
//! same steps compiled in. What is counted is said in `many`, what the plain one is in `plain`.
//!
//! Each has a development cluster of its own, one after the other, so that both find the same.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Parser, ValueEnum};
use stepwright_benches::many::{Many, Size, is_read, memory, processor, since};
use stepwright_benches::samples::{shown, table};
use stepwright_benches::{machine, plain};

/// Measures how operators deal with many databases.
#[derive(Parser)]
struct Args {
    /// How many databases.
    #[arg(long, default_value_t = 50)]
    databases: usize,
    /// In how many namespaces.
    #[arg(long, default_value_t = 5)]
    namespaces: usize,
    /// How long to look at rest, in seconds.
    #[arg(long, default_value_t = 60)]
    rest: u64,
    /// How long a run may take, in seconds.
    #[arg(long, default_value_t = 3600)]
    within: u64,
    /// Only this one.
    #[arg(long)]
    only: Option<Side>,
    /// Be the plain operator, with the kubeconfig of the environment.
    #[arg(long, hide = true)]
    be_plain: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    Stepwright,
    Plain,
}

/// What one run came to.
struct Outcome {
    settled: Duration,
    quiet: Duration,
    processor: Duration,
    peak: u64,
    resident: u64,
    api: BTreeMap<String, u64>,
    rest_api: BTreeMap<String, u64>,
    api_at_rest: BTreeMap<String, u64>,
    rest_api_at_rest: BTreeMap<String, u64>,
    processor_at_rest: Duration,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let size = Size { databases: args.databases, namespaces: args.namespaces };
    if args.be_plain {
        return plain::run().await;
    }
    let machine = machine::line();
    let mut outcomes = Vec::new();
    for side in [Side::Stepwright, Side::Plain] {
        if args.only.is_none_or(|only| only == side) {
            outcomes.push((side, one(side, size, &args).await?));
        }
    }
    println!(
        "{machine}\n{} databases in {} namespaces on one cluster of three nodes.\n",
        size.databases, size.namespaces
    );
    print!("{}", report(&outcomes, args.rest));
    Ok(())
}

async fn one(side: Side, size: Size, args: &Args) -> anyhow::Result<Outcome> {
    let many = Many::start(size).await?;
    eprintln!("{side:?}: the databases are there; the operator starts");
    let outcome = measure(side, &many, args).await;
    if outcome.is_err() {
        eprintln!("{}", many.world.last_words());
    }
    many.world.cluster.stop().await?;
    outcome
}

async fn measure(side: Side, many: &Many, args: &Args) -> anyhow::Result<Outcome> {
    let (api, rest_api) = (many.api_requests()?, many.rest_requests()?);
    let mut child = None;
    let (start, pid) = match side {
        Side::Stepwright => many.start_operator().await?,
        Side::Plain => {
            let child = child.insert(plain::start(many).await?);
            let Some(pid) = child.id() else { bail!("the plain operator ended at once") };
            (Instant::now(), pid)
        }
    };
    let (settled, quiet) = many.settle(start, Duration::from_secs(args.within)).await?;
    let (settled_api, settled_rest_api) = (many.api_requests()?, many.rest_requests()?);
    let busy = processor(pid)?;
    eprintln!("{side:?}: at rest; looking for {} s", args.rest);
    tokio::time::sleep(Duration::from_secs(args.rest)).await;
    let (resident, peak) = memory(pid)?;
    Ok(Outcome {
        settled,
        quiet,
        processor: busy,
        peak,
        resident,
        api: since(&api, &settled_api),
        rest_api: since(&rest_api, &settled_rest_api),
        api_at_rest: since(&settled_api, &many.api_requests()?),
        rest_api_at_rest: since(&settled_rest_api, &many.rest_requests()?),
        processor_at_rest: processor(pid)?.saturating_sub(busy),
    })
}

fn report(outcomes: &[(Side, Outcome)], rest: u64) -> String {
    let mut head = vec!["".to_owned()];
    head.extend(outcomes.iter().map(|(side, _)| format!("{side:?}")));
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let row = |name: &str, value: &dyn Fn(&Outcome) -> String| {
        std::iter::once(name.to_owned()).chain(outcomes.iter().map(|(_, outcome)| value(outcome))).collect()
    };
    let by_verb = |counts: &BTreeMap<String, u64>, reads: bool| {
        let counts: Vec<String> = counts
            .iter()
            .filter(|(verb, _)| is_read(verb) == reads)
            .map(|(verb, count)| format!("{verb} {count}"))
            .collect();
        if counts.is_empty() { "0".to_owned() } else { counts.join(", ") }
    };
    let rows: Vec<Vec<String>> = vec![
        row("from the process' start until all databases are active", &|it| shown(it.settled)),
        row("until nothing more is written", &|it| shown(it.quiet)),
        row("processor time until then", &|it| shown(it.processor)),
        row("memory, at most", &|it| format!("{} MiB", it.peak)),
        row("memory, at rest", &|it| format!("{} MiB", it.resident)),
        row("API server, writes until rest", &|it| by_verb(&it.api, false)),
        row("API server, reads until rest", &|it| by_verb(&it.api, true)),
        row("REST API, changes until rest", &|it| by_verb(&it.rest_api, false)),
        row("REST API, reads until rest", &|it| by_verb(&it.rest_api, true)),
        row(&format!("API server, writes in {rest} s at rest"), &|it| by_verb(&it.api_at_rest, false)),
        row(&format!("API server, reads in {rest} s at rest"), &|it| by_verb(&it.api_at_rest, true)),
        row(&format!("REST API, changes in {rest} s at rest"), &|it| by_verb(&it.rest_api_at_rest, false)),
        row(&format!("REST API, reads in {rest} s at rest"), &|it| by_verb(&it.rest_api_at_rest, true)),
        row(&format!("processor time in {rest} s at rest"), &|it| shown(it.processor_at_rest)),
    ];
    table(&head, &rows)
}
