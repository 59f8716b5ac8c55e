//! The commands in `docs/plugins/` are run as they stand there, and every reason word has its row in the table of refusals.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use stepwright_dev_cluster::{programs_folder, repository};
use stepwright_tests::world::World;

/// Pages in the order in which their commands are run.
const PAGES: [&str; 9] = ["index", "loading", "modes", "trust", "limits", "policies", "checks", "explain", "refusals"];
/// One command.
const PATIENCE: Duration = Duration::from_secs(90);

/// A command, and what it must print among other things.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    prints: Vec<String>,
}

/// The commands of a page's `console` blocks: lines that begin with `$ `; what follows is printed by them.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command: command.to_owned(), prints: Vec::new() }),
                None => steps.last_mut().expect("a command before its output").prints.push(line.to_owned()),
            },
        }
    }
    steps
}

fn page(name: &str) -> String {
    let path = repository().join("docs/plugins").join(name).with_extension("md");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_step_is_a_command_with_what_it_prints() {
    let page = "text\n```console\n$ one\nsaid\nmore\n$ two\n```\n$ not this\n```yaml\n$ nor this\n```\n";
    let step = |command: &str, prints: &[&str]| Step {
        command: command.into(),
        prints: prints.iter().map(|it| (*it).to_owned()).collect(),
    };
    assert_eq!(steps(page), [step("one", &["said", "more"]), step("two", &[])]);
}

#[test]
fn every_page_is_run() {
    let folder = repository().join("docs/plugins");
    let found: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    assert_eq!(found, PAGES.map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_does_what_the_page_says() {
    let world = World::start().await.unwrap();
    world.sample_cluster().await.unwrap();
    world.sample_database().await.unwrap();
    world.kubectl(&["wait", "--for=condition=Ready", "rec/rec", "redb/mydb", "--timeout=180s"]).unwrap();
    let shell = Shell::new(&world);
    let mut wrong = Vec::new();
    for name in PAGES {
        for step in steps(&page(name)) {
            let began = Instant::now();
            let mut problem = shell.run(&step).err();
            // What is only shown comes with the next pass; whoever reads the page types slower than this.
            while problem.is_some() && step.command.starts_with("stepwright plugins diff") && began.elapsed() < PATIENCE
            {
                tokio::time::sleep(Duration::from_millis(500)).await;
                problem = shell.run(&step).err();
            }
            println!("{name} {:5} ms $ {}", began.elapsed().as_millis(), step.command);
            if let Some(problem) = problem {
                println!("{problem}");
                wrong.push(format!("{name}.md: $ {}\n{problem}", step.command));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n{}",
        wrong.join("\n"),
        world.operator_log().lines().rev().take(40).collect::<Vec<_>>().join("\n")
    );
    world.cluster.stop().await.unwrap();
}

/// A folder with what the pages take for granted: the plugins in `target/plugins`, kubectl and stepwright on the path.
struct Shell {
    folder: PathBuf,
    path: String,
    kubeconfig: PathBuf,
}

impl Shell {
    fn new(world: &World) -> Self {
        let programs = programs_folder().unwrap();
        let folder = world.cluster.folder().join("docs");
        std::fs::create_dir_all(folder.join("target")).unwrap();
        std::os::unix::fs::symlink(programs.join("../plugins"), folder.join("target/plugins")).unwrap();
        std::os::unix::fs::symlink(repository().join("deploy"), folder.join("deploy")).unwrap();
        let kubectl = world.cluster.kubectl().unwrap();
        let kubectl = Path::new(kubectl.as_std().get_program()).parent().unwrap().to_owned();
        let path = format!("{}:{}:{}", kubectl.display(), programs.display(), std::env::var("PATH").unwrap());
        Self { folder, path, kubeconfig: world.cluster.kubeconfig() }
    }

    /// Whether the command ends well and prints each line, or a line with it in it.
    fn run(&self, step: &Step) -> Result<(), String> {
        let out = std::fs::File::create(self.folder.join("out")).unwrap();
        let mut child = Command::new("bash")
            .args(["-o", "pipefail", "-c", &step.command])
            .current_dir(&self.folder)
            .env("PATH", &self.path)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .map_err(|error| error.to_string())?;
        let began = Instant::now();
        let status = loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status,
                None if began.elapsed() > PATIENCE => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("had not ended after {PATIENCE:?}"));
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let said = std::fs::read_to_string(self.folder.join("out")).unwrap();
        if !status.success() {
            return Err(format!("{status}: {said}"));
        }
        match step.prints.iter().find(|line| !said.contains(line.trim())) {
            Some(line) => Err(format!("does not print `{line}`, but: {said}")),
            None => Ok(()),
        }
    }
}

#[test]
fn every_reason_word_has_its_row() {
    let table = page("refusals");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let words = reasons();
    // Less, and the search below has gone blind.
    assert!(words.len() > 40, "{words:?}");
    let has_row = |word: &str| {
        rows.iter().any(|row| row.split('|').nth(1).is_some_and(|cell| cell.contains(&format!("`{word}`"))))
    };
    let missing: Vec<&String> = words.iter().filter(|word| !has_row(word)).collect();
    assert!(missing.is_empty(), "docs/plugins/refusals.md has no row for {missing:?}");
    let spoken = literals();
    let known = |word: &str| spoken.contains(word);
    let stale: Vec<&str> = rows
        .iter()
        .flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2))
        .filter(|word| !known(word))
        .collect();
    assert!(stale.is_empty(), "docs/plugins/refusals.md has rows for what nothing says any more: {stale:?}");
}

/// The words of every `fn reason` of core, engine and operator, from their source: a new enum cannot be forgotten here.
fn reasons() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for part in ["core", "engine", "operator"] {
        visit(&repository().join("host").join(part).join("src"), &mut |source| {
            let mut rest = source;
            while let Some((_, after)) = rest.split_once("fn reason(&self) -> &'static str {") {
                let body = after.split("\n    }\n").next().unwrap_or_default();
                let quoted = body.split('"').skip(1).step_by(2);
                words.extend(quoted.filter(|word| is_reason(word)).map(str::to_owned));
                rest = after;
            }
        });
    }
    words
}

/// Every text in the source that may be such a word.
fn literals() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for part in ["core", "engine", "operator"] {
        visit(&repository().join("host").join(part).join("src"), &mut |source| {
            let lines = source.lines().flat_map(|line| line.split('"').skip(1).step_by(2));
            words.extend(lines.filter(|word| is_reason(word)).map(str::to_owned));
        });
    }
    words
}

fn is_reason(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_uppercase()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn visit(folder: &Path, look: &mut impl FnMut(&str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, look);
        } else if path.extension().is_some_and(|it| it == "rs") {
            look(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
