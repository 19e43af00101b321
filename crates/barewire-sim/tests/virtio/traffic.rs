//! Frames there and back, over every kind of device.

use barewire::{PortConfig, Rss};
use barewire_sim::virtio::VirtioConfig;
use barewire_spec::virtio::feature as f;

use super::lab::{Lab, all_kinds, config, frame};

#[test]
fn frames_come_and_go_over_every_kind_of_device() {
    for device in all_kinds() {
        let shuffled = device.shuffled;
        let kind = format!("{:?} {:#x}", device.interface, device.features);
        let mut lab = Lab::on(device, &config()).unwrap_or_else(|error| panic!("{kind}: {error}"));
        // more than the rings have descriptors
        for round in 0..40u8 {
            let frames: Vec<_> = (0..20)
                .map(|n| frame(60 + usize::from(n) * 70, round ^ n))
                .collect();
            for frame in &frames {
                lab.wire.send(frame);
            }
            let mut received = lab.received(0);
            received.sort();
            let mut sorted = frames.clone();
            sorted.sort();
            assert!(received == sorted, "{kind}: other frames came");
            lab.send(0, &frames);
            // a device that is not bound to the order sends as it likes
            let mut sent = lab.wire.taken();
            if shuffled {
                sent.sort();
                assert!(sent == sorted, "{kind}: other frames left");
            } else {
                assert!(sent == frames, "{kind}: other frames left");
            }
        }
        lab.assert_clean();
        let statistics = lab.port.statistics().unwrap();
        assert_eq!((statistics.rx_packets, statistics.tx_packets), (800, 800));
        assert_eq!(statistics.rx_bytes, statistics.tx_bytes);
        assert_eq!(statistics.rx_errors, 0);
    }
}

#[test]
fn large_frames_lie_in_several_buffers_or_in_large_ones() {
    let usual = VirtioConfig::default().features;
    for features in [usual, usual | f::RING_PACKED, usual & !f::NET_MRG_RXBUF] {
        let device = VirtioConfig {
            features,
            ..VirtioConfig::default()
        };
        let config = PortConfig {
            mtu: 9000,
            ..config()
        };
        let mut lab = Lab::on(device, &config).unwrap();
        for round in 0..50 {
            lab.wire.send(&frame(9014, round));
            let mut received = lab.rx[0].pool().free();
            assert!(received > 0);
            let frames = lab.received(0);
            assert_eq!(frames, [frame(9014, round)]);
            received = lab.rx[0].pool().free();
            assert!(received > 0);
        }
    }
}

#[test]
fn frames_of_several_buffers_are_sent_as_one() {
    let usual = VirtioConfig::default().features;
    for features in [
        usual,
        usual & !f::INDIRECT_DESC,
        usual | f::RING_PACKED,
        (usual | f::RING_PACKED) & !f::INDIRECT_DESC,
    ] {
        let device = VirtioConfig {
            features,
            ..VirtioConfig::default()
        };
        let config = PortConfig {
            mtu: 9000,
            ..config()
        };
        let mut lab = Lab::on(device, &config).unwrap();
        let mut batch = barewire::Batch::new(4);
        for round in 0..100 {
            lab.wire.send(&frame(7000, round));
            while batch.is_empty() {
                lab.settle();
                lab.rx[0].receive(&mut batch).unwrap();
            }
            while !batch.is_empty() {
                lab.tx[0].send(&mut batch).unwrap();
                lab.settle();
            }
            assert_eq!(lab.wire.taken(), [frame(7000, round)]);
        }
    }
}

#[test]
fn rings_are_as_large_as_the_device_lets_them() {
    for (queue_size, ring) in [(64, 4096), (1024, 64), (256, 256), (2, 64), (4, 64)] {
        let device = VirtioConfig {
            queue_size,
            ..VirtioConfig::default()
        };
        let config = PortConfig {
            rx_ring: ring,
            tx_ring: ring,
            ..config()
        };
        let mut lab = Lab::on(device, &config).unwrap();
        for round in 0..50 {
            lab.wire.send(&frame(100, round));
            assert_eq!(lab.received(0), [frame(100, round)]);
            lab.send(0, &[frame(200, round)]);
            assert_eq!(lab.wire.taken(), [frame(200, round)]);
        }
    }
}

/// A UDP frame of some flow.
fn flow(number: u8) -> Vec<u8> {
    let mut frame = frame(80, number);
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14..34].copy_from_slice(&[
        0x45, 0, 0, 66, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, number,
    ]);
    frame[34..42].copy_from_slice(&[1, number, 2, 0, 0, 46, 0, 0]);
    let mut sum = 0u32;
    for pair in frame[14..34].chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair[1]);
    }
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn several(features: u64) -> VirtioConfig {
    VirtioConfig {
        features: VirtioConfig::default().features | features,
        queue_pairs: 4,
        ..VirtioConfig::default()
    }
}

#[test]
fn several_queues_share_the_frames() {
    for features in [
        f::NET_MQ,
        f::NET_MQ | f::NET_RSS,
        f::NET_MQ | f::RING_PACKED,
    ] {
        let config = PortConfig {
            rx_queues: 4,
            tx_queues: 4,
            ..config()
        };
        let mut lab = Lab::on(several(features), &config).unwrap();
        for number in 0..64 {
            lab.wire.send(&flow(number));
        }
        let counts: Vec<_> = (0..4).map(|queue| lab.received(queue).len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 64);
        if features & f::NET_RSS != 0 {
            assert!(counts.iter().all(|count| *count > 4), "{counts:?}");
        }
        for queue in 0..4 {
            lab.send(queue, &[frame(100, queue as u8)]);
        }
        assert_eq!(lab.wire.taken().len(), 4);
    }
}

#[test]
fn rss_obeys_its_table() {
    let config = PortConfig {
        rx_queues: 2,
        tx_queues: 1,
        rss: Rss {
            table: vec![1],
            ..Rss::default()
        },
        ..config()
    };
    let mut lab = Lab::on(several(f::NET_MQ | f::NET_RSS), &config).unwrap();
    for number in 0..16 {
        lab.wire.send(&flow(number));
    }
    let counts = [lab.received(0).len(), lab.received(1).len()];
    assert_eq!(counts, [0, 16], "{:?}", lab.nic.counters());
}

#[test]
fn what_the_device_has_not_is_refused() {
    let queues = PortConfig {
        rx_queues: 5,
        tx_queues: 5,
        ..config()
    };
    let halves = PortConfig {
        rx_queues: 1,
        tx_queues: 2,
        ..config()
    };
    let mtu = PortConfig {
        mtu: 9001,
        ..config()
    };
    for config in [queues, halves, mtu] {
        let error = Lab::on(several(f::NET_MQ), &config).err().unwrap();
        assert!(matches!(error, barewire::Error::Config { .. }), "{error}");
    }
}
