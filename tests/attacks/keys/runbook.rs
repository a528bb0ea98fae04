//! `docs/ceremony.md`, carried out from top to bottom as a person would who copies every block.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use waxwing_e2e::image::{Behaviour, Recipe, make};
use waxwing_e2e::program::Program;

use super::room::{Judge, module};

const RUN_BOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ceremony.md");

/// Stands for anything in what the run-book shows.
const ANYTHING: &str = "…";

/// One block to run, and what it must show.
struct Step {
    line: usize,
    script: String,
    shows: Vec<String>,
}

/// Reads the blocks marked `sh`, and `text` for what the block before shows.
fn steps(book: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut block: Option<&str> = None;
    for (number, line) in (1..).zip(book.lines()) {
        match (block, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                block = Some(kind);
                match kind {
                    "sh" => {
                        let (script, shows) = (String::new(), Vec::new());
                        steps.push(Step { line: number, script, shows });
                    }
                    "text" | "console" => {}
                    _ => panic!("line {number}: a block is sh, text or console"),
                }
            }
            (Some(_), Some("")) => block = None,
            (Some("sh"), None) => {
                let step = steps.last_mut().unwrap();
                step.script.push_str(line);
                step.script.push('\n');
            }
            (Some("text"), None) => steps.last_mut().unwrap().shows.push(line.to_owned()),
            _ => {}
        }
    }
    assert_eq!(block, None, "the last block has no end");
    steps
}

/// Tells whether a line is what the run-book shows.
fn fits(shown: &str, line: &str) -> bool {
    let mut parts = shown.split(ANYTHING);
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut open = false;
    for part in parts {
        open = true;
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty() || (open && shown.ends_with(ANYTHING))
}

/// What each block printed, by the marks between them.
fn run(steps: &[Step], folder: &Path) -> Vec<String> {
    let mark = "=== end of block ===";
    let script: String =
        steps.iter().flat_map(|step| [step.script.as_str(), "echo '", mark, "'\n"]).collect();
    fs::write(folder.join("script"), script).unwrap();
    let programs = Program::Keys.command().unwrap().get_program().to_owned();
    let programs = Path::new(&programs).parent().unwrap().to_owned();
    let system = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&system)));
    let output = fs::File::create(folder.join("output")).unwrap();
    let mut yes = Command::new("yes").arg("y").stdout(Stdio::piped()).spawn().unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-e", "-o", "pipefail", "script"]).current_dir(folder);
    bash.env("PATH", path.unwrap()).env("WAXWING_PKCS11_MODULE", module());
    bash.stdin(yes.stdout.take().unwrap());
    bash.stdout(output.try_clone().unwrap()).stderr(output);
    let ended = bash.status().unwrap();
    // Nobody reads from it any more.
    let _ = yes.kill();
    yes.wait().unwrap();
    let output = fs::read_to_string(folder.join("output")).unwrap();
    let mut blocks: Vec<_> = output.split(&format!("{mark}\n")).map(str::to_owned).collect();
    let rest = blocks.pop().unwrap_or_default();
    let next = steps.get(blocks.len()).map_or(0, |step| step.line);
    assert!(ended.success(), "the block at line {next} failed:\n{rest}");
    blocks
}

#[test]
fn row_50_the_run_book_is_carried_out_as_it_is_written() {
    let steps = steps(&fs::read_to_string(RUN_BOOK).unwrap());
    assert!(steps.len() > 12, "the run-book has blocks to run");
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let blocks = run(&steps, folder.path());
    for (step, printed) in steps.iter().zip(&blocks) {
        let mut lines = printed.lines();
        for shown in &step.shows {
            let found = lines.any(|line| fits(shown, line));
            assert!(found, "the block at line {} does not show `{shown}`:\n{printed}", step.line);
        }
    }
    // All that lies there in the end, by python-tuf and by our own verifier.
    let verdict = Judge::start().ask(&folder.path().join("rehearsal/ceremony"));
    assert!(verdict.files.values().all(|good| *good), "{:?}", verdict.files);
    assert_eq!(verdict.walks["acme-th1"], "1 targets");
    assert!(verdict.files.contains_key("acme-th1/metadata/5.root.json"));
    assert!(verdict.files.contains_key("director/metadata/3.root.json"));
}

/// What a team has beside its ceremony: definitions and a build.
fn prepare(folder: &Path) {
    let releases = folder.join("releases/acme-th1");
    fs::create_dir_all(&releases).unwrap();
    fs::create_dir_all(folder.join("build")).unwrap();
    let product = "id = \"acme-th1\"\nchip = \"esp32c3\"\nhardware = [\"r1\"]\n\
                   channels = [\"stable\"]\nslot_bytes = 131072\n";
    fs::write(releases.join("product.toml"), product).unwrap();
    let release = "version = \"1.0.0\"\nchannel = \"stable\"\nsecurity_version = 1\n";
    fs::write(releases.join("1.0.0.toml"), release).unwrap();
    let recipe = Recipe { version: "1.0.0", behaviour: Behaviour::Work, code_bytes: 4096 };
    fs::write(folder.join("build/acme-th1-1.0.0.bin"), make(recipe).unwrap()).unwrap();
}

#[test]
fn what_the_run_book_shows_is_compared_with_care() {
    assert!(fits("a … c", "a b c"));
    assert!(fits("… c", "b c"));
    assert!(fits("a …", "a b c"));
    assert!(fits("a", "a"));
    for (shown, line) in [("a", "a b"), ("a", "b a"), ("a … c", "a b"), ("a … c", "a b c d")] {
        assert!(!fits(shown, line), "{shown}: {line}");
    }
    let book = "```sh\na\n```\nwords\n```text\nb\n```\n```console\nc\n```\n```sh\nd\n```\n";
    let steps = steps(book);
    let read: Vec<_> = steps.iter().map(|step| (step.script.as_str(), step.shows.len())).collect();
    assert_eq!(read, [("a\n", 1), ("d\n", 0)]);
}
