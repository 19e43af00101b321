//! Waiting for frames and for the link, in place of polling.

use std::os::fd::AsFd;
use std::time::Duration;

use barewire::{Batch, Error, PATIENCE, Port, PortConfig, WaitMode, Waiter, wait_any};
use barewire_sim::nic::{Nic, NicConfig};
use barewire_sim::runner::Runner;
use barewire_sim::wire::Loopback;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::lab::{Lab, config, frame};

/// Long enough that only a wake-up that was lost takes so long.
const LOST: Duration = Duration::from_secs(20);

fn interrupting() -> PortConfig {
    PortConfig {
        interrupts: true,
        interrupt_interval: Duration::ZERO,
        ..config()
    }
}

/// Whether the file descriptor is readable at this moment.
fn signalled(event: &impl AsFd) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut events = [PollFd::new(event, PollFlags::IN)];
    poll(&mut events, Some(&now)).unwrap() > 0
}

#[test]
fn an_armed_queue_is_signalled_once_and_then_no_more() {
    let mut lab = Lab::new(&interrupting());
    lab.wire.send(&frame(60, 1));
    lab.settle();
    assert!(!signalled(&lab.rx[0]), "it was not asked to");
    assert_eq!(lab.received(0).len(), 1);
    for seed in 2..5 {
        assert!(lab.rx[0].arm().unwrap());
        lab.settle();
        assert!(!signalled(&lab.rx[0]), "the frame had been polled");
        lab.wire.send(&frame(60, seed));
        lab.settle();
        assert!(signalled(&lab.rx[0]));
        assert_eq!(lab.received(0).len(), 1);
    }
    // under load it is polled, and the device keeps quiet
    lab.wire.send(&frame(60, 6));
    lab.settle();
    assert!(!lab.rx[0].arm().unwrap(), "a frame is there already");
    assert_eq!(lab.received(0).len(), 1);
}

#[test]
fn a_frame_that_came_before_the_arming_is_not_slept_over() {
    let mut lab = Lab::new(&interrupting());
    for seed in 0..100 {
        lab.wire.send(&frame(60, seed));
        lab.settle();
        // the frame is in the ring, and nobody has looked since
        assert!(!lab.rx[0].arm().unwrap());
        assert!(lab.rx[0].wait(None).unwrap());
        assert_eq!(lab.received(0).len(), 1);
    }
}

#[test]
fn nobody_sleeps_while_the_device_has_no_buffer_to_receive_into() {
    let buffers = 64;
    let mut lab = Lab::new(&PortConfig {
        rx_ring: 64,
        buffers: Some(buffers),
        ..interrupting()
    });
    // the program keeps what comes until the pool is empty
    let mut kept = Batch::new(buffers);
    for seed in 0..64 {
        lab.wire.send(&frame(60, seed));
    }
    for _ in 0..8 {
        lab.settle();
        lab.rx[0].receive(&mut kept).unwrap();
    }
    assert!(lab.rx[0].counters().starved > 0);
    assert!(!lab.rx[0].arm().unwrap(), "no signal would ever come");
    // buffers that are back are given to the device by the next look
    kept.clear();
    lab.rx[0].receive(&mut kept).unwrap();
    lab.settle();
    while lab.rx[0].receive(&mut kept).unwrap() > 0 {
        kept.clear();
    }
    assert!(lab.rx[0].arm().unwrap());
    lab.wire.send(&frame(60, 100));
    lab.settle();
    assert!(signalled(&lab.rx[0]));
}

