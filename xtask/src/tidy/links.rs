//! Links between the pages of documentation lead somewhere. Not here: links to other sites.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::Violation;
use super::tree::{File, Tree};

/// Checks every relative link of every page, with its heading if it names one.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for page in tree.markdown() {
        for (line, target) in links(page) {
            if let Err(rule) = resolve(tree, page, target) {
                violations.push(Violation::new(&page.path, line, format!("link {target}: {rule}")));
            }
        }
    }
    violations
}

/// Returns the targets of `[text](target)` outside of code blocks, with their line numbers.
fn links(page: &File) -> impl Iterator<Item = (usize, &str)> {
    prose(page).flat_map(|(number, line)| {
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        targets.map(move |target| (number, target))
    })
}

/// Returns the lines that are not in a code block.
fn prose(page: &File) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    page.lines().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

fn resolve(tree: &Tree, page: &File, target: &str) -> Result<(), &'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = join(&page.path, path).ok_or("leaves the repository")?;
    let is_folder = |file: &File| Path::new(&file.path).starts_with(&path);
    if !tree.files.iter().any(is_folder) {
        return Err("no such file or folder");
    }
    let other = tree.files.iter().find(|file| Path::new(&file.path) == path);
    let found = heading.is_empty() || other.is_some_and(|page| headings(page).contains(heading));
    if found { Ok(()) } else { Err("no such heading") }
}

/// Resolves a link as a browser would; an empty one is the page itself.
fn join(page: &str, link: &str) -> Option<PathBuf> {
    let page = Path::new(page);
    if link.is_empty() {
        return Some(page.to_owned());
    }
    let mut joined = page.parent()?.to_owned();
    for component in Path::new(link).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => joined.push(part),
            Component::ParentDir => joined.pop().then_some(())?,
            Component::Prefix(_) | Component::RootDir => return None,
        }
    }
    Some(joined)
}

/// Returns the names by which one can link to the headings of a page.
fn headings(page: &File) -> BTreeSet<String> {
    let titles = prose(page).filter_map(|(_, line)| line.strip_prefix('#'));
    titles.map(|title| anchor(title.trim_start_matches('#').trim())).collect()
}

/// Makes the name of a heading as code forges do: lower case, spaces to `-`, no punctuation.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{lines, tree};
    use super::*;

    #[track_caller]
    fn assert_broken(text: &str, expected: &[usize]) {
        let mut tree = tree("docs/a.md", text);
        tree.files.push(File { path: "src/b.rs".to_owned(), text: String::new() });
        assert_eq!(lines(&check(&tree)), expected, "{text}");
    }

    #[test]
    fn files_folders_and_headings_that_exist_resolve() {
        assert_broken("[a](a.md) [b](../src/b.rs) [c](../src) [d](../src/)", &[]);
        assert_broken("# One, two: `three`\n[x](#one-two-three) [y](a.md#one-two-three)", &[]);
        assert_broken("[a](https://a.example/b) [b](mailto:a@b.example)", &[]);
    }

    #[test]
    fn links_into_nothing_are_found() {
        assert_broken("[a](b.md)", &[1]);
        assert_broken("x\n[a](../../src/b.rs)", &[2]);
        assert_broken("# One\n[x](#two)", &[2]);
        assert_broken("[x](/src/b.rs)", &[1]);
    }

    #[test]
    fn code_blocks_have_no_links_and_no_headings() {
        assert_broken("```\n[a](b.md)\n```", &[]);
        assert_broken("```\n# One\n```\n[x](#one)", &[4]);
    }
}
