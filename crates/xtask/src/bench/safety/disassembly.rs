//! A program's instructions, as objdump prints them.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSymbol};

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) address: u64,
    pub(super) bytes: usize,
    pub(super) mnemonic: String,
    /// Where a jump or call goes, if it says so.
    pub(super) target: Option<u64>,
    /// The name of the target, or whatever objdump writes there.
    pub(super) target_name: String,
    /// Where the address of what it calls is kept, if it says so.
    pub(super) slot: Option<u64>,
    /// The function it belongs to, as a number of `Disassembly::functions`.
    pub(super) function: usize,
}

/// All instructions, in the order of their addresses.
#[derive(Debug, Default)]
pub(super) struct Disassembly {
    pub(super) instructions: Vec<Instruction>,
    pub(super) functions: Vec<String>,
}

impl Disassembly {
    /// The place of the instruction at an address.
    pub(super) fn find(&self, address: u64) -> Option<usize> {
        let found = self
            .instructions
            .binary_search_by_key(&address, |instruction| instruction.address);
        found.ok()
    }
}

/// Disassembles a program.
///
/// # Errors
/// When objdump can't.
pub(super) fn read(program: &Path) -> Result<Disassembly> {
    let output = Command::new("objdump")
        .args(["--disassemble", "--wide", "--demangle", "--section=.text"])
        .arg(program)
        .output()
        .context("there is no objdump: apt-get install binutils")?;
    if !output.status.success() {
        bail!("objdump can't read {}", program.display());
    }
    let mut all = parse(&String::from_utf8_lossy(&output.stdout));
    let slots = slots(&super::read(program)?)?;
    for instruction in &mut all.instructions {
        if let Some(name) = instruction.slot.and_then(|slot| slots.get(&slot)) {
            instruction.target_name.clone_from(name);
        }
    }
    Ok(all)
}

/// Names of functions by the places where the loader puts their addresses.
fn slots(program: &[u8]) -> Result<HashMap<u64, String>> {
    let file = object::File::parse(program).context("not a program")?;
    let mut names = HashMap::new();
    for symbol in file.symbols() {
        if let Ok(name) = symbol.name() {
            names.insert(symbol.address(), name);
        }
    }
    let mut slots = HashMap::new();
    for (slot, relocation) in file.dynamic_relocations().into_iter().flatten() {
        let address = u64::try_from(relocation.addend()).ok();
        if let Some(name) = address.and_then(|address| names.get(&address)) {
            slots.insert(slot, (*name).to_owned());
        }
    }
    Ok(slots)
}

fn parse(text: &str) -> Disassembly {
    let mut all = Disassembly::default();
    for line in text.lines() {
        if let Some(name) = function(line) {
            all.functions.push(name.to_owned());
        } else if let Some(mut instruction) = instruction(line) {
            instruction.function = all.functions.len().saturating_sub(1);
            all.instructions.push(instruction);
        }
    }
    all
}

/// `0000000000001230 <name>:`
fn function(line: &str) -> Option<&str> {
    let (address, rest) = line.split_once(" <")?;
    u64::from_str_radix(address, 16).ok()?;
    rest.strip_suffix(">:")
}

/// `    1230:<tab>48 89 e5 <tab>jb     1250 <name+0x20>`
fn instruction(line: &str) -> Option<Instruction> {
    let mut parts = line.splitn(3, '\t');
    let address = parts.next()?.trim().strip_suffix(':')?;
    let address = u64::from_str_radix(address, 16).ok()?;
    let bytes = parts.next()?.split_whitespace().count();
    let text = parts.next().unwrap_or_default().trim();
    // prefixes that stand before the instruction's name
    let text = ["addr32 ", "bnd ", "data16 "]
        .iter()
        .fold(text, |text, prefix| {
            text.strip_prefix(prefix).unwrap_or(text)
        });
    let (mnemonic, operands) = text.split_once(' ').unwrap_or((text, ""));
    let (target, target_name) = match operands.split_once('<') {
        Some((target, name)) => (
            u64::from_str_radix(target.trim(), 16).ok(),
            name.strip_suffix('>').unwrap_or(name),
        ),
        None => (None, ""),
    };
    // `call *0x5a9b6(%rip)        # 8a5b8 <_DYNAMIC+0x328>`
    let slot = operands.split_once("# ").and_then(|(_, rest)| {
        let address = rest.split_whitespace().next()?;
        u64::from_str_radix(address, 16).ok()
    });
    Some(Instruction {
        address,
        bytes,
        mnemonic: mnemonic.to_owned(),
        target,
        target_name: target_name.to_owned(),
        slot,
        function: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_jumps_and_calls_are_read() {
        let text = "\n0000000000001230 <first>:\n    1230:\t48 89 e5             \tmov    %rsp,%rbp\n    \
                    1233:\t72 0b                \tjb     1240 <first+0x10>\n\
                    0000000000001240 <core::panicking::x>:\n    \
                    1240:\t67 e8 00 00 00 00    \taddr32 call 1250 <core::y::z>\n";
        let all = parse(text);
        assert_eq!(all.functions, ["first", "core::panicking::x"]);
        assert_eq!(all.instructions.len(), 3);
        let jump = &all.instructions[1];
        assert_eq!(
            (jump.address, jump.bytes, jump.target),
            (0x1233, 2, Some(0x1240))
        );
        let call = &all.instructions[2];
        assert_eq!(
            (call.mnemonic.as_str(), call.target_name.as_str()),
            ("call", "core::y::z")
        );
        assert_eq!((call.function, all.find(0x1240)), (1, Some(2)));
        let line =
            "   10:\tff 15 b6 a9 05 00    \tcall   *0x5a9b6(%rip)        # 8a5b8 <_DYNAMIC+0x8>";
        let call = instruction(line).unwrap();
        assert_eq!((call.target, call.slot), (None, Some(0x8a5b8)));
    }
}
