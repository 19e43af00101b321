//! The table against itself and against facts of the datasheet.

extern crate std;

use super::*;
use crate::ixgbe::register::{Array, Mode};
use crate::ixgbe::*;
use std::collections::BTreeMap;

#[test]
fn no_two_registers_share_an_offset() {
    let mut taken = BTreeMap::new();
    for register in all() {
        for index in 0..register.count() {
            let offset = register.at(index);
            if let Some(other) = taken.insert(offset, register.name) {
                panic!("{} and {other} at {offset:#07x}", register.name);
            }
        }
    }
    for alias in ALIASES {
        for index in 0..alias.count {
            let offset = alias.base + index * alias.stride;
            if let Some(other) = taken.insert(offset, alias.register.name) {
                panic!(
                    "alias of {} and {other} at {offset:#07x}",
                    alias.register.name
                );
            }
        }
    }
}

#[test]
fn lookup_finds_every_register_and_its_index() {
    for register in all() {
        for index in 0..register.count() {
            let (found, at) = lookup(register.at(index)).expect("defined");
            assert_eq!((found.name, at), (register.name, index));
            assert!(register.contains(register.at(index)));
        }
        assert_eq!(register.get(register.count()), None, "{}", register.name);
    }
}

#[test]
fn lookup_finds_the_register_behind_an_alias() {
    let cases = [
        (0x0_0004, "CTRL", 0),
        (0x0_213C, "SRRCTL", 15),
        (0x0_2204, "DCA_RXCTRL", 1),
        (0x0_5408, "RAL", 1),
        (0x0_547C, "RAH", 15),
        (0x0_5818, "MRQC", 0),
        (0x0_5C7C, "RETA", 31),
        (0x0_5CA4, "RSSRK", 9),
        (0x0_6070, "QPTC", 1),
        (0x1_1068, "PBACL", 0),
    ];
    for (offset, name, index) in cases {
        let found = lookup(offset).map(|(register, index)| (register.name, index));
        assert_eq!(found, Some((name, index)), "{offset:#07x}");
    }
}

#[test]
fn nothing_is_found_where_nothing_is_defined() {
    for offset in [
        0x0000C,
        0x0001,
        0x01002,
        0x02180,
        0x07E00 + 0x2000,
        0x1FFFC,
        u32::MAX,
    ] {
        assert!(lookup(offset).is_none(), "{offset:#07x}");
    }
}

#[test]
fn known_offsets() {
    let cases = [
        (RDBAL.at(0), 0x01000),
        (RDBAL.at(63), 0x01FC0),
        (RDBAL.at(64), 0x0D000),
        (RDBAL.at(127), 0x0DFC0),
        (RDT.at(64), 0x0D018),
        (SRRCTL.at(0), 0x01014),
        (SRRCTL.at(127), 0x0DFD4),
        (RXDCTL.at(65), 0x0D068),
        (RSCCTL.at(64), 0x0D02C),
        (DCA_RXCTRL.at(64), 0x0D00C),
        (TDBAL.at(0), 0x06000),
        (TDT.at(127), 0x07FD8),
        (TXDCTL.at(64), 0x07028),
        (TDWBAH.at(1), 0x0607C),
        (EITR.at(23), 0x0087C),
        (EITR.at(24), 0x12300),
        (EITR.at(128), 0x124A0),
        (IVAR.at(63), 0x009FC),
        (RAL.at(127), 0x0A5F8),
        (RAH.at(0), 0x0A204),
        (MPSAR.at(255), 0x0A9FC),
        (MTA.at(127), 0x053FC),
        (VFTA.at(127), 0x0A1FC),
        (QPRDC.at(15), 0x017F0),
        (QBTC_H.at(15), 0x0877C),
        (EIMC.offset(), 0x00888),
        (PFVFLRE.at(1), 0x001C0),
        (SW_FW_SYNC.offset(), 0x10160),
    ];
    for (actual, expected) in cases {
        assert_eq!(actual, expected, "{expected:#07x}");
    }
}

#[test]
fn every_register_is_aligned_and_inside_the_bar() {
    for register in all() {
        for index in 0..register.count() {
            let offset = register.at(index);
            assert_eq!(offset % 4, 0, "{}", register.name);
            assert!(offset < limits::BAR0_SIZE, "{}", register.name);
        }
        if let Array::Split { first, count, .. } = register.array {
            assert!(first < count, "{}", register.name);
        }
    }
}

#[test]
fn bits_mean_one_thing() {
    for register in all()
        .chain(x540::all())
        .chain(x550::all())
        .chain(x553::all())
    {
        let name = register.name;
        assert_eq!(register.writable & register.reserved, 0, "{name}");
        assert_eq!(register.self_clearing & !register.writable, 0, "{name}");
        assert_eq!(register.reset & register.self_clearing, 0, "{name}");
        assert_eq!(register.mode.writable(), register.writable != 0, "{name}");
        assert!(register.section.contains('§'), "{name}");
    }
}

