//! Checks in a program: conditional jumps to a panic, or past one.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection};

use super::disassembly::{Disassembly, Instruction};
use super::read;

/// What a check is against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An index or a length out of bounds.
    Bounds,
    /// A sum, difference or product that does not fit.
    Overflow,
}

/// A conditional jump that decides between going on and a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) address: u64,
    pub(super) bytes: usize,
    pub(super) kind: Kind,
    /// Whether jumping is what leads to the panic; otherwise it is what avoids it.
    pub(super) jumps_to_panic: bool,
    pub(super) function: String,
}

/// Names of functions that panic, and for what.
const PANICS: &[(&str, Kind)] = &[
    ("panic_bounds_check", Kind::Bounds),
    ("slice_index_fail", Kind::Bounds),
    ("slice_start_index", Kind::Bounds),
    ("slice_end_index", Kind::Bounds),
    ("slice_index_order", Kind::Bounds),
    ("len_mismatch_fail", Kind::Bounds),
    ("_overflow", Kind::Overflow),
];
/// A panic's arguments take so many instructions at most.
const ARGUMENTS: usize = 8;

/// What is panicked for when the program goes on at this place.
fn panics_at(all: &Disassembly, mut at: usize) -> Option<Kind> {
    for _ in 0..ARGUMENTS {
        let instruction = all.instructions.get(at)?;
        match instruction.mnemonic.as_str() {
            "call" => {
                let name = &instruction.target_name;
                let found = PANICS.iter().find(|(panic, _)| name.contains(panic));
                return found.map(|(_, kind)| *kind);
            }
            "jmp" => at = all.find(instruction.target?)?,
            jump if jump.starts_with('j') || jump.starts_with("ret") => return None,
            _ => at += 1,
        }
    }
    None
}

fn is_conditional_jump(instruction: &Instruction) -> bool {
    let name = &instruction.mnemonic;
    name.starts_with('j') && name != "jmp" && matches!(instruction.bytes, 2 | 6)
}

/// All checks of a program.
pub(super) fn find(all: &Disassembly) -> Vec<Check> {
    let mut checks = Vec::new();
    for (at, instruction) in all.instructions.iter().enumerate() {
        if !is_conditional_jump(instruction) {
            continue;
        }
        let taken = instruction.target.and_then(|target| all.find(target));
        let taken = taken.and_then(|target| panics_at(all, target));
        let Some(kind) = taken.or_else(|| panics_at(all, at + 1)) else {
            continue;
        };
        checks.push(Check {
            address: instruction.address,
            bytes: instruction.bytes,
            kind,
            jumps_to_panic: taken.is_some(),
            function: all.functions[instruction.function].clone(),
        });
    }
    checks
}

/// The instruction in place of a check: nothing, or a jump without condition.
fn replacement(check: &Check, old: &[u8]) -> Option<Vec<u8>> {
    match (check.jumps_to_panic, old) {
        (true, [0x70..=0x7F, _]) => Some(vec![0x66, 0x90]),
        (true, [0x0F, 0x80..=0x8F, ..]) => Some(vec![0x66, 0x0F, 0x1F, 0x44, 0x00, 0x00]),
        (false, [0x70..=0x7F, distance]) => Some(vec![0xEB, *distance]),
        (false, [0x0F, 0x80..=0x8F, distance @ ..]) => Some([&[0x90, 0xE9], distance].concat()),
        _ => None,
    }
}

