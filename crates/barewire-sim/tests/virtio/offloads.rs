//! Checksums and segments, both ways.

use barewire::{Batch, Checksum, Cut, Offload, Offloads, PortConfig, Segmentation};
use barewire_sim::virtio::VirtioConfig;
use barewire_spec::virtio::feature as f;

use super::lab::{Lab, config};

const ALL: Offloads = Offloads {
    receive_checksum: true,
    coalescing: true,
    transmit_checksum: true,
    segmentation: true,
};

fn sum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A TCP segment over IPv4, its checksum the pseudo header's sum.
fn tcp(payload: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let total = (40 + payload) as u16;
    let mut ip = vec![0x45, 0];
    ip.extend(total.to_be_bytes());
    ip.extend([0, 7, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let checksum = !sum(&ip, 0);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let pseudo = sum(&ip[12..20], 6 + 20 + payload as u32);
    frame.extend(ip);
    frame.extend([1, 2, 3, 4, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, 0x18, 1, 0]);
    frame.extend(pseudo.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend((0..payload).map(|n| n as u8));
    frame
}

/// Whether a TCP segment's checksum is right.
fn is_right(frame: &[u8]) -> bool {
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let segment = &frame[34..14 + total];
    sum(&frame[14..34], 0) == 0xffff
        && sum(
            segment,
            u32::from(sum(&frame[26..34], 6 + segment.len() as u32)),
        ) == 0xffff
}

const PARTIAL: Checksum = Checksum::Partial {
    start: 34,
    offset: 16,
};

fn send(lab: &mut Lab, frame: &[u8], offload: Offload) -> usize {
    let pool = lab.rx[0].pool().clone();
    let mut batch = Batch::new(1);
    let mut packet = pool.packet(frame).unwrap();
    packet.as_mut().set_offload(offload).unwrap();
    batch.push(packet).unwrap();
    let sent = lab.tx[0].send(&mut batch).unwrap();
    lab.settle();
    sent
}

#[test]
fn checksums_are_finished_by_the_device_or_on_the_way() {
    let offload = Offload {
        checksum: PARTIAL,
        segmentation: None,
    };
    for offloads in [ALL, Offloads::default()] {
        let config = PortConfig {
            offloads,
            ..config()
        };
        let mut lab = Lab::new(&config);
        let does = lab.port.offloads();
        assert_eq!(does.transmit_checksum, offloads.transmit_checksum);
        assert_eq!(does.segmentation, offloads.segmentation);
        assert_eq!(send(&mut lab, &tcp(100), offload), 1);
        let sent = lab.wire.taken();
        assert!(is_right(&sent[0]));
        assert_eq!(sent[0][54..], tcp(100)[54..]);
    }
}

#[test]
fn segments_are_cut_by_the_device_or_refused() {
    let offload = Offload {
        checksum: PARTIAL,
        segmentation: Some(Segmentation {
            protocol: Cut::TcpIpv4,
            size: 400,
            ecn: false,
        }),
    };
    for format in [0, f::RING_PACKED] {
        let device = VirtioConfig {
            features: VirtioConfig::default().features | format,
            ..VirtioConfig::default()
        };
        let config = PortConfig {
            offloads: ALL,
            ..config()
        };
        let mut lab = Lab::on(device, &config).unwrap();
        assert_eq!(send(&mut lab, &tcp(1900), offload), 1);
        let sent = lab.wire.taken();
        assert_eq!(sent.len(), 5);
        assert!(sent.iter().all(|frame| is_right(frame)));
    }
    let mut lab = Lab::new(&config());
    assert_eq!(send(&mut lab, &tcp(1900), offload), 0);
    assert_eq!(lab.tx[0].counters().refused, 1);
    assert!(lab.wire.taken().is_empty());
}

#[test]
fn notes_on_received_frames_come_only_when_asked_for() {
    for offloads in [ALL, Offloads::default()] {
        let config = PortConfig {
            offloads,
            ..config()
        };
        let mut lab = Lab::new(&config);
        let mut good = tcp(64);
        let checksum = !sum(&good[34..], 0);
        good[50..52].copy_from_slice(&checksum.to_be_bytes());
        assert!(is_right(&good));
        lab.wire.send(&good);
        let received = lab.received_with(0);
        assert_eq!(received[0].0, good);
        if offloads == ALL {
            assert_eq!(received[0].1.checksum, Checksum::Verified);
        } else {
            assert!(received[0].1.is_none());
        }
        // what was verified is sent on as it is
        let mut batch = Batch::new(1);
        lab.wire.send(&good);
        while batch.is_empty() {
            lab.settle();
            lab.rx[0].receive(&mut batch).unwrap();
        }
        lab.tx[0].send(&mut batch).unwrap();
        lab.settle();
        assert_eq!(lab.wire.taken(), [good]);
    }
}
