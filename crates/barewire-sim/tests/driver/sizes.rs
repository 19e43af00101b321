//! Frames of every size, through rings of every size.

use barewire::{Batch, Pages, Pool, PoolConfig, PortConfig};

use super::lab::{Lab, config, frame};

/// Sizes at the edges: of Ethernet, of a buffer, of the device.
const EDGES: [usize; 12] = [
    60, 61, 64, 127, 1514, 1515, 1518, 2047, 2048, 2049, 9724, 9727,
];

#[test]
fn frames_of_every_edge_size_arrive_whole() {
    let mut lab = Lab::new(&PortConfig {
        mtu: 9710,
        ..config()
    });
    for len in EDGES.into_iter().filter(|len| *len <= 9724) {
        lab.wire.send(&frame(len, 7));
        let received = lab.received(0);
        assert_eq!(received.len(), 1, "{len} bytes");
        assert_eq!(received[0], frame(len, 7), "{len} bytes");
    }
}

#[test]
fn a_byte_more_than_the_limit_is_dropped_by_the_device_and_counted() {
    for (mtu, longest) in [(1500, 1514), (1501, 1515), (9710, 9724), (68, 82)] {
        let mut lab = Lab::new(&PortConfig { mtu, ..config() });
        lab.wire.send(&frame(longest, 1));
        lab.wire.send(&frame(longest + 1, 2));
        lab.wire.send(&frame(60, 3));
        assert_eq!(
            lab.received(0),
            [frame(longest, 1), frame(60, 3)],
            "MTU {mtu}"
        );
        let statistics = lab.port.statistics().unwrap();
        assert_eq!(
            (statistics.rx_packets, statistics.rx_errors),
            (2, 1),
            "MTU {mtu}"
        );
    }
}

#[test]
fn a_tagged_frame_may_be_four_bytes_longer() {
    let mut lab = Lab::new(&config());
    let tagged = |len| {
        let mut frame = frame(len, 1);
        frame[12..16].copy_from_slice(&[0x81, 0, 0, 5]);
        frame
    };
    lab.wire.send(&tagged(1518));
    lab.wire.send(&tagged(1519));
    assert_eq!(lab.received(0), [tagged(1518)]);
}

#[test]
fn frames_of_every_edge_size_are_sent_whole_and_short_ones_padded() {
    let mut lab = Lab::new(&PortConfig {
        mtu: 9710,
        ..config()
    });
    for len in [17, 40, 59] {
        lab.send(0, &[frame(len, 9)]);
        let mut padded = frame(len, 9);
        padded.resize(60, 0);
        assert_eq!(lab.wire.taken(), [padded], "{len} bytes");
    }
    for len in [60, 64, 1514, 2048] {
        lab.send(0, &[frame(len, 9)]);
        assert_eq!(lab.wire.taken(), [frame(len, 9)], "{len} bytes");
    }
}

#[test]
fn frames_of_several_buffers_are_forwarded_whole() {
    for ring in [64, 512] {
        let mut lab = Lab::new(&PortConfig {
            mtu: 9710,
            rx_ring: ring,
            tx_ring: ring,
            ..config()
        });
        let mut batch = Batch::new(4);
        let mut expected = Vec::new();
        let mut sent = Vec::new();
        for n in 0..200u8 {
            let len = EDGES[usize::from(n) % 11];
            lab.wire.send(&frame(len, n));
            expected.push(frame(len, n));
            lab.settle();
            lab.rx[0].receive(&mut batch).unwrap();
            lab.tx[0].send(&mut batch).unwrap();
            lab.settle();
            sent.extend(lab.wire.taken());
        }
        while sent.len() < expected.len() {
            let received = lab.rx[0].receive(&mut batch).unwrap();
            let given = lab.tx[0].send(&mut batch).unwrap();
            lab.settle();
            let fresh = lab.wire.taken();
            assert!(
                received + given + fresh.len() > 0,
                "stuck at {} of 200",
                sent.len()
            );
            sent.extend(fresh);
        }
        assert!(sent == expected, "ring {ring}: frames differ");
    }
}

#[test]
fn frames_the_device_cannot_send_are_refused_and_counted() {
    let mut lab = Lab::new(&config());
    let tagged = |len, seed| {
        let mut frame = frame(len, seed);
        frame[12..16].copy_from_slice(&[0x81, 0, 0, 5]);
        frame
    };
    let good = [frame(17, 1), frame(1514, 2), tagged(1518, 3), frame(60, 4)];
    let bad = [frame(16, 1), frame(1515, 2), tagged(1519, 3)];
    let mixed: Vec<_> = good[..3]
        .iter()
        .chain(&bad)
        .chain(&good[3..])
        .cloned()
        .collect();
    lab.send(0, &mixed);
    let mut padded = good.clone();
    padded[0].resize(60, 0);
    assert_eq!(lab.wire.taken(), padded);
    assert_eq!(lab.tx[0].counters().refused, 3);
}

#[test]
fn every_ring_size_wraps_many_times_in_order() {
    for ring in [64u16, 128, 256, 512, 1024, 2048, 4096] {
        let config = PortConfig {
            rx_ring: ring,
            tx_ring: ring,
            ..config()
        };
        let mut lab = Lab::new(&config);
        let mut batch = Batch::new(37);
        let total = usize::from(ring) * 3 + 5;
        let stamp = |n: usize| {
            let mut frame = frame(60, 0);
            frame[20..28].copy_from_slice(&(n as u64).to_be_bytes());
            frame
        };
        let mut sent = Vec::new();
        let mut offered = 0;
        while sent.len() < total {
            for _ in 0..50 {
                if offered < total {
                    lab.wire.send(&stamp(offered));
                    offered += 1;
                }
            }
            lab.settle();
            lab.rx[0].receive(&mut batch).unwrap();
            lab.tx[0].send(&mut batch).unwrap();
            lab.settle();
            sent.extend(lab.wire.taken());
        }
        assert!(
            sent.iter().enumerate().all(|(n, frame)| *frame == stamp(n)),
            "ring {ring}"
        );
        let statistics = lab.port.statistics().unwrap();
        assert_eq!(statistics.rx_packets, total as u64);
        assert_eq!(statistics.tx_packets, total as u64);
        assert_eq!(
            (statistics.rx_bytes, statistics.tx_bytes),
            (total as u64 * 60, total as u64 * 60)
        );
    }
}

#[test]
fn small_buffers_carry_jumbo_frames_in_ten_pieces() {
    let buffers = PoolConfig {
        buffers: 500,
        data_room: 1024,
        headroom: 64,
        pages: Pages::Ordinary,
    };
    let pool = Pool::new(buffers).unwrap();
    let mut lab = Lab::new(&PortConfig {
        mtu: 9710,
        pool: Some(pool),
        ..config()
    });
    lab.wire.send(&frame(9724, 1));
    lab.settle();
    let mut batch = Batch::new(1);
    assert_eq!(lab.rx[0].receive(&mut batch).unwrap(), 1);
    let packet = batch.pop().unwrap();
    assert_eq!((packet.len(), packet.as_ref().segments().len()), (9724, 10));
}

#[test]
fn without_crc_strip_the_fcs_is_delivered() {
    let mut lab = Lab::new(&PortConfig {
        crc_strip: false,
        ..config()
    });
    lab.wire.send(&frame(60, 1));
    let received = lab.received(0);
    assert_eq!(received[0].len(), 64);
    assert_eq!(received[0][..60], frame(60, 1));
}
