//! How often each instruction of the subject was executed, by callgrind.

use std::collections::HashMap;

use anyhow::Result;

use super::super::instructions;
use super::super::subject::Program;

/// Executions by address, of the program itself.
#[derive(Debug)]
pub(super) struct Counts {
    /// Packets that were forwarded meanwhile.
    pub(super) packets: u64,
    executed: HashMap<u64, u64>,
}

impl Counts {
    /// Runs a subject for so many sections and counts.
    ///
    /// # Errors
    /// When it does not run under valgrind.
    pub(super) fn take(program: &Program, ring: u16, batch: u16, sections: u32) -> Result<Self> {
        let (text, packets) = instructions::trace(program, ring, batch, sections)?;
        let name = program.path.to_string_lossy();
        Ok(Self {
            packets,
            executed: parse(&text, &name),
        })
    }

    /// Executions of the instruction at an address.
    pub(super) fn at(&self, address: u64) -> u64 {
        self.executed.get(&address).copied().unwrap_or(0)
    }
}

/// Reads the lines `ADDRESS LINE COUNT` that belong to the object `program`. The line behind
/// `calls=` has the counts of what was called, which are counted there.
fn parse(text: &str, program: &str) -> HashMap<u64, u64> {
    let mut executed = HashMap::new();
    let (mut ours, mut called) = (false, false);
    for line in text.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            ours = object == program;
        } else if line.starts_with("calls=") {
            called = true;
        } else if let Some(rest) = line.strip_prefix("0x") {
            let mut words = rest.split_whitespace();
            let address = words
                .next()
                .and_then(|word| u64::from_str_radix(word, 16).ok());
            let count = words.nth(1).and_then(|word| word.parse::<u64>().ok());
            if let (true, false, Some(address), Some(count)) = (ours, called, address, count) {
                *executed.entry(address).or_insert(0) += count;
            }
            called = false;
        }
    }
    executed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_of_the_program_are_counted_and_calls_are_not() {
        let text = "events: Ir\nob=/lib/x\nfn=a\n0x10 1 99\nob=/bin/p\nfn=b\n0x10 1 5\ncfn=c\n\
                    calls=5 0x40\n0x14 1 700\n0x14 1 5\n0x10 2 1\n";
        let executed = parse(text, "/bin/p");
        assert_eq!(
            (executed.get(&0x10), executed.get(&0x14)),
            (Some(&6), Some(&5))
        );
        assert_eq!(executed.len(), 2);
    }
}
