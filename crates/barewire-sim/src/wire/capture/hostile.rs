//! Captures of every kind, whole, cut and damaged, against the reader.

use super::reader::{Defect, Reader, Summary, inspect};
use super::samples::{
    MICROSECONDS, NANOSECONDS, Order, block, enhanced, frame, interface, obsolete, pcap,
    pcap_header, pcap_record, pcapng, section, simple,
};
use proptest::prelude::*;

const ORDERS: [Order; 2] = [Order::Big, Order::Little];

fn frames(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Defect> {
    let mut reader = Reader::new(bytes)?;
    let mut frames = Vec::new();
    while let Some(record) = reader.next()? {
        frames.push(record.data.to_vec());
    }
    Ok(frames)
}

fn refusal(bytes: &[u8]) -> String {
    inspect(bytes).unwrap_err().to_string()
}

fn some_frames() -> Vec<Vec<u8>> {
    vec![frame(1, 60), frame(2, 61), frame(3, 0), frame(4, 1514)]
}

#[test]
fn pcap_of_either_order_and_resolution() {
    for order in ORDERS {
        for magic in [MICROSECONDS, NANOSECONDS] {
            let bytes = pcap(order, magic, &some_frames());
            assert_eq!(frames(&bytes).unwrap(), some_frames());
        }
    }
}

#[test]
fn pcapng_of_either_order_and_every_packet_block() {
    for order in ORDERS {
        let mut bytes = pcapng(order, &some_frames());
        bytes.extend(block(order, 5, &[0; 16]));
        bytes.extend(block(order, 0x8000_0bad, &[0xaa; 100]));
        bytes.extend(obsolete(order, &frame(5, 70)));
        bytes.extend(simple(order, &frame(6, 71), 71));
        let mut expected = some_frames();
        expected.extend([frame(5, 70), frame(6, 71)]);
        assert_eq!(frames(&bytes).unwrap(), expected);
    }
}

#[test]
fn sections_of_both_orders_in_one_file() {
    let mut bytes = pcapng(Order::Big, &some_frames());
    bytes.extend(pcapng(Order::Little, &some_frames()));
    bytes.extend(pcapng(Order::Big, &some_frames()));
    assert_eq!(frames(&bytes).unwrap().len(), 12);
    // The interfaces of a section end with it.
    bytes.extend(section(Order::Little));
    bytes.extend(enhanced(Order::Little, 0, &frame(1, 60), 60));
    assert!(refusal(&bytes).contains("interface 0 is not described"));
}

#[test]
fn a_snap_length_cuts_simple_packets() {
    let mut bytes = section(Order::Little);
    bytes.extend(interface(Order::Little, 1, 64));
    bytes.extend(simple(Order::Little, &frame(1, 64), 1514));
    bytes.extend(simple(Order::Little, &frame(2, 62), 62));
    assert_eq!(inspect(&bytes[..]).unwrap(), Summary { whole: 1, cut: 1 });
    assert_eq!(frames(&bytes).unwrap(), [frame(1, 64), frame(2, 62)]);
}

#[test]
fn a_capture_without_frames_is_a_capture() {
    let none = Summary::default();
    assert_eq!(
        inspect(&pcap(Order::Little, MICROSECONDS, &[])[..]).unwrap(),
        none
    );
    assert_eq!(inspect(&section(Order::Big)[..]).unwrap(), none);
}

#[test]
fn a_length_of_fcs_in_the_link_type_is_no_other_link_type() {
    let bytes = pcap_header(Order::Little, MICROSECONDS, 0x1400_0001);
    assert!(inspect(&bytes[..]).is_ok());
}

#[test]
fn other_link_types_are_named() {
    let raw = pcap_header(Order::Little, MICROSECONDS, 228);
    assert_eq!(refusal(&raw), "its link type is IPV4 (228), not Ethernet");
    let unknown = pcap_header(Order::Big, MICROSECONDS, 9_999);
    assert_eq!(refusal(&unknown), "its link type is 9999, not Ethernet");
    let mut mixed = pcapng(Order::Little, &some_frames());
    mixed.extend(interface(Order::Little, 113, 0));
    let text = refusal(&mixed);
    assert!(text.contains("LINUX_SLL (113) on interface 1"), "{text}");
}

#[test]
fn cut_anywhere_it_is_cut_short_unless_between_records() {
    for order in ORDERS {
        for (bytes, header) in [
            (pcap(order, MICROSECONDS, &some_frames()), 24),
            (pcapng(order, &some_frames()), 28),
        ] {
            let mut valid = 0;
            for length in 1..bytes.len() {
                match inspect(&bytes[..length]) {
                    Ok(_) => valid += 1,
                    Err(Defect::CutShort { offset }) => {
                        assert!(offset < u64::try_from(length).unwrap());
                        assert!(length > header || offset == 0);
                    }
                    Err(other) => panic!("{length} bytes of {order:?}: {other}"),
                }
            }
            // After the header, after the interface of a pcapng file, after three of four frames.
            assert_eq!(valid, if header == 24 { 4 } else { 5 });
        }
    }
    assert!(matches!(inspect(&[][..]), Err(Defect::Empty)));
}

#[test]
fn what_begins_otherwise_is_no_capture() {
    for bytes in [&b"x"[..], b"\x1f\x8b\x08\0gzip", &[0; 100], &[0xff; 3]] {
        assert!(
            matches!(inspect(bytes), Err(Defect::NotACapture)),
            "{bytes:?}"
        );
    }
}

#[test]
fn unknown_versions_are_refused() {
    let mut bytes = pcap(Order::Little, MICROSECONDS, &some_frames());
    bytes[4] = 3;
    assert!(refusal(&bytes).contains("version 3.4"));
    let mut bytes = pcapng(Order::Little, &some_frames());
    bytes[12] = 2;
    assert!(refusal(&bytes).contains("version 2.0"));
}

#[test]
fn absurd_lengths_take_no_memory() {
    let mut bytes = pcap(Order::Little, MICROSECONDS, &some_frames());
    let mut record = pcap_record(Order::Little, &frame(1, 60), 60);
    record[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes.extend(record);
    let mut reader = Reader::new(&bytes[..]).unwrap();
    let defect = loop {
        match reader.next() {
            Ok(record) => assert!(record.is_some()),
            Err(defect) => break defect.to_string(),
        }
    };
    assert!(
        defect.contains("damaged") && defect.contains("4294967295"),
        "{defect}"
    );
    assert!(reader.memory() <= 256 << 10);

    for (total, reason) in [
        (u32::MAX - 3, "block of"),
        (0, "initial_len < 12"),
        (8, "initial_len < 12"),
        (13, "% 4"),
    ] {
        let mut bytes = pcapng(Order::Little, &some_frames());
        let at = bytes.len();
        bytes.extend(block(Order::Little, 77, &[0; 32]));
        bytes[at + 4..at + 8].copy_from_slice(&total.to_le_bytes());
        let text = refusal(&bytes);
        assert!(
            text.contains(&format!("at byte {at}")) && text.contains(reason),
            "{text}"
        );
    }
}

#[test]
fn a_packet_must_fit_its_block() {
    for length in [61u32, 65, 262_145, u32::MAX] {
        let mut bytes = section(Order::Big);
        bytes.extend(interface(Order::Big, 1, 0));
        let at = bytes.len();
        bytes.extend(enhanced(Order::Big, 0, &frame(1, 60), 60));
        bytes[at + 20..at + 24].copy_from_slice(&length.to_be_bytes());
        assert!(refusal(&bytes).contains("damaged"));
    }
    for body in 0..20 {
        let mut bytes = section(Order::Little);
        bytes.extend(interface(Order::Little, 1, 0));
        bytes.extend(block(Order::Little, 6, &vec![0; body]));
        assert_eq!(inspect(&bytes[..]).is_ok(), body > 16, "{body}");
    }
}

#[test]
fn many_interfaces_are_bounded() {
    let mut bytes = section(Order::Little);
    for _ in 0..65_537 {
        bytes.extend(interface(Order::Little, 1, 0));
    }
    assert!(refusal(&bytes).contains("more than 65536 interfaces"));
}

#[test]
fn large_blocks_between_packets_are_read_over() {
    let mut bytes = pcapng(Order::Little, &some_frames());
    bytes.extend(block(Order::Little, 77, &vec![0; 3 << 20]));
    bytes.extend(enhanced(Order::Little, 0, &frame(9, 60), 60));
    assert_eq!(frames(&bytes).unwrap().last().unwrap(), &frame(9, 60));
}

/// The target of the fuzzing below: whatever the bytes, an answer, and no more records than fit.
fn read(bytes: &[u8]) {
    if let Ok(summary) = inspect(bytes) {
        let records = usize::try_from(summary.whole + summary.cut).unwrap();
        assert!(records <= bytes.len() / 16);
    }
}

proptest! {
    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2_000), ng: bool, big: bool) {
        read(&bytes);
        let order = if big { Order::Big } else { Order::Little };
        let mut begun = if ng { section(order) } else { pcap_header(order, MICROSECONDS, 1) };
        begun.extend(bytes);
        read(&begun);
    }

    #[test]
    fn damaged_captures(
        ng: bool,
        big: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let order = if big { Order::Big } else { Order::Little };
        let mut bytes = if ng { pcapng(order, &some_frames()) } else { pcap(order, NANOSECONDS, &some_frames()) };
        bytes.extend(bytes.clone());
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        read(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        read(&bytes);
    }
}
