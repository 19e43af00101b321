//! The conversation with the server.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use barewire_dma::DmaRegion;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::REGIONS;
use crate::vfio_user::{
    Capabilities, Command, Connection, ConnectionError, DecodeError, DeviceInfo, DmaAccess,
    IrqInfo, Kind, MAJOR, MAX_DATA, MAX_FDS, MAX_MESSAGE, MINOR, MapRequest, Message, RegionAccess,
    RegionInfo, RegionWrite, SetIrqs, UnmapRequest, Version,
};

/// Bytes of an answer about a region that are asked for at first: enough for 250 mapped parts. Some
/// servers tell of parts also where there is no room for them, so there is room.
const ROOM: u32 = 4096;

/// Why the server did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The conversation has ended.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// It ended earlier.
    #[error("the server has gone")]
    Gone,
    /// An answer that can't be understood.
    #[error("its answer makes no sense: {0}")]
    Answer(#[from] DecodeError),
    /// An answer to another question.
    #[error("its answer is about something else: {what}")]
    Other {
        /// What was asked for.
        what: &'static str,
    },
    /// Another protocol.
    #[error("it speaks version {major}.{minor} of vfio-user and this program {MAJOR}.{MINOR}")]
    Version {
        /// The server's major version.
        major: u16,
        /// The server's minor version.
        minor: u16,
    },
    /// It says no.
    #[error("it refuses to {what}: {}", std::io::Error::from(*errno))]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Its reason.
        errno: Errno,
    },
}

impl Failure {
    /// Whether the server can be asked again.
    fn is_harmless(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. } | Self::Connection(ConnectionError::TooLarge { .. })
        )
    }
}

/// A region of the device and the file behind it, if the server has given one.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) info: RegionInfo,
    pub(super) file: Option<OwnedFd>,
}

/// The connection, shared by everything that belongs to the device.
#[derive(Debug)]
pub(super) struct Link {
    name: String,
    patience: Duration,
    /// The socket, to be polled while others talk.
    socket: UnixStream,
    talk: Mutex<Talk>,
    gone: AtomicBool,
    flags: u32,
    capabilities: Capabilities,
    regions: Vec<Option<Region>>,
}

#[derive(Debug)]
struct Talk {
    connection: Connection,
    /// Our memory as the server sees it.
    memory: Vec<(u64, Arc<DmaRegion>)>,
}

impl Link {
    /// Greets the server and asks it what it has.
    pub(super) fn open(
        name: String,
        stream: UnixStream,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let socket = stream.try_clone().map_err(ConnectionError::from)?;
        let talk = Talk {
            connection: Connection::new(stream)?,
            memory: Vec::new(),
        };
        let mut link = Self {
            name,
            patience,
            socket,
            talk: Mutex::new(talk),
            gone: AtomicBool::new(false),
            flags: 0,
            capabilities: Capabilities::default(),
            regions: Vec::new(),
        };
        link.greet()?;
        let request = DeviceInfo {
            argsz: DeviceInfo::BYTES,
            ..DeviceInfo::default()
        };
        let answer = link.call(
            Command::DeviceGetInfo,
            "describe the device",
            &[&request.encode()],
            &[],
        )?;
        let info = DeviceInfo::decode(&answer.payload)?;
        link.flags = info.flags;
        for index in 0..REGIONS.min(info.regions) {
            let region = link.describe(index)?;
            link.regions.push(region);
        }
        Ok(link)
    }

    fn greet(&mut self) -> Result<(), Failure> {
        let ours = Version {
            major: MAJOR,
            minor: MINOR,
            capabilities: Capabilities {
                max_msg_fds: u64::try_from(MAX_FDS).ok(),
                max_data_xfer_size: u64::try_from(MAX_DATA).ok(),
                ..Capabilities::default()
            },
        };
        let answer = self.call(
            Command::Version,
            "agree on a version",
            &[&ours.encode()],
            &[],
        )?;
        let theirs = Version::decode(&answer.payload)?;
        if theirs.major != MAJOR || theirs.minor > MINOR {
            return Err(Failure::Version {
                major: theirs.major,
                minor: theirs.minor,
            });
        }
        self.capabilities = theirs.capabilities;
        Ok(())
    }