#[test]
fn every_queue_has_an_event_of_its_own() {
    let queues = 5;
    let mut lab = Lab::new(&PortConfig {
        rx_queues: queues,
        rss: barewire::Rss {
            table: vec![3],
            ..barewire::Rss::default()
        },
        ..interrupting()
    });
    for rx in &mut lab.rx {
        assert!(rx.arm().unwrap());
    }
    let mut hashed = frame(60, 0);
    hashed[12..14].copy_from_slice(&[0x08, 0x00]);
    hashed[14..34].copy_from_slice(&[
        0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    lab.wire.send(&hashed);
    lab.settle();
    let which: Vec<_> = lab.rx.iter().map(signalled).collect();
    assert_eq!(which, [false, false, false, true, false]);
    assert!(wait_any(&mut lab.rx, Some(LOST)).unwrap());
    assert_eq!(lab.received(3).len(), 1);
}

#[test]
fn all_vectors_that_the_device_has_can_be_used_and_no_more() {
    let with = |rx_queues| PortConfig {
        rx_queues,
        rx_ring: 64,
        buffers: Some(160),
        ..interrupting()
    };
    let mut lab = Lab::new(&with(63));
    for rx in &mut lab.rx {
        assert!(rx.arm().unwrap());
    }
    lab.wire.send(&frame(60, 0));
    lab.settle();
    let signalled = lab.rx.iter().filter(|rx| signalled(*rx)).count();
    assert_eq!(signalled, 1);
    assert_eq!(lab.received(0).len(), 1);
    let nic = Nic::new(NicConfig::default(), Loopback::new());
    let error = Port::open(nic.function(), &with(64)).unwrap_err();
    assert!(error.to_string().contains("1 to 63"), "{error}");
}

#[test]
fn moderation_lets_a_queue_interrupt_so_often_and_no_more_often() {
    let mut lab = Lab::new(&PortConfig {
        interrupt_interval: Duration::from_micros(500),
        ..interrupting()
    });
    let mut signals = 0;
    // one frame every 50 µs for 20 ms
    for seed in 0..200u8 {
        let _ = lab.rx[0].arm().unwrap();
        lab.wire.send(&frame(60, seed));
        lab.nic.run_for(Duration::from_micros(50));
        signals += u32::from(signalled(&lab.rx[0]));
        lab.rx[0].receive(&mut Batch::new(32)).unwrap();
    }
    assert!((20..=42).contains(&signals), "{signals} signals in 20 ms");
    let long = PortConfig {
        interrupt_interval: Duration::from_millis(2),
        ..interrupting()
    };
    let nic = Nic::new(NicConfig::default(), Loopback::new());
    let error = Port::open(nic.function(), &long).unwrap_err();
    assert!(error.to_string().contains("1022 µs"), "{error}");
}

#[test]
fn a_link_that_changes_is_an_event() {
    let mut lab = Lab::new(&interrupting());
    while lab.port.link_change().unwrap().is_some() {}
    assert!(!signalled(&lab.port));
    for up in [false, true, false] {
        lab.nic.set_cable(up);
        lab.nic.run_for(Duration::from_millis(50));
        assert!(signalled(&lab.port), "link {up}");
        assert_eq!(lab.port.link_change().unwrap().unwrap().up, up);
        assert_eq!(lab.port.link_change().unwrap(), None);
        assert!(!signalled(&lab.port));
    }
    let none = lab
        .port
        .wait_for_link_change(Some(Duration::from_millis(1)));
    assert_eq!(none.unwrap(), None);
}

#[test]
fn a_port_without_interrupts_says_so_and_its_descriptor_stays_quiet() {
    let mut lab = Lab::new(&config());
    lab.wire.send(&frame(60, 0));
    lab.settle();
    assert!(matches!(lab.rx[0].arm(), Err(Error::NoInterrupts { .. })));
    assert!(matches!(
        lab.port.link_change(),
        Err(Error::NoInterrupts { .. })
    ));
    assert!(!signalled(&lab.rx[0]) && !signalled(&lab.port));
    assert_eq!(lab.received(0).len(), 1);
}

#[test]
fn a_device_that_is_gone_is_noticed_when_going_to_sleep() {
    let mut lab = Lab::new(&interrupting());
    lab.nic.unplug();
    assert!(matches!(lab.rx[0].wait(None), Err(Error::Gone { .. })));
}

#[test]
fn stopping_the_port_wakes_those_who_sleep() {
    let mut lab = Lab::new(&interrupting());
    let mut rx = lab.rx.remove(0);
    let runner = Runner::start(vec![lab.nic.clone()]).unwrap();
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(move || {
            while rx.wait(None)? {
                rx.receive(&mut Batch::new(1))?;
            }
            Ok::<_, Error>(())
        });
        lab.port.stop().unwrap();
        assert!(matches!(
            sleeper.join().unwrap(),
            Err(Error::Stopped { .. })
        ));
    });
    runner.stop();
}

