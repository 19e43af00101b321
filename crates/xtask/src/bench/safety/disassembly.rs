//! A program's instructions, as objdump prints them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

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
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
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
    Some(Instruction {
        address,
        bytes,
        mnemonic: mnemonic.to_owned(),
        target,
        target_name: target_name.to_owned(),
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
    }
}
