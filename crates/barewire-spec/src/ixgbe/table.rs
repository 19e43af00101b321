//! All registers of the 82599, by offset.

use super::register::{Alias, Register};
use super::{
    dca, dcb, diagnostic, fcoe, flow_control, flow_director, general, interrupt, mac, management,
    nvm, pcie, receive, receive_dma, security, statistics, time_sync, transmit, virtualization,
    wakeup,
};

/// The registers, one list a group.
pub static GROUPS: &[&[&Register]] = &[
    general::REGISTERS,
    nvm::REGISTERS,
    flow_control::REGISTERS,
    pcie::REGISTERS,
    interrupt::REGISTERS,
    receive::REGISTERS,
    receive_dma::REGISTERS,
    transmit::REGISTERS,
    dcb::REGISTERS,
    dca::REGISTERS,
    security::REGISTERS,
    mac::REGISTERS,
    statistics::REGISTERS,
    flow_director::REGISTERS,
    fcoe::REGISTERS,
    time_sync::REGISTERS,
    wakeup::REGISTERS,
    management::REGISTERS,
    virtualization::REGISTERS,
    diagnostic::REGISTERS,
];

/// Offsets kept for software of the 82599's predecessor.
pub static ALIASES: &[Alias] = &[
    alias(&general::CTRL, 0x00004, 1, 4),
    alias(&receive_dma::SRRCTL, 0x02100, 16, 4),
    alias(&dca::DCA_RXCTRL, 0x02200, 16, 4),
    alias(&receive::RAL, 0x05400, 16, 8),
    alias(&receive::RAH, 0x05404, 16, 8),
    alias(&receive::PSRTYPE, 0x05480, 16, 4),
    alias(&receive::MRQC, 0x05818, 1, 4),
    alias(&receive::RETA, 0x05C00, 32, 4),
    alias(&receive::RSSRK, 0x05C80, 10, 4),
    alias(&statistics::QPTC, 0x06030, 16, 0x40),
    alias(&interrupt::PBACL, 0x11068, 1, 4),
];

const fn alias(register: &'static Register, base: u32, count: u32, stride: u32) -> Alias {
    Alias {
        register,
        base,
        count,
        stride,
    }
}

/// Every register, in the order of the datasheet's chapters.
pub fn all() -> impl Iterator<Item = &'static Register> {
    GROUPS.iter().copied().flatten().copied()
}

/// The register that answers at `offset` of BAR 0 and its index in its array, or `None` if
/// the datasheet defines nothing there. An alias finds the register it stands for.
///
/// This walks the table: a model that is asked often should keep the answers.
#[must_use]
pub fn lookup(offset: u32) -> Option<(&'static Register, u32)> {
    all()
        .find_map(|register| Some((register, register.index_of(offset)?)))
        .or_else(|| {
            ALIASES
                .iter()
                .find_map(|alias| Some((alias.register, alias.index_of(offset)?)))
        })
}

#[cfg(test)]
mod tests;
