//! A program that a page shows is one that is compiled: the text of a file, to the letter.

use super::Violation;
use super::tree::Tree;

/// The page, and the file that its block of Rust shows.
const SHOWN: (&str, &str) = ("docs/integrate-esp32.md", "device-agent/esp32/examples/smallest.rs");

/// Compares page and file.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let (page, program) = SHOWN;
    let text = |path: &str| tree.files.iter().find(|file| file.path == path).map(|file| &file.text);
    let (Some(shown), Some(compiled)) = (text(page), text(program)) else { return Vec::new() };
    let Some((before, block)) = shown.split_once("```rust\n") else {
        return vec![Violation::new(page, 1, format!("shows {program} no more"))];
    };
    let first = before.lines().count() + 2;
    let block = block.split_once("```\n").map_or(block, |(block, _)| block);
    if block == compiled {
        return Vec::new();
    }
    let same = block.lines().zip(compiled.lines()).take_while(|(one, other)| one == other).count();
    vec![Violation::new(page, first + same, format!("is not what {program} says"))]
}

#[cfg(test)]
mod tests {
    use super::super::testing::lines;
    use super::super::tree::File;
    use super::*;

    fn check_page(page: &str) -> Vec<usize> {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let files = vec![file(SHOWN.0, page), file(SHOWN.1, "use a;\nfn main() {}\n")];
        lines(&check(&Tree { files }))
    }

    #[test]
    fn a_page_shows_the_program_that_is_compiled() {
        assert!(check_page("# Page\n\n```rust\nuse a;\nfn main() {}\n```\n").is_empty());
        assert_eq!(check_page("# Page\n\n```rust\nuse a;\nfn other() {}\n```\n"), [5]);
        assert_eq!(check_page("# Page\n\n```rust\nuse a;\n```\n"), [5]);
        assert_eq!(check_page("# Page\n"), [1]);
    }
}
