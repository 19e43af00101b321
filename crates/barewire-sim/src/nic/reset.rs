//! Resets and what follows them (82599 §4.2, §4.6.3).

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::{Ctrl, Eec, Rah, Rdrxctl};

use super::Device;
use super::model::Model;
use super::roles::Role;
use crate::time::Nanos;
use crate::violation::Rule;

/// How long the reset bits read 1.
const BIT: Nanos = Nanos::from_micros(3);
/// How long after a reset no other register may be accessed (82599 §8.2.3.1.1).
const QUIET: Nanos = Nanos::from_millis(1);
/// When the EEPROM has been read after a reset.
const EEPROM: Nanos = Nanos::from_millis(3);
/// When the receive DMA is ready after a reset.
const DMA: Nanos = Nanos::from_millis(4);

/// What a reset has still to do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Resets {
    bit_until: Option<Nanos>,
    quiet_until: Option<Nanos>,
    eeprom_at: Option<Nanos>,
    dma_at: Option<Nanos>,
    /// CTRL bit 2: no new requests on the bus.
    pub(super) master_disabled: bool,
}

impl Resets {
    /// The moments at which something ends.
    pub(super) fn pending(&self) -> impl Iterator<Item = Nanos> {
        [
            self.bit_until,
            self.quiet_until,
            self.eeprom_at,
            self.dma_at,
        ]
        .into_iter()
        .flatten()
    }

    /// Whether registers other than CTRL and STATUS may not be accessed yet.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet_until.is_some()
    }

    /// Whether the EEPROM has not been read yet.
    pub(super) fn is_loading(&self) -> bool {
        self.eeprom_at.is_some()
    }
}

/// Takes the moment away if it has come.
fn reached(moment: &mut Option<Nanos>, now: Nanos) -> bool {
    moment.take_if(|at| *at <= now).is_some()
}

impl Model {
    /// The state after power came on: the EEPROM was read long ago.
    pub(super) fn power_on(&mut self) {
        for (register, pattern) in [(&spec::MTA, 0xA5C3_5A3C), (&spec::VFTA, 0x3CA5_C35A)] {
            for index in 0..register.count() {
                // Not defined after power-on: software must not rely on zeros.
                self.registers.put(register, index, pattern);
            }
        }
        self.load_eeprom();
        self.load_pins();
        self.load_differences();
        self.dma_ready();
        self.decode_everything();
        self.restart_link();
        self.reschedule();
    }

    /// Performs the resets that a write to CTRL asks for.
    pub(super) fn write_ctrl(&mut self, value: u32) {
        let ctrl = Ctrl::from_bits(value);
        if ctrl.rst() || ctrl.lrst() {
            let running = self.sending_queues.len()
                + self.rx.iter().filter(|queue| queue.ring.enabled).count();
            if running > 0 && !self.resets.master_disabled && !ctrl.pcie_master_disable() {
                self.violate(
                    Rule::ForbiddenState,
                    || "CTRL".into(),
                    u64::from(value),
                    || format!("{running} queues run and PCIe master disable is 0"),
                    "82599 §5.2.5.3.2",
                );
            }
            self.reset();
            let asked = Ctrl::new().with_rst(ctrl.rst()).with_lrst(ctrl.lrst());
            self.registers.put(&spec::CTRL, 0, asked.into_bits());
            return;
        }
        self.resets.master_disabled = ctrl.pcie_master_disable();
        self.decode_port();
    }

    /// A function-level reset: the configuration space's settings are lost too.
    pub(super) fn function_reset(&mut self) {
        self.pci = super::config_space::config_space(&self.config);
        self.reset();
    }

    /// Back from D3hot, where the device's state was lost.
    pub(super) fn wake(&mut self) {
        self.reset();
    }

