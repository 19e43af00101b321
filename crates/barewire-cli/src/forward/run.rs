//! A run: from the opening of the wires to the last frame's arrival.

use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};
use barewire::{RxCounters, Statistics, TxCounters};

use super::far_end::{Direction, FarEnds};
use super::losses::Losses;
use super::progress::Progress;
use super::report::{PortReport, Report, Violations, WireReport, float};
use super::setup::{Bench, OpenPort};
use super::summary::frames;
use super::worker::{Lane, Workers};
use crate::arguments::{Forward, Mode};
use crate::interrupt::Interrupt;

/// Time between two looks at everything.
const TICK: Duration = Duration::from_millis(1);
/// Looks without any frame moving until a closed-loop run counts as stuck.
const STUCK: u32 = 10_000;
/// Looks without any frame arriving until the rest counts as lost.
const DRAINED: u32 = 2_000;
/// How long a run waits at its end for frames whose source can't be stopped.
const UNSTOPPABLE: Duration = Duration::from_millis(500);
/// Looks between two readings of the devices' counters while frames are missing.
const RARELY: u32 = 16;

/// Devices, far ends and threads at work.
pub(super) struct Run<'a> {
    command: &'a Forward,
    bench: Bench,
    far_ends: FarEnds,
    workers: Workers,
    losses: Arc<Losses>,
    began: Instant,
    /// When a frame was last seen to move.
    moved: Instant,
    stillness: Stillness,
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) report: Report,
    /// What the numbers do not say.
    pub(super) notes: Vec<String>,
    /// Whether everything worked, whatever became of the frames.
    pub(super) result: Result<()>,
}

impl<'a> Run<'a> {
    /// Starts to forward, then opens the wires.
    ///
    /// # Errors
    /// When a thread can't be started or a device can't be given the other's buffers.
    pub(super) fn start(command: &'a Forward, mut bench: Bench, far_ends: FarEnds) -> Result<Self> {
        let losses = Arc::default();
        let lanes = bench.lanes(command)?;
        let workers = Workers::start(lanes, command.mode.into(), &losses)?;
        // a thread that sleeps steps nothing
        bench.relieve(command.mode == Mode::Poll);
        let now = Instant::now();
        far_ends.gate.open();
        Ok(Self {
            command,
            bench,
            far_ends,
            workers,
            losses,
            began: now,
            moved: now,
            stillness: Stillness::default(),
        })
    }

    /// Watches until the end, then stops everything and counts.
    ///
    /// # Errors
    /// When the screen can't be written or a device does not stop.
    pub(super) fn watch(
        mut self,
        interrupt: &Interrupt,
        screen: &mut dyn Write,
        lines: bool,
    ) -> Result<Outcome> {
        let labels = self.bench.ports.each_ref().map(|port| port.label.clone());
        let mut progress = Progress::new(labels, self.bench.statistics(&self.losses), lines);
        let mut result = self.until_end(interrupt, &mut progress, screen);
        result = result.and(self.drain(&mut progress, screen));
        if progress.is_worthwhile() {
            result = result.and(self.print(&mut progress, screen));
        }
        self.finish(result)
    }

    /// Watches until there is a reason to end: time, number, the capture's end, the user's wish.
    fn until_end(
        &mut self,
        interrupt: &Interrupt,
        progress: &mut Progress,
        screen: &mut dyn Write,
    ) -> Result<()> {
        let limit = self.command.time_limit();
        loop {
            let forwarded = self.workers.forwarded();
            let ended = self.far_ends.ended(forwarded, self.losses.lost());
            if interrupt.asked() || ended || self.is_broken() {
                return Ok(());
            }
            if self.far_ends.recording_failed() {
                return Ok(());
            }
            let elapsed = self.began.elapsed();
            if limit.is_some_and(|limit| elapsed >= limit) {
                return Ok(());
            }
            let closed = self.far_ends.are_ours() && self.command.rate.is_none();
            if self.still() >= STUCK && closed {
                return Err(anyhow!("stuck: no frame has moved for {} s", STUCK / 1000));
            }
            self.tick(progress, screen)?;
        }
    }