    /// What the device has as region `index`; `None` if that is nothing.
    fn describe(&self, index: u32) -> Result<Option<Region>, Failure> {
        const WHAT: &str = "describe a region";
        let mut argsz = ROOM;
        // An answer that needs more room says how much.
        loop {
            let request = RegionInfo {
                argsz,
                index,
                ..RegionInfo::default()
            };
            let answer = self.call(
                Command::DeviceGetRegionInfo,
                WHAT,
                &[&request.encode(RegionInfo::BYTES)],
                &[],
            );
            let mut answer = match answer {
                // A region that is not there may be no region of size 0.
                Err(Failure::Refused { .. }) => return Ok(None),
                answer => answer?,
            };
            let info = RegionInfo::decode(&answer.payload)?;
            if info.index != index {
                return Err(Failure::Other { what: WHAT });
            }
            if info.argsz > argsz && argsz == ROOM {
                let room = u32::try_from(MAX_MESSAGE).unwrap_or(u32::MAX) / 2;
                argsz = info.argsz.min(room);
                continue;
            }
            let file = (!answer.fds.is_empty()).then(|| answer.fds.swap_remove(0));
            return Ok((info.size > 0).then_some(Region { info, file }));
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// [`DEVICE_FLAG_RESET`](crate::vfio_user::DEVICE_FLAG_RESET) and so on.
    pub(super) const fn flags(&self) -> u32 {
        self.flags
    }

    /// File descriptors that the server takes in one message.
    pub(super) fn message_fds(&self) -> usize {
        self.capabilities.message_fds()
    }

    pub(super) fn region(&self, index: u32) -> Option<&Region> {
        let index = usize::try_from(index).ok()?;
        self.regions.get(index)?.as_ref()
    }

    /// Whether nothing can be asked any more.
    #[inline]
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the conversation where it has become impossible, once and for all.
    fn judge<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        if let Err(failure) = &result
            && !failure.is_harmless()
            && !self.gone.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(device = self.name, %failure, "the served device is gone");
        }
        result
    }