/// Writes a copy of a program in which these checks decide nothing any more.
///
/// # Errors
/// When the program is not what was disassembled.
pub(super) fn overwrite(program: &Path, checks: &[&Check], copy: &Path) -> Result<()> {
    let mut bytes = read(program)?;
    let (address, start, length) = {
        let file = object::File::parse(&bytes[..]).context("not a program")?;
        let text = file
            .section_by_name(".text")
            .context("no code in the program")?;
        let (start, length) = text.file_range().context("no code in the program")?;
        (text.address(), start, length)
    };
    for check in checks {
        let offset = check.address.checked_sub(address);
        let offset = offset.filter(|offset| offset + check.bytes as u64 <= length);
        let offset = offset.with_context(|| format!("{:#x} is not code", check.address))?;
        let at = usize::try_from(start + offset)?;
        let old = bytes.get(at..at + check.bytes).unwrap_or_default();
        let Some(new) = replacement(check, old) else {
            bail!(
                "the instruction at {:#x} is no conditional jump",
                check.address
            );
        };
        bytes[at..at + check.bytes].copy_from_slice(&new);
    }
    // a program that runs can't be written to
    let _ = fs::remove_file(copy);
    fs::write(copy, bytes).with_context(|| format!("can't write {}", copy.display()))?;
    fs::set_permissions(copy, fs::metadata(program)?.permissions())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(
        address: u64,
        bytes: usize,
        mnemonic: &str,
        target: u64,
        name: &str,
    ) -> Instruction {
        Instruction {
            address,
            bytes,
            mnemonic: mnemonic.into(),
            target: (target > 0).then_some(target),
            target_name: name.into(),
            slot: None,
            function: 0,
        }
    }

    #[test]
    fn jumps_to_a_panic_and_around_one_are_checks() {
        let all = Disassembly {
            instructions: vec![
                instruction(0, 2, "jae", 20, ""),
                instruction(2, 2, "jb", 9, ""),
                instruction(
                    4,
                    5,
                    "call",
                    0,
                    "core::panicking::panic_const::panic_const_add_overflow",
                ),
                instruction(9, 2, "jne", 11, ""),
                instruction(11, 1, "ret", 0, ""),
                instruction(20, 3, "mov", 0, ""),
                instruction(23, 5, "call", 0, "core::panicking::panic_bounds_check"),
            ],
            functions: vec!["f".into()],
        };
        let checks = find(&all);
        let found: Vec<_> = checks
            .iter()
            .map(|check| (check.address, check.kind, check.jumps_to_panic))
            .collect();
        assert_eq!(found, [(0, Kind::Bounds, true), (2, Kind::Overflow, false)]);
    }

    #[test]
    fn a_check_is_replaced_by_as_many_bytes() {
        let check = |jumps_to_panic| Check {
            address: 0,
            bytes: 0,
            kind: Kind::Bounds,
            jumps_to_panic,
            function: String::new(),
        };
        for (old, to_panic) in [(&[0x73, 0x10][..], true), (&[0x0F, 0x83, 1, 2, 3, 4], true)] {
            assert_eq!(replacement(&check(to_panic), old).unwrap().len(), old.len());
        }
        assert_eq!(
            replacement(&check(false), &[0x72, 0x10]).unwrap(),
            [0xEB, 0x10]
        );
        let near = replacement(&check(false), &[0x0F, 0x82, 1, 2, 3, 4]).unwrap();
        assert_eq!(near, [0x90, 0xE9, 1, 2, 3, 4]);
        assert_eq!(replacement(&check(true), &[0x48, 0x89]), None);
    }

    /// A program that is asked for more than it has, and for a sum that does not fit.
    const CHECKED: &str = r#"
        #[inline(never)]
        fn pick(list: &[u8], at: usize) -> u8 { list[at] }
        #[inline(never)]
        fn add(a: u8, b: u8) -> u8 { a + b }
        fn main() {
            let mut numbers = std::env::args().skip(1).map(|number| number.parse().unwrap());
            let mut next = || numbers.next().unwrap();
            let (at, a, b) = (next(), next(), next());
            pick(std::hint::black_box(&[1, 2, 3]), at);
            println!("went on with {}", add(a as u8, b as u8));
        }
    "#;

    #[test]
    fn checks_of_a_compiled_program_are_found_and_can_be_taken_out() {
        let folder = tempfile::tempdir().unwrap();
        let [source, program, copy] =
            ["checked.rs", "checked", "copy"].map(|n| folder.path().join(n));
        fs::write(&source, CHECKED).unwrap();
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let built = std::process::Command::new(rustc)
            .args(["-O", "-C", "overflow-checks", "-C", "debuginfo=1"])
            .args([&source, std::path::Path::new("-o"), &program])
            .status();
        assert!(built.unwrap().success());
        let all = find(&super::super::disassembly::read(&program).unwrap());
        let ours = |name: &'static str| all.iter().filter(move |it| it.function.contains(name));
        let (pick, add) = (ours("::pick"), ours("::add"));
        let checks: Vec<&Check> = pick.chain(add).collect();
        let kinds: Vec<Kind> = checks.iter().map(|check| check.kind).collect();
        assert_eq!(kinds, [Kind::Bounds, Kind::Overflow]);

        overwrite(&program, &checks, &copy).unwrap();
        let ends_well = |program: &Path, [at, a, b]: [&str; 3]| {
            let mut command = std::process::Command::new(program);
            command.args([at, a, b]).stderr(std::process::Stdio::null());
            command.output().unwrap().status.success()
        };
        for (numbers, within) in [
            (["2", "200", "55"], true),
            (["3", "200", "55"], false),
            (["2", "200", "56"], false),
        ] {
            assert_eq!(ends_well(&program, numbers), within, "{numbers:?}");
            assert!(ends_well(&copy, numbers), "{numbers:?}");
        }
    }
}
