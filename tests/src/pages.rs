//! The pages of the repository, whose commands the tests run as they are printed.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Run, run};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The blocks of a page in a language, such as `sh`.
pub fn blocks(page: &str, language: &str) -> Vec<String> {
    let page = fs::read_to_string(root().join(page)).unwrap();
    let begin = format!("```{language}\n");
    let rest = page.split(&begin).skip(1);
    rest.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The block of a page in a language that has `words` in it.
pub fn block(page: &str, language: &str, words: &str) -> String {
    let mut blocks = blocks(page, language).into_iter();
    blocks.find(|block| block.contains(words)).unwrap_or_else(|| panic!("{page}: {words}"))
}

/// Runs lines in a directory by the shell that every system has; the first that fails ends it.
pub fn sh(lines: &str, directory: &Path, environment: &[(&str, String)]) -> Run {
    let mut command = Command::new("sh");
    command.args(["-euc", lines]).current_dir(directory).envs(environment.iter().cloned());
    run(command, b"")
}