    /// Asks and waits for the answer. `what` completes "it refuses to".
    fn call(
        &self,
        command: Command,
        what: &'static str,
        payload: &[&[u8]],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Message, Failure> {
        if self.is_gone() {
            return Err(Failure::Gone);
        }
        let answer = self.talk().call(command, payload, fds, self.patience);
        let answer = self.judge(answer.map_err(Failure::from))?;
        match answer.header.kind {
            Kind::Reply { error: Some(errno) } => {
                let errno = i32::try_from(errno).unwrap_or(0);
                Err(Failure::Refused {
                    what,
                    errno: Errno::from_raw_os_error(if errno == 0 {
                        Errno::IO.raw_os_error()
                    } else {
                        errno
                    }),
                })
            }
            _ if answer.header.number != command.number() => {
                self.judge(Err(Failure::Other { what }))
            }
            _ => Ok(answer),
        }
    }

    /// Reads 32 bits of a region.
    pub(super) fn read32(&self, region: u32, offset: u64) -> Result<u32, Failure> {
        self.read(region, offset).map(u32::from_le_bytes)
    }

    /// Reads `N` bytes of a region in one access.
    pub(super) fn read<const N: usize>(
        &self,
        region: u32,
        offset: u64,
    ) -> Result<[u8; N], Failure> {
        const WHAT: &str = "read a register";
        let access = RegionAccess {
            offset,
            region,
            count: u32::try_from(N).unwrap_or(u32::MAX),
        };
        let answer = self.call(Command::RegionRead, WHAT, &[&access.encode()], &[])?;
        let read = RegionWrite::decode(&answer.payload).map_err(Failure::from);
        let read = self.judge(read)?;
        match read.data.first_chunk() {
            Some(data) if read.access == access => Ok(*data),
            _ => self.judge(Err(Failure::Other { what: WHAT })),
        }
    }

    /// Writes 32 bits of a region, and waits until the device has them.
    pub(super) fn write32(&self, region: u32, offset: u64, value: u32) -> Result<(), Failure> {
        self.write(region, offset, value.to_le_bytes())
    }

    /// Writes `N` bytes of a region in one access, and waits until the device has them.
    pub(super) fn write<const N: usize>(
        &self,
        region: u32,
        offset: u64,
        data: [u8; N],
    ) -> Result<(), Failure> {
        const WHAT: &str = "write a register";
        let access = access_of(region, offset, N);
        let answer = self.call(Command::RegionWrite, WHAT, &[&access.encode(), &data], &[])?;
        let written = RegionAccess::decode(&answer.payload).map_err(Failure::from);
        if self.judge(written)? == access {
            Ok(())
        } else {
            self.judge(Err(Failure::Other { what: WHAT }))
        }
    }

    /// Writes `N` bytes of a region in one access, which arrives in its turn.
    pub(super) fn post<const N: usize>(
        &self,
        region: u32,
        offset: u64,
        data: [u8; N],
    ) -> Result<(), Failure> {
        if self.is_gone() {
            return Err(Failure::Gone);
        }
        let access = access_of(region, offset, N).encode();
        let payload = [&access[..], &data];
        let mut talk = self.talk();
        let posted = talk
            .connection
            .post(Command::RegionWrite, &payload, self.patience);
        self.judge(posted.map_err(Failure::from))
    }

    pub(super) fn reset(&self) -> Result<(), Failure> {
        let what = "reset the device";
        self.call(Command::DeviceReset, what, &[], &[]).map(drop)
    }

    /// Gives the server a region of memory at `address`.
    pub(super) fn map(
        &self,
        address: u64,
        region: &Arc<DmaRegion>,
        flags: u32,
    ) -> Result<(), Failure> {
        let request = MapRequest {
            flags,
            offset: 0,
            address,
            size: u64::try_from(region.len()).unwrap_or(u64::MAX),
        };
        // The server may use it before its answer is here.
        self.talk().memory.push((address, Arc::clone(region)));
        let what = "map memory";
        let mapped = self.call(
            Command::DmaMap,
            what,
            &[&request.encode()],
            &[region.memfd()],
        );
        if mapped.is_err() {
            self.forget(address);
        }
        mapped.map(drop)
    }

    /// Takes the region at `address` away from the server.
    pub(super) fn unmap(&self, address: u64, bytes: usize) -> Result<(), Failure> {
        let request = UnmapRequest {
            flags: 0,
            address,
            size: u64::try_from(bytes).unwrap_or(u64::MAX),
        };
        let what = "unmap memory";
        let unmapped = self.call(Command::DmaUnmap, what, &[&request.encode()], &[]);
        self.forget(address);
        unmapped.map(drop)
    }

    fn forget(&self, address: u64) {
        self.talk().memory.retain(|(start, _)| *start != address);
    }

    /// How many interrupts of type `index` there are, and their flags.
    pub(super) fn irq_info(&self, index: u32) -> Result<IrqInfo, Failure> {
        let request = IrqInfo {
            argsz: IrqInfo::BYTES,
            index,
            ..IrqInfo::default()
        };
        let what = "describe its interrupts";
        let answer = self.call(Command::DeviceGetIrqInfo, what, &[&request.encode()], &[])?;
        let info = self.judge(IrqInfo::decode(&answer.payload).map_err(Failure::from))?;
        if info.index == index {
            Ok(info)
        } else {
            self.judge(Err(Failure::Other { what }))
        }
    }

    pub(super) fn set_irqs(&self, set: &SetIrqs, fds: &[BorrowedFd<'_>]) -> Result<(), Failure> {
        let what = "set up its interrupts";
        self.call(Command::DeviceSetIrqs, what, &[&set.encode()], fds)
            .map(drop)
    }

    /// Lets `duration` pass, and does what the server asks for meanwhile.
    pub(super) fn listen(&self, duration: Duration) {
        let end = Instant::now() + duration;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if self.is_gone() {
                std::thread::sleep(left);
                return;
            }
            let Ok(limit) = Timespec::try_from(left) else {
                return;
            };
            let kept = self.talk().connection.has_kept();
            // others may talk meanwhile
            let mut sockets = [PollFd::new(&self.socket, PollFlags::IN)];
            if !kept && poll(&mut sockets, Some(&limit)) == Ok(0) {
                return;
            }
            let mut talk = self.talk();
            let heard = talk.listen(self.patience);
            drop(talk);
            // an ended conversation is found here, before the next access
            let _ = self.judge(heard.map_err(Failure::from));
        }
    }
}

fn access_of(region: u32, offset: u64, bytes: usize) -> RegionAccess {
    RegionAccess {
        offset,
        region,
        count: u32::try_from(bytes).unwrap_or(u32::MAX),
    }
}

impl Talk {
    /// As [`Connection::call`], but requests of the server are answered at once: it may need our
    /// memory to answer ours.
    fn call(
        &mut self,
        command: Command,
        payload: &[&[u8]],
        fds: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<Message, ConnectionError> {
        let timeout = ConnectionError::Timeout {
            what: "answer a request",
            limit,
        };
        let end = Instant::now() + limit;
        let id = self.connection.request(command, payload, fds, limit)?;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(timeout);
            }
            let message = match self.connection.receive(left) {
                Err(ConnectionError::Timeout { .. }) => return Err(timeout),
                message => message?,
            };
            match message.header.kind {
                Kind::Request { .. } => self.answer(&message, limit)?,
                Kind::Reply { .. } if message.header.id == id => return Ok(message),
                // the answer to a request that was given up
                Kind::Reply { .. } => {}
            }
        }
    }