    fn reset(&mut self) {
        let now = self.now;
        self.registers.reset(|role| {
            !matches!(
                role,
                Role::Table | Role::MulticastTable | Role::VlanTable | Role::Count(_)
            )
        });
        self.causes = 0;
        self.interrupts.reset();
        self.system_time = super::clock::SystemTime::default();
        self.switches.clear();
        self.receiving_queues.clear();
        self.sending_queues.clear();
        for queue in &mut self.rx {
            *queue = super::queue::RxQueue::default();
        }
        for queue in &mut self.tx {
            let frame = std::mem::take(&mut queue.frame);
            *queue = super::queue::TxQueue {
                frame,
                ..Default::default()
            };
        }
        for index in 0..32 {
            self.statistics.map_receive(index, 0);
            self.statistics.map_transmit(index, 0);
        }
        self.packet_buffer.clear();
        self.pause = super::pause::PauseState::default();
        self.reset_flow_director();
        self.master_reported = false;
        self.resets = Resets {
            bit_until: Some(now + BIT),
            quiet_until: Some(now + QUIET),
            eeprom_at: Some(now + EEPROM),
            dma_at: Some(now + DMA),
            master_disabled: false,
        };
        let eec = Eec::from_bits(self.registers.of(&spec::EEC)).with_auto_rd(false);
        self.registers.put(&spec::EEC, 0, eec.into_bits());
        let rdrxctl = Rdrxctl::from_bits(self.registers.of(&spec::RDRXCTL)).with_dmaidone(false);
        self.registers.put(&spec::RDRXCTL, 0, rdrxctl.into_bits());
        self.registers.put(&spec::RAH, 0, 0);
        self.load_pins();
        self.load_differences();
        self.restart_link();
        self.decode_everything();
        self.reschedule();
    }

    /// Where a successor of the 82599 starts with something else.
    fn load_differences(&mut self) {
        if self.config.device >= Device::X540 {
            let size = spec::Rxpbsize::new().with_size(384);
            self.registers.put(&spec::RXPBSIZE, 0, size.into_bits());
        }
        if self.config.device == Device::X550 {
            let stopped = spec::Tsauxc::new().with_disable_systime(true);
            self.registers.put(&spec::TSAUXC, 0, stopped.into_bits());
        }
    }

    fn decode_everything(&mut self) {
        self.filter.mark_stale();
        self.decode_flow_director();
        self.decode_port();
    }

    pub(super) fn finish_resets(&mut self) {
        let now = self.now;
        if reached(&mut self.resets.bit_until, now) {
            let ctrl = Ctrl::from_bits(self.registers.of(&spec::CTRL));
            let ctrl = ctrl.with_rst(false).with_lrst(false);
            self.registers.put(&spec::CTRL, 0, ctrl.into_bits());
        }
        reached(&mut self.resets.quiet_until, now);
        if reached(&mut self.resets.eeprom_at, now) {
            self.load_eeprom();
        }
        if reached(&mut self.resets.dma_at, now) {
            self.dma_ready();
        }
    }

    fn load_eeprom(&mut self) {
        let mac = super::eeprom::mac(&self.eeprom);
        let low = u32::from_le_bytes([mac[0], mac[1], mac[2], mac[3]]);
        let high = Rah::new()
            .with_rah(u16::from_le_bytes([mac[4], mac[5]]))
            .with_av(true);
        self.registers.put(&spec::RAL, 0, low);
        self.registers.put(&spec::RAH, 0, high.into_bits());
        self.filter.mark_stale();
        let eec = Eec::from_bits(self.registers.of(&spec::EEC)).with_auto_rd(true);
        self.registers.put(&spec::EEC, 0, eec.into_bits());
        let fwsm = spec::Fwsm::new().with_fw_val_bit(true);
        self.registers.put(&spec::FWSM, 0, fwsm.into_bits());
        if self.config.device == Device::I82599 {
            let autoc = self.config.autoc.unwrap_or(spec::AUTOC.reset);
            self.registers.put(&spec::AUTOC, 0, autoc);
        }
    }

    fn dma_ready(&mut self) {
        let rdrxctl = Rdrxctl::from_bits(self.registers.of(&spec::RDRXCTL)).with_dmaidone(true);
        self.registers.put(&spec::RDRXCTL, 0, rdrxctl.into_bits());
    }
}