    /// Whether going on makes no sense: nothing is left to forward from, or a port is lost that the
    /// far ends here were to see everything through.
    fn is_broken(&self) -> bool {
        let lost = self.losses.lost() != [false; 2];
        self.workers.have_ended() || lost && self.far_ends.are_ours()
    }

    /// Stops the sources and waits until what is on its way has arrived or been dropped, or
    /// nothing arrives any more.
    fn drain(&mut self, progress: &mut Progress, screen: &mut dyn Write) -> Result<()> {
        self.far_ends.stop();
        self.bench.idle();
        self.stillness = Stillness::default();
        if !self.far_ends.are_ours() {
            return self.drain_the_strange(progress, screen);
        }
        loop {
            let still = self.still();
            let (offered, arrived) = self.stillness.seen;
            if arrived >= offered || self.is_broken() {
                return Ok(());
            }
            if still % RARELY == 1 {
                let [first, second] = self.bench.statistics(&self.losses);
                let dropped = [first, second].map(|port| port.rx_dropped + port.rx_errors);
                if arrived + dropped.iter().sum::<u64>() >= offered {
                    return Ok(());
                }
            }
            if still >= DRAINED {
                return Ok(());
            }
            self.tick(progress, screen)?;
        }
    }

    /// Waits until what was forwarded has been sent. What comes from far ends that are not here
    /// goes on coming.
    fn drain_the_strange(&mut self, progress: &mut Progress, screen: &mut dyn Write) -> Result<()> {
        let end = Instant::now() + UNSTOPPABLE;
        while Instant::now() < end && !self.is_broken() {
            self.still();
            let statistics = self.bench.statistics(&self.losses);
            let forwarded = self.workers.forwarded();
            let drained = |(from, way): (usize, &Direction)| {
                let counted = [&statistics[from], &statistics[1 - from]];
                way.is_drained(forwarded[from], counted)
            };
            if self.far_ends.directions.iter().enumerate().all(drained) {
                return Ok(());
            }
            self.tick(progress, screen)?;
        }
        Ok(())
    }

    /// For how many looks no frame has been offered, forwarded or has arrived.
    fn still(&mut self) -> u32 {
        let forwarded: u64 = self.workers.forwarded().iter().sum();
        let offered = self.far_ends.offered();
        let now = if self.far_ends.are_ours() {
            (offered, self.far_ends.arrived())
        } else {
            (offered, forwarded)
        };
        if now == self.stillness.seen {
            self.stillness.ticks = self.stillness.ticks.saturating_add(1);
        } else {
            self.stillness = Stillness {
                seen: now,
                ticks: 0,
            };
            self.moved = Instant::now();
        }
        self.stillness.ticks
    }

    fn tick(&mut self, progress: &mut Progress, screen: &mut dyn Write) -> Result<()> {
        thread::sleep(TICK);
        if progress.is_due() {
            self.print(progress, screen)?;
        }
        Ok(())
    }

    /// Prints a line, if lines are wanted. Reading the devices' counters for it also keeps them
    /// from wrapping.
    fn print(&mut self, progress: &mut Progress, screen: &mut dyn Write) -> Result<()> {
        let now = self.bench.statistics(&self.losses);
        progress
            .print(screen, now)
            .context("cannot write how fast it goes")
    }