#[test]
fn after_a_restart_interrupts_are_those_of_the_new_port() {
    let nic = Nic::new(NicConfig::default(), Loopback::new());
    for _ in 0..3 {
        let mut port = Port::open(nic.function(), &interrupting()).unwrap();
        port.wait_for_link(Duration::from_secs(5)).unwrap();
        let (mut rx, mut tx) = (port.take_rx(0).unwrap(), port.take_tx(0).unwrap());
        assert!(rx.arm().unwrap());
        let mut batch = Batch::new(1);
        let packet = rx.pool().packet(&frame(60, 7)).unwrap();
        batch.push(packet).unwrap();
        tx.send(&mut batch).unwrap();
        nic.run_for(Duration::from_micros(50));
        assert!(signalled(&rx));
        drop((rx, tx, port));
    }
    assert_eq!(nic.violations(), []);
}

/// Sends a frame through a loopback and waits for it, again and again, while the device is at work
/// on a thread of its own. Each frame is the only one, so a wake-up that is lost is a wait that ends
/// with nothing.
fn ping(mode: WaitMode, rounds: u32, interval: Duration) -> u64 {
    let nic = Nic::new(NicConfig::default(), Loopback::new());
    let config = PortConfig {
        interrupt_interval: interval,
        ..interrupting()
    };
    let mut port = Port::open(nic.function(), &config).unwrap();
    port.wait_for_link(Duration::from_secs(5)).unwrap();
    let (mut rx, mut tx) = (port.take_rx(0).unwrap(), port.take_tx(0).unwrap());
    let runner = Runner::start(vec![nic.clone()]).unwrap();
    let mut waiter = Waiter::new(mode);
    let mut batch = Batch::new(8);
    batch
        .push(rx.pool().packet(&frame(60, 1)).unwrap())
        .unwrap();
    let mut chance = fastrand::Rng::with_seed(7);
    for round in 0..rounds {
        while tx.send(&mut batch).unwrap() == 0 {}
        // the look before the sleep falls before, into and after the frame's arrival
        for _ in 0..chance.u32(0..3000) {
            std::hint::spin_loop();
        }
        let before = std::time::Instant::now();
        while rx.receive(&mut batch).unwrap() == 0 {
            waiter.after(false, [&mut rx], LOST).unwrap();
            assert!(
                before.elapsed() < LOST,
                "round {round}: the wake-up was lost"
            );
        }
        waiter.after(true, [&mut rx], LOST).unwrap();
        tx.reclaim();
    }
    runner.stop();
    assert_eq!(nic.violations(), []);
    waiter.sleeps()
}

#[test]
fn no_wake_up_is_lost_when_sleeping_at_once() {
    let sleeps = ping(WaitMode::Interrupt, 20_000, Duration::ZERO);
    assert!(sleeps > 0);
}

#[test]
fn no_wake_up_is_lost_when_switching_between_polling_and_sleeping() {
    ping(WaitMode::Adaptive, 20_000, Duration::ZERO);
}

#[test]
fn no_wake_up_is_lost_to_moderation() {
    ping(WaitMode::Interrupt, 2_000, Duration::from_micros(40));
}

#[test]
fn an_idle_thread_polls_for_its_patience_and_then_sleeps() {
    let mut lab = Lab::new(&interrupting());
    let mut waiter = Waiter::new(WaitMode::Adaptive);
    let began = std::time::Instant::now();
    while waiter.sleeps() == 0 {
        waiter
            .after(false, &mut lab.rx, Duration::from_millis(1))
            .unwrap();
    }
    assert!(began.elapsed() >= PATIENCE);
    // being busy starts the patience anew
    waiter.after(true, &mut lab.rx, Duration::ZERO).unwrap();
    waiter.after(false, &mut lab.rx, Duration::ZERO).unwrap();
    assert_eq!(waiter.sleeps(), 1);
    let mut poller = Waiter::new(WaitMode::Poll);
    for _ in 0..1000 {
        poller.after(false, &mut lab.rx, LOST).unwrap();
    }
    assert_eq!(poller.sleeps(), 0);
}