    /// Answers the requests that are there, as far as that takes no longer than `limit`.
    fn listen(&mut self, limit: Duration) -> Result<(), ConnectionError> {
        let end = Instant::now() + limit;
        while let Some(message) = self.connection.try_receive()? {
            if matches!(message.header.kind, Kind::Request { .. }) {
                self.answer(&message, limit)?;
            }
            if Instant::now() >= end {
                break;
            }
        }
        Ok(())
    }

    /// Answers a request of the server: it may read and write our memory, and nothing else.
    fn answer(&mut self, message: &Message, limit: Duration) -> Result<(), ConnectionError> {
        let header = &message.header;
        match header.command() {
            Some(Command::DmaRead) => match self.read_memory(&message.payload) {
                Ok((access, data)) => {
                    let payload = [&access.encode()[..], &data];
                    self.connection.reply(header, &payload, &[], limit)
                }
                Err(errno) => self.connection.refuse(header, errno, limit),
            },
            Some(Command::DmaWrite) => match self.write_memory(&message.payload) {
                Ok(access) => {
                    let payload = access.encode();
                    self.connection.reply(header, &[&payload], &[], limit)
                }
                Err(errno) => self.connection.refuse(header, errno, limit),
            },
            _ => self.connection.refuse(header, Errno::NOTSUP, limit),
        }
    }

    /// The region that holds the `count` bytes at `address`, and where in it they begin.
    fn locate(&self, access: DmaAccess) -> Result<(&DmaRegion, usize), Errno> {
        self.memory
            .iter()
            .find_map(|(start, region)| {
                let offset = access.address.checked_sub(*start)?;
                let end = offset.checked_add(access.count)?;
                let fits = usize::try_from(end).is_ok_and(|end| end <= region.len());
                let offset = usize::try_from(offset).ok().filter(|_| fits)?;
                Some((&**region, offset))
            })
            .ok_or(Errno::FAULT)
    }

    fn read_memory(&self, payload: &[u8]) -> Result<(DmaAccess, Vec<u8>), Errno> {
        let access = DmaAccess::decode(payload).map_err(|_| Errno::INVAL)?;
        let (region, offset) = self.locate(access)?;
        // at most MAX_DATA, as decoding made sure
        let count = usize::try_from(access.count).map_err(|_| Errno::INVAL)?;
        let mut data = vec![0; count];
        region
            .device_read(offset, &mut data)
            .map_err(|_| Errno::FAULT)?;
        Ok((access, data))
    }

    fn write_memory(&self, payload: &[u8]) -> Result<DmaAccess, Errno> {
        let (access, data) = DmaAccess::decode_with_data(payload).map_err(|_| Errno::INVAL)?;
        let (region, offset) = self.locate(access)?;
        region
            .device_write(offset, data)
            .map_err(|_| Errno::FAULT)?;
        Ok(access)
    }
}
