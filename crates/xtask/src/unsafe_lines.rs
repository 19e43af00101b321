//! How much of each crate is `unsafe`: the figure that the paper gives in its Table 4.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// The crates that may hold `unsafe`.
const ALLOWED: [&str; 2] = ["barewire-dma", "barewire-bus"];

/// Lines of code of a crate's sources, without tests, comments and blank lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    code: usize,
    inside_unsafe: usize,
}

pub(crate) fn run() -> Result<()> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no workspace")?;
    let mut names: Vec<String> = fs::read_dir(crates)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| crates.join(name).join("src").is_dir())
        .collect();
    names.sort();
    println!("{:<16}{:>8}{:>8}{:>9}", "crate", "lines", "unsafe", "share");
    let mut forbidden = Vec::new();
    let mut total = Lines::default();
    for name in names {
        let mut lines = Lines::default();
        let files = sources(&crates.join(&name).join("src"))?;
        let tests = test_files(&files)?;
        for file in files.iter().filter(|file| !tests.contains(file)) {
            let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let of_file = count(&text).with_context(|| file.display().to_string())?;
            lines.code += of_file.code;
            lines.inside_unsafe += of_file.inside_unsafe;
            if of_file.inside_unsafe > 0 && !ALLOWED.contains(&name.as_str()) {
                forbidden.push(file.display().to_string());
            }
        }
        print(&name, lines);
        total.code += lines.code;
        total.inside_unsafe += lines.inside_unsafe;
    }
    print("all", total);
    if forbidden.is_empty() {
        return Ok(());
    }
    bail!(
        "unsafe belongs into {} only, found in {}",
        ALLOWED.join(" and "),
        forbidden.join(", ")
    )
}

fn print(name: &str, lines: Lines) {
    let tenths = (lines.inside_unsafe * 1000)
        .checked_div(lines.code)
        .unwrap_or(0);
    let share = format!("{}.{} %", tenths / 10, tenths % 10);
    println!(
        "{name:<16}{:>8}{:>8}{share:>9}",
        lines.code, lines.inside_unsafe
    );
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// The files of modules that are for tests alone: `#[cfg(test)] mod name;` in another file.
fn test_files(files: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut tests = Vec::new();
    for file in files {
        let parsed = syn::parse_file(&fs::read_to_string(file)?)
            .with_context(|| file.display().to_string())?;
        let folder = match file.file_name().and_then(|name| name.to_str()) {
            Some("lib.rs" | "main.rs" | "mod.rs") => file.with_file_name(""),
            _ => file.with_extension(""),
        };
        for item in parsed.items {
            if let syn::Item::Mod(module) = item
                && module.content.is_none()
                && is_test(&module.attrs)
            {
                tests.push(folder.join(format!("{}.rs", module.ident)));
            }
        }
    }
    Ok(tests)
}

fn count(text: &str) -> Result<Lines> {
    let file = syn::parse_file(text)?;
    let mut marks = Marks {
        kinds: vec![Kind::Code; text.lines().count() + 1],
    };
    marks.visit_file(&file);
    let mut lines = Lines::default();
    for (line, kind) in text.lines().zip(marks.kinds.iter().skip(1)) {
        let line = line.trim();
        if line.is_empty() || line.starts_with("//") || *kind == Kind::Test {
            continue;
        }
        lines.code += 1;
        lines.inside_unsafe += usize::from(*kind == Kind::Unsafe);
    }
    Ok(lines)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Code,
    Unsafe,
    Test,
}

/// What each line of a file is part of, counted from 1.
struct Marks {
    kinds: Vec<Kind>,
}

impl Marks {
    fn mark(&mut self, node: &impl Spanned, kind: Kind) {
        let span = node.span();
        let lines = span.start().line..=span.end().line;
        for mark in self.kinds.get_mut(lines).unwrap_or_default() {
            *mark = kind;
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Marks {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_test(&item.attrs) {
            self.mark(item, Kind::Test);
        } else {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.mark(block, Kind::Unsafe);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.unsafety.is_some() {
            self.mark(item, Kind::Unsafe);
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if signature.unsafety.is_some() {
            self.mark(signature, Kind::Unsafe);
        }
        visit::visit_signature(self, signature);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.mark(item, Kind::Unsafe);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_impls_and_functions_count_and_tests_do_not() {
        let text = include_str!("unsafe_lines/some.txt");
        let expected = Lines {
            code: 9,
            inside_unsafe: 5,
        };
        assert_eq!(count(text).unwrap(), expected);
    }

    #[test]
    fn text_and_comments_that_mention_it_do_not_count() {
        let text = include_str!("unsafe_lines/none.txt");
        let expected = Lines {
            code: 1,
            inside_unsafe: 0,
        };
        assert_eq!(count(text).unwrap(), expected);
    }
}