    /// Stops threads, ports and devices, in this order, and counts.
    fn finish(mut self, result: Result<()>) -> Result<Outcome> {
        let (lanes, slept, stopped) = self.workers.stop();
        self.bench.relieve(false);
        let statistics = self.bench.statistics(&self.losses);
        let oversize = self.bench.ports.iter_mut().map(OpenPort::oversize_dropped);
        let oversize_dropped = oversize.sum();
        let ports: Vec<_> = (0..2)
            .map(|position| port_report(&self.bench, &statistics, &lanes, position))
            .collect();
        drop(lanes);
        let forwarded = match self.losses.reason() {
            Some(reason) => Err(anyhow!(reason)),
            None => stopped,
        };
        // that a lost device does not stop is no news
        let violations = match (self.bench.stop(), &forwarded) {
            (Ok(violations), _) => violations.map(Violations::new),
            (Err(error), Ok(())) => return Err(error),
            (Err(_), Err(_)) => None,
        };

        let sent: u64 = ports.iter().map(|port| port.tx_packets).sum();
        let seconds = self.moved.duration_since(self.began).as_secs_f64();
        let report = Report {
            seconds,
            mpps: float(sent) / 1e6 / seconds.max(1e-9),
            ports,
            wire: self
                .far_ends
                .are_ours()
                .then(|| wire_report(&self.far_ends, oversize_dropped)),
            violations,
        };
        let mut notes = notes(self.command, &self.far_ends, &report);
        if self.command.mode != Mode::Poll {
            notes.push(format!("slept {slept} times"));
        }
        let replayed = match self.far_ends.source_failure() {
            Some(failure) => Err(Error::msg(failure)),
            None => Ok(()),
        };
        // a recording of a run that broke is no recording
        let broken = result.and(forwarded).and(replayed);
        let result = match (broken, self.far_ends.recording) {
            (Ok(()), Some(recording)) => recording.finish().map(drop).map_err(Error::from),
            (broken, _) => broken,
        };
        Ok(Outcome {
            report,
            notes,
            result,
        })
    }
}

/// How long nothing has changed.
#[derive(Default)]
struct Stillness {
    seen: (u64, u64),
    ticks: u32,
}

fn port_report(
    bench: &Bench,
    statistics: &[Statistics; 2],
    lanes: &[Lane],
    position: usize,
) -> PortReport {
    let open = &bench.ports[position];
    let counted = &statistics[position];
    let of_queues = |count: fn(RxCounters, TxCounters) -> u64, from: usize| -> u64 {
        lanes
            .iter()
            .filter(|lane| lane.port() == from)
            .map(Lane::counters)
            .map(|(rx, tx)| count(rx, tx))
            .sum()
    };
    PortReport {
        port: open.label.clone(),
        driver: open.driver().to_owned(),
        rx_packets: counted.rx_packets,
        tx_packets: counted.tx_packets,
        rx_bytes: counted.rx_bytes,
        tx_bytes: counted.tx_bytes,
        rx_dropped: counted.rx_dropped,
        rx_errors: counted.rx_errors + of_queues(|rx, _| rx.malformed, position),
        // what this port was to send came in on the other
        tx_errors: of_queues(|_, tx| tx.refused, 1 - position),
        link_mbits: open.link.mbits,
    }
}

fn wire_report(far_ends: &FarEnds, oversize_dropped: u64) -> WireReport {
    let mut wire = WireReport {
        oversize_dropped,
        ..WireReport::default()
    };
    for direction in &far_ends.directions {
        let source = direction.source.counters();
        let sink = direction.sink.arrivals();
        wire.offered += source.offered.get();
        wire.delivered += sink.delivered;
        wire.reordered += sink.reordered;
        wire.corrupted += sink.corrupted;
        wire.undersize_padded += source.undersize_padded.get();
        wire.source_skipped += source.source_skipped.get();
    }
    wire.lost = wire
        .offered
        .saturating_sub(wire.delivered)
        .saturating_sub(oversize_dropped);
    wire
}

fn notes(command: &Forward, far_ends: &FarEnds, report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let forfeited = far_ends.directions.iter();
    let forfeited = forfeited.map(|way| way.source.counters().forfeited_nanos.get());
    let share = float(forfeited.max().unwrap_or(0)) / 1e7 / report.seconds.max(1e-9);
    if share >= 1.0 {
        notes.push(format!(
            "too slow for the rate: nothing was offered for {share:.0} % of the time"
        ));
    }
    let wire = report.wire.unwrap_or_default();
    if wire.lost > 0 && command.rate.is_some() {
        notes.push("lost frames found no free descriptor (see dropped)".to_owned());
    }
    if wire.reordered > 0 && command.replay.is_some() && command.queues > 1 {
        notes.push(format!(
            "{} changed places, as those of different queues may",
            frames(wire.reordered)
        ));
    }
    notes
}