#[test]
fn names_are_unique() {
    let mut names = std::collections::BTreeSet::new();
    for register in all() {
        assert!(names.insert(register.name), "{}", register.name);
    }
}

#[test]
fn counters_clear_on_read_and_start_at_zero() {
    for register in [&GPRC, &GORCL, &GORCH, &MPC, &QPRDC, &TXDGPC, &CRCERRS] {
        assert_eq!(register.mode, Mode::ReadClear, "{}", register.name);
        assert_eq!(register.reset, 0, "{}", register.name);
    }
}

#[test]
fn reserved_bits_that_drivers_got_wrong() {
    assert_eq!(EIMC.reserved, 0x8000_0000);
    assert_eq!(EIMC_ALL & EIMC.reserved, 0);
    assert_eq!(DTXMXSZRQ.reserved, 0xFFFF_F000);
    let prescribed = Rdrxctl::from_bits(RDRXCTL.reset).as_prescribed();
    assert_eq!(prescribed.into_bits(), 0x0600_8808);
    assert_eq!(
        (prescribed.into_bits() ^ RDRXCTL.reset) & RDRXCTL.reserved,
        0
    );
}

#[test]
fn field_types_agree_with_the_masks() {
    let cases = [
        (
            Ctrl::new().with_rst(true).with_lrst(true).into_bits(),
            CTRL.self_clearing,
        ),
        (
            Rxdctl::new().with_swflsh(true).into_bits(),
            RXDCTL.self_clearing,
        ),
        (Rxdctl::new().with_enable(true).into_bits(), 1 << 25),
        (Rxdctl::new().with_vme(true).into_bits(), 1 << 30),
        (Txdctl::new().with_enable(true).into_bits(), 1 << 25),
        (Srrctl::new().with_drop_en(true).into_bits(), 1 << 28),
        (Srrctl::new().with_desctype(7).into_bits(), 0x0E00_0000),
        (
            Srrctl::new()
                .with_bsizeheader(4)
                .with_bsizepacket(2)
                .into_bits(),
            SRRCTL.reset,
        ),
        (
            Fctrl::new()
                .with_upe(true)
                .with_mpe(true)
                .with_bam(true)
                .into_bits(),
            0x700,
        ),
        (
            Hlreg0::from_bits(HLREG0.reset)
                .with_jumboen(true)
                .into_bits(),
            0x0800_2C0F,
        ),
        (Rah::new().with_av(true).into_bits(), 1 << 31),
        (
            Autoc::new().with_restart_an(true).into_bits(),
            AUTOC.self_clearing,
        ),
        (Autoc::new().with_lms(7).into_bits(), 7 << 13),
        (
            Links::new()
                .with_link_up(true)
                .with_link_speed(3)
                .into_bits(),
            0x7000_0000,
        ),
        (Links::new().with_link_status(true).into_bits(), 1 << 7),
        (Rttdcs::new().into_bits(), RTTDCS.reset),
        (
            Rttdcs::new().with_arbdis(true).into_bits(),
            RTTDCS.reset | 1 << 6,
        ),
        (Rttpcs::new().into_bits(), RTTPCS.reset),
        (Dmatxctl::new().into_bits(), DMATXCTL.reset),
        (Eec::new().with_auto_rd(true).into_bits(), 1 << 9),
        (
            Eerd::new().with_start(true).with_addr(0x3F).into_bits(),
            0xFD,
        ),
        (
            Status::new()
                .with_pcie_master_enable_status(true)
                .into_bits(),
            STATUS.reset,
        ),
        (Gpie::new().with_eiame(true).into_bits(), 1 << 30),
        (Eicr::new().with_lsc(true).into_bits(), 1 << 20),
        (Eicr::new().with_tcp_timer(true).into_bits(), 1 << 30),
        (
            Vlnctrl::new().with_vfe(true).into_bits(),
            VLNCTRL.reset | 1 << 30,
        ),
        (
            Mrqc::new()
                .with_tcp_ipv4(true)
                .with_udp_ipv6(true)
                .into_bits(),
            0x0081_0000,
        ),
        (Maxfrs::new().with_mfs(1518).into_bits(), MAXFRS.reset),
        (
            Msca::new().with_mdicmd(true).into_bits(),
            MSCA.self_clearing,
        ),
        (Rxpbsize::new().with_size(512).into_bits(), RXPBSIZE.reset),
        (Txpbsize::new().with_size(160).into_bits(), TXPBSIZE.reset),
    ];
    for (position, (actual, expected)) in cases.into_iter().enumerate() {
        assert_eq!(actual, expected, "case {position}: {actual:#010x}");
    }
}

#[test]
fn only_the_first_transmit_threshold_starts_high() {
    assert_eq!(TXPBTHRESH.reset_of(0), 0x96);
    assert_eq!(TXPBTHRESH.reset_of(1), 0);
    assert_eq!(RXPBSIZE.reset_of(7), RXPBSIZE.reset);
}

#[test]
#[should_panic(expected = "past the end")]
fn an_index_past_the_end_reaches_no_other_register() {
    let _ = TDT.at(128);
}
