//! Several queues, in one thread and in many.

use std::collections::HashMap;

use barewire::{Batch, PortConfig, Rss};
use barewire_sim::runner::Runner;

use super::lab::{Lab, Script, config, frame};

/// An IPv4/UDP frame of a flow.
fn flow(n: u16) -> Vec<u8> {
    let mut frame = frame(60, 0);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14..34].copy_from_slice(&[
        0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    frame[34..36].copy_from_slice(&n.to_be_bytes());
    frame[36..42].copy_from_slice(&[0x12, 0x34, 0, 26, 0, 0]);
    frame
}

#[test]
fn every_number_of_queues_opens_and_sends() {
    for queues in 1..=64u16 {
        let config = PortConfig {
            rx_queues: queues,
            tx_queues: queues,
            rx_ring: 64,
            tx_ring: 64,
            buffers: Some(160),
            ..config()
        };
        let mut lab = Lab::new(&config);
        let pool = lab.rx[0].pool().clone();
        for queue in 0..usize::from(queues) {
            let mut batch = Batch::new(1);
            let packet = frame(60, queue as u8);
            batch.push(pool.packet(&packet).unwrap()).unwrap();
            lab.tx[queue].send(&mut batch).unwrap();
        }
        lab.settle();
        let mut seeds: Vec<_> = lab.wire.taken().iter().map(|frame| frame[5]).collect();
        seeds.sort_unstable();
        let all: Vec<_> = (0..queues).map(|queue| queue as u8).collect();
        assert_eq!(seeds, all, "{queues} queues");
    }
}

#[test]
fn rss_keeps_a_flow_on_one_queue_and_spreads_many() {
    for queues in [2u16, 3, 8, 16] {
        let config = PortConfig {
            rx_queues: queues,
            ..config()
        };
        let mut lab = Lab::new(&config);
        for _ in 0..2 {
            for n in 0..256 {
                lab.wire.send(&flow(n));
            }
        }
        let mut where_to: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut used = 0;
        let mut total = 0;
        for queue in 0..usize::from(queues) {
            let frames = lab.received(queue);
            used += usize::from(!frames.is_empty());
            total += frames.len();
            for frame in frames {
                assert_eq!(*where_to.entry(frame).or_insert(queue), queue);
            }
        }
        assert_eq!((total, used), (512, usize::from(queues)));
    }
}

#[test]
fn an_rss_table_of_ones_own_sends_all_to_one_queue() {
    let rss = Rss {
        table: vec![2],
        ..Rss::default()
    };
    let mut lab = Lab::new(&PortConfig {
        rx_queues: 4,
        rss,
        ..config()
    });
    for n in 0..50 {
        lab.wire.send(&flow(n));
    }
    assert_eq!(lab.received(2).len(), 50);
}

#[test]
fn an_rss_table_beyond_the_queues_is_refused() {
    let rss = Rss {
        table: vec![0, 4],
        ..Rss::default()
    };
    let config = PortConfig {
        rx_queues: 4,
        rss,
        ..config()
    };
    let error = Lab::on(
        barewire_sim::nic::NicConfig::default(),
        Script::default(),
        &config,
    )
    .err();
    assert!(error.unwrap().to_string().contains("queues 0 to 3"));
}

#[test]
fn a_symmetric_key_keeps_both_directions_together() {
    let rss = Rss {
        key: Rss::SYMMETRIC_KEY,
        ..Rss::default()
    };
    let mut lab = Lab::new(&PortConfig {
        rx_queues: 8,
        rss,
        ..config()
    });
    for n in 0..64 {
        let there = flow(n);
        let mut back = there.clone();
        back[26..30].copy_from_slice(&there[30..34]);
        back[30..34].copy_from_slice(&there[26..30]);
        back[34..36].copy_from_slice(&there[36..38]);
        back[36..38].copy_from_slice(&there[34..36]);
        lab.wire.send(&there);
        lab.wire.send(&back);
    }
    for queue in 0..8 {
        let frames = lab.received(queue);
        let ports = |frame: &Vec<u8>| {
            let mut ports = [[frame[34], frame[35]], [frame[36], frame[37]]];
            ports.sort_unstable();
            ports
        };
        let mut count: HashMap<_, usize> = HashMap::new();
        for frame in &frames {
            *count.entry(ports(frame)).or_default() += 1;
        }
        assert!(count.values().all(|n| *n == 2), "queue {queue}");
    }
}

#[test]
fn queues_run_in_threads_of_their_own_without_a_lock() {
    let config = PortConfig {
        rx_queues: 2,
        tx_queues: 2,
        ..config()
    };
    let mut lab = Lab::new(&config);
    let runner = Runner::start(vec![lab.nic.clone()]).unwrap();
    let per_queue = 2000;
    let queues: Vec<_> = lab
        .tx
        .drain(..)
        .zip(lab.rx.iter().map(|rx| rx.pool().clone()))
        .collect();
    let threads: Vec<_> = queues
        .into_iter()
        .enumerate()
        .map(|(index, (mut tx, pool))| {
            std::thread::spawn(move || {
                let mut batch = Batch::new(16);
                let mut sent = 0;
                while sent < per_queue {
                    let wanted = 16.min(per_queue - sent - batch.len());
                    let before = batch.len();
                    batch.allocate(&pool, wanted, 60);
                    for mut packet in batch.iter_mut().skip(before) {
                        packet.bytes_mut().copy_from_slice(&frame(60, index as u8));
                    }
                    sent += tx.send(&mut batch).unwrap();
                }
                tx
            })
        })
        .collect();
    let queues: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    while !runner.idle() {
        std::thread::yield_now();
    }
    runner.stop();
    let sent = lab.wire.taken();
    assert_eq!(sent.len(), 2 * per_queue);
    for seed in 0..2 {
        assert_eq!(
            sent.iter().filter(|f| **f == frame(60, seed)).count(),
            per_queue
        );
    }
    drop(queues);
}
