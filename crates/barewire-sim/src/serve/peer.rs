//! Memory that the client reads and writes for the device.
//!
//! The device never waits for an answer: a client may itself wait for us, in the thread that would
//! answer. A read is asked for and tried again when the answer is there; writes are sent, and
//! interrupts wait until all of them have been answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use barewire_bus::vfio_user::{Command, Connection, DmaAccess, Kind, MAX_DATA, Message};
use parking_lot::Mutex;

use crate::memory::{Distant, Unanswered};
use crate::wire::widen;

/// Reads that may be under way or waiting to be used.
const READS: usize = 512;
/// Writes under way above which the device does nothing until some are answered.
const WRITES: usize = 128;

/// What the client was asked to read.
#[derive(Debug)]
struct Read {
    id: u16,
    address: u64,
    count: usize,
    since: Instant,
    /// The answer, once it is there.
    data: Option<Result<Vec<u8>, ()>>,
    /// Somebody still wants it.
    wanted: bool,
}

#[derive(Debug, Default)]
struct Asked {
    reads: Vec<Read>,
    writes: Vec<(u16, Instant)>,
}

/// The client, as the owner of memory.
#[derive(Debug)]
pub(super) struct Peer {
    connection: Arc<Mutex<Connection>>,
    patience: Duration,
    /// The connection is of no use any more.
    lost: AtomicBool,
    /// The most bytes of one message.
    most: AtomicUsize,
    asked: Mutex<Asked>,
}

impl Peer {
    pub(super) fn new(connection: Arc<Mutex<Connection>>, patience: Duration) -> Self {
        Self {
            connection,
            patience,
            lost: AtomicBool::new(false),
            most: AtomicUsize::new(MAX_DATA),
            asked: Mutex::default(),
        }
    }

    /// The client takes so many bytes in one message.
    pub(super) fn set_most(&self, bytes: usize) {
        self.most.store(bytes.max(64), Ordering::Relaxed);
    }

    /// The client has not answered in time, or can't be asked.
    pub(super) fn is_lost(&self) -> bool {
        let asked = self.asked.lock();
        let reads = asked.reads.iter().filter(|read| read.data.is_none());
        let mut waits = reads
            .map(|read| read.since)
            .chain(asked.writes.iter().map(|(_, since)| *since));
        self.lost.load(Ordering::Relaxed) || waits.any(|since| since.elapsed() > self.patience)
    }

    /// The device wants something that has not come.
    pub(super) fn is_awaited(&self) -> bool {
        let asked = self.asked.lock();
        asked.reads.iter().any(|read| read.data.is_none())
    }

    /// Something that the device has written may not be there yet.
    pub(super) fn is_behind(&self) -> bool {
        !self.asked.lock().writes.is_empty()
    }

    /// So much is under way that the device must not write more.
    pub(super) fn is_full(&self) -> bool {
        self.asked.lock().writes.len() > WRITES
    }

    /// The device has done a piece of work. What it read, and what it did not want again, is not
    /// kept: later it may be another.
    pub(super) fn end_step(&self) {
        let mut asked = self.asked.lock();
        if asked.reads.is_empty() {
            return;
        }
        asked
            .reads
            .retain_mut(|read| read.data.is_none() || std::mem::take(&mut read.wanted));
    }

    /// Nothing that was read counts any more.
    pub(super) fn forget(&self) {
        self.asked.lock().reads.clear();
    }

    /// Takes an answer.
    pub(super) fn answer(&self, reply: &Message) {
        let id = reply.header.id;
        let mut asked = self.asked.lock();
        let failed = !matches!(reply.header.kind, Kind::Reply { error: None });
        if reply.header.number == Command::DmaWrite.number() {
            if failed {
                tracing::warn!("the client refuses a write of the device to its memory");
            }
            if let Some(at) = asked.writes.iter().position(|(write, _)| *write == id) {
                asked.writes.swap_remove(at);
            }
            return;
        }
        let waiting = |read: &&mut Read| read.id == id && read.data.is_none();
        if let Some(read) = asked.reads.iter_mut().find(waiting) {
            let data = match DmaAccess::decode_with_data(&reply.payload) {
                Ok((_, data)) if !failed && data.len() == read.count => Ok(data.to_vec()),
                _ => Err(()),
            };
            read.data = Some(data);
            read.wanted = true;
        }
    }

    fn ask(&self, command: Command, payload: &[&[u8]]) -> Result<u16, Unanswered> {
        let sent = self
            .connection
            .lock()
            .request(command, payload, &[], self.patience);
        sent.map_err(|error| {
            tracing::warn!(%error, "the client can't be asked for its memory");
            self.lost.store(true, Ordering::Relaxed);
            Unanswered::Lost
        })
    }

    /// Asks for one piece, if it was not asked for.
    fn prepare_piece(&self, address: u64, count: usize) -> Result<(), Unanswered> {
        let mut asked = self.asked.lock();
        let same = |read: &&mut Read| (read.address, read.count) == (address, count);
        if let Some(read) = asked.reads.iter_mut().find(same) {
            read.wanted = true;
            return match read.data {
                None => Err(Unanswered::NotYet),
                Some(_) => Ok(()),
            };
        }
        if asked.reads.len() >= READS {
            return Err(Unanswered::NotYet);
        }
        let access = DmaAccess {
            address,
            count: widen(count),
        };
        let id = self.ask(Command::DmaRead, &[&access.encode()])?;
        asked.reads.push(Read {
            id,
            address,
            count,
            since: Instant::now(),
            data: None,
            wanted: true,
        });
        Err(Unanswered::NotYet)
    }
}

impl Distant for Peer {
    fn prepare(&self, address: u64, count: usize) -> Result<(), Unanswered> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(Unanswered::Lost);
        }
        let most = self.most.load(Ordering::Relaxed);
        let mut result = Ok(());
        let mut at = address;
        let mut rest = count;
        while rest > 0 {
            let count = rest.min(most);
            result = result.and(self.prepare_piece(at, count));
            at = at.wrapping_add(widen(count));
            rest -= count;
        }
        result
    }

    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Unanswered> {
        self.prepare(address, into.len())?;
        let most = self.most.load(Ordering::Relaxed);
        let mut asked = self.asked.lock();
        let mut at = address;
        for piece in into.chunks_mut(most) {
            let key = (at, piece.len());
            let same = |read: &&mut Read| (read.address, read.count) == key;
            let Some(read) = asked.reads.iter_mut().find(same) else {
                return Err(Unanswered::Lost);
            };
            read.wanted = false;
            match &read.data {
                Some(Ok(data)) => piece.copy_from_slice(data),
                _ => return Err(Unanswered::Lost),
            }
            at = at.wrapping_add(widen(piece.len()));
        }
        Ok(())
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), Unanswered> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(Unanswered::Lost);
        }
        let most = self.most.load(Ordering::Relaxed);
        let mut at = address;
        for piece in from.chunks(most) {
            let count = widen(piece.len());
            let access = DmaAccess { address: at, count };
            let id = self.ask(Command::DmaWrite, &[&access.encode(), piece])?;
            self.asked.lock().writes.push((id, Instant::now()));
            at = at.wrapping_add(count);
        }
        Ok(())
    }
}
